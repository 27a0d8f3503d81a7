"""Measure a generator on a source of pairs: every measure by one rule for generated and for real images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.errors import ConfigError, DataError
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import UInt8
from diptych.core.types import Pair
from diptych.evaluation.generative import Detector
from diptych.models import DualEncoder, require_cosine

from . import set_measures, text_measures
from .caption_protocol import choose_captions
from .copies import Copies, copies
from .extractors import Extractor, MapExtractor, open_extractor
from .generator import Generator, draw_prompts, generate_all
from .generator_report import GeneratorReport
from .measurement import CAPTIONS, Measurement, MeasureSettings, most_real
from .prompts import Prompt, RealImages, choose_prompts, givable, read_real_images
from .text_measures import Verdicts

DEFAULTS = MeasureSettings()


@dataclass(frozen=True)
class MeasuringModels:
    """The models that measure images. None leaves its measures out; the default extractor is EfficientNet-Lite0."""

    judge: DualEncoder | None = None  # an encoder that the generator was not trained with; reads texts
    extractor: Extractor | None = None  # for distances between sets; EfficientNet-Lite0 when None
    maps: MapExtractor | None = None  # for diversity
    detector: Detector | None = None  # for SOA


@dataclass(frozen=True)
class About:
    """Names for the report."""

    generator: str = "generator"
    source: str = "source"
    split: str = ""
    remarks: tuple[str, ...] = ()  # on how the pairs were chosen


@dataclass(frozen=True)
class DrawnImages:
    """The images of a measurement and their nearest training images, for pages that show them."""

    prompts: tuple[Prompt, ...]
    generated: UInt8[np.ndarray, "n s h w 3"]
    real: RealImages  # of the split that is measured
    training: RealImages | None  # of the split that the generator learnt from
    training_pairs: tuple[Pair, ...]
    copied: Copies  # the training images nearest to each text's first image
    verdicts: Verdicts | None  # of the judge, if there is one


def measure_generated(
    generator: Generator,
    pairs: Sequence[Pair],
    tools: MeasuringModels,
    settings: MeasureSettings = DEFAULTS,
    *,
    training: Sequence[Pair] = (),
    seed: int = 0,
    about: About = About(),
    progress: Progress = SILENT,
) -> tuple[GeneratorReport, DrawnImages]:
    """Draw texts of held-out pairs, and measure the images beside real ones of the same pairs.

    Args:
        generator: what is measured.
        pairs: held-out pairs with images and texts.
        tools: the models that measure images.
        settings: how many texts, images and resamples.
        training: pairs that the generator learnt from, for the memorisation check and as another real set.
        seed: of the texts' draw, the noise, the pools and the resamples.
        about: names of the generator, the source and the split, for the report.
        progress: told what is done.

    Raises DataError when there are too few texts or readable images, ConfigError for a judge of another similarity and
    for a detector with texts that are not English.
    """
    if tools.judge is not None:
        require_cosine(tools.judge, "measuring generated images")
    if tools.detector is not None and settings.lang != "en":
        raise ConfigError(
            f"a detector looks for the objects that English texts name, and the texts are in "
            f"{settings.lang or 'any language'}; choose en, or leave the detector out"
        )
    real: RealImages | None = None
    chosen = choose_prompts(pairs, settings.lang, settings.texts, seed, settings.fields)
    prompts, given = givable(chosen, pairs, settings.given)
    if settings.protocol == CAPTIONS:
        (first, *_) = chosen
        made = generate_all(generator, [first.text.value], noises=1, seed=seed, lang=settings.lang)
        captions = choose_captions(
            pairs,
            made.shape[2],
            lang=settings.lang,
            fields=settings.fields,
            most=settings.texts,
            seed=seed,
            progress=progress,
        )
        prompts, real, given = captions.prompts, captions.real, list(captions.remarks)
    if len(prompts) < 4:
        raise DataError(f"{len(prompts)} texts to draw; measuring needs at least four")
    progress.say(f"generating from {len(prompts)} {settings.given}s, {settings.noises} images each")
    made = draw_prompts(
        generator,
        prompts,
        pairs,
        settings.given,
        noises=settings.noises,
        seed=seed,
        lang=settings.lang,
        progress=progress,
    )
    size = made.shape[2]
    most = most_real(made)
    if real is None:
        real = read_real_images(pairs, size, most=most, seed=seed, progress=progress)
    known = read_real_images(training, size, most=most, seed=seed, progress=progress) if training else None
    remarks = [*about.remarks, *given, *real.remarks("real"), *(known.remarks("training") if known else ())]
    extractor = tools.extractor or open_extractor()
    measurement = Measurement(
        generator, pairs, prompts, made, real, known, training, extractor, settings, seed, progress
    )
    measures = [
        *set_measures.distances(measurement),
        *set_measures.coverage(measurement),
        *set_measures.class_score(measurement),
    ]
    verdicts = None
    if tools.judge is not None:
        judgement = text_measures.JudgeMeasures(measurement, tools.judge)
        measures += [*judgement.r_precision(), *judgement.retrieval()]
        verdicts = judgement.first_images()
        if further := len(real.owner) - len(real.first):
            what = "further real images of pairs that have several: each is judged beside the first of its pair"
            remarks.append(f"{further:,} {what}")
    if tools.maps is not None:
        measures += text_measures.diversity(measurement, tools.maps)
    by_class: Mapping[str, Mapping[str, float | None]] = {}
    if tools.detector is not None:
        found, by_class, remark = text_measures.objects(measurement, tools.detector)
        measures += found
        remarks.append(remark)
    copied = copies(measurement)
    report = GeneratorReport(
        about.generator,
        about.source,
        about.split,
        len(prompts),
        settings.noises,
        size,
        settings.lang,
        seed,
        extractor.name,
        tools.judge.name if tools.judge else "",
        (*measures, *copied.measures),
        by_class,
        tuple(remarks),
    )
    return report, DrawnImages(tuple(prompts), made, real, known, tuple(training), copied, verdicts)
