from dataclasses import replace

import numpy as np
import pytest

from diptych.core.errors import LibraryError
from diptych.library.store import lance
from diptych.library.store.lance import MOST_EXTRA_COLUMNS, LanceStore, version_on_disk
from diptych.library.store.row_codec import column_name
from diptych.library.store.rows import Row
from diptych.library.store.where_sql import parse


def row(number, **said):
    vector = np.zeros(4, np.float32)
    vector[number % 4] = 1
    known = {"path": f"/a/b/{number}.jpg", "source": "/a", "content": "c" * 32, "bytes": 3}
    size = {"modified_ns": 1_700_000_000_000_000_001, "width": 40 + number, "height": 30}
    return Row(id=f"{number:016x}", vector=vector, **known | size | said)


@pytest.fixture
def store(tmp_path):
    return LanceStore(tmp_path, 4)


def matching(store, where):
    return store.matching(parse(where, store.columns()))


def test_rows_come_back_as_they_were(store):
    rows = [
        row(1),
        row(2, texts=("a dog", "half \ud800"), split="val", group="x", meta={"n": 3, "tags": ["a"], "é \ud800": None}),
    ]
    store.write(rows)
    back = store.get([rows[1].id, rows[0].id, "unknown"])
    assert back == rows
    assert np.array_equal([one.vector for one in back], [one.vector for one in rows])


def test_one_write_replaces_inserts_and_removes_as_one_version(store):
    store.write([row(1), row(2)])
    before = store.version
    store.write([row(2, split="test"), row(3)], remove=[row(1).id])
    assert store.version == before + 1
    assert [(one.id, one.split) for one in store.get([row(n).id for n in (1, 2, 3)])] == [
        (row(2).id, "test"),
        (row(3).id, None),
    ]


def test_the_version_on_disk_follows_every_write(store, tmp_path):
    seen = [version_on_disk(tmp_path)]
    for number in range(3):
        store.write([row(number)])
        seen.append(version_on_disk(tmp_path))
    store.write([], remove=[row(0).id])
    seen.append(version_on_disk(tmp_path))
    store.compact(keep_seconds=0.0)
    seen.append(version_on_disk(tmp_path))
    assert None not in seen
    assert len(set(seen)) == len(seen)
    assert version_on_disk(tmp_path / "elsewhere") is None


def test_metadata_becomes_columns(store):
    store.write([row(1, meta={"Prep time": 5, "ok": True, "word": "x", "path": "other"}), row(2)])
    assert {"prep_time": "number", "ok": "boolean", "word": "text", "meta_path": "text"}.items() <= dict(
        store.columns()
    ).items()
    assert matching(store, "prep_time > 4.5 AND ok") == [row(1).id]
    assert matching(store, "word IS NULL") == [row(2).id]


def test_values_of_another_type_stay_in_meta(store):
    store.write([row(1, meta={"n": 5})])
    store.write([row(2, meta={"n": "five"}), row(3, meta={"n": 10**400})])
    assert matching(store, "n > 0") == [row(1).id]
    assert [one.meta["n"] for one in store.get([row(2).id, row(3).id])] == ["five", 10**400]


def test_thousands_of_keys_do_not_become_thousands_of_columns(store):
    store.write([row(1, meta={f"key{number}": number for number in range(1000)})])
    assert sum(name.startswith("key") for name in store.columns()) == MOST_EXTRA_COLUMNS
    assert len(store.get([row(1).id])[0].meta) == 1000


def test_quotes_and_semicolons_in_strings(store):
    store.write([row(1, group="it's; fine")])
    assert matching(store, "`group` = 'it''s; fine'") == [row(1).id]


def test_the_stores_own_search_agrees_with_cosine(store):
    store.write([row(number) for number in range(4)])
    (found,) = store.search(np.array([[0, 0.6, 0.8, 0]], np.float32), 2)
    assert [identifier for identifier, _ in found] == [row(2).id, row(1).id]
    assert [score for _, score in found] == pytest.approx([0.8, 0.6])
    assert [
        identifier
        for identifier, _ in store.search(np.eye(4, dtype=np.float32)[:1], 9, parse("width > 41", store.columns()))[0]
    ] == [
        row(2).id,
        row(3).id,
    ]


def test_compacting_keeps_the_rows(store):
    for number in range(10):
        store.write([row(number)])
    store.write([], remove=[row(0).id])
    store.compact(keep_seconds=0.0)
    assert store.count() == 9
    assert len(store.get([row(number).id for number in range(10)])) == 9


def test_a_broken_table_is_one_line(tmp_path):
    store = LanceStore(tmp_path, 4)
    store.write([row(1)])
    for manifest in (tmp_path / "pictures.lance" / "_versions").glob("*.manifest"):
        manifest.write_bytes(b"garbage")
    with pytest.raises(LibraryError) as caught:
        LanceStore(tmp_path, 4).count()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", ["no columns of the trash", "a second table"])
def test_a_library_of_an_earlier_development_version_says_to_index_again(store, tmp_path, layout):
    store.write([row(1)])
    if layout == "a second table":
        store._database.create_table("trash", schema=store._table.schema)
    else:
        store._table.drop_columns(["deleted_at", "batch"])
    with pytest.raises(LibraryError, match=r"layout of an earlier development version .* index again into a new"):
        LanceStore(tmp_path, 4)


def test_column_names():
    assert column_name("Prep time (min)") == "prep_time__min_"
    assert column_name("2nd") == "_2nd"
    assert column_name("vector") == "meta_vector"
    assert column_name("") == "_"
    assert column_name("Größe") == "gru00f6u00dfe"
    assert column_name("颜色") != column_name("大小")
    assert column_name("e\u0301t\u00e9") == column_name("\u00e9te\u0301")


def test_a_version_that_is_read_outlives_writers_and_compaction(tmp_path):
    store = LanceStore(tmp_path, 4)
    rows = [row(number) for number in range(20)]
    store.write(rows)
    still, _ = store.at_one_version()
    for number in range(20, 24):
        store.write([row(number)], [f"{number - 20:016x}"])
        store.compact(0.0)
    found = [one for block in still.scan(["id", "vector"]) for one in block["id"]]
    assert sorted(found) == [one.id for one in rows]
    assert [one.id for one in still.get([rows[0].id])] == [rows[0].id]
    del still
    store.compact(0.0)
    assert len(list((tmp_path / "pictures.lance" / "_versions").glob("*.manifest"))) == 1
    assert list((tmp_path / "readers").iterdir()) == []


def test_the_version_of_a_reader_that_died_is_dropped(tmp_path):
    store = LanceStore(tmp_path, 4)
    store.write([row(1)])
    version = store.version
    store.write([row(2)])
    (tmp_path / "readers").mkdir()
    (tmp_path / "readers" / f"{version}-1-0").touch()  # nobody holds its lock
    store.compact(0.0)
    assert len(list((tmp_path / "pictures.lance" / "_versions").glob("*.manifest"))) == 1
    assert list((tmp_path / "readers").iterdir()) == []


def test_a_large_table_has_indexes_that_follow_its_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(lance, "_INDEXED_FROM", 10)
    store = LanceStore(tmp_path, 4)
    store.write([row(number) for number in range(30)])
    store.compact(0.0)
    assert {index.columns[0] for index in store._table.list_indices()} == {"id", "path"}
    store.write([row(40), replace(row(3), width=9)], [row(5).id])
    store.write([replace(row(4), deleted_at=1, batch="b")])
    for _ in range(2):
        asked = [row(number).id for number in (3, 4, 5, 6, 40, 41)]
        assert [(one.id, one.width) for one in store.get(asked)] == [
            (row(3).id, 9), (row(6).id, 46), (row(40).id, 80)
        ]  # fmt: skip
        assert [one.id for one in store.get(asked, "trash")] == [row(4).id]
        store.compact(0.0)
