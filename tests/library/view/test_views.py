"""Both views answer alike: the snapshot of a folder, and a store that is asked as a server is."""

from __future__ import annotations

import numpy as np
import pytest

from diptych.library import NewItem
from diptych.library.store import FilterError
from diptych.library.store.where_sql import parse
from diptych.library.view import View, snapshot
from diptych.library.view.local import LocalView
from diptych.library.view.remote import RemoteView


@pytest.fixture
def views(filled, painter, tmp_path):
    """The same rows by each view, some of them written since the snapshot."""
    filled.delete([next(item.id for item in filled.items().items if item.name != "red.png")])
    filled.add([NewItem(painter(tmp_path / "new.png", "red", mark=3).read_bytes(), texts=["new"])])
    return LocalView(filled.opened.snapshots), RemoteView(filled.opened.snapshots)


def test_both_are_views(views) -> None:
    assert all(isinstance(view, View) for view in views)


@pytest.mark.parametrize("filter", [None, "width >= 40", "texts = 'new'", "width > 1000"])
def test_they_find_the_same(views, filled, encoder, filter) -> None:
    where = None if filter is None else parse(filter, filled.columns())
    queries = encoder.encode_texts(["red", "blue white", "green"])
    local, remote = (view.search(queries, [1, 9, 3], where) for view in views)
    for one, other in zip(local, remote, strict=True):
        assert [facts for facts, _ in one.rows] == [facts for facts, _ in other.rows]
        assert [score for _, score in one.rows] == pytest.approx([score for _, score in other.rows], abs=1e-5)
        assert one.considered == other.considered


def test_they_list_and_describe_the_same(views, filled) -> None:
    local, remote = views
    assert local.count() == remote.count() == 6
    ids, total = local.page("", 4)
    assert remote.page("", 4) == (ids, total)
    assert local.page(ids[-1], 4) == remote.page(ids[-1], 4)
    new = parse("texts = 'new'", filled.columns())
    assert local.page("", 4, new) == remote.page("", 4, new) == (local.matching(new), 1)
    wide = parse("width >= 40", filled.columns())
    assert (local.count(new), local.count(wide)) == (remote.count(new), remote.count(wide)) == (1, 6)
    assert local.facets(["texts", "width"], wide) == remote.facets(["texts", "width"], wide)
    assert local.facets(["name"])["name"]["red.png"] == 1
    assert local.facets(["texts"], new)["texts"] == {"new": 1}
    assert local.rows([*ids[::-1], "nope"]) == remote.rows([*ids[::-1], "nope"])
    assert local.vector(ids[0]) == pytest.approx(remote.vector(ids[0]), abs=1e-6)
    assert local.vector("nope") is remote.vector("nope") is None


def test_a_search_on_a_server_copies_no_rows(filled, encoder, tmp_path) -> None:
    for path in (filled.folder / "snapshot").iterdir():
        path.unlink() if path.is_file() else [one.unlink() for one in path.iterdir()]
    view = RemoteView(filled.opened.snapshots)
    view.search(encoder.encode_texts(["red"]), [3])
    view.refresh()
    view.rewrite()
    assert snapshot.in_use(filled.opened.snapshots.folder) is None
    assert len(view.snapshot()) == 6  # the map asks for all of them
    for one in (view, LocalView(filled.opened.snapshots)):
        ids, vectors = one.sample(3)
        assert (len(ids), vectors.shape, vectors.dtype) == (3, (3, 16), np.float32)
        assert all(np.allclose(vector, view.vector(known)) for known, vector in zip(ids, vectors, strict=True))


def test_an_unknown_column_is_refused(filled) -> None:
    with pytest.raises(FilterError, match="no column"):
        filled.matching("nothing = 3")


def test_a_map_of_a_large_folder_shows_a_sample_without_what_was_deleted(views, filled) -> None:
    local, _ = views
    everything = local.points(6)
    assert (len(everything), everything.total) == (6, 6)
    kept = [one for one in filled.snapshot().ids.astype(str) if local.vector(one) is not None]
    for most in (1, 3, 4):
        points = local.points(most)
        assert (points.total, points.version) == (6, local.version)
        assert len(points) == most
        assert set(points.ids.astype(str)) <= set(kept)
        for one, vector in zip(points.ids.astype(str), points.vectors, strict=True):
            assert local.vector(one) == pytest.approx(vector)
