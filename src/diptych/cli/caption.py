"""`diptych caption`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from diptych.core.errors import ConfigError, DataError
from diptych.core.extras import need
from diptych.core.text import one_line
from diptych.core.types import Skipped
from diptych.data.readers import SourceOptions, open_source

from .shared import Common

ANY_SOURCE = SourceOptions()
COMMON = Common()


def caption(
    *files: Path,
    slow: Path,
    decode: Literal["greedy", "beam", "nucleus"] = "beam",
    beams: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=20))] = 5,
    top: float = 0.9,
    data: str = "",
    options: Annotated[SourceOptions, Parameter(name="*")] = ANY_SOURCE,
    gallery: Annotated[int, Parameter(validator=validators.Number(gte=10))] = 100,
    common: Common = COMMON,
) -> None:
    """Describe pictures in words, with the cross-encoder read as a captioner.

    With --data the pictures of a source are described and the captions scored against its texts: BLEU-4,
    CIDEr, and how often the cross-encoder finds the picture by its own caption.

    For example:

        diptych caption photo.jpg --slow runs/cross-encoder/model

        diptych caption *.jpg --slow runs/cross-encoder/model --decode nucleus --seed 3 --json

        diptych caption --data flickr8k/ --split val --slow runs/cross-encoder/model

    Args:
        files: Pictures.
        slow: The cross-encoder's folder.
        decode: greedy, beam or nucleus.
        beams: Sentences that beam grows side by side.
        top: Share of the probability that nucleus draws from.
        data: Source of pairs to describe and score instead of files.
        gallery: Pictures among which a caption has to find its own.
    """
    need("torch", "diptych caption")
    from diptych.data.seen import learner_of, untrained
    from diptych.inspection import captions as work
    from diptych.models.cross_encoder import load_trained_cross_encoder
    from diptych.models.cross_encoder.captions import DecodingSettings, describe

    if bool(files) == bool(data):
        raise ConfigError("expected pictures, or a source with --data, and not both")
    settings = DecodingSettings(decode, beams=beams, top=top, seed=common.seed or 0)
    cross_encoder = load_trained_cross_encoder(slow, device=common.device)
    work.check_captioner(cross_encoder)
    if data:
        learner = learner_of(cross_encoder.name, cross_encoder.folder, cross_encoder.config.training)
        opened = untrained(open_source(data, options), [learner], progress=common.progress())
        report = work.evaluate_captions(
            cross_encoder, list(opened), settings, gallery=gallery, progress=common.progress()
        )
        found = ", ".join(f"{name} {value:.1f}" for name, value in report.retrieval.items())
        shown = [f"  {one.id}: {one.caption.text}" for one in report.captions[:5]]
        common.show(
            report.to_json(),
            "\n".join(
                [
                    f"{len(report.captions)} pictures, {decode}: BLEU-4 {report.bleu4:.1f}, CIDEr {report.cider:.3f}",
                    f"found by its own caption among {report.gallery}: {found}",
                    *shown,
                ]
            ),
            opened.notes,
        )
        return
    skipped: list[Skipped] = []
    rows = []
    for file in files:
        tokens = cross_encoder.encode_regions([file], workers=1, skipped=skipped)
        rows += [(file, one) for one in describe(cross_encoder.scorer, tokens, settings)]
    for one in skipped:
        common.progress().say(f"{one.reason.value}: {one.name}")
    if not rows:
        raise DataError(f"none of the {len(files)} files is a picture; {skipped[0].detail}", skipped[0].reason)
    value = {
        "captions": [{"path": str(file), "text": one.text, "log_likelihood": one.log_likelihood} for file, one in rows],
        "skipped": [{"path": one.name, "reason": one.reason.value} for one in skipped],
    }
    alone = len(files) == 1
    common.show(value, "\n".join(one.text if alone else f"{one_line(str(file))}: {one.text}" for file, one in rows))
