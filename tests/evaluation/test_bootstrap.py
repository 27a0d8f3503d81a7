import numpy as np
import pytest

from diptych.core.errors import ConfigError
from diptych.evaluation import Addend, Number, Resampling, Sample, Summary, paired_difference
from diptych.evaluation.bootstrap import percentile_interval, replicates


def number(values, units=None, summary=Summary.MEAN):
    values = np.asarray(values, dtype=np.float64)
    return Number((Addend((Sample(values, np.arange(len(values)) if units is None else np.asarray(units)),), summary),))


def slow(samples, summary, resampling):
    """Every resample written out: the drawn units' values in one list."""
    rows = np.concatenate(list(resampling.counts()))
    reduce = np.median if summary is Summary.MEDIAN else np.mean
    return [np.mean([reduce(np.repeat(sample.values, counts[sample.units])) for sample in samples]) for counts in rows]


@pytest.mark.parametrize("summary", list(Summary))
def test_replicates_are_those_of_the_written_out_resamples(summary):
    generator = np.random.default_rng(5)
    samples = tuple(
        Sample(generator.integers(1, 9, size).astype(np.float64), generator.integers(0, 12, size)) for size in (30, 41)
    )
    resampling = Resampling(units=12, resamples=50, seed=3)

    found = replicates([Number((Addend(samples, summary),), scale=2.0)], resampling)[0]

    assert found == pytest.approx(2 * np.array(slow(samples, summary, resampling)))


def test_each_resample_draws_as_many_units_as_there_are_and_is_seeded():
    first = np.concatenate(list(Resampling(7, 100, seed=1).counts()))

    assert (first.sum(axis=1) == 7).all()
    assert np.array_equal(first, np.concatenate(list(Resampling(7, 100, seed=1).counts())))
    assert not np.array_equal(first, np.concatenate(list(Resampling(7, 100, seed=2).counts())))


def test_the_interval_of_a_share_is_that_of_the_binomial():
    found = np.repeat([1.0, 0.0], [300, 700])

    interval = percentile_interval(replicates([number(found)], Resampling(1000, 2000, seed=0))[0])

    half = 1.96 * np.sqrt(0.3 * 0.7 / 1000)
    assert interval.low == pytest.approx(0.3 - half, abs=0.004)
    assert interval.high == pytest.approx(0.3 + half, abs=0.004)


def test_captions_of_one_image_are_not_independent():
    found = np.repeat(np.random.default_rng(0).integers(0, 2, 200), 5).astype(np.float64)
    clustered = percentile_interval(replicates([number(found, np.repeat(np.arange(200), 5))], Resampling(200, 1000))[0])
    alone = percentile_interval(replicates([number(found)], Resampling(1000, 1000))[0])

    # All five captions agree here, so the honest interval is wider by the square root of five.
    assert (clustered.high - clustered.low) / (alone.high - alone.low) == pytest.approx(5**0.5, rel=0.12)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(8)
    covered = 0
    for trial in range(200):
        found = (generator.random(150) < 0.4).astype(np.float64)
        interval = percentile_interval(replicates([number(found)], Resampling(150, 300, seed=trial))[0])
        covered += interval.low <= 0.4 <= interval.high

    assert 0.89 <= covered / 200 <= 0.99


def test_a_fold_that_is_not_drawn_is_left_out_of_that_resample():
    number_ = Number((Addend((Sample(np.array([1.0]), np.array([0])), Sample(np.array([3.0]), np.array([1])))),))

    assert set(replicates([number_], Resampling(2, 200))[0]) == {1.0, 2.0, 3.0}


@pytest.mark.parametrize("summary", list(Summary))
def test_a_run_does_not_differ_from_itself(summary):
    run = number(np.arange(20.0), summary=summary)

    difference = paired_difference(run, run, Resampling(20, 200))

    assert (difference.value, difference.interval.low, difference.interval.high) == (0, 0, 0)
    assert difference.p_value == 1.0


def test_pairing_sees_a_small_but_steady_gain_that_separate_intervals_would_hide():
    generator = np.random.default_rng(2)
    first = generator.random(400)
    second = first + 0.01 + 0.01 * generator.normal(size=400)

    difference = paired_difference(number(first), number(second), Resampling(400, 1000))

    assert difference.value == pytest.approx(float(np.mean(second - first)))
    assert difference.interval.low > 0
    assert difference.p_value < 0.01
    separate = percentile_interval(replicates([number(first)], Resampling(400, 1000))[0])
    assert separate.low < float(np.mean(second)) < separate.high


def test_runs_on_other_queries_cannot_be_paired():
    with pytest.raises(ConfigError, match="different queries"):
        paired_difference(number([1, 2]), number([1, 2, 3]), Resampling(3))


@pytest.mark.parametrize(("units", "resamples"), [(0, 10), (10, 0)])
def test_nothing_to_resample_is_refused(units, resamples):
    with pytest.raises(ConfigError, match="at least one"):
        Resampling(units, resamples)
