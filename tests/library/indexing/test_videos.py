from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("av", reason="needs the [video] extra")

from diptych.cli.app import run
from diptych.core.errors import DataError, LibraryError
from diptych.data.video import MomentPlan
from diptych.library import Library

from ...videos import film

PLAN = MomentPlan(seconds=2, frames=2)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    film(tmp_path / "clips" / "one.mp4", ["red", "blue"])
    film(tmp_path / "clips" / "sub" / "two.mkv", ["green", "black", "yellow"])
    (tmp_path / "clips" / "broken.mp4").write_bytes(b"no video at all")
    return tmp_path / "clips"


def test_words_find_the_moment(library, clips):
    report = library.index_videos([clips], plan=PLAN)
    assert (report.added, report.embedded, len(library)) == (5, 5, 5)
    assert [(Path(one.name).name, one.reason.value) for one in report.skipped] == [("broken.mp4", "not_a_video")]
    for colour, video, start in (("blue", "one.mp4", 2), ("green", "two.mkv", 0), ("yellow", "two.mkv", 4)):
        hit = library.search(colour, 1)[0]
        assert hit.meta["video"].endswith(video)
        assert hit.meta["name"] == f"{video} {start}.0-{start + 2}.0 s"
        assert (round(hit.meta["start"]), round(hit.meta["end"])) == (start, start + 2)
        assert library.thumbnail(hit.id).startswith(b"\xff\xd8")


def test_only_what_changed_is_decoded_again(library, clips):
    library.index_videos([clips], plan=PLAN)
    again = library.index_videos([clips], plan=PLAN)
    assert (again.unchanged, again.embedded) == (5, 0)
    film(clips / "one.mp4", ["white"])
    changed = library.index_videos([clips], plan=PLAN)
    assert (changed.unchanged, changed.updated, changed.embedded, len(library)) == (3, 1, 1, 4)
    (clips / "sub" / "two.mkv").rename(clips / "sub" / "two.txt")
    assert library.index_videos([clips], plan=PLAN).removed == 3
    assert len(library) == 1


def test_pictures_and_videos_live_side_by_side(filled, clips, pictures):
    filled.index_videos([clips], plan=PLAN)
    assert len(filled) == 11
    filled.index([pictures])
    assert len(filled) == 11
    filled.index_videos([clips], plan=PLAN)
    assert len(filled) == 11
    assert not filled.verify().problems


def test_a_folder_without_videos_and_a_library_of_another_model(library, pictures, clips, other_encoder):
    with pytest.raises(DataError, match="no video"):
        library.index_videos([pictures])
    with pytest.raises(DataError, match="cannot read"):
        library.index_videos([pictures / "nothing"])
    library.index_videos([clips], plan=PLAN)
    with pytest.raises(LibraryError, match="vectors of two models"):
        Library.open(library.folder, other_encoder)


def test_from_the_command_line(clips, tmp_path: Path, small_model, capsys):
    library = str(tmp_path / "library")
    command = ["index", str(clips), "--videos", "--moment-seconds", "2", "--library", library]
    assert run([*command, "--model", str(small_model), "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["added"] == 5
    assert run(["search", "a red square", "--library", library, "-k", "2", "--quiet"]) == 0
    assert " s\n" in capsys.readouterr().out
    assert run(["index", str(clips / "broken.mp4"), "--videos", "--library", library, "--quiet"]) == 3
    assert "none of the 1 videos" in capsys.readouterr().err


def test_what_was_said_of_a_moment_stays_with_it(library, clips, tmp_path):
    """Whether its file is edited, renamed, gone and back, deleted here, or away."""
    library.index_videos([clips], plan=PLAN)
    moment = next(item for item in library.items().items if "two.mkv::2.000" in item.path)
    library.patch(moment.id, name="the dive", meta={"album": "Crete"})

    def told():
        found = library.get(moment.id)
        return found.name, found.meta["album"], found.path.rpartition("/")[2]

    two = clips / "sub" / "two.mkv"
    (clips / "sub" / "notes.txt").touch()
    two.rename(clips / "sub" / "three.mkv")
    report = library.index_videos([clips], plan=PLAN)
    assert (report.moved, report.removed, told()) == (3, 0, ("the dive", "Crete", "three.mkv::2.000-4.000"))
    (clips / "sub" / "three.mkv").rename(tmp_path / "off.mkv")
    report = library.index_videos([clips], plan=PLAN)
    assert (report.removed, len(library), len(library.trash())) == (3, 2, 3)
    (tmp_path / "off.mkv").rename(two)
    report = library.index_videos([clips], plan=PLAN)
    assert (report.restored, report.added, told()) == (3, 0, ("the dive", "Crete", "two.mkv::2.000-4.000"))
    film(two, ["white", "red", "white"])
    report = library.index_videos([clips], plan=PLAN)
    assert (report.updated, told()) == (3, ("the dive", "Crete", "two.mkv::2.000-4.000"))
    assert [note.examples for note in report.notes] == [(f"{two}::2.000-4.000",)]
    library.delete([moment.id])
    two.touch()
    assert library.index_videos([clips], plan=PLAN).trashed == 1
    assert moment.id not in [item.id for item in library.items().items]
    (clips / "sub").rename(tmp_path / "away")
    report = library.index_videos([clips], plan=PLAN)
    assert ([(kept.folder, len(kept.paths)) for kept in report.kept], report.removed) == ([(str(clips / "sub"), 2)], 0)
    (tmp_path / "away").rename(clips / "sub")
    assert library.verify().problems == ()
