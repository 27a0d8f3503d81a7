"""Every image of a folder once; what is passed over is counted."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from diptych.core.notes import Notes
from diptych.data import image_walk
from diptych.data.image_walk import ImageWalk
from diptych.data.readers import SourceOptions, open_source


@pytest.fixture
def image(tmp_path: Path):
    """`image("a/b.jpg")` writes an image below the folder, as JPEG unless its suffix says otherwise."""

    def write(name: str, kind: str = "JPEG") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(name.encode())
        pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(path, kind)
        return path

    return write


def walked(root: Path) -> tuple[list[str], dict[str, tuple[int, dict[str, int]]], ImageWalk]:
    notes, problems = Notes(), []
    walk = ImageWalk(root, notes, lambda folder, error: problems.append(folder))
    found = [os.path.relpath(entry.path, root) for entry in walk]
    assert problems == []
    return found, {note.kind: (note.count, dict(note.parts)) for note in notes}, walk


def test_names_without_a_suffix_are_read_by_what_they_hold(image, tmp_path):
    for name in ("scan", "IMG 12.05.2019", "b.jpg"):
        image(name)
    (tmp_path / "README").write_text("no image")
    (tmp_path / "c.2020").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    found, notes, walk = walked(tmp_path)
    assert found == ["IMG 12.05.2019", "b.jpg", "scan"]
    assert notes == {"no_suffix": (2, {})}
    assert walk.others.total() == 3


def test_other_kinds_are_counted_by_kind_and_mpo_is_read(image, tmp_path):
    image("a.mpo", "MPO")
    for name in ("b.ppm", "c.psd", "d.PSD", "e.svg", "f.XCF", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    found, notes, walk = walked(tmp_path)
    assert found == ["a.mpo"]
    assert notes == {"other_kind": (5, {".psd": 2, ".svg": 1, ".xcf": 1, ".ppm": 1})}
    assert walk.others[".txt"] == 1
    source = open_source(tmp_path)
    assert [pair.id for pair in source] == found
    (note, orphan) = source.notes
    assert note.to_text() == "files of other kinds, passed over: 5 (2 .psd, 1 .ppm, 1 .svg, 1 .xcf)"
    assert (orphan.kind, orphan.examples) == ("unread_text", ("notes.txt",))


def test_a_raw_image_beside_another_of_its_name_counts_once(image, tmp_path, monkeypatch):
    for name in ("a.jpg", "b.jpg"):
        image(name)
    for name in ("a.CR2", "a.b.NEF", "c.dng", "sub/b.arw"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr(image_walk, "reads_raw", lambda: True)
    found, notes, _ = walked(tmp_path)
    assert found == ["a.b.NEF", "a.jpg", "b.jpg", "c.dng", "sub/b.arw"]
    assert notes == {"raw_twin": (1, {})}
    monkeypatch.setattr(image_walk, "reads_raw", lambda: False)  # without the extra [raw]
    found, notes, _ = walked(tmp_path)
    assert found == ["a.jpg", "b.jpg"]
    assert notes == {"raw_unread": (4, {".cr2": 1, ".nef": 1, ".dng": 1, ".arw": 1})}


def test_a_raw_image_beside_a_damaged_one_is_read_and_the_other_stays_to_be_counted(image, tmp_path, monkeypatch):
    for name in ("cut.jpg", "empty.jpg", "whole.jpg", "filled.jpg", "both.jpg", "both.png", "cut.webp"):
        image(name, {".png": "PNG", ".webp": "WEBP"}.get(Path(name).suffix, "JPEG"))
    for name in ("cut.jpg", "both.jpg", "cut.webp"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-30])
    data = (tmp_path / "filled.jpg").read_bytes()
    (tmp_path / "filled.jpg").write_bytes(data[:-100] + bytes(5000))  # as after a copy that was interrupted
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("cut", "empty", "whole", "filled", "both"):
        (tmp_path / f"{name}.NEF").write_bytes(b"x")
    monkeypatch.setattr(image_walk, "reads_raw", lambda: True)
    found, notes, _ = walked(tmp_path)
    assert [name for name in found if name.endswith(".NEF")] == ["cut.NEF", "empty.NEF", "filled.NEF"]
    assert {"cut.jpg", "empty.jpg", "filled.jpg", "both.jpg"} <= set(found)
    assert notes == {"raw_kept": (3, {}), "raw_twin": (2, {})}


def test_hidden_files_and_folders_are_counted(image, tmp_path):
    image("a.jpg")
    image(".b.jpg")
    image(".cache/c.jpg")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    assert walked(tmp_path)[:2] == (["a.jpg"], {"hidden": (2, {})})


def test_links_lead_to_each_image_once_and_loops_end(image, tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    for name in ("in/z/a.jpg", "in/b.jpg", "in/.hidden/h.jpg", "out/c.jpg", "out/d.jpg", "out/deep/e.jpg"):
        image(name)
    (inside / "0-link.jpg").symlink_to(inside / "b.jpg")  # indexed already
    (inside / "0-folder").symlink_to(inside / "z")
    (inside / "loop").symlink_to(inside)
    (inside / "up").symlink_to(tmp_path)
    (inside / "c.jpg").symlink_to(outside / "c.jpg")
    (inside / "c-again.jpg").symlink_to(outside / "c.jpg")
    (inside / "deep").symlink_to(outside / "deep")
    (outside / "deep" / "back").symlink_to(inside)
    (inside / "h.jpg").symlink_to(inside / ".hidden" / "h.jpg")
    (inside / "gone.jpg").symlink_to(outside / "nothing.jpg")
    found, notes, walk = walked(inside)
    assert found == ["b.jpg", "z/a.jpg", "c-again.jpg", "deep/e.jpg", "gone.jpg", "h.jpg"]
    assert notes == {"hidden": (1, {}), "link": (6, {})}
    assert sorted(path.name for path in walk.links) == ["c-again.jpg", "gone.jpg", "h.jpg"]


def test_masks_beside_images_are_no_records_of_a_folder(image, tmp_path):
    for name in ("a.jpg", "a_mask.png", "b.jpg", "b.depth.png", "c_seg.png", "mask.jpg", "day_mask_party.jpg"):
        image(name, "PNG" if name.endswith("png") else "JPEG")
    source = open_source(tmp_path, SourceOptions(format="images"))
    assert [pair.id for pair in source] == ["a.jpg", "b.jpg", "c_seg.png", "day_mask_party.jpg", "mask.jpg"]
    assert {note.kind: note.count for note in source.notes} == {"extra_image": 2}
    assert len(list(open_source(tmp_path, SourceOptions(format="images", extra_images=True)))) == 7
