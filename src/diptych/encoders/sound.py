"""Sounds as a tower's rows: their log-mel spectrograms, which a network above reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.extras import need
from diptych.core.notes import Note
from diptych.core.protocols import SOUND_BANDS, ImageTower, Preprocess, TextTower
from diptych.core.registry import register
from diptych.core.shapes import UInt8
from diptych.core.types import FileImage
from diptych.data.features import CachedRows, TextRows
from diptych.data.images import DEFAULT_LIMITS, prepared
from diptych.data.images.sources import read_bytes
from diptych.data.sounds import FRAMES_A_SECOND
from diptych.encoders.inputs import check_pixels

_MOST_SECONDS = 60
CUT, CUT_DETAIL = "sound_cut", "sounds that last the {:g} s which the model reads, or longer: the rest is not read"


def sound_preprocess(seconds: float) -> Preprocess:
    """How sounds are prepared, of which the first seconds are read. Raises ConfigError unless they are 0.1 to 60."""
    if not 0.1 <= seconds <= _MOST_SECONDS:
        raise ConfigError(f"seconds of a sound must be from 0.1 to {_MOST_SECONDS}, found {seconds}")
    return Preprocess(round(seconds * FRAMES_A_SECOND), "sound", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@register.image_tower("log-mel", "sounds as log-mel spectrograms, below the network sound_conv; needs the extra sound")
class LogMelTower:
    """Files of sound in place of images: 64 bands, a hundred frames a second, as rows of bytes.

    Frame after frame, each from its lowest band to its highest; zeros behind the end of a sound.

    Args:
        seconds: how much of each sound is read, from its start.
    """

    storage = "uint8"

    def __init__(self, seconds: float = 10.0) -> None:
        need("soundfile", "the tower log-mel")
        self.preprocess = sound_preprocess(seconds)
        self.dim = math.prod(self.preprocess.shape[:2])
        self.fingerprint = fingerprint.of_json(["log-mel", 1, self.preprocess.size])

    def embed(self, pixels: UInt8[np.ndarray, "b h w 3"]) -> UInt8[np.ndarray, "b d"]:
        """Rows of prepared spectrograms. Raises ModelError for another type or size."""
        check_pixels(pixels, self.preprocess)
        return rows_of(pixels)


@register.text_tower("spoken", "files of sound in place of texts, below the network sound_conv; needs the extra sound")
class SpokenTower:
    """Texts that are spoken: each is the name of a file of sound on this machine. Rows are those of `LogMelTower`.

    Args:
        seconds: how much of each sound is read, from its start.
    """

    storage = "uint8"
    languages: frozenset[str] = frozenset()
    max_tokens: int | None = None

    def __init__(self, seconds: float = 10.0) -> None:
        need("soundfile", "the tower spoken")
        self.preprocess = sound_preprocess(seconds)
        self.dim = math.prod(self.preprocess.shape[:2])
        self.fingerprint = fingerprint.of_json(["spoken", 1, self.preprocess.size])

    def embed(self, texts: Sequence[str]) -> UInt8[np.ndarray, "b d"]:
        """Rows of the sounds. Raises DataError for one that is not there, or is no sound."""
        rows = np.zeros((len(texts), self.dim), dtype=np.uint8)
        for row, name in zip(rows, texts, strict=True):
            row[:] = rows_of(prepared(_file(name), self.preprocess)[np.newaxis])[0]
        return rows

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """1 for each: what is cut is counted in seconds, see `cut_note`."""
        return [1] * len(texts)

    def content(self, text: str) -> bytes:
        """The bytes of the file that a text names. Raises DataError when it cannot be read."""
        return read_bytes(_file(text), DEFAULT_LIMITS)


def _file(text: str) -> FileImage:
    """The file that a spoken text names. Raises DataError when there is none."""
    if not Path(text).is_file():
        raise DataError(
            f"no file {text!r}: the texts of this model are spoken; give the name of a file of sound", Reason.MISSING
        )
    return FileImage(Path(text))


def rows_of(pixels: UInt8[np.ndarray, "b h w 3"]) -> UInt8[np.ndarray, "b d"]:
    """Spectrograms, drawn with high above low, as rows of frames."""
    return np.ascontiguousarray(pixels[:, ::-1, :, 0].swapaxes(1, 2)).reshape(len(pixels), -1)


def cut_note(rows: TextRows, tower: ImageTower | TextTower) -> tuple[Note, ...]:
    """A note where sounds go on to the end of what is read of them, so that there may be more; () for others."""
    if not isinstance(tower, LogMelTower | SpokenTower) or not isinstance(rows, CachedRows):
        return ()
    count = int((rows.matrix[rows.index, -SOUND_BANDS:] > 0).any(axis=1).sum())
    seconds = tower.preprocess.size / FRAMES_A_SECOND
    return (Note(CUT, count, CUT_DETAIL.format(seconds)),) if count else ()
