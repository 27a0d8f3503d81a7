import json
import os
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest

from diptych.core.errors import ConfigError, DataError, LibraryError, LimitError
from diptych.library import Library
from diptych.library.query import QueryWarning
from diptych.library.store import lock as locks
from diptych.library.view import snapshot, snapshots
from diptych.models import load


def names(hits):
    return [hit.meta["name"] for hit in hits]


def test_words_pictures_vectors_and_sums(filled, encoder, pictures):
    assert names(filled.search("red", 1)) == ["red.png"]
    assert names(filled.search(pictures / "blue.png", 1)) == ["blue.png"]
    assert names(filled.search(encoder.encode_texts(["green"])[0], 1)) == ["green.png"]
    assert names(filled.search(f'"red" - "red" + {pictures / "green.png"}', 1)) == ["green.png"]
    hits = filled.search("red", 3)
    assert [hit.rank for hit in hits] == [0, 1, 2]
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert hits[0].path == str(pictures / "red.png")
    assert hits[0].meta == {"name": "red.png", "width": 40, "height": 30}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_more_than_there_are(filled):
    assert len(filled.search("red", 1000)) == 6


def test_like_leaves_itself_out(filled):
    (red,) = filled.search("red", 1)
    hits = filled.like(red.id, 5)
    assert len(hits) == 5
    assert "red.png" not in names(hits)
    assert [hit.rank for hit in hits] == [0, 1, 2, 3, 4]
    assert names(filled.like(red.id, 1, "name = 'blue.png'")) == ["blue.png"]
    assert len(filled.like(red.id, 1000)) == 5


@pytest.mark.parametrize("identifier", ["", "nope", "0" * 16, "é" * 16, "\udcff", "x" * 10_000])
def test_like_an_unknown_id(filled, identifier):
    with pytest.raises(DataError, match="no image has the id"):
        filled.like(identifier)


def test_a_filter_narrows_the_search(filled):
    assert names(filled.search("red", 9, "name IN ('blue.png', 'green.png')")) in (
        ["blue.png", "green.png"],
        ["green.png", "blue.png"],
    )
    assert filled.search("red", 9, "width > 1000") == []
    with pytest.raises(ConfigError, match="columns: id"):
        filled.search("red", 9, "colour = 'red'")
    with pytest.raises(LimitError, match="100,000 characters"):
        filled.search("red", 9, "x" * 100_000)


def test_bad_queries(filled):
    for query, error in (("", DataError), ("x" * 1001, LimitError), ("\ud800", DataError)):
        with pytest.raises(error):
            filled.search(query)
    with pytest.raises(LimitError):
        filled.search("red", 0)
    with pytest.raises(ConfigError, match="expected 16 finite values"):
        filled.search(np.full(16, np.nan, np.float32))
    with pytest.raises(ConfigError, match="expected 16 finite values"):
        filled.search(np.ones(3, np.float32))


def test_an_empty_library(library):
    assert library.search("red", 5) == []
    assert len(library) == 0
    assert library.verify().problems == ()
    with pytest.raises(DataError):
        library.like("0" * 16)


def test_another_model_is_refused_with_both_fingerprints(filled, other_encoder):
    with pytest.raises(LibraryError) as caught:
        Library.open(filled.folder, other_encoder)
    assert filled.card.fingerprint in str(caught.value)
    assert other_encoder.fingerprint in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_library_finds_its_model_itself(tmp_path, pictures, tiny_model, monkeypatch):
    folder = tiny_model(tmp_path / "tiny", 0)
    monkeypatch.chdir(tmp_path)
    made = Library.create(tmp_path / "by-name", "tiny")  # a folder's name, as on the command line
    made.index([pictures])
    expected = [(hit.id, hit.score) for hit in made.search("red")]
    monkeypatch.chdir("/")
    assert [(hit.id, hit.score) for hit in Library.open(made.folder).search("red")] == expected
    assert [(hit.id, hit.score) for hit in Library.open(made.folder, str(folder)).search("red")] == expected
    by_object = Library.create(tmp_path / "by-object", load(folder))  # whose own name nothing can be loaded by
    by_object.index([pictures])
    assert [hit.score for hit in Library.open(by_object.folder).search("red")] == [score for _, score in expected]
    with pytest.raises(LibraryError, match="two models cannot be compared"):
        Library.open(made.folder, tiny_model(tmp_path / "other", 1))
    made.reembed(tmp_path / "other")
    assert Library.open(made.folder).search("red")[0].score != expected[0][1]
    tiny_model(tmp_path / "other", 2)
    with pytest.raises(LibraryError, match="two models cannot be compared"):
        Library.open(made.folder).search("red")


def test_the_shipped_model_by_name(tmp_path):
    assert Library.create(tmp_path / "library", "base").card.model == "base"
    assert Library.create(tmp_path / "another", load("base")).card.model == "base"


def test_a_name_in_words_or_a_sum_without_quotes_is_warned_of(filled, pictures):
    with pytest.warns(QueryWarning, match="is the name of a file"):
        filled.search(str(pictures / "red.png"))
    with pytest.warns(QueryWarning, match='as in \'"red" - "blue"\''):
        filled.search("red - blue")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled.search("red")
        filled.search(pictures / "red.png")


def test_without_its_model_words_are_refused_and_ids_work(filled):
    reader = Library.open(filled.folder)
    (red,) = filled.search("red", 1)
    assert len(reader.like(red.id, 2)) == 2
    with pytest.raises(LibraryError, match="needs its model 'mosaic', which cannot be loaded"):
        reader.search("red")


def test_what_is_not_a_library(tmp_path, encoder, filled):
    with pytest.raises(LibraryError, match="does not exist"):
        Library.open(tmp_path / "nowhere")
    with pytest.raises(LibraryError, match="not a library"):
        Library.open(tmp_path)
    with pytest.raises(LibraryError, match="already"):
        Library.create(filled.folder, encoder)
    with pytest.raises(LibraryError, match="not a library"):
        Library.create(tmp_path, encoder)
    (filled.folder / "library.json").write_text("{")
    with pytest.raises(LibraryError, match="damaged"):
        Library.open(filled.folder)


def test_a_format_of_the_future(filled):
    path = filled.folder / "library.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(LibraryError, match="format 99"):
        Library.open(filled.folder)


def test_a_reader_sees_what_another_process_wrote(filled, encoder, pictures, painter):
    reader = Library.open(filled.folder, encoder)
    assert len(reader) == 6
    painter(pictures / "new.png", "red", mark=4)
    filled.index([pictures])
    assert len(reader) == 7


def spoil(folder, name, how):
    (path,) = folder.glob(f"snapshot/*/{name}") if name != "current.json" else [folder / "snapshot" / name]
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.write_bytes(b"\x00" * len(data))


@pytest.mark.parametrize("how", ["missing", "cut", "zeros"])
@pytest.mark.parametrize("name", ["current.json", "vectors.npy", "ids.npy", "rows.jsonl", "offsets.npy"])
def test_a_damaged_snapshot_is_made_again(filled, encoder, name, how):
    expected = filled.search("red", 6)
    spoil(filled.folder, name, how)
    assert Library.open(filled.folder, encoder).search("red", 6) == expected
    assert Library.open(filled.folder, encoder).verify().problems == ()


def test_searching_works_where_nothing_can_be_written(filled, encoder, monkeypatch):
    expected = filled.search("red", 6)
    spoil(filled.folder, "current.json", "missing")

    def refuse(*_):
        raise OSError("read-only file system")

    monkeypatch.setattr(snapshot, "build", refuse)
    assert Library.open(filled.folder, encoder).search("red", 6) == expected


def test_many_readers_may_rebuild_at_once_and_one_does(filled, encoder, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    expected = filled.search("red", 6)
    spoil(filled.folder, "current.json", "missing")
    build, built = snapshot.build, []
    monkeypatch.setattr(snapshot, "build", lambda *given: built.append(1) or build(*given))
    with ThreadPoolExecutor(6) as pool:
        found = pool.map(lambda _: Library.open(filled.folder, encoder).search("red", 6), range(12))
        assert all(hits == expected for hits in found)
    assert len(list((filled.folder / "snapshot").iterdir())) == 3  # the snapshot, its pointer, the lock of its journal
    assert len(built) == 1


def test_a_reader_builds_nothing_while_a_writer_is_at_work(filled, encoder, monkeypatch):
    """A store that is tidied up has new versions for seconds before the journal leads to them."""
    monkeypatch.setattr(snapshots, "_PATIENCE", 0.0)
    reader = Library.open(filled.folder, encoder)
    first = reader.search("red", 6)
    with locks.writer(filled.folder):
        filled.opened.place.store().write([], [first[0].id])  # no journal yet
        assert reader.search("red", 6) == first
    assert first[0].id not in {hit.id for hit in reader.search("red", 6)}  # the writer died: look for itself


def test_looking_whether_somebody_writes(tmp_path):
    assert not locks.is_held(tmp_path)
    with locks.writer(tmp_path):
        assert locks.is_held(tmp_path)
    assert not locks.is_held(tmp_path)


def test_ties_go_by_id(library, pictures):
    import shutil

    for number in range(20):
        shutil.copy(pictures / "red.png", pictures / f"red{number}.png")
    library.index([pictures])
    hits = library.search("red", 21)
    assert len({hit.score for hit in hits}) == 1
    assert [hit.id for hit in hits] == sorted(hit.id for hit in hits)
    assert library.search("red", 7) == hits[:7]


def test_metadata_with_half_a_character_prints(library, pictures):
    source = pictures / "list.jsonl"
    source.write_text('{"image": "red.png", "caption": "half \\ud800 of it", "note": "\\udfff"}\n')
    library.index([source])
    for hit in library.search("red", 9):
        json.dumps(hit.meta, ensure_ascii=False).encode("utf-8")


def test_the_store_agrees_with_the_snapshot(filled, encoder):
    query = filled.vector("red")
    hits = filled.search(query, 6)
    assert [identifier for identifier, _ in filled.opened.store().search(query[None], 6)[0]] == [hit.id for hit in hits]


def test_removing(filled, pictures):
    assert len(filled.remove([pictures / "sub", pictures / "red.png"]).ids) == 2
    assert len(filled) == 4
    assert len(filled.remove([pictures]).ids) == 4
    assert filled.remove([pictures]).ids == ()


def test_thumbnails(filled):
    (red,) = filled.search("red", 1)
    assert filled.thumbnail(red.id).startswith(b"\xff\xd8\xff")
    assert filled.thumbnail("unknown") is None


def test_a_full_disk_is_one_line(filled, pictures, painter, monkeypatch):
    painter(pictures / "new.png", "red", mark=4)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(filled.thumbnails, "write", full)
    with pytest.raises(LibraryError, match="No space left on device"):
        filled.index([pictures])
    monkeypatch.undo()
    assert filled.index([pictures]).added == 1


def test_searching_imports_neither_lance_nor_arrow_nor_torch(filled):
    """The price of a cold search: a fresh process that searches must stay light."""
    script = f"""
        import sys
        import numpy as np
        from diptych.library import Library
        library = Library.open({str(filled.folder)!r})
        assert len(library.search(np.ones(16, np.float32), 3)) == 3
        heavy = {{"lancedb", "pyarrow", "torch", "pandas", "faiss", "matplotlib"}} & set(sys.modules)
        assert not heavy, heavy
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, env=environment)


def test_many_runs_do_not_pile_up_versions(filled, pictures, painter):
    for number in range(1, 22):
        painter(pictures / "new.png", "red", mark=number % 15 + 1, size=(40 + number, 30))
        filled.index([pictures])
    filled.compact()
    assert len(list((filled.folder / "store").glob("*.lance/_versions/*.manifest"))) == 1
    assert len(list((filled.folder / "snapshot").iterdir())) == 3  # the pointer, what it points to, a lock
    assert len(filled.search("red", 100)) == 7
    assert filled.verify().problems == ()


def test_a_model_that_does_not_compare_by_cosine_is_refused(tmp_path, encoder):
    encoder.compares_by = "order"
    with pytest.raises(LibraryError, match="compare by order, a library ranks by cosine"):
        Library.create(tmp_path / "new", encoder)
    assert not (tmp_path / "new").exists()
