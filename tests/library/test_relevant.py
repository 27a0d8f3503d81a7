"""Searches for relevant hits alone: who passes the cut, by hand, and what is said of the others."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.core.errors import ConfigError, LibraryError, ModelError
from diptych.core.types import Hit
from diptych.evaluation.calibrations import Calibrations
from diptych.evaluation.pair_calibration import Cut, PairCalibration
from diptych.library import Library
from diptych.library.query import HiddenWarning
from diptych.library.relevant import Judge
from diptych.library.reranker import Reranker

from .test_reranker import MosaicCrossEncoder

PAIR = PairCalibration((10.0,), -5.0, cut=Cut(0.3, 0.97, 0.1))  # 0.3 is reached at a cosine of 0.4153


def hit(rank: int, score: float, **meta: Any) -> Hit:
    return Hit(rank, f"{rank:016x}", score, f"/photos/{rank}.jpg", meta)


def calibrations(library: Library, pair: PairCalibration = PAIR) -> Calibrations:
    return Calibrations(library.card.fingerprint, "mosaic", ("cosine",), "colours", {"image-text": pair})


def test_the_cut_is_by_the_probability_of_each_pair() -> None:
    found = Judge(PAIR, "cosine")([hit(0, 0.5), hit(1, 0.42), hit(2, 0.41), hit(3, -1.0)])
    assert [one.meta["belongs"] for one in found.hits] == [0.5, round(1 / (1 + math.exp(0.8)), 4)]
    assert (found.hidden, found.unjudged) == (2, 0)
    assert found.to_text() == (
        "hidden of the 4 nearest: 2, which belong to what was asked for with a probability below 0.3"
    )


def test_by_another_similarity_the_cosine_is_turned_into_it_first() -> None:
    pair = PairCalibration((10.0,), 10.0, cut=Cut(0.5, 0.97, 0.1))  # of minus the distance: 1 apart, a cosine of 0.5
    found = Judge(pair, "l2")([hit(0, 0.51), hit(1, 0.49)])
    assert [one.rank for one in found.hits] == [0]


def test_moments_of_videos_are_shown_unjudged_and_counted() -> None:
    film = hit(0, -1.0, video="/films/a.mp4", start=0.0, end=2.0)
    found = Judge(PAIR, "cosine")([film, hit(1, -1.0)])
    assert found.hits == [film]
    assert (found.hidden, found.unjudged) == (1, 1)
    assert str(found.to_text()).endswith("; moments of videos, shown although nothing is calibrated for them: 1")


def test_no_hits_are_nothing_to_say_about() -> None:
    found = Judge(PAIR, "cosine")([])
    assert (found.hits, found.to_text()) == ([], None)


def test_a_search_hides_the_rest_and_warns(filled: Library) -> None:
    plain = filled.search("red", 6)
    line = (plain[1].score + plain[2].score) / 2  # the first two pass
    pair = PairCalibration((10.0,), -10.0 * line, cut=Cut(0.5, 0.97, 0.1))
    with pytest.warns(HiddenWarning, match="hidden of the 6 nearest: 4") as told:
        found = filled.search("red", 6, only_relevant=True, calibration=calibrations(filled, pair))
    assert [(one.id, one.score) for one in found] == [(one.id, one.score) for one in plain[:2]]
    assert told[0].message.count == 4  # type: ignore[union-attr]


def test_a_calibration_comes_from_a_file_too_and_must_be_of_this_model(filled: Library, tmp_path: Path) -> None:
    made = calibrations(filled)
    made.write(tmp_path / "mine.json")
    replace(made, model="f" * 32).write(tmp_path / "other.json")
    judge = filled.judge("text", tmp_path / "mine.json")
    assert judge.pair == PAIR
    with pytest.raises(ModelError, match="fit it again with --calibrate SOURCE"):
        filled.judge("text", tmp_path / "other.json")


def test_without_a_calibration_the_command_is_named(filled: Library) -> None:
    with pytest.raises(ConfigError, match="fit it with diptych relate --calibrate SOURCE"):
        filled.search("red", only_relevant=True)
    with pytest.raises(ConfigError, match="image-image pairs"):
        filled.judge("image", calibrations(filled))
    old = replace(PAIR, cut=None)
    with pytest.raises(ConfigError, match=r"an earlier version.* fit it again: diptych relate"):
        filled.judge("text", calibrations(filled, old))
    with pytest.raises(ConfigError, match="a sum or a vector"):
        filled.search('"red" + "blue"', only_relevant=True, calibration=calibrations(filled))


class Gains:
    """A cross-encoder's likelihoods of texts without an image."""

    def prior(self, texts: list[str]) -> Any:
        return np.full(len(texts), -20.0, dtype=np.float32)

    def lengths(self, texts: list[str]) -> Any:
        return np.full(len(texts), 4.0, dtype=np.float32)


def test_hits_that_were_re_ranked_are_judged_by_both_models() -> None:
    both = PairCalibration((2.0, 4.0), -3.0, cut=Cut(0.6, 0.97, 0.1))
    kept = Calibrations("f" * 32, "both", ("gain a word", "cosine"), "colours", {"image-text": both})
    reranker = Reranker("d" * 32, MosaicCrossEncoder(), 30.0, prior=Gains(), single=kept)
    by = reranker.scored_by
    # h = -12 and -18: gains of 2 and 0.5 a word
    first = replace(hit(0, -12.0 + 30 * 0.1, cosine=0.1), scored_by=by)
    second = replace(hit(1, -18.0 + 30 * 0.4, cosine=0.4), scored_by=by)
    found = Judge(PAIR, "cosine", (reranker, both))([first, second, hit(2, 0.45), hit(3, 0.2)], "four words of text")
    assert [one.id for one in found.hits] == [first.id, hit(2, 0.45).id]
    assert found.hits[0].meta["belongs"] == pytest.approx(1 / (1 + math.exp(-(4 + 0.4 - 3))), abs=1e-4)
    assert found.hidden == 2


def test_re_ranking_needs_a_calibration_of_both(filled: Library) -> None:
    with pytest.raises(LibraryError, match="nothing can be re-ranked"):
        filled.judge("text", calibrations(filled), is_reranked=True)
    filled.attach(Reranker(filled.card.fingerprint, MosaicCrossEncoder(), 0.0))
    with pytest.raises(
        ConfigError, match="by mosaic-cross-encoder and mosaic; leave --rerank out, or fit both: diptych rerank fit"
    ):
        filled.judge("text", calibrations(filled), is_reranked=True)
