"""Measures of each generated image beside the text it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from diptych.core.protocols import Progress
from diptych.core.shapes import Bool, Float32, Int64, UInt8
from diptych.evaluation.direction import Estimate
from diptych.evaluation.generative import (
    Detector,
    GeneratedImageRetrieval,
    as_matrix,
    deep_distances,
    draw_pools,
    look,
    mentioned,
    own_spread,
    r_precision,
    retrieval_by_generated_images,
    semantic_object_accuracy,
)
from diptych.models import DualEncoder

from .extractors import MapExtractor
from .generator import draw_prompts
from .generator_report import Measure
from .measurement import Measurement, embed_images_in_memory, pairs_of
from .prompts import Prompt, choose_prompts, givable

_SPREAD = 100  # texts that diversity is measured on
_CUTS = (1, 5, 10)
_AT_ONCE = 16  # images that a detector looks at between two steps of the progress bar


@dataclass(frozen=True)
class Verdicts:
    """Of each text's first image: its cosine to its text, and whether it was found among the pool."""

    closeness: Float32[np.ndarray, " n"]
    found: Bool[np.ndarray, " n"]


class JudgeMeasures:
    """What an independent encoder says of the measurement's images, each embedded once."""

    def __init__(self, measurement: Measurement, judge: DualEncoder) -> None:
        self.measurement, self.judge = measurement, judge
        measurement.progress.say(f"asking the judge {judge.name}")
        self.made = embed_images_in_memory(judge, measurement.flat)
        self.real = embed_images_in_memory(judge, measurement.real.pixels)
        self.texts = judge.encode_texts([one.text.value for one in measurement.prompts])

    def first_images(self) -> Verdicts:
        """What the judge says of each text's first image."""
        first = self.made[:: self.measurement.made.shape[1]]
        pools = self._pools(self.measurement.prompts)
        return Verdicts(np.einsum("nd,nd->n", first, self.texts), r_precision(first, self.texts, pools) > 0)

    def _pools(self, prompts: Sequence[Prompt]) -> Int64[np.ndarray, "n wrong"]:
        measurement = self.measurement
        return draw_pools([one.text.value for one in prompts], measurement.settings.pool, measurement.seed)

    def r_precision(self) -> list[Measure]:
        """R-precision of the measurement's texts, and of the other languages'."""
        settings = self.measurement.settings
        found = [self._r_precision(self.measurement.prompts, self.texts, self.made, "r_precision", "")]
        for lang in settings.languages:
            chosen = choose_prompts(
                self.measurement.pairs, lang, settings.texts, self.measurement.seed, settings.fields
            )
            prompts, _ = givable(chosen, self.measurement.pairs, settings.given)
            words = [one.text.value for one in prompts]
            made = draw_prompts(
                self.measurement.generator,
                prompts,
                self.measurement.pairs,
                settings.given,
                noises=1,
                seed=self.measurement.seed,
                lang=lang,
            )
            vectors = embed_images_in_memory(self.judge, made[:, 0])
            texts = self.judge.encode_texts(words)
            found.append(self._r_precision(prompts, texts, vectors, f"r_precision_{lang}", f", {lang}"))
        return found

    def _r_precision(
        self,
        prompts: Sequence[Prompt],
        texts: Float32[np.ndarray, "n d"],
        made: Float32[np.ndarray, "m d"],
        key: str,
        label: str,
    ) -> Measure:
        pools = self._pools(prompts)
        own = np.repeat(np.arange(len(prompts)), len(made) // len(prompts))
        pairs = pairs_of(prompts)
        real = self.measurement.real_of(pairs)
        there = np.flatnonzero(real >= 0)
        ceiling = r_precision(self.real[real[there]], texts, pools, there)
        return Measure.of(
            key,
            f"R-precision, 1 of {pools.shape[1] + 1}{label}",
            self.measurement.mean(r_precision(made, texts, pools, own), pairs[own]),
            real=float(ceiling.mean()) if len(ceiling) else None,
            chance=1 / (pools.shape[1] + 1),
            percent=True,
            rule="Share of images that the judge finds nearer to their own text than to all others of the pool; "
            "a tie is a miss.",
        )

    def retrieval(self) -> list[Measure]:
        """Search texts by the generated image, and real images by it, beside what they stand for."""
        pairs = pairs_of(self.measurement.prompts)
        real = self.measurement.real_of(pairs)
        there = np.flatnonzero(real >= 0)
        if len(there) < 2:
            return []
        first = self.made[:: self.measurement.made.shape[1]][there]
        labels = pairs[there]
        search = partial(
            retrieval_by_generated_images,
            cuts=_CUTS,
            resamples=self.measurement.settings.bootstrap,
            seed=self.measurement.seed,
        )
        to_texts = search(first, self.real[real[there]], self.texts[there], (labels, labels))
        gallery = self.measurement.real.first
        to_images = search(first, self.texts[there], self.real[gallery], (labels, self.measurement.real.owner[gallery]))
        return [
            *_retrieved(to_texts, "texts", "the real image"),
            *_retrieved(to_images, "images", "the text itself"),
        ]


def _retrieved(found: GeneratedImageRetrieval, what: str, counterpart: str) -> list[Measure]:
    return [
        Measure.of(
            f"to_{what}_{name}",
            f"generated image → {what}, {name}",
            found.generated[name],
            real=found.real[name].value,
            chance=min(1.0, int(name.removeprefix("R@")) / found.gallery),
            percent=True,
            rule=f"Share of generated images that find what belongs to them among {found.gallery:,} {what}; the "
            f"column of real images is the same search by {counterpart}.",
        )
        for name in (f"R@{cut}" for cut in _CUTS)
    ]


def diversity(measurement: Measurement, maps: MapExtractor) -> list[Measure]:
    """How much the images of one text differ, beside images of different texts."""
    count = min(_SPREAD, len(measurement.made))
    if measurement.made.shape[1] < 2:
        return []
    made = measurement.made[:count]
    rows = maps.extract(made.reshape(-1, *made.shape[2:]), measurement.progress, "features of diversity")
    rows = rows.reshape(count, made.shape[1], -1)
    across = deep_distances(rows[:, 0], np.roll(rows[:, 0], 1, axis=0), maps.shapes)
    same = _several_drawings(measurement, maps)
    return [
        Measure.of(
            "diversity",
            f"diversity within a text, {maps.name}",
            measurement.mean(own_spread(rows, maps.shapes)),
            real=same,
            rule="Mean distance in normalised feature maps between images of one text from different noises (LPIPS's "
            f"idea, not its weights); different texts' images are {across.mean():.2f} apart. The column of real "
            "images is the distance between real images of one pair, where pairs have several.",
        )
    ]


def _several_drawings(measurement: Measurement, maps: MapExtractor) -> float | None:
    """Mean distance between two real images of one pair."""
    owner = measurement.real.owner
    second = np.flatnonzero(owner[1:] == owner[:-1])[:_SPREAD] + 1
    if not len(second):
        return None
    one, two = (maps.extract(measurement.real.pixels[places]) for places in (second - 1, second))
    return float(deep_distances(one, two, maps.shapes).mean())


def objects(
    measurement: Measurement, detector: Detector
) -> tuple[list[Measure], Mapping[str, Mapping[str, float | None]], str]:
    """SOA-C and SOA-I, each class's shares, and a remark on how many texts name a class; no SOA where none does."""
    named = _named_objects(measurement, detector.classes)
    naming = sum(map(bool, named))
    remark = f"{naming:,} of {len(named):,} texts name one of the {len(detector.classes)} classes of the detector"
    if not naming:
        return [], {}, f"{remark}: no SOA"
    found = _looked(detector, measurement.flat, measurement.progress, "objects in generated images")
    made = semantic_object_accuracy(found, [named[text] for text in measurement.text_of])
    real_place = measurement.real_of(pairs_of(measurement.prompts))
    there = np.flatnonzero(real_place >= 0)
    real_images = measurement.real.pixels[real_place[there]]
    real_found = _looked(detector, real_images, measurement.progress, "objects in real images")
    of_real = [named[text] for text in there]
    real = semantic_object_accuracy(real_found, of_real) if any(of_real) else None
    if real is not None and real.chance_c is not None and real.soa_c <= real.chance_c:
        remark += (
            f"; in the real images it finds them no more often than where no text names them ({real.soa_c:.1%} against "
            f"{real.chance_c:.1%}): SOA by this detector says nothing about such images"
        )
    real_classes = real.by_class if real else {}
    chance = dict(zip(made.wanted.tolist(), made.elsewhere.tolist(), strict=True))
    counts = as_matrix(named, len(detector.classes)).sum(axis=0)
    by_class: dict[str, dict[str, float | None]] = {
        detector.classes[place]: {
            "found": share,
            "real": real_classes.get(place),
            "elsewhere": chance[place] if np.isfinite(chance[place]) else None,
            "texts": float(counts[place]),
        }
        for place, share in made.by_class.items()
    }
    rule = (
        f"Share of named objects that a detector finds ({detector.name}), {{}}; {len(by_class)} classes. Chance: the "
        "share in which it finds them where the text does not name them."
    )
    shared = partial(Measure.of, percent=True)
    by_image = measurement.mean(made.hits, measurement.text_of[made.image])
    measures = [
        shared(
            "soa_c", "SOA-C", Estimate(made.soa_c, None), real=real and real.soa_c, chance=made.chance_c,
            rule=rule.format("mean over classes"),
        ),
        shared(
            "soa_i", "SOA-I", by_image, real=real and real.soa_i, chance=made.chance_i,
            rule=rule.format("mean over images"),
        ),
    ]  # fmt: skip
    return measures, by_class, remark


def _looked(
    detector: Detector, images: UInt8[np.ndarray, "n h w 3"], progress: Progress, label: str
) -> Bool[np.ndarray, "n c"]:
    """What the detector finds, some images after the others: it takes a tenth of a second an image, or more."""
    found = [np.zeros((0, len(detector.classes)), dtype=np.bool_)]
    for start in progress.track(range(0, len(images), _AT_ONCE), label, -(-len(images) // _AT_ONCE)):
        found.append(look(detector, images[start : start + _AT_ONCE]))
    return np.concatenate(found)


def _named_objects(measurement: Measurement, classes: Sequence[str]) -> list[list[int]]:
    """The classes that each text names.

    Where the data set says what is in the image, a word alone ("orange") does not count.
    """
    known = {name.casefold(): place for place, name in enumerate(classes)}
    named = []
    for prompt, words in zip(
        measurement.prompts, mentioned([one.text.value for one in measurement.prompts], classes), strict=True
    ):
        listed = str(measurement.pairs[prompt.pair].meta.get("objects", "")).casefold().split(", ")
        annotated = [known[name] for name in listed if name in known]
        named.append([place for place in words if place in annotated] if annotated else words)
    return named
