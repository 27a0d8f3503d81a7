import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.errors import ConfigError, DataError
from diptych.evaluation.calibration import calibrate, choose, curve, wrong_share


def scores(count=4000, wrong=0.0, apart=3.0, seed=0):
    """Scores of given pairs (a share of them wrong), whether each is right, and of pairs known to be wrong."""
    draw = np.random.default_rng(seed)
    right = draw.random(count) >= wrong
    return draw.normal(size=count) + apart * right, right, draw.normal(size=count)


def test_two_normal_distributions_have_a_known_line():
    # Means 0 and a, both of deviation 1: log(r / w) = a s - a^2 / 2.
    given_, _, wrong = scores(20_000, apart=2.0)
    found = calibrate(given_, wrong, contamination=0.0, prior=0.5)
    assert found.slope == pytest.approx(2.0, rel=0.05)
    assert found.intercept == pytest.approx(-2.0, rel=0.05)
    assert found.probability(np.array([1.0])) == pytest.approx([0.5], abs=0.02)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_wrong_pairs_among_the_given_are_counted_and_taken_out(share):
    given_, right, wrong = scores(8000, wrong=share)
    estimated = wrong_share(given_, wrong)
    assert estimated == pytest.approx(share, abs=0.05)

    found = calibrate(given_, wrong, contamination=estimated, prior=1 - estimated)
    assert found.slope == pytest.approx(3.0, rel=0.15)
    probability = found.probability(given_)
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):  # what is said to be 70 % likely is right in about 70 %
        here = (probability >= low) & (probability < low + 0.2)
        if here.sum() > 100:
            assert right[here].mean() == pytest.approx(probability[here].mean(), abs=0.12)


def test_no_wrong_pairs_are_not_imagined():
    given_, _, wrong = scores(4000, wrong=0.0, apart=4.0)
    assert wrong_share(given_, wrong) < 0.01


@given(seed=st.integers(0, 999), ties=st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_area_is_the_share_of_ordered_pairs(seed, ties):
    draw = np.random.default_rng(seed)
    right, wrong = draw.normal(1, 1, 25), draw.normal(0, 1, 30)
    if ties:
        right, wrong = right.round(), wrong.round()
    wanted = np.mean([(r > w) + 0.5 * (r == w) for r in right for w in wrong])
    assert curve(right, wrong, contamination=0.0, prior=0.5).auc == pytest.approx(wanted)


def test_a_curve_by_hand():
    right, wrong = np.array([3.0, 2.0]), np.array([2.5, 1.0])
    found = curve(right, wrong, contamination=0.0, prior=0.5)
    assert found.thresholds.tolist() == [3.0, 2.5, 2.0, 1.0]
    assert found.recall.tolist() == [0.5, 0.5, 1.0, 1.0]
    assert found.fallout.tolist() == [0.0, 0.5, 0.5, 1.0]
    assert found.precision == pytest.approx([1.0, 0.5, 2 / 3, 0.5])
    assert found.average_precision == pytest.approx(0.5 * 1.0 + 0.5 * 2 / 3)


def test_every_criterion_does_what_it_says():
    given_, _, wrong = scores(5000, apart=2.5)
    calibration, outcome = (
        calibrate(given_, wrong, contamination=0.0, prior=0.7),
        curve(given_, wrong, contamination=0.0, prior=0.7),
    )

    def at(criterion, target=0.5):
        threshold = choose(calibration, outcome, criterion, target)
        place = int(np.flatnonzero(outcome.thresholds >= threshold)[-1])
        return threshold, outcome.recall[place], outcome.fallout[place], outcome.precision[place]

    assert calibration.probability(np.array([at("probability", 0.9)[0]]))[0] == pytest.approx(0.9, abs=0.01)
    _, recall, fallout, _ = at("equal-error")
    assert 1 - recall == pytest.approx(fallout, abs=0.005)
    assert at("precision", 0.97)[3] == pytest.approx(0.97, abs=0.005)
    assert at("recall", 0.9)[1] == pytest.approx(0.9, abs=0.005)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        choose(calibration, outcome, "precision", 1.5)


def test_what_cannot_be_calibrated_is_refused():
    given_, _, wrong = scores(100)
    with pytest.raises(DataError, match="20 or more"):
        calibrate(given_[:5], wrong, contamination=0.0, prior=0.5)
    with pytest.raises(DataError, match="no higher than shuffled"):
        calibrate(wrong, given_, contamination=0.0, prior=0.5)
    with pytest.raises(DataError, match="not finite"):
        calibrate(np.append(given_, np.nan), wrong, contamination=0.0, prior=0.5)
    with pytest.raises(ConfigError, match="shares"):
        calibrate(given_, wrong, contamination=1.0, prior=0.5)


def test_scores_that_are_wholly_apart_give_a_finite_line():
    found = calibrate(np.linspace(5, 6, 50), np.linspace(-6, -5, 50), contamination=0.0, prior=0.5)
    assert np.isfinite([found.slope, found.intercept]).all()
    assert found.probability(np.array([-5.0, 5.0])) == pytest.approx([0, 1], abs=0.05)
