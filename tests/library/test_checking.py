from dataclasses import replace

import numpy as np
import pytest


def kinds(library):
    return library.verify().kinds


def test_a_sound_library(filled):
    verdict = filled.verify()
    assert (verdict.pictures, verdict.problems) == (6, ())


def test_files_that_went_or_changed(filled, pictures):
    (pictures / "red.png").unlink()
    (pictures / "blue.png").write_bytes(b"other")
    assert kinds(filled) == {"missing_file": 1, "changed_file": 1}
    filled.index([pictures])
    assert kinds(filled) == {"orphan_thumb": 2}
    filled.compact()
    assert kinds(filled) == {}


@pytest.mark.parametrize("spoilt", [0.0, 3.0])
def test_vectors_that_are_not_unit_vectors(filled, spoilt):
    store = filled._store()
    (identifier,) = store.matching("name = 'red.png'")
    (row,) = store.get([identifier])
    store.write([replace(row, vector=row.vector * np.float32(spoilt))])
    assert kinds(filled) == {"bad_vector": 1}


def test_two_rows_for_one_path(filled):
    store = filled._store()
    (row,) = store.get(store.matching("name = 'red.png'"))
    store.write([replace(row, id="f" * 16)])
    assert kinds(filled) == {"duplicate_path": 1}


def test_thumbnails_that_went_are_cut_or_belong_to_nothing(filled):
    thumbs = sorted(filled.thumbs.files())
    thumbs[0].unlink()
    thumbs[1].write_bytes(thumbs[1].read_bytes()[:50])
    filled.thumbs.write("f" * 32, b"x")
    (filled.thumbs.folder / "ab.tmp").write_bytes(b"left over")
    assert kinds(filled) == {"missing_thumb": 1, "damaged_thumb": 1, "orphan_thumb": 2}
    filled.compact()
    assert kinds(filled) == {}
    assert sorted(filled.thumbs.files()) == thumbs


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
