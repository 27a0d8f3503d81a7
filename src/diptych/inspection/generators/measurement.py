"""One measurement of a generator: its images, the real ones, and their features, each computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diptych.core.config import check_least, unknown
from diptych.core.errors import ConfigError
from diptych.core.protocols import Progress
from diptych.core.shapes import Float32, Int64, Shaped, UInt8
from diptych.core.types import Pair
from diptych.evaluation.direction import Estimate
from diptych.evaluation.generative import POOL, estimate_of_mean
from diptych.models import DualEncoder

from .extractors import Extractor, Features, Rows, embed
from .generator import Generator
from .prompts import Prompt, RealImages

GIVEN = ("text", "image")
ALL, CAPTIONS = "all", "captions"
PROTOCOLS = (ALL, CAPTIONS)
MOST = 100_000  # images of a set
_HELD = 2 << 30  # bytes of real images that are held in memory, unless the generated ones take more


@dataclass(frozen=True, slots=True)
class MeasureSettings:
    """How a generator is measured."""

    texts: int = 1000
    """Texts to draw, at most; every pair of the split once before any comes again."""
    noises: int = 2
    """Images of each text, each from its own noise; diversity needs two."""
    lang: str = "en"
    """Language of the texts (ISO 639-1)."""
    languages: tuple[str, ...] = ()
    """Also the R-precision of texts in these languages; repeat the flag."""
    fields: tuple[str, ...] = ()
    """Only texts of these fields, such as name; repeat the flag."""
    pool: int = POOL
    """Texts that R-precision chooses from."""
    neighbours: int = 3
    """The k of precision and recall."""
    bootstrap: int = 1000
    """Resamples behind the intervals of means."""
    given: str = "text"
    """What the generator is given of each prompt: its text, or the first image of its pair."""
    protocol: str = ALL
    """all: every real image beside the generated ones; captions: see `caption_protocol`."""

    def __post_init__(self) -> None:
        check_least(self, texts=4, noises=1, pool=2, neighbours=1, bootstrap=0)
        if self.given not in GIVEN:
            raise unknown("given", self.given, GIVEN)
        if self.protocol not in PROTOCOLS:
            raise unknown("protocol", self.protocol, PROTOCOLS)
        if self.protocol == CAPTIONS and (self.noises != 1 or self.given != "text"):
            raise ConfigError(
                f"the protocol {CAPTIONS} has one image of each text; set noises to 1 and given to text, found "
                f"{self.noises} and {self.given}"
            )
        if self.texts * self.noises > MOST:
            raise ConfigError(f"{self.texts} texts of {self.noises} images are more than {MOST:,}; ask for fewer")


@dataclass
class Measurement:
    """Generated, real and training images, with their features."""

    generator: Generator
    pairs: Sequence[Pair]
    prompts: list[Prompt]
    made: UInt8[np.ndarray, "n s h w 3"]
    real: RealImages
    training: RealImages | None
    training_pairs: Sequence[Pair]
    extractor: Extractor
    settings: MeasureSettings
    seed: int
    progress: Progress

    @property
    def flat(self) -> UInt8[np.ndarray, "m h w 3"]:
        """All generated images: the s of the first text, then those of the second, ..."""
        return self.made.reshape(-1, *self.made.shape[2:])

    @property
    def text_of(self) -> Int64[np.ndarray, " m"]:
        """The text that each generated image is of."""
        return np.repeat(np.arange(len(self.made)), self.made.shape[1])

    def images_of(self, texts: Int64[np.ndarray, " k"]) -> Int64[np.ndarray, " m"]:
        """The generated images of some texts."""
        return np.flatnonzero(np.isin(self.text_of, texts))

    @cached_property
    def generated_features(self) -> Features:
        """The extractor's features of the generated images."""
        return self.extractor.extract(self.flat, self.progress, "features of generated images")

    @cached_property
    def real_features(self) -> Features:
        """The same of the real images."""
        return self.extractor.extract(self.real.pixels, self.progress, "features of real images")

    @cached_property
    def training_features(self) -> Features | None:
        """The same of the training images, if there are any."""
        if self.training is None:
            return None
        return self.extractor.extract(self.training.pixels, self.progress, "features of training images")

    @property
    def compared(self) -> tuple[Rows, Rows, Rows | None]:
        """Features of the real images, of the generated ones, and of another real set where there is one."""
        return self.real_features.features, self.generated_features.features, self.another_real_set

    @cached_property
    def another_real_set(self) -> Float32[np.ndarray, "k d"] | None:
        """Features of training images, as many as were generated where there are: what real images would get."""
        if self.training_features is None or len(self.training_features.features) <= self.settings.neighbours + 1:
            return None
        rows = self.training_features.features
        return rows[np.random.default_rng(self.seed).permutation(len(rows))[: len(self.flat)]]

    def real_of(self, pairs: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """The first readable real image of each of these pairs; -1 for a pair without one."""
        place = np.full(len(self.pairs), -1, dtype=np.int64)
        place[self.real.owner[self.real.first]] = self.real.first
        return np.asarray(place[pairs])

    def mean(self, values: Shaped[np.ndarray, " n"], units: Int64[np.ndarray, " n"] | None = None) -> Estimate:
        """The mean with its interval, by the measurement's seed and resamples."""
        resamples = self.settings.bootstrap
        return estimate_of_mean(values.astype(np.float64), units, resamples=resamples, seed=self.seed)


def most_real(made: UInt8[np.ndarray, "n s h w 3"]) -> int:
    """How many real images of the generated ones' size are held beside them: as many as there is room for."""
    size = int(np.prod(made.shape[2:]))
    return max(len(made) * int(made.shape[1]), min(MOST, _HELD // size))


def pairs_of(prompts: Sequence[Prompt]) -> Int64[np.ndarray, " n"]:
    """The pair of each text."""
    return np.array([one.pair for one in prompts], dtype=np.int64)


def embed_images_in_memory(judge: DualEncoder, images: UInt8[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n d"]:
    """A model's embeddings of images that are in memory."""
    return embed(judge.encode_pixels, judge, images)
