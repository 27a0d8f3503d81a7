"""Recognising words in images by RapidOCR, whose weights come with its package: nothing is downloaded.

A process of its own reads one image after the other. One that takes too long ends it, and the next image gets a new
one: so no image holds a run up, or takes it down.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from types import TracebackType
from typing import Any

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.extras import need
from diptych.core.types import BytesImage

from .models import found_models

_START_SECONDS = 120.0


class WordReader:
    """Reads the words in images: `with WordReader() as reader: reader(image)`.

    Args:
        seconds: for one image; what takes longer is refused.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        need("rapidocr", "diptych index --ocr")
        found_models()
        if not seconds > 0:
            raise ConfigError(f"the time for one image must be above 0 s, found {seconds}")
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> WordReader:
        """The process starts with the first image."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The process ends."""
        self._end()

    def __call__(self, image: BytesImage) -> str:
        """The words, a line of the image on each line, in reading order; "" where there are none.

        Raises DataError for an image that cannot be decoded, takes too long or ends the process; ConfigError where
        RapidOCR cannot be started.
        """
        process = self._process or self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(len(image.data).to_bytes(8, "big") + image.data)
            process.stdin.flush()
        except OSError:
            self._end()
            raise DataError(f"{image.name}: the process that reads words ended; try again", Reason.MALFORMED) from None
        answer, is_late = self._answer(process, self._seconds)
        if answer is None:
            self._end()
            if is_late:
                raise DataError(
                    f"{image.name}: reading its words took longer than {self._seconds:g} s", Reason.TOO_SLOW
                )
            raise DataError(f"{image.name}: reading its words ended the process", Reason.MALFORMED)
        if "error" in answer:
            raise DataError(str(answer["error"]), Reason(answer["reason"]))
        return str(answer["words"])

    def _started(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "diptych.data.words.worker"]
        made = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        answer, _ = self._answer(made, _START_SECONDS)
        if answer is None or "error" in answer:
            made.kill()
            made.wait()
            why = "it ended, or was not ready in time" if answer is None else answer["error"]
            raise ConfigError(f"RapidOCR cannot be started: {why}; install it again: pip install 'diptych[ocr]'")
        self._process = made
        return made

    def _answer(self, process: subprocess.Popen[bytes], seconds: float) -> tuple[dict[str, Any] | None, bool]:
        """A line of the process; None where it ended, or was ended because the time was up, and which."""
        assert process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            line = process.stdout.readline()
        finally:
            timer.cancel()
        return (json.loads(line) if line.endswith(b"\n") else None), late.is_set()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
