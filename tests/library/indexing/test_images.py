"""Indexing runs: what is embedded, kept, moved, removed and skipped, and what survives trouble."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.errors import ConfigError, DataError, LibraryError, ModelError, Reason
from diptych.core.types import FileImage
from diptych.library import IndexOptions, Library
from diptych.library.indexing.plan import ImagePlan
from diptych.library.sources import survey


def rows(library):
    """path -> (id, content, vector)"""
    store = library.opened.store()
    return {
        path: (identifier, content, vector)
        for block in store.scan(["id", "path", "content", "vector"])
        for identifier, path, content, vector in zip(
            block["id"], block["path"], block["content"], block["vector"], strict=True
        )
    }


def counts(report):
    names = ("added", "updated", "moved", "unchanged", "removed", "embedded")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def test_a_second_run_embeds_nothing(library, encoder, pictures):
    assert counts(library.index([pictures])) == {"added": 6, "embedded": 6}
    before = library.version
    assert counts(library.index([pictures])) == {"unchanged": 6}
    assert encoder.embedded == 6
    assert library.version == before


def test_a_path_is_held_once_for_a_file_and_its_row(filled, pictures):
    """There may be a million of each."""
    found = survey([pictures])
    plan = ImagePlan(filled.opened.store(), found)
    assert plan.by_path.keys() == found.found.keys()
    for path, row in plan.by_path.items():
        image = found.found[path]
        assert row.path is image.path
        assert (image.inside, image.ref) == (None, FileImage(Path(path)))
    assert len({id(row.source) for row in plan.by_path.values()}) == 1


def test_vectors_are_those_of_the_encoder(filled, encoder, pictures):
    for path, (_, _, vector) in rows(filled).items():
        assert vector == pytest.approx(encoder.encode_images([path])[0], abs=1e-6)


def test_only_what_is_new_or_edited_is_embedded(filled, encoder, pictures, painter):
    before = rows(filled)
    painter(pictures / "new.png", "red", mark=3)
    painter(pictures / "blue.png", "green", mark=5)
    assert counts(filled.index([pictures])) == {"added": 1, "updated": 1, "unchanged": 5, "embedded": 2}
    after = rows(filled)
    blue = str(pictures / "blue.png")
    assert after[blue][0] == before[blue][0]  # the same id
    assert not np.allclose(after[blue][2], before[blue][2])
    assert after[blue][2] == pytest.approx(encoder.encode_images([blue])[0], abs=1e-6)


def test_touched_but_not_edited(filled, encoder, pictures):
    os.utime(pictures / "red.png", (1, 1))
    assert counts(filled.index([pictures])) == {"unchanged": 6}
    assert filled.search("red", 1, "modified = timestamp '1970-01-01 00:00:01'")[0].meta["name"] == "red.png"
    assert encoder.embedded == 6


def test_moved_files_keep_vector_and_id(filled, encoder, pictures):
    before = rows(filled)
    (pictures / "elsewhere").mkdir()
    (pictures / "red.png").rename(pictures / "elsewhere" / "rouge.png")
    assert counts(filled.index([pictures])) == {"moved": 1, "unchanged": 5}
    after = rows(filled)
    moved = after[str(pictures / "elsewhere" / "rouge.png")]
    assert moved[:2] == before[str(pictures / "red.png")][:2]
    assert str(pictures / "red.png") not in after
    assert encoder.embedded == 6


def test_a_whole_folder_moved_away(filled, encoder, pictures, tmp_path):
    pictures.rename(tmp_path / "moved")
    assert counts(filled.index([tmp_path / "moved"])) == {"moved": 6}
    assert len(filled) == 6
    assert encoder.embedded == 6


def test_two_files_that_change_names(filled, encoder, pictures):
    red, blue = pictures / "red.png", pictures / "blue.png"
    red.rename(pictures / "x")
    blue.rename(red)
    (pictures / "x").rename(blue)
    filled.index([pictures])
    after = rows(filled)
    assert after[str(red)][2] == pytest.approx(encoder.encode_images([red])[0], abs=1e-6)
    assert after[str(blue)][2] == pytest.approx(encoder.encode_images([blue])[0], abs=1e-6)
    assert encoder.embedded <= 7  # the first takes the other's vector, and its own is gone with that
    assert filled.verify().problems == ()


def test_copies_are_rows_of_their_own_without_a_second_look(library, encoder, pictures):
    shutil.copy(pictures / "red.png", pictures / "red again.png")
    assert counts(library.index([pictures])) == {"added": 7, "embedded": 6}
    shutil.copy(pictures / "red.png", pictures / "red for the third time.png")
    assert counts(library.index([pictures])) == {"added": 1, "unchanged": 7}
    after = rows(library)
    same = [after[str(pictures / f"red{end}.png")] for end in ("", " again", " for the third time")]
    assert len({identifier for identifier, _, _ in same}) == 3
    assert len({content for _, content, _ in same}) == 1
    hits = library.search("red", 3)
    assert [hit.score for hit in hits] == [hits[0].score] * 3
    assert [hit.id for hit in hits] == sorted(hit.id for hit in hits)


def test_a_copy_at_the_place_a_picture_moved_from(filled, pictures):
    """Same path and content as a row that exists elsewhere by now: it needs an id of its own."""
    (pictures / "red.png").rename(pictures / "rouge.png")
    filled.index([pictures])
    shutil.copy(pictures / "rouge.png", pictures / "red.png")
    assert counts(filled.index([pictures])) == {"added": 1, "unchanged": 6}
    assert filled.verify().problems == ()


def test_deleted_files_go_but_only_below_the_folders_named_now(library, pictures, tmp_path, painter):
    painter(tmp_path / "others" / "a.png", "red", mark=9)
    library.index([pictures, tmp_path / "others"])
    (pictures / "red.png").unlink()
    shutil.rmtree(tmp_path / "others")
    assert counts(library.index([pictures])) == {"unchanged": 5, "removed": 1}
    assert str(tmp_path / "others" / "a.png") in rows(library)


@pytest.mark.parametrize("trouble", ["missing", "empty", "no images", "file", "unknown"])
def test_a_path_that_leads_to_nothing_is_an_error_and_changes_nothing(filled, tmp_path, trouble):
    """Where the library has rows of it they are kept and named instead: see test_nothing_lost."""
    before = rows(filled)
    target = tmp_path / "never"
    if trouble == "empty":
        target.mkdir()
    elif trouble == "no images":
        target.mkdir()
        (target / "notes.txt").write_text("x")
        (target / "b.pdf").write_text("x")
    elif trouble == "file":
        target = target / "red.png"
    elif trouble == "unknown":
        target = tmp_path / "thing.xyz"
        target.write_text("what is this")
    with pytest.raises((DataError, ConfigError)) as caught:
        filled.index([target])
    assert "\n" not in str(caught.value)
    assert rows(filled).keys() == before.keys()
    assert filled.search("red", 1)[0].meta["name"] == "red.png"


def test_bad_files_are_skipped_with_reasons_and_tried_again(library, pictures, painter):
    (pictures / "text.jpg").write_text("no picture")
    good = painter(pictures / "cut.jpg", "red", size=(300, 300), mark=3).read_bytes()
    (pictures / "cut.jpg").write_bytes(good[: len(good) // 2])
    (pictures / "link.png").symlink_to(pictures / "nothing")
    os.mkfifo(pictures / "pipe.png")
    report = library.index([pictures])
    assert {Path(one.name).name: one.reason for one in report.skipped} == {
        "text.jpg": Reason.NOT_AN_IMAGE,
        "cut.jpg": Reason.TRUNCATED,
        "link.png": Reason.MISSING,
        "pipe.png": Reason.NOT_AN_IMAGE,
    }
    assert report.added == 6
    (pictures / "cut.jpg").write_bytes(good)
    report = library.index([pictures])
    assert counts(report) == {"added": 1, "unchanged": 6, "embedded": 1}
    assert len(report.skipped) == 3


def test_a_picture_that_became_unreadable_goes(filled, pictures):
    (pictures / "red.png").write_bytes(b"overwritten")
    report = filled.index([pictures])
    assert counts(report) == {"unchanged": 5, "removed": 1}
    assert [one.reason for one in report.skipped] == [Reason.NOT_AN_IMAGE]
    assert len(filled) == 5


def test_copies_of_a_bad_file_are_all_skipped(library, pictures, painter):
    good = painter(pictures / "cut.jpg", "red", size=(300, 300), mark=3).read_bytes()
    for name in ("cut.jpg", "cut2.jpg", "cut3.jpg"):
        (pictures / name).write_bytes(good[: len(good) // 2])
    report = library.index([pictures])
    assert len(report.skipped) == 3
    assert {one.reason for one in report.skipped} == {Reason.TRUNCATED}
    assert report.added == 6


def test_hidden_files_loops_and_libraries_are_not_entered(library, pictures, painter, encoder):
    painter(pictures / ".hidden.png", "red", mark=1)
    painter(pictures / ".hidden" / "a.png", "red", mark=2)
    (pictures / "sub" / "loop").symlink_to(pictures, target_is_directory=True)
    inner = Library.create(pictures / "inner", encoder)
    painter(inner.folder / "thumbs" / "x.jpg", "red", mark=3)
    (pictures / "folder.png").mkdir()
    assert counts(library.index([pictures])) == {"added": 6, "embedded": 6}


def test_links_to_files_and_to_folders_count(library, pictures, tmp_path, painter):
    painter(tmp_path / "real" / "r.png", "red", mark=7)
    painter(tmp_path / "deep" / "d.png", "red", mark=8)
    (pictures / "r.png").symlink_to(tmp_path / "real" / "r.png")
    (pictures / "deep").symlink_to(tmp_path / "deep", target_is_directory=True)
    assert library.index([pictures]).added == 8


def test_overlapping_paths_count_once(library, pictures):
    report = library.index([pictures, pictures / "sub", pictures / "red.png", f"{pictures}/../pictures"])
    assert counts(report) == {"added": 6, "embedded": 6}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_keeps_its_pictures(filled, pictures):
    (pictures / "sub").chmod(0)
    try:
        report = filled.index([pictures])
    finally:
        (pictures / "sub").chmod(0o755)
    assert counts(report) == {"unchanged": 5}
    assert len(filled) == 6
    assert [one.reason for one in report.skipped] == [Reason.MISSING]


def test_a_name_that_is_not_utf8(library, pictures, painter):
    shutil.copy(pictures / "red.png", os.fsdecode(os.fsencode(pictures) + b"/r\xe9d\xff.png"))
    assert library.index([pictures]).added == 7
    assert counts(library.index([pictures])) == {"unchanged": 7}
    found = [hit.path for hit in library.search("red", 2)]
    assert str(pictures / "r\\xe9d\\xff.png") in found
    assert library.verify().problems == ()


def test_the_reason_of_a_skipped_file_writes_its_name_once(pictures, library):
    odd = os.fsdecode(os.fsencode(pictures) + b"/\xff.jpg")
    with open(odd, "w") as file:  # noqa: PTH123 - a name that is no UTF-8
        file.write("text")
    (skipped,) = library.index([pictures]).skipped
    assert skipped.name == str(pictures / "\\xff.jpg")
    assert skipped.detail.startswith(f"{skipped.name} is not an image")


def test_sizes_are_upright_and_full(library, tmp_path):
    import PIL.Image

    (tmp_path / "p").mkdir()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    PIL.Image.new("RGB", (3000, 2000), "red").save(tmp_path / "p" / "big.jpg", exif=exif)
    library.index([tmp_path / "p"])
    (hit,) = library.search("red", 1)
    assert (hit.meta["width"], hit.meta["height"]) == (2000, 3000)
    with PIL.Image.open(library.thumbnails.path(next(iter(rows(library).values()))[1])) as thumb:
        assert thumb.size == (171, 256)


def test_a_list_brings_texts_and_metadata(library, pictures, encoder):
    import json

    source = pictures / "list.jsonl"
    lines = [
        {"image": "red.png", "caption": "a red wall", "split": "train", "price": 3},
        {"image": "sub/yellow.png", "caption": "the sun", "split": "test", "price": 5},
        {"image": "gone.png", "caption": "nothing", "split": "test", "price": 7},
    ]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = library.index([source])
    assert counts(report) == {"added": 2, "embedded": 2}
    assert [one.reason for one in report.skipped] == [Reason.MISSING]
    (hit,) = library.search("red", 5, "texts LIKE '%sun%' AND split = 'test'")
    assert hit.meta["texts"] == ["the sun"]
    # a plain walk over the same files knows less, and forgets nothing
    assert counts(library.index([pictures])) == {"added": 4, "unchanged": 2, "embedded": 4}
    assert library.search("red", 5, "texts LIKE '%sun%'")[0].id == hit.id
    # an edited list changes the words, not the vectors
    lines[1]["caption"] = "a lemon"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines[1:2]))
    report = library.index([source])
    assert counts(report) == {"updated": 1, "removed": 1}
    assert library.search("red", 5, "texts = 'a lemon'")[0].id == hit.id
    assert encoder.embedded == 6


def test_pictures_inside_a_table(library, pictures, encoder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = [(pictures / f"{name}.png").read_bytes() for name in ("red", "green")]
    table = pa.table({"image": data, "caption": ["a red wall", "a green wall"]})
    pq.write_table(table, pictures / "t.parquet")
    assert counts(library.index([pictures / "t.parquet"])) == {"added": 2, "embedded": 2}
    assert counts(library.index([pictures / "t.parquet"])) == {"unchanged": 2}
    assert library.search("green", 1)[0].meta["texts"] == ["a green wall"]
    os.utime(pictures / "t.parquet", (1, 1))
    library.index([pictures / "t.parquet"])
    assert encoder.embedded == 2
    assert library.verify().problems == ()


def test_small_batches_and_commits_give_the_same_library(library, encoder, tmp_path, painter):
    for number in range(1, 41):
        painter(tmp_path / "many" / f"{number:03}.png", "white", mark=number % 15 + 1, size=(40 + number, 30))
    for number in range(5):
        shutil.copy(tmp_path / "many" / "007.png", tmp_path / "many" / f"7-{number}.png")
    acknowledged = []
    options = IndexOptions(batch_size=3, commit_rows=4)
    report = library.index([tmp_path / "many"], options=options, acknowledge=acknowledged.append)
    assert (report.added, report.embedded) == (45, 40)
    assert sorted(path for paths in acknowledged for path in paths) == sorted(rows(library))
    assert max(map(len, acknowledged)) <= 4 + 3
    whole = Library.create(tmp_path / "whole", encoder)
    whole.index([tmp_path / "many"])
    assert {path: row[:2] for path, row in rows(whole).items()} == {p: row[:2] for p, row in rows(library).items()}


@pytest.mark.parametrize("after", [0, 1, 7])
def test_an_exception_keeps_what_was_acknowledged(library, encoder, tmp_path, painter, after):
    for number in range(1, 31):
        painter(tmp_path / "many" / f"{number:03}.png", "white", size=(40 + number, 30), mark=number % 15 + 1)
    acknowledged = []
    real, calls = encoder.encode_pixels, iter(range(1000))

    def interrupted(pixels):
        if next(calls) == after:
            raise KeyboardInterrupt
        return real(pixels)

    encoder.encode_pixels = interrupted
    options = IndexOptions(batch_size=2, commit_rows=4)
    with pytest.raises(KeyboardInterrupt):
        library.index([tmp_path / "many"], options=options, acknowledge=acknowledged.extend)
    encoder.encode_pixels = real
    kept = rows(library)
    assert set(acknowledged) <= set(kept)
    report = library.index([tmp_path / "many"], options=options)
    assert report.added + report.unchanged == 30
    assert report.unchanged == len(kept)
    assert library.verify().problems == ()
    assert encoder.embedded <= 30 + 2 * 4 + 2


def test_a_model_that_gives_nonsense_is_stopped(library, encoder, pictures):
    encoder.encode_pixels = lambda pixels: np.full((len(pixels), 16), np.nan, np.float32)
    with pytest.raises(ModelError, match="not finite"):
        library.index([pictures])
    assert len(library) == 0


def test_too_large_files_are_refused_unread(library, pictures):
    from diptych.data.images import ImageLimits

    report = library.index([pictures], options=IndexOptions(limits=ImageLimits(max_bytes=10)))
    assert report.reasons == {"too_large": 6}


def test_a_second_writer_is_told_who_writes(library, pictures):
    from diptych.library.store import lock

    with lock.writer(library.folder), pytest.raises(LibraryError, match=f"process {os.getpid()} on "):
        library.index([pictures])
    assert library.index([pictures]).added == 6


HISTORY = {}  # hypothesis gives one test many runs, fixtures are for one


@pytest.fixture(autouse=True)
def _history_parts(encoder, painter):
    HISTORY.update(encoder=type(encoder), painter=painter)


NAMES = st.sampled_from([f"{name}.png" for name in "abcde"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), NAMES, st.integers(0, 3)),
        st.tuples(st.just("move"), NAMES, NAMES),
        st.tuples(st.just("copy"), NAMES, NAMES),
        st.tuples(st.just("delete"), NAMES),
        st.tuples(st.just("index")),
    ),
    max_size=14,
)


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_whatever_happens_to_the_files_the_library_mirrors_them(tmp_path_factory, steps):
    """After any history, indexing gives exactly the files that are there, each with its own vector."""
    base = tmp_path_factory.mktemp("history")
    encoder, painter = HISTORY["encoder"](), HISTORY["painter"]
    folder = base / "pictures"
    painter(folder / "always.png", "white")
    library = Library.create(base / "library", encoder)
    clock = time.time_ns()
    for step in [*steps, ("index",)]:
        clock += 1_000_000_000
        match step:
            case ("write", name, mark):
                os.utime(painter(folder / name, "red", mark=mark + 1), ns=(clock, clock))
            case ("move", old, new) if (folder / old).exists():
                (folder / old).rename(folder / new)
            case ("copy", old, new) if (folder / old).exists() and old != new:
                shutil.copyfile(folder / old, folder / new)
                os.utime(folder / new, ns=(clock, clock))
            case ("delete", name):
                (folder / name).unlink(missing_ok=True)
            case ("index",):
                library.index([folder], options=IndexOptions(batch_size=2, commit_rows=2))
                found = rows(library)
                assert set(found) == {str(path) for path in folder.iterdir()}
                assert len({identifier for identifier, _, _ in found.values()}) == len(found)
                for path, (_, _, vector) in found.items():
                    assert vector == pytest.approx(encoder.encode_images([path])[0], abs=1e-6)
