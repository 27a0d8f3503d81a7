import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.errors import ConfigError, DataError
from diptych.evaluation import (
    Bagged,
    Report,
    Resampling,
    evaluate_embeddings,
    paired_difference,
    parse_report,
    read_report,
)
from diptych.evaluation.bootstrap import holm
from diptych.evaluation.compare import compare_reports, is_percent, lower_is_better

from .test_evaluate import collection


def record(noise=0.5, protocol=None, seed=0, **changes):
    settings = {"model": f"noise {noise}", "model_fingerprint": "f", "source": "s", "content": "c"} | changes
    return Report(evaluate_embeddings(collection(noise=noise), protocol, resamples=0, seed=seed), **settings).to_json(
        ranks=True
    )


def saved(noise=0.5, name="", **changes):
    return parse_report(json.loads(json.dumps(record(noise, **changes))), name or f"noise {noise}", "here")


@pytest.mark.parametrize("protocol", [None, Bagged(3, 20)])
def test_a_saved_report_has_the_very_numbers_that_were_measured(protocol):
    scores = evaluate_embeddings(collection(noise=0.7), protocol, resamples=0).scores
    report = saved(0.7, protocol=protocol)

    assert report.units == scores.units
    for direction in ("image_to_text", "text_to_image"):
        for name, number in getattr(scores, direction).numbers.items():
            found = report.numbers[f"{direction} {name}"]
            for term, wanted in zip(found.terms, number.terms, strict=True):
                for sample, other in zip(term.samples, wanted.samples, strict=True):
                    np.testing.assert_array_equal(sample.values, other.values)
                    np.testing.assert_array_equal(sample.units, other.units)
    assert "rsum" in report.numbers


def test_a_difference_is_that_of_the_paired_bootstrap():
    found = compare_reports([saved(0.7), saved(0.5)], resamples=300, seed=4)
    one, other = (evaluate_embeddings(collection(noise=noise), resamples=0).scores for noise in (0.7, 0.5))
    wanted = paired_difference(one.rsum_number, other.rsum_number, Resampling(one.units, 300, 4))

    cell = found.runs["noise 0.5"]["rsum"]
    assert cell.difference.value == pytest.approx(wanted.value)
    assert cell.difference.interval.low == pytest.approx(wanted.interval.low)
    assert cell.difference.p_value == pytest.approx(wanted.p_value)  # alone, Holm changes nothing
    assert found.runs["noise 0.7"]["rsum"].difference is None


def test_a_run_against_itself_differs_by_nothing():
    found = compare_reports([saved(0.6, "a"), saved(0.6, "b")], resamples=50)

    for cell in found.runs["b"].values():
        assert (cell.difference.value, cell.difference.p_value) == (0.0, 1.0)
    json.dumps(found.to_json(), allow_nan=False)


def test_the_baseline_can_be_the_best_or_named():
    reports = [saved(0.9), saved(0.4), saved(0.6)]

    assert compare_reports(reports, resamples=20).baseline == "noise 0.9"
    assert compare_reports(reports, baseline="best", resamples=20).baseline == "noise 0.4"
    assert compare_reports(reports, baseline="noise 0.6", resamples=20).baseline == "noise 0.6"
    with pytest.raises(ConfigError, match=r"choose from first, best, noise 0\.9"):
        compare_reports(reports, baseline="worst", resamples=20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"content": "other texts"}, "content: c and other texts"),
        ({"split": "val"}, "split: none and val"),
        ({"protocol": Bagged(3, 20)}, "protocol: full 0 pair and bagged:3x20 0 pair"),
    ],
)
def test_reports_of_other_queries_are_refused_with_the_difference(changes, message):
    with pytest.raises(DataError, match=message):
        compare_reports([saved(0.5), saved(0.7, **changes)])


def test_bags_of_another_seed_are_other_queries():
    with pytest.raises(DataError, match="different queries"):
        compare_reports([saved(0.5, protocol=Bagged(2, 9)), saved(0.7, protocol=Bagged(2, 9), seed=1)])


def test_runs_need_names_of_their_own():
    with pytest.raises(ConfigError, match="different names"):
        compare_reports([saved(0.5), saved(0.5)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "not JSON"),
        ("[]", "no evaluation report"),
        ('{"format": "diptych-evaluation"}', "no ranks of its queries"),
        ('{"format": "diptych-evaluation", "ranks": {"units": "x"}}', "damaged"),
    ],
)
def test_files_that_are_no_reports_are_named(tmp_path, text, message):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_report(path)


def test_ranks_that_do_not_fit_are_damage():
    broken = record()
    broken["ranks"]["image_to_text"][0]["ranks"] = "0 1 2"
    with pytest.raises(DataError, match="damaged"):
        parse_report(broken, "x", "here")


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_never_helps(p_values):
    corrected = holm(p_values)
    assert all(after >= before for before, after in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)


def test_metrics_know_how_they_are_printed():
    assert is_percent("image_to_text R@1")
    assert is_percent("text_to_image mAP")
    assert not is_percent("rsum")
    assert not is_percent("image_to_text medR")
    assert lower_is_better("image_to_text meanR")
