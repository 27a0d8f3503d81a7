from dataclasses import replace

import numpy as np
import pytest

from diptych.core.files import files_below
from diptych.library.store.where import Condition


def kinds(library):
    return library.verify().kinds


def test_a_sound_library(filled):
    verdict = filled.verify()
    assert (verdict.images, verdict.problems) == (6, ())


def test_files_that_went_or_changed(filled, pictures):
    (pictures / "red.png").unlink()
    (pictures / "blue.png").write_bytes(b"other")
    assert kinds(filled) == {"missing_file": 1, "changed_file": 1}
    filled.index([pictures])
    assert kinds(filled) == {}
    filled.compact()
    assert kinds(filled) == {}


@pytest.mark.parametrize("spoilt", [0.0, 3.0])
def test_vectors_that_are_not_unit_vectors(filled, spoilt):
    store = filled.opened.store()
    (identifier,) = store.matching(Condition("name", "=", "red.png"))
    (row,) = store.get([identifier])
    store.write([replace(row, vector=row.vector * np.float32(spoilt))])
    assert kinds(filled) == {"bad_vector": 1}


def test_two_rows_for_one_path(filled):
    store = filled.opened.store()
    (row,) = store.get(store.matching(Condition("name", "=", "red.png")))
    store.write([replace(row, id="f" * 16)])
    assert kinds(filled) == {"duplicate_path": 1}


def test_thumbnails_that_went_are_cut_or_belong_to_nothing(filled):
    thumbs = sorted(files_below(filled.thumbnails.folder))
    thumbs[0].unlink()
    thumbs[1].write_bytes(thumbs[1].read_bytes()[:50])
    filled.thumbnails.write("f" * 32, b"x")
    (filled.thumbnails.folder / "ab.tmp").write_bytes(b"left over")
    assert kinds(filled) == {"missing_thumb": 1, "damaged_thumb": 1, "orphan_thumb": 2}
    filled.compact()
    assert kinds(filled) == {}
    assert sorted(files_below(filled.thumbnails.folder)) == thumbs


def test_a_snapshot_that_lies(filled):
    (path,) = filled.folder.glob("snapshot/*/vectors.npy")
    vectors = np.load(path)
    vectors[0] *= -1
    np.save(path, vectors)
    assert kinds(filled) == {"stale_snapshot": 1}
    filled.compact()
    assert kinds(filled) == {}


def test_every_problem_names_its_remedy(filled, pictures):
    (pictures / "red.png").unlink()
    (problem,) = filled.verify().problems
    assert problem.name == str(pictures / "red.png")
    assert "index" in problem.remedy


def test_repair_puts_right_all_that_it_can(filled):
    store = filled.opened.store()
    rows = {
        name: store.get(store.matching(Condition("name", "=", f"{name}.png")))[0] for name in ("red", "blue", "green")
    }
    store.write([replace(rows["blue"], vector=rows["blue"].vector * np.float32(3)), replace(rows["red"], id="f" * 16)])
    thumbs = sorted(files_below(filled.thumbnails.folder))
    thumbs[0].unlink()
    filled.thumbnails.write("f" * 32, b"x")
    (filled.folder / ".library.json.abc.tmp").write_bytes(b"{")
    orphan = filled.folder / "files" / "aa" / ("a" * 32 + ".png")
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"precious")
    found = kinds(filled)
    assert found.keys() == {
        "bad_vector", "duplicate_path", "missing_thumb", "orphan_thumb", "leftover_file", "orphan_file"
    }  # fmt: skip
    repair = filled.repair()
    assert repair.repaired == dict(sorted(found.items()))
    assert repair.left == filled.verify().problems == ()
    assert len(filled) == 6
    assert [one.item.name for one in filled.trash()] == ["red.png"]
    assert (filled.folder / "lost" / orphan.name).read_bytes() == b"precious"
    assert filled.search("blue", 1)[0].meta["name"] == "blue.png"


def test_repair_without_the_model_leaves_vectors_and_says_so(filled):
    from diptych.library import Library

    store = filled.opened.store()
    (row,) = store.get(store.matching(Condition("name", "=", "blue.png")))
    store.write([replace(row, vector=row.vector * np.float32(3))])
    (left,) = Library.open(filled.folder).repair().left
    assert (left.kind, left.name) == ("bad_vector", row.id)


def test_two_rows_of_one_id_become_one(filled):
    store = filled.opened.store()
    (row,) = store.get(store.matching(Condition("name", "=", "blue.png")))
    table = filled.opened.place.store()._table
    table.add(filled.opened.place.store()._to_arrow([row]))
    assert kinds(filled).keys() >= {"duplicate_id", "duplicate_path"}
    filled.repair()
    assert kinds(filled) == {}
    assert filled.get(row.id).name == "blue.png"
    assert len(filled) == 6


def test_a_row_in_the_trash_and_a_live_one_of_one_id_get_ids_of_their_own(filled):
    store = filled.opened.store()
    (row,) = store.get(store.matching(Condition("name", "=", "blue.png")))
    store.write([replace(row, path=row.path + "x")])
    filled.delete([row.id])
    filled.opened.place.store()._table.add(filled.opened.place.store()._to_arrow([row]))
    assert kinds(filled)["duplicate_id"] == 1
    filled.repair()
    assert "duplicate_id" not in kinds(filled)
    assert (len(filled), len(filled.trash())) == (6, 1)
