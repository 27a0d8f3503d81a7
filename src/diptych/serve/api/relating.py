"""`/v1/relate`: whether two things are related, with a calibrated probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter

from diptych.core.errors import DataError, ModelError
from diptych.core.notes import Notes
from diptych.core.shapes import Float32
from diptych.data.pair_list import KINDS, Asked, Kind
from diptych.inspection.relating import CrossScorer, DualScorer, Judge
from diptych.inspection.relating.answers import answered
from diptych.inspection.relating.cross_scoring import cross_scores
from diptych.models import DualEncoder
from diptych.runs.relating import judges_of
from diptych.serve.libraries import is_called

from .. import errors
from ..embedding import Embedder
from ..errors import ServeError
from ..inputs import is_image
from ..schemas import PairAnswer, PairJudge, RelateRequest, RelateResponse
from ..service import Service, TheService
from . import RESPONSES

router = APIRouter(responses=RESPONSES)


@router.post("/v1/relate", tags=["models"], summary="Whether two things are related, yes or no, with a probability")
async def relate(asked: RelateRequest, service: TheService) -> RelateResponse:
    """As `diptych relate`: an image and a text, two texts or two images, one pair or several.

    The probability is calibrated: by what the model comes with (`relate.json` in its folder), or by `diptych serve
    --calibration`; a SigLIP has one of its own for an image with a text. Without any, `related` and `probability` are
    null. With the name of the cross-encoder as `model`, an image and a text are judged by both models together.
    """
    pairs = _pairs(asked, service.settings.limits.batch_inputs)
    cross_encoder = service.cross_encoder
    is_cross = (
        asked.model is not None and cross_encoder is not None and is_called(asked.model, cross_encoder.model.name)
    )
    embedder = _of_cross_encoder(service) if is_cross else service.libraries.model(asked.model)
    if not isinstance(embedder.model, DualEncoder):
        raise errors.no_model("relate")
    dual = DualScorer(embedder.model)
    scorer = CrossScorer(embedder.model, cross_encoder.model) if is_cross and cross_encoder is not None else dual
    kinds = [kind for kind in KINDS if any(pair.kind == kind for pair in pairs)]
    scorer.check(kinds)
    judges = _judges(scorer, asked, service)
    for kind in kinds:
        if kind in judges:
            judges[kind].check()
        elif asked.prior is not None or asked.threshold is not None:
            raise ServeError(422, "bad_request", "a prior or a threshold needs a probability; nothing is calibrated "
                             f"for {kind} pairs and {scorer.name}", "Leave both out.")  # fmt: skip
    lefts = await service.inputs.all([str(pair.left) for pair in pairs], embedder, "left", ask=True)
    rights = await service.inputs.all([str(pair.right) for pair in pairs], embedder, "right")
    scores = dual.similarity(np.stack(lefts), np.stack(rights))[:, None]
    if is_cross:
        scores = np.column_stack([await _cross_scores(pairs, service), scores]).astype(np.float32)
    notes = Notes(scorer.cut_texts([str(side) for pair in pairs for side, shown in pair.sides if not shown]))
    for kind in kinds:
        if kind not in judges:
            notes.add("not_calibrated", f"nothing is calibrated for {scorer.name} and {kind} pairs", count=len(pairs))
    found = answered(pairs, scores, judges)
    results = [
        PairAnswer(
            index=index,
            kind=one.kind,
            related=one.related,
            probability=one.probability,
            scores=dict(zip(scorer.measures, one.scores, strict=True)),
        )
        for index, one in enumerate(found)
    ]
    judged_by: dict[str, PairJudge] = {kind: _described(judges[kind]) for kind in kinds if kind in judges}
    said = [note.to_text() for note in notes]
    return RelateResponse(results=results, model=scorer.name, judged_by=judged_by, notes=said)


def _pairs(asked: RelateRequest, most: int) -> list[Asked]:
    """The pairs, images first. Raises ServeError for lists of different or too great length."""
    lefts, rights = ([side] if isinstance(side, str) else side for side in (asked.left, asked.right))
    if len(lefts) != len(rights):
        raise ServeError(422, "bad_request", f"found {len(lefts)} on the left and {len(rights)} on the right",
                         "Send two things, or two lists of the same length.")  # fmt: skip
    if not 1 <= len(lefts) <= most:
        raise ServeError(422, "over_limit", f"found {len(lefts)} pairs; expected 1 to {most}", "Send several requests.")
    pairs = []
    for left, right in zip(lefts, rights, strict=True):
        shown = is_image(left), is_image(right)
        kind = KINDS[{(True, False): 0, (False, True): 0, (False, False): 1, (True, True): 2}[shown]]
        pairs.append(Asked(right, left, kind) if shown == (False, True) else Asked(left, right, kind))
    return pairs


def _of_cross_encoder(service: Service) -> Embedder:
    """The dual encoder that goes with the cross-encoder: of a library that it was fitted for, else the first."""
    return next(
        (one.loaded for one in service.libraries if one.is_fitted and one.loaded), service.libraries.model(None)
    )


def _judges(scorer: DualScorer | CrossScorer, asked: RelateRequest, service: Service) -> dict[Kind, Judge]:
    given = service.calibrations.get(scorer.fingerprint)
    try:
        return judges_of(scorer, given, prior=asked.prior, threshold=asked.threshold)
    except DataError as error:  # a damaged file of the server's, whose name is for the log
        raise ModelError(str(error)) from error


async def _cross_scores(pairs: Sequence[Asked], service: Service) -> Float32[np.ndarray, " n"]:
    assert service.cross_encoder is not None
    model: Any = service.cross_encoder.model
    pixels = await service.inputs.all_pixels([str(pair.left) for pair in pairs], model.preprocess, "left")
    texts = [str(pair.right) for pair in pairs]
    return await service.slow_queue.run(lambda: cross_scores(model, model.encode_pixels(np.stack(pixels)), texts))


def _described(judge: Judge) -> PairJudge:
    calibration = judge.calibration
    prior = None if calibration is None else calibration.prior if judge.prior is None else judge.prior
    return PairJudge(origin=judge.origin, least=judge.least, prior=prior)
