"""One set of tests for every kind of store: Lance in a folder, a server in this process, a real Milvus server."""

from __future__ import annotations

import itertools
import json
import os
import uuid
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError, DataError, LibraryError
from diptych.core.files import files_below
from diptych.library import Library, NewItem
from diptych.library.card import Card
from diptych.library.maintenance import transfer
from diptych.library.store import milvus_address
from diptych.library.store.places import open_place
from diptych.library.store.protocol import Store
from diptych.library.store.rows import Row
from diptych.library.store.where_sql import MOST_CHARACTERS, parse

from . import slow_where
from .fake_remote import SCHEME
from .test_items import BLUE, GREEN, RED, names, png

DIM = 4
SERVER = "DIPTYCH_TEST_MILVUS"  # milvus://HOST:PORT of a server that runs already; without it one is started


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A server of our own, or None when one is named."""
    if os.environ.get(SERVER):
        yield None
        return
    pytest.importorskip("pymilvus", reason="needs pymilvus: pip install 'diptych[milvus]'")
    pytest.importorskip("milvus", reason="needs a server: pip install 'diptych[milvus-server]'")
    from .milvus_server import running

    with running(tmp_path_factory.mktemp("milvus")) as server:
        yield server


@pytest.fixture
def server(started):
    return os.environ[SERVER] if started is None else started.address


@pytest.fixture(params=["lance", "fake", pytest.param("milvus", marks=[pytest.mark.server, pytest.mark.slow])])
def address(request, fake):
    """A place for a new library, of each kind."""
    if request.param == "lance":
        return "lance"
    if request.param == "fake":
        return f"{SCHEME}://pictures"
    return f"{request.getfixturevalue('server')}/t{uuid.uuid4().hex}"


@pytest.fixture
def about(address):
    return Card("lib", "m", "f" * 32, DIM, "now", store=address)


@pytest.fixture
def place(about, tmp_path):
    made = open_place(about, tmp_path)
    yield made
    made.drop()


@pytest.fixture
def store(place):
    return place.store()


@pytest.fixture
def library(tmp_path, encoder, address):
    made = Library.create(tmp_path / "library", encoder, store=address)
    yield made
    made.opened.place.drop()


def row(number, **said):
    vector = np.zeros(DIM, np.float32)
    vector[number % DIM] = 1
    known = {"path": f"/a/b/{number}.jpg", "source": "/a", "content": "c" * 32, "bytes": 3}
    size = {"modified_ns": 1_700_000_000_000_000_001, "width": 40 + number, "height": 43}
    return Row(id=f"{number:016x}", vector=vector, **known | size | said)


def test_it_keeps_the_seam(store):
    assert isinstance(store, Store)


def test_rows_come_back_as_they_were(store):
    rows = [
        row(1),
        row(2, texts=("a dog", "half \ud800"), split="val", group="x", meta={"n": 3, "tags": ["a"], "é \ud800": None}),
        row(3, title='it\'s "a" name', meta={"long": "wörd " * 20_000}),
    ]
    store.write(rows)
    back = store.get([rows[2].id, rows[1].id, rows[0].id, "unknown", "é"])
    assert back == rows
    assert np.array_equal([one.vector for one in back], [one.vector for one in rows])
    assert store.get([]) == []


def test_a_write_replaces_inserts_and_removes_and_the_next_read_sees_it(store):
    for number in range(10):
        store.write([row(number), row(number + 100)], [row(number + 99).id] if number else [])
        assert store.count() == number + 2
        assert len(store.get([row(number).id, row(number + 100).id, row(number + 99).id])) == 2
    store.write([row(1, split="test")])
    assert store.get([row(1).id])[0].split == "test"
    store.write([], [row(1).id, "unknown"])
    assert store.count() == 10
    store.write([], [])


def test_a_row_that_is_written_and_removed_at_once_stays(store):
    store.write([row(1), row(2)], [row(1).id])
    assert store.count() == 2


def test_the_token_changes_with_every_write(place):
    store = place.store()
    seen = [place.token()]
    for number in range(3):
        store.write([row(number)])
        seen.append(place.token())
    store.write([], [row(0).id])
    seen.append(place.token())
    assert len(set(seen)) == len(seen)


def test_a_scan_gives_every_row_once(store):
    store.write([row(number) for number in range(2500)])
    store.write([], [row(number).id for number in range(100)])
    ids, vectors = [], []
    for block in store.scan(["id", "content", "meta", "bytes", "vector"]):
        assert {len(column) for column in block.values()} == {len(block["id"])}
        ids += block["id"]
        vectors.append(block["vector"])
    assert sorted(ids) == [row(number).id for number in range(100, 2500)]
    assert np.concatenate(vectors).shape == (2400, DIM)


WHERES = {
    "width > 41": {2, 3, 4},
    "width >= 41 AND width <= 42": {1, 2},
    "width = 41 OR height <> 43": {1},
    "width BETWEEN 42 AND 43": {2, 3},
    "NOT (width < 43)": {3, 4},
    "width IN (41, 44)": {1, 4},
    "width NOT IN (41, 44)": {2, 3},
    "width < height": {1, 2},
    "name = '2.jpg'": {2},
    "path LIKE '/a/b/%'": {1, 2, 3, 4},
    "path NOT LIKE '/a/%'": set(),
    "`group` = 'it''s; \"x\"'": {3},
    "`group` IS NULL": {1, 2, 4},
    "`group` IS NOT NULL": {3},
    "split IS NULL": {1, 2, 3, 4},
    "width IS NOT NULL": {1, 2, 3, 4},
    "n > 4.5": {2},
    "n > -1 AND n < 6": {1, 2},
    "n NOT IN (3) OR n NOT IN (5)": {1, 2},
    "NOT (n = 3 AND word = 'y')": {1, 2},
    "ok": {2},
    "ok = true": {2},
    "word = 'x'": {1},
    "modified >= timestamp '2023-11-14 00:00:00'": {1, 2, 3, 4},
    "modified < timestamp '2023-11-14 22:13:20'": set(),
    "(width = 41 OR width = 42) AND (n = 3)": {1},
    "group = 'nobody'": set(),
}


@pytest.fixture
def described(store):
    store.write(
        [
            row(1, meta={"n": 3, "word": "x"}),
            row(2, meta={"n": 5, "ok": True}),
            row(3, group='it\'s; "x"'),
            row(4, meta={"n": "text", "ok": False}),
        ]
    )
    return store


def matching(store, where):
    return store.matching(parse(where, store.columns()))


@pytest.mark.parametrize("where", WHERES)
def test_filters(described, where):
    assert matching(described, where) == sorted(row(number).id for number in WHERES[where])


def test_a_filter_of_a_part_of_a_text_narrows_its_own_search(described):
    query = np.eye(DIM, dtype=np.float32)[0]
    (found,) = described.search(query[None], 9, parse("path LIKE '%b/2%' OR path LIKE '%/3.jpg'", described.columns()))
    assert {identifier for identifier, _ in found} == {row(2).id, row(3).id}
    assert described.search(query[None], 9, parse("path LIKE '%nowhere%'", described.columns())) == [[]]


def test_every_filter_means_what_slow_obvious_code_says(store):
    rows = slow_where.rows()
    store.write(rows)
    columns = dict(store.columns())

    @settings(max_examples=150, deadline=None)
    @given(slow_where.filters)
    def check(filter):
        sql, meant = filter
        assume(len(sql) <= MOST_CHARACTERS)
        found = parse(sql, columns)
        assert store.matching(found) == [one.id for one in rows if meant(one)], sql

    check()


def test_its_own_search_agrees_with_cosine(described):
    rng = np.random.default_rng(0)
    vectors = normalise(rng.normal(size=(50, DIM)).astype(np.float32))
    described.write([replace(row(number), vector=vectors[number]) for number in range(50)])
    queries = normalise(rng.normal(size=(3, DIM)).astype(np.float32))
    everywhere = described.search(queries, 7)
    wider = described.search(queries, 3, parse("width > 60", described.columns()))
    for query, found, narrowed in zip(queries, everywhere, wider, strict=True):
        order = np.argsort(-(vectors @ query))
        assert [identifier for identifier, _ in found] == [row(int(number)).id for number in order[:7]]
        assert [score for _, score in found] == pytest.approx((vectors @ query)[order[:7]].tolist(), abs=1e-5)
        wide = [int(number) for number in order if 40 + number > 60][:3]
        assert [identifier for identifier, _ in narrowed] == [row(n).id for n in wide]


def test_pages_are_in_order_and_say_what_passes(store):
    store.write([row(number) for number in range(30)])
    store.compact(keep_seconds=0.0)
    store.write([row(number) for number in range(30, 60)], [row(4).id])
    store.write([replace(row(40), deleted_at=5, batch="b")])
    ids = [row(number).id for number in range(60) if number not in (4, 40)]
    assert store.page("", 5) == ids[:5] == [*store.page("", 4), ids[4]]
    assert store.page(ids[25], 20) == ids[26:46]
    assert store.page(ids[-3], 20) == ids[-2:]
    assert store.page(ids[-1], 20) == []
    assert store.page("", 100) == ids
    for where in ("width > 60 AND width < 90", "path LIKE '%b/2%'"):  # a server may not compare the second
        filter = parse(where, store.columns())
        passed = store.matching(filter)
        assert len(passed) == (29 - 1 if "width" in where else 11)
        assert store.page("", 3, filter) + store.page(passed[2], 100, filter) == passed
        assert store.count(where=filter) == len(passed)
        assert sorted(one for block in store.scan(["id"], where=filter) for one in block["id"]) == passed
    assert store.count("trash", parse("width = 80", store.columns())) == 1
    assert store.count(where=parse("width = 80", store.columns())) == 0


def test_rows_can_be_had_without_their_vectors(described):
    (found,) = described.get([row(1).id], vectors=False)
    assert found == row(1, meta={"n": 3, "word": "x"})
    assert found.vector.shape == (0,)


def test_compacting_keeps_the_rows(described):
    described.compact(keep_seconds=0.0)
    assert described.count() == 4


def test_another_handle_sees_acknowledged_writes_at_once(about, place, tmp_path):
    other = open_place(about, tmp_path).store()
    for number, _ in itertools.product(range(5), range(1)):
        place.store().write([row(number)])
        assert other.count() == number + 1
        width = parse(f"width = {40 + number}", other.columns())
        assert [identifier for identifier, _ in other.search(row(number).vector[None], 1, width)[0]] == [row(number).id]


# -- a whole library on each -----------------------------------------------------------------------


def test_a_library_is_the_same_on_every_store(library, encoder, pictures):
    report = library.index([pictures])
    assert (report.added, len(library)) == (6, 6)
    assert library.index([pictures]).unchanged == 6
    (up,) = library.add([NewItem(png(RED, mark=3), "up.png", meta={"k": "v"})]).items
    reader = Library.open(library.folder, encoder)
    assert sorted(names(reader.search("red", 2))) == ["red.png", "up.png"]
    assert names(reader.search("red", 9, "k = 'v'")) == ["up.png"]
    assert reader.search(pictures / "blue.png", 1)[0].path == str(pictures / "blue.png")
    assert "up.png" not in names(reader.like(up.id, 3))
    assert reader.thumbnail(up.id).startswith(b"\xff\xd8\xff")
    assert reader.items(limit=4).cursor is not None
    assert library.patch(up.id, name="new.png").name == reader.get(up.id).name == "new.png"
    deletion = library.delete(where="name = 'red.png'")
    assert "red.png" not in names(reader.search("red", 9))
    assert (len(reader), len(reader.snapshot()), reader.info().images) == (6, 6, 6)
    assert library.index([pictures]).trashed == 1
    assert library.undo(deletion).restored == deletion.ids
    assert len(reader.snapshot()) == 7
    assert library.verify().problems == ()
    library.delete([up.id])
    assert library.purge(0) == 1
    assert list(files_below(library.uploads.folder)) == []
    library.compact()
    assert library.verify().problems == ()
    with pytest.raises(DataError, match="no image has the id"):
        reader.like(up.id)


def test_equal_scores_are_in_order_of_id(library, pictures):
    import shutil

    for number in range(20):
        shutil.copy(pictures / "red.png", pictures / f"red{number}.png")
    library.index([pictures])
    hits = library.search("red", 21)
    assert [hit.id for hit in hits] == sorted(hit.id for hit in hits)


def test_a_new_model_takes_over(library, encoder, other_encoder, pictures):
    library.index([pictures])
    library.delete(where="name = 'white.png'")
    reader = Library.open(library.folder, encoder)
    before = reader.search("red", 9)
    library.reembed(other_encoder)
    assert reader.search("red", 9) == before
    after = Library.open(library.folder, other_encoder)
    for name in ("red", "blue", "green"):
        assert names(after.search(pictures / f"{name}.png", 1)) == [f"{name}.png"]
    assert len(after.trash()) == 1
    after.compact()
    assert after.verify().problems == ()
    library.opened.place.check_free()  # the collection of before is gone
    if not library.opened.place.has_own_search:
        assert not library.opened.place.folder.exists()
    after.opened.place.drop()


def test_an_export_comes_back_into_the_other_kind_of_store(library, encoder, pictures, tmp_path, fake):
    library.index([pictures])
    library.add([NewItem(png(GREEN, mark=3), "up.png", texts=("grün",), meta={"n": 1})])
    library.delete(where="name = 'white.png'")
    library.export(tmp_path / "out.tar")
    other = "lance" if library.opened.place.has_own_search else f"{SCHEME}://other"
    transfer.restore(tmp_path / "out.tar", tmp_path / "again", store=other)
    again = Library.open(tmp_path / "again", encoder)
    try:
        assert [item.to_json() | {"path": 0} for item in again.items().items] == [
            item.to_json() | {"path": 0} for item in library.items().items
        ]
        assert [one.item.name for one in again.trash()] == ["white.png"]
        assert [(hit.id, round(hit.score, 5)) for hit in again.search("green", 9)] == [
            (hit.id, round(hit.score, 5)) for hit in library.search("green", 9)
        ]
        assert again.items("n = 1").total == 1
    finally:
        again.opened.place.drop()


# -- what only a server has ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.server
def test_a_collection_that_is_taken_is_refused(server, encoder, tmp_path):
    library = Library.create(tmp_path / "one", encoder, store=f"{server}/taken")
    try:
        library.add([NewItem(png(BLUE))])
        with pytest.raises(LibraryError, match="already"):
            Library.create(tmp_path / "two", encoder, store=f"{server}/taken")
        assert not (tmp_path / "two" / "library.json").exists()
    finally:
        library.opened.place.drop()


@pytest.mark.slow
@pytest.mark.server
def test_a_server_killed_and_started_again_has_all_that_was_acknowledged(tmp_path, encoder, started):
    if started is None:
        pytest.skip("the server is not ours to kill")
    library = Library.create(tmp_path / "library", encoder, store=f"{started.address}/kept")
    ids = [library.add([NewItem(png(RED, mark=number))]).items[0].id for number in range(1, 6)]
    library.delete([ids[0]])
    started.kill()
    try:
        with pytest.raises(LibraryError, match="Milvus server at"):
            Library.open(library.folder, encoder).search("red")
    finally:
        started.start()
    again = Library.open(library.folder, encoder)
    assert sorted(hit.id for hit in again.search("red", 9)) == sorted(ids[1:])
    assert [one.item.id for one in again.trash()] == [ids[0]]
    assert again.verify().problems == ()
    again.opened.place.drop()


@pytest.mark.parametrize(
    "address",
    [
        "milvus://localhost",
        "milvus://localhost:19530/",
        "milvus://h:1/a-b",
        "milvus://h:1/x?index=IVF",
        "milvus://h:1/x?index=HNSW&index=FLAT",
        "milvus://h:1/x?replicas=0",
        "milvus://h:1/x?replicas=two",
        "milvus://h:1/x?consistency=strong",
        "milvus://h:1/x?shards=2",
        "lance://h/x",
        "redis://h:1/x",
    ],
)
def test_addresses_that_name_no_collection(address, encoder, tmp_path):
    with pytest.raises(ConfigError, match=r"milvus://.*|lance"):
        Library.create(tmp_path / "library", encoder, store=address)
    assert not (tmp_path / "library" / "library.json").exists()


def test_what_a_server_takes_in_one_request():
    pytest.importorskip("pymilvus", reason="needs pymilvus: pip install 'diptych[milvus]'")
    from diptych.library.store.milvus import requests

    small = [{"id": f"{number:016x}", "vector": [0.0] * DIM, "meta": "{}"} for number in range(1100)]
    assert [len(part) for part in requests(iter(small))] == [500, 500, 100]
    large = [{"id": "1", "vector": [0.0] * 1000, "meta": "x" * 64_000, "texts": "y" * 64_000} for _ in range(150)]
    assert [len(part) for part in requests(large)] == [60, 60, 30]  # 132 kB each, 8 MB a request
    assert list(requests([])) == []


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("index", ["HNSW", "IVF_FLAT", "IVF_SQ8", "SCANN", "AUTOINDEX"])
def test_each_kind_of_index_finds_what_is_nearest(server, tmp_path, index):
    store = f"{server}/t{uuid.uuid4().hex}?index={index}&consistency=Session&replicas=1"
    place = open_place(Card("lib", "m", "f" * 32, 16, "now", store=store), tmp_path)
    try:
        vectors = normalise(np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32))
        place.store().write([replace(row(number), vector=vectors[number]) for number in range(200)])
        found = place.reader().search(vectors[:20], 3)
        assert [hits[0][0] for hits in found] == [row(number).id for number in range(20)]
        assert [hits[0][1] for hits in found] == pytest.approx([1.0] * 20, abs=0.05)
        assert place.reader().count() == place.store().count() == 200
    finally:
        place.drop()


@pytest.mark.slow
@pytest.mark.server
def test_more_replicas_than_there_are_nodes_leave_nothing_behind(server, tmp_path):
    about = Card("lib", "m", "f" * 32, DIM, "now", store=f"{server}/t{uuid.uuid4().hex}?replicas=3")
    place = open_place(about, tmp_path)
    with pytest.raises(LibraryError, match="Milvus server at"):
        place.store()
    place.check_free()


def test_credentials_do_not_go_into_the_address():
    with pytest.raises(ConfigError, match="DIPTYCH_MILVUS_TOKEN"):
        milvus_address.parse("milvus://user:secret@host:19530/pictures")


def test_a_collection_of_an_earlier_development_version_says_to_index_again(tmp_path):
    pytest.importorskip("pymilvus", reason="needs pymilvus: pip install 'diptych[milvus]'")
    about = Card("id", "m", "f", DIM, "2026", store="milvus://h:19530/p")
    place = open_place(about, tmp_path)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "trash.server.json").write_text("{}")
    with pytest.raises(LibraryError, match="index again into a new"):
        place.store()


def test_addresses():
    plain = milvus_address.parse("milvus://h:19530/p")
    assert plain == milvus_address.Address("http://h:19530", "p", "FLAT", 1, "Strong")
    assert milvus_address.parse("milvus+tls://h:443/p?index=HNSW&replicas=3&consistency=Bounded") == (
        milvus_address.Address("https://h:443", "p", "HNSW", 3, "Bounded")
    )


def test_a_library_of_format_1_is_written_as_such_and_another_says_where_its_rows_are(tmp_path, encoder):
    Library.create(tmp_path / "one", encoder)
    assert json.loads((tmp_path / "one" / "library.json").read_text())["format"] == 1
    assert "store" not in json.loads((tmp_path / "one" / "library.json").read_text())
