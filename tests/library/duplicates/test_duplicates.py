"""Copies of one image in a library: each kind is found, grouped and named; other images are left alone."""

from __future__ import annotations

import shutil

import numpy as np
import PIL.Image
import pytest

from diptych.core.errors import ConfigError
from diptych.library import Library
from diptych.library.duplicates import candidates

FLIP = PIL.Image.Transpose


def photo(seed: int, width: int = 320, height: int = 240) -> PIL.Image.Image:
    """Blurred noise of several sizes: large shapes and fine grain, unlike that of any other seed."""
    chance, pixels = np.random.default_rng(seed), np.zeros((height, width, 3))
    for cells, strength in ((3, 60), (8, 30), (40, 15)):
        noise = PIL.Image.fromarray(chance.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        pixels += (np.asarray(noise.resize((width, height), PIL.Image.Resampling.BICUBIC)) - 127.5) / 127.5 * strength
    return PIL.Image.fromarray((pixels + 127.5).clip(0, 255).astype(np.uint8))


COPIES = {
    "encoded": ("a.jpg", lambda image: image, ("encoded",), {}),
    "smaller": ("b.png", lambda image: image.resize((80, 60)), ("resized",), {}),
    "cropped": ("c.png", lambda image: image.crop((0, 20, 300, 240)), ("cropped",), {"kept": 0.859}),
    "mirrored": ("d.jpg", lambda image: image.transpose(FLIP.FLIP_LEFT_RIGHT), ("mirrored",), {}),
    "turned": ("e.jpg", lambda image: image.transpose(FLIP.ROTATE_90), ("turned",), {"turned": 270}),
    "upended": ("f.jpg", lambda image: image.transpose(FLIP.FLIP_TOP_BOTTOM), ("mirrored", "turned"), {"turned": 180}),
}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "photos"
    made.mkdir()
    for seed in range(5):
        photo(seed).save(made / f"{seed}.png")
    PIL.Image.new("RGB", (320, 240), "navy").save(made / "blue.png")
    PIL.Image.new("RGB", (160, 120), "navy").save(made / "small blue.png")
    return made


def indexed(folder, encoder):
    library = Library.create(folder.parent / "library", encoder)
    library.index(folder)
    return library


@pytest.mark.parametrize("kind", COPIES)
def test_each_kind_of_copy_is_found_and_named(folder, encoder, kind):
    name, change, kinds, facts = COPIES[kind]
    change(photo(1)).save(folder / name, quality=60)
    library = indexed(folder, encoder)
    found = library.duplicates()
    (group,) = found.groups
    (copy,) = group.others
    assert (group.best.name, copy.name, copy.kinds, copy.of) == ("1.png", name, kinds, group.best.id)
    assert (copy.turned, copy.kept) == (facts.get("turned", 0), pytest.approx(facts.get("kept", 1.0), abs=0.01))
    assert (found.images, found.left_out) == (8, {"of one colour, compared by their bytes alone": 2})


def test_the_best_has_most_pixels_unless_it_is_a_part_and_nothing_changes_without_rm(folder, encoder):
    photo(2).crop((0, 0, 300, 230)).resize((600, 460)).save(folder / "enlarged part.png")
    shutil.copy(folder / "2.png", folder / "again.png")
    photo(2).resize((160, 120)).save(folder / "half.png")
    library = indexed(folder, encoder)
    found = library.duplicates()
    (group,) = found.groups
    assert group.best.name == "2.png"
    assert group.reason == "it shows the whole image; larger ones are cropped"
    assert {copy.name: copy.kinds for copy in group.others} == {
        "again.png": ("exact",),
        "half.png": ("resized",),
        "enlarged part.png": ("resized", "cropped"),
    }
    assert len(library) == 10
    deletion = library.delete(found.spare)
    assert library.duplicates().groups == ()
    library.undo(deletion)
    assert library.duplicates().groups == found.groups
    assert library.duplicates("width < 300").groups == ()


def test_a_grey_copy_of_equal_size_is_not_preferred_to_the_coloured_one(folder, encoder):
    """Although it has more bytes; a larger grey one is, and then the coloured one is said to be in colours."""
    photo(4).save(folder / "coloured.jpg", quality=80)
    (folder / "4.png").unlink()
    photo(4).convert("L").convert("RGB").save(folder / "a grey.png")
    library = indexed(folder, encoder)
    (group,) = library.duplicates().groups
    assert (group.best.name, group.best.grey) == ("coloured.jpg", False)
    assert group.others[0].bytes > group.best.bytes
    assert group.reason == "most pixels (320 x 240), and of those the one in colours"
    assert [(copy.name, copy.kinds, copy.grey) for copy in group.others] == [("a grey.png", ("grey",), True)]
    photo(4, 640, 480).convert("L").save(folder / "large.png")
    library.index(folder)
    (group,) = library.duplicates().groups
    assert group.best.name == "large.png"
    assert {copy.name: copy.kinds for copy in group.others} == {
        "coloured.jpg": ("resized", "coloured"),
        "a grey.png": ("resized",),
    }


def test_two_images_that_share_only_a_part_are_no_copies_of_each_other(folder, encoder):
    """A left part and a right part of an image, and their middle: joined by it, each shows what the other does not."""
    photo(6).crop((0, 0, 290, 240)).save(folder / "left.png")
    photo(6).crop((30, 0, 320, 240)).save(folder / "right.png")
    photo(6).crop((30, 0, 290, 240)).save(folder / "middle.png")
    (group,) = indexed(folder, encoder).duplicates().groups
    assert [copy.name for copy in group.others] == ["middle.png"]
    assert group.others[0].kinds == ("cropped",)


def test_a_missing_thumbnail_is_made_up_for_by_the_file(folder, encoder):
    photo(3).save(folder / "copy.jpg", quality=70)
    library = indexed(folder, encoder)
    for path in (folder.parent / "library" / "thumbs").rglob("*.jpg"):
        path.unlink()
    assert len(library.duplicates().groups) == 1
    (folder / "copy.jpg").unlink()
    found = library.duplicates()
    assert found.groups == ()
    assert found.left_out["no thumbnail, and the file is gone or has changed"] == 1


def test_texts_are_refused(tmp_path, encoder):
    (tmp_path / "texts.txt").write_text("red\nblue\n")
    library = Library.create(tmp_path / "library", encoder)
    library.index_texts(tmp_path / "texts.txt")
    with pytest.raises(ConfigError, match="holds texts"):
        library.duplicates()


def test_near_vectors_share_a_cell(monkeypatch):
    """With more vectors than are compared all with all, nearly all near pairs are found, among few of all pairs."""
    monkeypatch.setattr(candidates, "_BLOCK", 10_000)
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(1000, 32)).astype(np.float32)
    vectors[500:] = vectors[:500] + 0.2 * chance.normal(size=(500, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = {frozenset(pair) for left, right in candidates.near_vectors(vectors, 4)
             for pair in zip(left.tolist(), right.tolist(), strict=True)}  # fmt: skip
    assert sum(frozenset((place, place + 500)) in pairs for place in range(500)) >= 0.98 * 500
    assert len(pairs) < 0.02 * 1000 * 999 / 2
