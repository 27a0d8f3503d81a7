"""The steps of a demo: what was done, in how many seconds, what came of it, and the command that does the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from shlex import quote


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Args:
        command: does the same, or the same for the first of several questions; empty where no command does.
        lines: what came of it, for people.
    """

    title: str
    command: str
    seconds: float
    lines: tuple[str, ...] = ()


@dataclass(eq=False)
class Steps:
    """Times steps and hands each on when it is done."""

    told: Callable[[Step], None] = lambda step: None
    done: list[Step] = field(default_factory=list)
    _since: float = field(default_factory=time.monotonic)

    def end(self, title: str, command: Sequence[str | PathLike[str]] = (), lines: Sequence[str] = ()) -> None:
        """The step that began when the one before it ended is over."""
        now = time.monotonic()
        written = " ".join(quote(str(word)) for word in ("diptych", *command)) if command else ""
        self.done.append(Step(title, written, now - self._since, tuple(lines)))
        self._since = now
        self.told(self.done[-1])
