"""Fréchet and kernel distances, precision and recall, neighbours: closed forms, twins, and what must hold always."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.errors import ConfigError, DataError
from diptych.evaluation.generative import (
    frechet_distance,
    frechet_from_moments,
    grouped_jackknife,
    kernel_distance,
    nearest_by_distance,
    precision_recall,
)


def cloud(rows, width=5, seed=0, shift=0.0, scale=1.0):
    return shift + scale * np.random.default_rng(seed).normal(size=(rows, width))


def test_frechet_by_hand_in_one_dimension():
    # Means 1 and 4; variances (divided by n - 1) 1 and 4: (1 - 4)^2 + (1 - 2)^2.
    real, generated = np.array([[0.0], [1.0], [2.0]]), np.array([[2.0], [4.0], [6.0]])
    assert frechet_distance(real, generated) == pytest.approx(10.0)


def test_frechet_of_diagonal_gaussians_is_the_closed_form():
    means = (np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 0.0]))
    deviations = (np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 1.0]))
    expected = sum((means[0] - means[1]) ** 2) + sum((deviations[0] - deviations[1]) ** 2)
    found = frechet_from_moments(means, (np.diag(deviations[0] ** 2), np.diag(deviations[1] ** 2)))
    assert found == pytest.approx(expected)


def test_frechet_of_covariances_that_do_not_commute():
    # det and trace of a 2 x 2 give the trace of its root: tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)).
    one, two = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[5.0, -2.0], [-2.0, 1.0]])
    product = one @ two
    root = math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
    found = frechet_from_moments((np.zeros(2), np.zeros(2)), (one, two))
    assert found == pytest.approx(np.trace(one) + np.trace(two) - 2 * root)


@pytest.mark.parametrize("rows", [4, 9, 40])  # fewer than, about and more than the features
def test_a_known_shift_and_scale_of_a_set(rows):
    real = cloud(rows, 9)
    shift = np.arange(9.0)
    spread = np.cov(real, rowvar=False).trace()
    assert frechet_distance(real, real + shift) == pytest.approx(shift @ shift, rel=1e-6)
    centred = real - real.mean(axis=0)
    assert frechet_distance(centred, 3 * centred) == pytest.approx(4 * spread, rel=1e-6)  # (3 - 1)^2


@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 7), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_frechet_agrees_with_the_textbook_form_and_is_symmetric(n, m, width, seed):
    real, generated = cloud(n, width, seed), cloud(m, width, seed + 1, 0.5, 2.0)
    moments = (
        (real.mean(axis=0), generated.mean(axis=0)),
        tuple(np.atleast_2d(np.cov(each, rowvar=False)) for each in (real, generated)),
    )
    found = frechet_distance(real, generated)
    # the root of a singular matrix loses half of the digits
    assert found == pytest.approx(frechet_from_moments(*moments), rel=1e-4, abs=1e-4)
    assert found == pytest.approx(frechet_distance(generated, real), rel=1e-6, abs=1e-6)
    assert frechet_distance(real, real) == pytest.approx(0.0, abs=1e-5)


def test_samples_of_gaussians_come_near_the_closed_form():
    real, generated = cloud(4000, 4, 1), cloud(4000, 4, 2, shift=1.0, scale=2.0)
    assert frechet_distance(real, generated) == pytest.approx(4 * 1.0 + 4 * 1.0, rel=0.05)


def slow_kernel_distance(x, y):
    def k(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    def within(rows):
        return np.mean([k(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j])

    return within(x) + within(y) - 2 * np.mean([k(a, b) for a in x for b in y])


@given(st.integers(4, 9), st.integers(4, 9), st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_kernel_distance_agrees_with_double_loops(n, m, seed):
    x, y = cloud(n, 3, seed), cloud(m, 3, seed + 1, 0.3)
    found = kernel_distance(x, y, subsets=3)
    assert found.value == pytest.approx(slow_kernel_distance(x, y), abs=1e-9)
    assert found.size == min(n, m) // 2
    assert found.interval.low <= found.interval.high


def test_kernel_distance_is_unbiased_and_sees_a_shift():
    same = [kernel_distance(cloud(30, 4, 2 * s), cloud(30, 4, 2 * s + 1), subsets=1).value for s in range(300)]
    error = np.std(same) / math.sqrt(len(same))
    assert abs(np.mean(same)) < 4 * error
    x = cloud(300, 4, 1)
    assert kernel_distance(x, x, subsets=2).value <= 0
    shifted = kernel_distance(x, cloud(300, 4, 2, shift=1.0), subsets=50)
    assert shifted.interval.low > 0
    assert shifted.interval.low <= shifted.value <= shifted.interval.high


def slow_precision_recall(real, generated, k):
    def among(point, points):
        for i, centre in enumerate(points):
            radius = sorted(np.linalg.norm(centre - other) for j, other in enumerate(points) if j != i)[k - 1]
            if np.linalg.norm(point - centre) <= radius:
                return True
        return False

    return [among(p, real) for p in generated], [among(p, generated) for p in real]


@given(st.integers(5, 12), st.integers(5, 12), st.integers(1, 3), st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_precision_and_recall_agree_with_the_definition(n, m, k, seed):
    real, generated = cloud(n, 2, seed), cloud(m, 2, seed + 1, 1.0)
    found = precision_recall(real, generated, k)
    realistic, covered = slow_precision_recall(real, generated, k)
    assert found.realistic.tolist() == realistic
    assert found.covered.tolist() == covered


def test_precision_and_recall_of_what_is_known():
    real = cloud(60, 3)
    same = precision_recall(real, real)
    assert (same.precision, same.recall) == (1.0, 1.0)
    apart = precision_recall(real, real + 100)
    assert (apart.precision, apart.recall) == (0.0, 0.0)
    one_mode = precision_recall(real, np.repeat(real[:1], 10, axis=0))  # good pictures of one kind only
    assert one_mode.precision == 1.0
    assert one_mode.recall == pytest.approx(1 / 60)


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 10), st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_neighbours_agree_with_sorting(q, n, k, seed):
    queries, others = cloud(q, 3, seed), cloud(n, 3, seed + 1)
    found = nearest_by_distance(queries, others, k)
    for row, query in enumerate(queries):
        distances = np.linalg.norm(others - query, axis=1)
        assert found.places[row].tolist() == np.argsort(distances, kind="stable")[:k].tolist()
        np.testing.assert_allclose(found.distances[row], np.sort(distances)[:k], atol=1e-9)


def test_a_copy_is_at_distance_zero():
    real = cloud(20, 50, scale=1e3)
    found = nearest_by_distance(real[[7, 3]], real)
    assert found.places[:, 0].tolist() == [7, 3]
    assert found.distances[:, 0].tolist() == [0.0, 0.0]


def test_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=200)
    found = grouped_jackknife(lambda kept: float(values[kept].mean()), 200, groups=200)
    error = values.std(ddof=1) / math.sqrt(200)
    assert found.value == pytest.approx(values.mean())
    assert (found.interval.high - found.interval.low) / 2 == pytest.approx(1.96 * error, rel=1e-3)


def test_jackknife_covers_a_frechet_distance_about_as_often_as_it_says():
    def interval(seed):
        real, generated = cloud(3000, 2, 10_000), cloud(150, 2, seed, shift=1.0)
        return grouped_jackknife(lambda kept: frechet_distance(real, generated[kept]), len(generated)).interval

    truth = 2.0
    held = sum(one.low <= truth <= one.high for one in map(interval, range(60)))
    assert held >= 50


def test_moments_of_blocks_are_those_of_all(monkeypatch):
    from diptych.evaluation.generative import distances

    rows = np.random.default_rng(0).normal(5, 2, (50, 4)).astype(np.float32)
    others = np.random.default_rng(1).normal(5, 3, (40, 4)).astype(np.float32)
    whole = frechet_distance(rows, others)
    monkeypatch.setattr(distances, "_ROWS", 7)
    mean, covariance = distances.moments(rows)
    assert np.allclose(mean, rows.astype(np.float64).mean(axis=0), rtol=1e-12)
    assert np.allclose(covariance, np.cov(rows.astype(np.float64), rowvar=False), rtol=1e-9)
    assert frechet_distance(rows, others) == pytest.approx(whole, rel=1e-9)
    rows[13, 2] = np.nan
    with pytest.raises(DataError, match="real images 13 holds NaN or infinite features"):
        frechet_distance(rows, others)


@pytest.mark.unchecked
def test_bad_features_are_refused():
    good, bad = cloud(10), cloud(10)
    bad[3, 2] = np.nan
    for measure in (frechet_distance, kernel_distance, precision_recall, nearest_by_distance):
        with pytest.raises(DataError, match=r"3 holds NaN"):
            measure(good, bad)
        with pytest.raises(DataError, match=r"5 and of 4 numbers; both sets need the same extractor"):
            measure(good, cloud(10, 4))
    with pytest.raises(DataError, match="at least 2"):
        frechet_distance(good[:1], good)
    with pytest.raises(DataError, match="at least 4"):
        precision_recall(good[:3], good)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        precision_recall(good, good, 0)
    with pytest.raises(ConfigError, match="at least 1 subset"):
        kernel_distance(good, good, subsets=0)
    with pytest.raises(ConfigError, match="at least two groups"):
        grouped_jackknife(lambda kept: 0.0, 1)
    with pytest.raises(DataError, match="no images to compare with"):
        nearest_by_distance(good, good[:0])
    with pytest.raises(DataError, match="infinite"):
        frechet_from_moments((np.zeros(1), np.array([np.inf])), (np.eye(1), np.eye(1)))
