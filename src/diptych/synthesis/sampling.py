"""Images from a saved generator: ONNX Runtime, no PyTorch."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import ConfigError, DataError, LimitError, ModelError, Reason
from diptych.core.protocols import TextTower
from diptych.core.shapes import Float32, UInt8
from diptych.core.text import is_blank
from diptych.encoders.onnx_session import start_session
from diptych.synthesis import conditions
from diptych.synthesis import folder as files
from diptych.synthesis.words import TextArrays, check_words, embed_texts, without_words, words_read

MAX_CHARACTERS = 1_000
TOGETHER = 16  # images made at once: memory stays bounded, however many are asked for


class UnknownLanguageWarning(UserWarning):
    """The text tower was not made for this language."""


class SavedGenerator:
    """A generator out of a model folder. Safe to use from several threads.

    Args:
        folder: with config.json, generator.onnx and model.safetensors.
        threads: of ONNX Runtime; None leaves the number to it.
        device: as of `diptych.load`.

    Raises ModelError when the folder is not sound, or its text tower is not the one that is installed.
    """

    def __init__(self, folder: Path, *, threads: int | None = None, device: str = "auto") -> None:
        self.folder = folder
        self.config = files.read_config(folder)
        self._threads, self._device = threads, device
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Pixels of a side."""
        return self.config.size

    @cached_property
    def tower(self) -> TextTower:
        """What reads the texts. Raises ModelError when it is another than the generator was trained on."""
        text = self.config.text
        try:
            tower = conditions.text_tower(text.tower)
            check_words(text.words, tower, text.tower.name)
        except ConfigError as error:
            raise ModelError(f"the text tower of {self.folder} cannot be made: {error}") from error
        if tower.fingerprint != text.fingerprint:
            raise ModelError(
                f"{self.folder} was trained on another text tower {text.tower.name!r} (fingerprint "
                f"{text.fingerprint[:16]}, found {tower.fingerprint[:16]}); install the version that it was trained "
                "with, or train it again"
            )
        return tower

    def check(self, texts: Sequence[str], lang: str = "") -> None:
        """Refuse what cannot be read; warn of a language that the tower was not made for.

        Raises DataError(empty_text) for an empty text, LimitError for one that the tower would cut.
        """
        for text in texts:
            if is_blank(text):
                raise DataError("found an empty text; say what the image should show", Reason.EMPTY_TEXT)
            if len(text) > MAX_CHARACTERS:
                raise LimitError(
                    f"found a text of {len(text)} characters; at most {MAX_CHARACTERS} are read: shorten it"
                )
        most = self.tower.max_tokens
        for text, tokens in zip(texts, self.tower.count_tokens(list(texts)) if most else (), strict=False):
            if most and tokens > most:
                raise LimitError(
                    f"found a text of {tokens} tokens, the text tower takes {most}: shorten {text[:40]!r}..."
                )
        known = self.tower.languages
        if lang and known and lang not in known:
            warnings.warn(
                f"the text tower was not made for {lang!r} (it knows {', '.join(sorted(known))}); "
                "images may have nothing to do with the words",
                UnknownLanguageWarning,
                stacklevel=2,
            )

    def unread_words(self, text: str) -> list[str]:
        """Words beyond the first `max_words`: the sentence vector includes them, the regions do not use them."""
        most = self.config.text.max_words
        return words_read(text, self.tower, self.config.text.words)[most:] if most else []

    def read(self, texts: Sequence[str], lang: str = "") -> TextArrays:
        """Texts as the generator reads them; see `check` for what is refused."""
        self.check(texts, lang)
        distinct, text = list(dict.fromkeys(texts)), self.config.text
        found = self._padded(embed_texts(distinct, self.tower, text.max_words, text.words))
        place = {text: row for row, text in enumerate(distinct)}
        rows = np.array([place[text] for text in texts])
        return TextArrays(found.sentence[rows], found.words[rows], found.mask[rows])

    def noise(self, count: int, seed: int = 0) -> Float32[np.ndarray, "n z"]:
        """Standard normal noise; the first rows do not depend on how many are asked for."""
        return np.random.default_rng(seed).standard_normal((count, self.config.noise), dtype=np.float32)

    def sample(self, texts: TextArrays, noise: Float32[np.ndarray, "n z"]) -> UInt8[np.ndarray, "n h w 3"]:
        """An image for each text and its noise."""
        parts = []
        for start in range(0, len(texts), TOGETHER):
            here = slice(start, start + TOGETHER)
            values = (noise[here], texts.sentence[here], texts.words[here], texts.mask[here])
            feed = {name: value for name, value in zip(files.INPUTS, values, strict=True) if name in self._inputs}
            parts.append(to_bytes(self._session.run([files.OUTPUT], feed)[0]))
        return np.concatenate(parts)

    def generate(self, texts: Sequence[str], *, seed: int = 0, lang: str = "") -> UInt8[np.ndarray, "n h w 3"]:
        """One image a text. Equal seeds give equal images; equal texts in one call get other noise each.

        Raises ConfigError for no text at all, otherwise as `check`.
        """
        if not texts:
            raise ConfigError("asked for 0 images; give at least one text")
        return np.concatenate(list(self.stream(texts, seed=seed, lang=lang)))

    def stream(self, texts: Sequence[str], *, seed: int = 0, lang: str = "") -> Iterator[UInt8[np.ndarray, "n h w 3"]]:
        """The images of `generate`, a few at a time, however many there are."""
        draw = np.random.default_rng(seed)
        for start in range(0, len(texts), TOGETHER):
            part = texts[start : start + TOGETHER]
            noise = draw.standard_normal((len(part), self.config.noise), dtype=np.float32)
            yield self.sample(self.read(part, lang), noise)

    def generate_like(self, images: Sequence[Any], *, seed: int = 0) -> UInt8[np.ndarray, "n h w 3"]:
        """One image for each image; see `read_images`."""
        read = self.read_images(images)
        return self.sample(read, self.noise(len(read), seed))

    def read_images(self, images: Sequence[Any]) -> TextArrays:
        """Images as the generator reads them: by their embeddings in the space that it is conditioned on.

        Raises ConfigError where that is no space of images too, DataError for an image that cannot be read.
        """
        tower = self.tower
        if not isinstance(tower, conditions.EncoderTexts):
            raise ConfigError(
                f"{self.folder.name} reads texts only; X-MRS's generators (configs/synthesis/x_mrs_image.toml), and "
                "others with text.tower = 'encoder:base', take images too"
            )
        embedded = np.asarray(tower.encoder.encode_images(list(images)), dtype=np.float32)
        return self._padded(without_words(embedded))

    def between(self, one: TextArrays, other: TextArrays, steps: int) -> TextArrays:
        """`steps` texts on the straight way from `one` to `other` (one text each), both ends included.

        Words meet by their place; those of the shorter text are repeated.
        """
        share = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        first, last = (arrays.words[0][arrays.mask[0]] for arrays in (one, other))
        count = max(len(first), len(last))
        first, last = (words[np.arange(count) % len(words)] for words in (first, last))
        words = first * (1 - share[:, :, None]) + last * share[:, :, None]
        sentence = one.sentence * (1 - share) + other.sentence * share
        return self._padded(TextArrays(sentence, words, np.ones((steps, count), np.bool_)))

    def _padded(self, texts: TextArrays) -> TextArrays:
        """Room for as many words as the graph takes."""
        lacking = max(1, self.config.text.max_words) - texts.mask.shape[1]
        if lacking == 0:
            return texts
        words = np.pad(texts.words, ((0, 0), (0, lacking), (0, 0)))
        return TextArrays(texts.sentence, words, np.pad(texts.mask, ((0, 0), (0, lacking))))

    @cached_property
    def _inputs(self) -> frozenset[str]:
        return frozenset(one.name for one in self._session.get_inputs())

    @property
    def _session(self) -> Any:
        with self._lock:
            return self._started

    @cached_property
    def _started(self) -> Any:
        return start_session(self.folder / f"{files.GRAPH}.onnx", threads=self._threads, device=self._device)


def to_bytes(images: np.ndarray) -> UInt8[np.ndarray, "n h w 3"]:
    """Float images (n, 3, h, w) in [-1, 1] as bytes (n, h, w, 3)."""
    scaled = np.clip((images + 1) * 127.5, 0, 255)
    return np.ascontiguousarray(np.rint(scaled).astype(np.uint8).transpose(0, 2, 3, 1))


def load(name: str | Path, *, threads: int | None = None, device: str = "auto") -> SavedGenerator:
    """A shipped generator by name, or a saved one by folder. Raises ModelError when there is none, or it is damaged."""
    return SavedGenerator(files.find(name), threads=threads, device=device)
