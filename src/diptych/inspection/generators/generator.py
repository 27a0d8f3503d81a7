"""What is measured: anything that turns texts into images."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from diptych.core.errors import ConfigError, DataError, ModelError, Reason
from diptych.core.protocols import SILENT, Preprocess, Progress
from diptych.core.registry import Part, build, has, register
from diptych.core.shapes import UInt8
from diptych.core.types import ImageRef, Pair
from diptych.data.images import decode, prepare
from diptych.data.readers import is_drawn, open_source

from .image_store import room_for
from .prompts import Prompt

_CHUNK = 256  # texts generated at once
SEED_STRIDE = 100_003  # between the seeds of chunks, so that no noise comes twice


@runtime_checkable
class Generator(Protocol):
    """Texts to images: equal texts, seeds and languages give equal images."""

    def generate(self, texts: Sequence[str], *, seed: int, lang: str = "") -> UInt8[np.ndarray, "n h w 3"]:
        """One image a text, with noise drawn from the seed."""
        ...


@register.generator("images", "images that another program made, each with its text", arguments=("SOURCE",))
class GivenImages:
    """Images that any other program made: a source of pairs, looked up by text.

    A text with several images gives one after the other as the seed counts on. All get the size of the
    first image, or `size`.
    """

    def __init__(self, path: str | Path, size: int | None = None) -> None:
        self.path = Path(path).expanduser()
        self._refs: dict[str, list[ImageRef]] = {}
        for pair in open_source(self.path):
            for text in pair.texts:
                self._refs.setdefault(text.value, []).extend(pair.images)
        if not self._refs:
            raise DataError(f"{path} has no images with texts; expected the images made of each text")
        self._size = size

    @property
    def texts(self) -> frozenset[str]:
        """The texts that it has images of."""
        return frozenset(text for text, refs in self._refs.items() if refs)

    def generate(self, texts: Sequence[str], *, seed: int, lang: str = "") -> UInt8[np.ndarray, "n h w 3"]:
        """The images that the source has of these texts. Raises DataError for a text that it does not have."""
        made = []
        for text in texts:
            refs = self._refs.get(text.strip())
            if not refs:
                raise DataError(f"{self.path} has no image of {text!r}; make one of every text first", Reason.MISSING)
            pixels = decode(refs[seed % SEED_STRIDE % len(refs)])
            self._size = self._size or pixels.shape[0]
            made.append(prepare(pixels, Preprocess(self._size)))
        return np.stack(made)


def open_generator(spec: str, device: str = "auto") -> Generator:
    """A shipped generator's name, a trained one's folder, or a registered one ("images:SOURCE" for images of others).

    A folder that `diptych generator draw` wrote is a source of images too. Raises ModelError and DataError for what
    cannot be loaded.
    """
    if is_drawn(Path(spec).expanduser()):
        return GivenImages(spec)
    if has("generator", spec):
        made: Generator = build("generator", Part(spec))
        return made
    try:
        synthesis = importlib.import_module("diptych.synthesis")
    except ImportError as error:
        raise ModelError(f"cannot load the generator {spec!r}: {error}") from error
    return cast(Generator, synthesis.load(spec, device=device))


class LikeImages:
    """A generator that is given the embeddings of images in place of texts.

    Raises ConfigError for a generator that reads texts only.
    """

    def __init__(self, generator: Any) -> None:
        if not hasattr(generator, "generate_like"):
            raise ConfigError("this generator reads texts only; leave out --given image")
        self._generator = generator

    def generate(self, texts: Sequence[ImageRef], *, seed: int, lang: str = "") -> UInt8[np.ndarray, "n h w 3"]:
        """One image for each image."""
        del lang
        made: UInt8[np.ndarray, "n h w 3"] = self._generator.generate_like(texts, seed=seed)
        return made


def generate_all(
    generator: Any, texts: Sequence[Any], *, noises: int, seed: int, lang: str = "", progress: Progress = SILENT
) -> UInt8[np.ndarray, "n s h w 3"]:
    """`noises` images of each text (of a `Generator`) or of each image (of `LikeImages`), made in chunks.

    Many images lie in a file, so that memory stays bounded; see `image_store`. Raises ModelError when the generator
    gives something else than one RGB image a text, all of one size.
    """
    rows: UInt8[np.ndarray, "n s h w 3"] | None = None
    starts = range(0, len(texts), _CHUNK)
    for start in progress.track(starts, "batches of generated images", len(starts)):
        chunk = list(texts[start : start + _CHUNK])
        several = [
            generator.generate(chunk, seed=seed + number + start // _CHUNK * SEED_STRIDE, lang=lang)
            for number in range(noises)
        ]
        for number, made in enumerate(several):
            fits = rows is None or made.shape[1:] == rows.shape[2:]
            if made.ndim != 4 or made.dtype != np.uint8 or len(made) != len(chunk) or made.shape[-1] != 3 or not fits:
                raise ModelError(
                    f"the generator gave {made.dtype} of shape {made.shape} for {len(chunk)} texts; "
                    "expected 8-bit RGB, one image each, all of one size"
                )
            if rows is None:
                rows = room_for((len(texts), noises, *made.shape[1:]))
            rows[start : start + len(chunk), number] = made
    if rows is None:
        raise DataError("there is nothing to draw; give at least one text", Reason.EMPTY_TEXT)
    return rows


def draw_prompts(
    generator: Generator,
    prompts: Sequence[Prompt],
    pairs: Sequence[Pair],
    given: str,
    *,
    noises: int,
    seed: int,
    lang: str = "",
    progress: Progress = SILENT,
) -> UInt8[np.ndarray, "n s h w 3"]:
    """`noises` images for each prompt: of its text, or where `given` is "image" of the first image of its pair.

    Raises ConfigError for a generator that cannot be given an image.
    """
    if given == "text":
        texts = [one.text.value for one in prompts]
        return generate_all(generator, texts, noises=noises, seed=seed, lang=lang, progress=progress)
    refs = [pairs[one.pair].images[0] for one in prompts]
    return generate_all(LikeImages(generator), refs, noises=noises, seed=seed, progress=progress)
