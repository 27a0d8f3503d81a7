"""Images near a place: known distances, the box around it, and the same answer from each store's own filter."""

import math

import numpy as np
import pytest

from diptych.core.errors import ConfigError
from diptych.library.store import milvus_filter
from diptych.library.store.near import EARTH_KM, Near
from diptych.library.store.where import LATITUDE, LONGITUDE, AllOf, Condition, around, columns_of, holds, negated

PLACES = [(35.34, 25.13), (0.0, 180.0), (89.9, 10.0), (-90.0, 0.0), (-17.7, -179.9), (0.0, 0.0)]


def by_vectors(first, second):
    """Kilometres between two places: the angle between two unit vectors, from its sine and cosine."""
    north, east = np.radians([first, second]).T
    one, two = np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=1)
    return EARTH_KM * math.atan2(np.linalg.norm(np.cross(one, two)), one @ two)


def rows(seed, centre, count=300):
    """Places everywhere, and some near the middle."""
    chance = np.random.default_rng(seed)
    far = np.stack([np.degrees(np.arcsin(chance.uniform(-1, 1, count))), chance.uniform(-180, 180, count)], axis=1)
    near = np.array(centre) + chance.normal(scale=[1.0, 2.0], size=(count, 2))
    near = np.stack([near[:, 0].clip(-90, 90), (near[:, 1] + 180) % 360 - 180], axis=1)
    return [tuple(place) for place in np.concatenate([far, near]).tolist()]


def test_a_known_distance():
    """Berlin to Munich: 504 km on the sphere."""
    berlin, munich = (52.52, 13.405), (48.1372, 11.5755)
    assert by_vectors(berlin, munich) == pytest.approx(504.2, abs=0.5)
    assert Near(*berlin, 505).holds(*munich)
    assert not Near(*berlin, 503).holds(*munich)


@pytest.mark.parametrize("centre", PLACES)
@pytest.mark.parametrize("km", [1.0, 150.0, 9_000.0, 20_100.0])
def test_it_holds_by_the_great_circle_and_the_box_leaves_none_out(centre, km):
    near = Near(*centre, km)
    for place in rows(0, centre):
        if abs(by_vectors(centre, place) - km) > 1e-3:
            assert near.holds(*place) == (by_vectors(centre, place) <= km)
        value_of = dict(zip((LATITUDE, LONGITUDE), place, strict=True)).get
        assert holds(near, value_of) <= holds(around(near), value_of)
        assert holds(negated(near), value_of) != holds(near, value_of)
    assert not holds(near, {LATITUDE: 1.0}.get)
    assert not holds(negated(near), {LATITUDE: 1.0}.get)


@pytest.mark.parametrize("centre", PLACES)
def test_lance_finds_the_same(tmp_path, centre):
    lancedb = pytest.importorskip("lancedb")
    from diptych.library.store.lance_filter import to_sql

    places = [*rows(1, centre, 100), (None, None), (1.0, None)]
    lines = [{"n": at, LATITUDE: place[0], LONGITUDE: place[1]} for at, place in enumerate(places)]
    table = lancedb.connect(tmp_path).create_table("places", lines)
    for near in (Near(*centre, 150), Near(*centre, 9_000), negated(Near(*centre, 150))):
        expected = [line["n"] for line in lines if holds(near, line.get)]
        assert sorted(table.search().where(to_sql(near)).to_arrow()["n"].to_pylist()) == expected
        assert expected


def test_a_server_gets_the_box_and_its_answer_is_checked():
    near = AllOf((Condition("width", ">", 3), Near(0.0, 179.9, 50.0)))
    text, is_exact = milvus_filter.to_expression(near, ("width",))
    assert not is_exact
    assert text.count(f"{LONGITUDE} >=") == 2  # on both sides of the line where longitudes begin again
    assert columns_of(near) == {"width", LATITUDE, LONGITUDE}


@pytest.mark.parametrize(("latitude", "longitude", "km"), [(91, 0, 5), (0, 181, 5), (math.nan, 0, 5), (0, 0, 0),
                                                           (0, 0, -1), (0, 0, math.inf)])  # fmt: skip
def test_what_is_no_place_is_refused(latitude, longitude, km):
    with pytest.raises(ConfigError, match="cannot use --"):
        Near(latitude, longitude, km)
