"""The map: principal components, one scale, where a query lands, kept between starts."""

from __future__ import annotations

import numpy as np
import pytest

from diptych.core.cosine import normalise
from diptych.core.types import Hit
from diptych.library.view import Points
from diptych.serve import projection
from diptych.serve.pacmap_worker import beside_landmarks
from diptych.serve.projection import Mapper, Plan


def points(vectors: np.ndarray, version: str = "1") -> Points:
    ids = np.array([f"{at:016x}" for at in range(len(vectors))], dtype="S16")
    return Points(version, ids, vectors, len(vectors))


def test_the_first_axis_is_where_the_spread_is() -> None:
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(500, 3)) * [10, 3, 1]
    turn, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    vectors = (np.pad(spread, ((0, 0), (0, 5))) @ turn).astype(np.float32)
    found = projection.pca(vectors)
    for axis in range(3):
        assert abs(np.corrcoef(found[:, axis], spread[:, axis])[0, 1]) > 0.99
    assert np.allclose(found.mean(axis=0), 0, atol=1e-3)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_images_have_places_too(rows) -> None:
    vectors = normalise(np.random.default_rng(0).normal(size=(rows, 4)))
    places = projection.fitted(projection.pca(vectors))
    assert places.shape == (rows, 3)
    assert np.isfinite(places).all()


def test_two_dimensions_are_enough() -> None:
    vectors = normalise(np.random.default_rng(0).normal(size=(9, 2)))
    assert np.allclose(projection.pca(vectors)[:, 2], 0)


def test_one_scale_for_all_axes_and_nearly_all_inside() -> None:
    points = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32) * np.array([4, 1], dtype=np.float32)
    found = projection.fitted(points)
    assert np.abs(found).max() <= 1
    inside = (np.abs(found) < 0.94).all(axis=1)
    assert inside.mean() > 0.97
    for axis in range(2):  # nothing piles up at the rim: all keep their order
        assert (np.diff(found[np.argsort(points[:, axis]), axis]) > 0).all()
    ratio = np.ptp(found[inside], axis=0) / np.ptp(points[inside], axis=0)
    assert ratio[0] == pytest.approx(ratio[1], rel=1e-4)


def test_a_query_lands_among_its_best_hits() -> None:
    ids = np.array([f"{at:016x}" for at in range(3)], dtype="S16")
    places = np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float32)
    plan = Plan("1", "pca", ids, places, np.zeros(3, dtype=np.float32), 3)
    even = projection.lands(plan, [Hit(at, f"{at:016x}", 0.5) for at in range(3)])
    assert even == pytest.approx((1 / 3, 1 / 3))
    pulled = projection.lands(plan, [Hit(0, f"{1:016x}", 0.9), Hit(1, f"{2:016x}", 0.2)])
    assert pulled == pytest.approx((1, 0), abs=1e-3)
    assert projection.lands(plan, [Hit(0, "f" * 16, 0.9)]) is None, "an image that the map does not have yet"


def test_a_map_is_made_once_for_each_version_and_kept(tmp_path) -> None:
    vectors = normalise(np.random.default_rng(0).normal(size=(40, 8)))
    asked = []

    def whole(version: str = "1"):
        asked.append(version)
        return points(vectors, version)

    mapper = Mapper("library", tmp_path)
    first = mapper.plan("1", whole, improve=False)
    assert mapper.plan("1", whole, improve=False) is first
    assert asked == ["1"]
    assert mapper.plan("2", lambda: whole("2"), improve=False).version == "2"
    Mapper("another", tmp_path).plan("1", whole, improve=False)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["another-1-pca.npy", "library-2-pca.npy"]
    again = Mapper("library", tmp_path).plan("1", whole, improve=False)
    assert np.array_equal(again.places, first.places)


def test_a_damaged_kept_map_is_made_again(tmp_path) -> None:
    vectors = normalise(np.random.default_rng(0).normal(size=(40, 8)))
    first = Mapper("library", tmp_path).plan("1", lambda: points(vectors), improve=False)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:50])
    again = Mapper("library", tmp_path).plan("1", lambda: points(vectors), improve=False)
    assert np.array_equal(again.places, first.places)


@pytest.mark.slow
def test_pacmap_takes_the_place_of_pca_and_keeps_neighbours(tmp_path) -> None:
    pytest.importorskip("pacmap", reason="needs the [map] extra")
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(5), 60)
    vectors = normalise(rng.normal(size=(5, 16))[groups] + 0.15 * rng.normal(size=(300, 16)))
    mapper = Mapper("library", tmp_path)
    assert mapper.plan("1", lambda: points(vectors)).method == "pca"
    mapper._background.join(240)
    plan = mapper.plan("1", lambda: points(vectors))
    assert plan.method == "pacmap"
    gaps = np.linalg.norm(plan.places[:, None] - plan.places[None], axis=2) + 9 * np.eye(300)
    assert (groups[gaps.argmin(axis=1)] == groups).mean() > 0.95


def test_rows_are_placed_beside_their_landmarks() -> None:
    rng = np.random.default_rng(0)
    centres = normalise(rng.normal(size=(5, 16)))
    cluster = rng.integers(5, size=400)
    vectors = normalise(centres[cluster] + 0.1 * rng.normal(size=(400, 16))).astype(np.float32)
    places = (10 * np.eye(5, 2, dtype=np.float32) + 20 * np.arange(5, dtype=np.float32)[:, None])[cluster[::4]]
    places += rng.normal(size=places.shape).astype(np.float32)
    found = beside_landmarks(vectors, vectors[::4], places)
    assert np.allclose(found[::4], places, atol=1e-2)  # a landmark stays
    middles = np.array([places[cluster[::4] == one].mean(axis=0) for one in range(5)])
    assert (np.linalg.norm(found[:, None] - middles, axis=2).argmin(axis=1) == cluster).all()
