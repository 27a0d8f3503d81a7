"""One exception tree. The library raises; the CLI turns an error into one line and an exit code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import ClassVar


class Reason(StrEnum):
    """Why an input was refused. The CLI prints it, the API maps it to a status."""

    MISSING = "missing"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    BAD_ASPECT = "bad_aspect"
    EMPTY_TEXT = "empty_text"
    NO_IMAGE = "no_image"
    BAD_ROW = "bad_row"
    NOT_A_VIDEO = "not_a_video"
    NO_FRAMES = "no_frames"
    NOT_A_SOUND = "not_a_sound"
    TOO_SLOW = "too_slow"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class DiptychError(Exception):
    """Base of every error that Diptych raises on purpose.

    The message says what was found, what was expected and what to do.
    """

    exit_code: ClassVar[int] = 1


class ConfigError(DiptychError):
    """A setting, flag or name that cannot be used (exit code 2)."""

    exit_code: ClassVar[int] = 2


class LimitError(DiptychError):
    """An input beyond a stated limit, such as a query that is too long (exit code 2)."""

    exit_code: ClassVar[int] = 2


class DataError(DiptychError):
    """Data that cannot be read, with a reason code (exit code 3)."""

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, reason: Reason = Reason.BAD_ROW) -> None:
        super().__init__(message)
        self.reason = reason


@contextlib.contextmanager
def opening(path: Path) -> Iterator[None]:
    """Around opening a file: an OSError becomes DataError(missing) with the path and the cause."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot open {path}: {error.strerror or error}", Reason.MISSING) from error


class ModelError(DiptychError):
    """A model that cannot be loaded or does not fit (exit code 4)."""

    exit_code: ClassVar[int] = 4


class LibraryError(DiptychError):
    """A library (searchable collection) that cannot be opened, or belongs to another model (exit code 4)."""

    exit_code: ClassVar[int] = 4


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during long work. The message says what is kept, as half a sentence."""


class MissingExtraError(ConfigError):
    """A feature whose optional packages are not installed."""

    def __init__(self, what: str, extra: str, cause: BaseException | None = None) -> None:
        detail = f" ({cause})" if cause is not None else ""
        super().__init__(f"{what} needs packages that are not installed{detail}; run: pip install 'diptych[{extra}]'")
