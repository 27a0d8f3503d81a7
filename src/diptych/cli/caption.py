"""`diptych caption`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from diptych.core.errors import ConfigError, DataError
from diptych.core.extras import need
from diptych.core.text import one_line
from diptych.core.types import Skipped
from diptych.data.image_inputs import SUFFIXES
from diptych.data.readers import SourceOptions, open_source

from .shared import Common, RerankerAddress
from .sources import Reading, not_trained_on


def caption(
    *images: Path,
    reranker: RerankerAddress,
    decode: Literal["greedy", "beam", "nucleus"] = "beam",
    beams: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=20))] = 5,
    top: float = 0.9,
    options: Reading = SourceOptions(),
    gallery: Annotated[int, Parameter(validator=validators.Number(gte=10))] = 100,
    common: Common = Common(),
) -> None:
    """Describe images in words, with a cross-encoder used as a captioner.

    Of a source of pairs, all images are described and the captions scored against its texts: BLEU-4, CIDEr, and how
    often the cross-encoder finds the image by its own caption. A single argument that is no image file is a source.

    Examples:
        diptych caption photo.jpg --reranker runs/cross-encoder/model
        diptych caption *.jpg --reranker runs/cross-encoder/model --decode nucleus --seed 3 --json
        diptych caption flickr8k/ --split val --reranker runs/cross-encoder/model

    Args:
        images: Image files, or one source of pairs.
        decode: How words are chosen: the likeliest one, the likeliest sentence of several, or at random.
        beams: Sentences that beam keeps at a time.
        top: Share of the probability that nucleus draws from.
        gallery: Images that each caption is searched among.
    """
    need("torch", "diptych caption")
    from diptych.inspection import captions as work
    from diptych.models.cross_encoder import load_trained_cross_encoder
    from diptych.models.cross_encoder.captions import DecodingSettings, describe

    if not images:
        raise ConfigError("nothing to describe was named; expected image files, or one source of pairs")
    settings = DecodingSettings(decode, beams=beams, top=top, seed=common.seed or 0)
    captioner = load_trained_cross_encoder(reranker, device=common.device)
    work.check_captioner(captioner)
    if len(images) == 1 and (images[0].is_dir() or images[0].suffix.lower() not in SUFFIXES):
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
    for file in images:
        tokens = captioner.encode_images([file], workers=1, skipped=skipped)
        rows += [(file, one) for one in describe(captioner.scorer, tokens, settings)]
    for one in skipped:
        common.progress().say(f"{one.reason.value}: {one.name}")
    if not rows:
        raise DataError(f"none of the {len(images)} files is an image; {skipped[0].detail}", skipped[0].reason)
    value = {
        "captions": [{"path": str(file), "text": one.text, "log_likelihood": one.log_likelihood} for file, one in rows],
        "skipped": [{"path": one.name, "reason": one.reason.value} for one in skipped],
    }
    alone = len(images) == 1
    common.show(value, "\n".join(one.text if alone else f"{one_line(str(file))}: {one.text}" for file, one in rows))
