"""`diptych caption`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from diptych.core.errors import ConfigError, DataError
from diptych.core.text import one_line
from diptych.core.types import FileImage, ImageRef, Skipped
from diptych.data.image_inputs import SUFFIXES
from diptych.data.readers import SourceOptions, open_source
from diptych.data.video import SUFFIXES as VIDEO_SUFFIXES
from diptych.data.video import MomentPlan, moments_of

from .shared import Common, RerankerAddress
from .sources import Reading, not_trained_on


def caption(
    *images: Path,
    reranker: RerankerAddress | None = None,
    decode: Literal["greedy", "beam", "nucleus"] = "beam",
    beams: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=20))] = 5,
    top: float = 0.9,
    options: Reading = SourceOptions(),
    gallery: Annotated[int, Parameter(validator=validators.Number(gte=10))] = 100,
    moment_seconds: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 5.0,
    common: Common = Common(),
) -> None:
    """Describe images and the moments of videos in words, with a cross-encoder used as a captioner.

    Of a source of pairs, all images (or videos, each as a whole) are described and the captions scored against its
    texts: BLEU-4, CIDEr, and how often the cross-encoder finds the image by its own caption. A single argument that is
    no image or video file is a source.

    Examples:
        diptych caption photo.jpg
        diptych caption *.jpg --reranker runs/cross-encoder/model --decode nucleus --seed 3 --json
        diptych caption beach.mp4 --reranker runs/cross-encoder-video/model --moment-seconds 2
        diptych caption flickr8k/ --split val --reranker runs/cross-encoder/model

    Args:
        images: Image or video files, or one source of pairs.
        decode: How words are chosen: the likeliest one, the likeliest sentence of several, or at random.
        beams: Sentences that beam keeps at a time.
        top: Share of the probability that nucleus draws from.
        gallery: Images that each caption is searched among.
        moment_seconds: Length of a moment of a video in seconds; each moment gets a caption.
    """
    from diptych.inspection import captions as work
    from diptych.models.cross_encoder import load_trained_cross_encoder, shipped
    from diptych.models.cross_encoder.captions import DecodingSettings, describe

    if not images:
        raise ConfigError("nothing to describe was named; expected image files, or one source of pairs")
    settings = DecodingSettings(decode, beams=beams, top=top, seed=common.seed or 0)
    captioner = load_trained_cross_encoder(reranker or shipped.default(), device=common.device)
    work.check_captioner(captioner)
    if len(images) == 1 and (images[0].is_dir() or images[0].suffix.lower() not in SUFFIXES | VIDEO_SUFFIXES):
        opened = not_trained_on(open_source(str(images[0]), options), [captioner], common)
        report = work.evaluate_captions(captioner, list(opened), settings, gallery=gallery, progress=common.progress())
        found = ", ".join(f"{name} {value:.1f}" for name, value in report.retrieval.items())
        shown = [f"  {one.id}: {one.caption.text}" for one in report.captions[:5]]
        common.show(
            report.to_json(),
            "\n".join(
                [
                    f"{len(report.captions)} images, {decode}: BLEU-4 {report.bleu4:.1f}, CIDEr {report.cider:.3f}",
                    f"found by its own caption among {report.gallery}: {found}",
                    *shown,
                ]
            ),
            opened.notes,
        )
        return
    skipped: list[Skipped] = []
    rows = []
    for ref in _refs(images, moment_seconds, skipped):
        tokens = captioner.encode_images([ref], workers=1, skipped=skipped)
        rows += [(ref.name, one) for one in describe(captioner.scorer, tokens, settings)]
    for one in skipped:
        common.progress().say(f"{one.reason.value}: {one.name}")
    if not rows:
        raise DataError(
            f"none of the {len(images)} files is an image or a video; {skipped[0].detail}", skipped[0].reason
        )
    value = {
        "captions": [{"path": name, "text": one.text, "log_likelihood": one.log_likelihood} for name, one in rows],
        "skipped": [{"path": one.name, "reason": one.reason.value} for one in skipped],
    }
    alone = len(rows) == len(images) == 1
    common.show(value, "\n".join(one.text if alone else f"{one_line(name)}: {one.text}" for name, one in rows))


def _refs(files: Sequence[Path], seconds: float, skipped: list[Skipped]) -> Iterator[ImageRef]:
    """Images, and the moments of videos; a video that cannot be opened is named in `skipped`."""
    for file in files:
        if file.suffix.lower() not in VIDEO_SUFFIXES:
            yield FileImage(file)
            continue
        try:
            yield from moments_of(file, MomentPlan(seconds))
        except DataError as error:
            skipped.append(Skipped(str(file), error.reason, str(error)))
