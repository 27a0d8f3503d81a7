"""Progress where there is no terminal: a line every 20 seconds, in a log file or a pipe too."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

EVERY = 20.0  # seconds without a line, after which one comes


@dataclass(eq=False)
class _Counted:
    """Something that is worked through."""

    label: str
    total: int | None
    begun: float = field(default_factory=lambda: time.monotonic())
    done: int = 0
    told: bool = False

    def line(self) -> str:
        """`image features: 120 of 500 (24 %), 1:05, about 3:26 left`."""
        taken = time.monotonic() - self.begun
        if not self.total:
            return f"{self.label}: {self.done:,}, {_clock(taken)}"
        share = self.done / self.total
        left = f", about {_clock(taken / share - taken)} left" if 0 < share < 1 else ""
        return f"{self.label}: {self.done:,} of {self.total:,} ({share:.0%}), {_clock(taken)}{left}"


class Pulse:
    """Prints on stderr how far a command is, whenever no line was printed for a while.

    It has its own thread, so that lines come during a single long step too. It runs from `start` to `stop`.
    """

    def __init__(self, every: float = EVERY) -> None:
        self.every = every
        self._open: list[_Counted] = []  # the innermost last
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._begun = self._last = time.monotonic()

    def start(self) -> None:
        """Start the thread, unless it runs already."""
        if self._thread is None:
            self._begun = self._last = time.monotonic()
            self._over.clear()
            self._thread = threading.Thread(target=self._beat, name="diptych-pulse", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """The command is done."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._thread, self._open = None, []

    def say(self, line: str) -> None:
        """One line on stderr; the next of its own comes so much later."""
        self._last = time.monotonic()
        print(line, file=sys.stderr, flush=True)

    def track(self, items: Iterable[T], label: str, total: int | None) -> Iterator[T]:
        """Yield the items and count them."""
        counted = _Counted(label, total)
        self._open.append(counted)
        try:
            for item in items:
                yield item
                counted.done += 1
        finally:
            if counted in self._open:
                self._open.remove(counted)
            if counted.told:
                self.say(counted.line())

    def _beat(self) -> None:
        while not self._over.wait(self.every / 10):
            if time.monotonic() - self._last >= self.every:
                self._tell()

    def _tell(self) -> None:
        try:
            counted = self._open[-1]
        except IndexError:
            self.say(f"still at work, {_clock(time.monotonic() - self._begun)}")
            return
        counted.told = True
        self.say(counted.line())


PULSE = Pulse()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
