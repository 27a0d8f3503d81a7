"""Words inside images: read once, kept, found by full-text search, and joined by rank with the nearest images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from diptych.core.errors import ConfigError, DataError, Interrupted, LibraryError, Reason
from diptych.core.types import BytesImage, Hit
from diptych.library import Library
from diptych.library.words import fused, holds_half, words_of

from .conftest import paint


def hit(name: str, score: float = 0.5, **meta: Any) -> Hit:
    return Hit(0, name, score, f"/{name}.jpg", meta)


def test_the_score_is_the_sum_over_both_lists_by_hand() -> None:
    found = fused([hit("a"), hit("b"), hit("c")], [hit("c", words_in_image="exit"), hit("d", words_in_image="exit")], 3)
    assert [one.id for one in found] == ["c", "a", "b"]  # b and d are second on their lists; the nearest go first
    assert [one.score for one in found] == pytest.approx([1 / 63 + 1 / 61, 1 / 61, 1 / 62])
    assert [one.rank for one in found] == [0, 1, 2]
    assert (found[0].meta, found[1].meta) == ({"words_in_image": "exit", "cosine": 0.5}, {"cosine": 0.5})
    assert found[0].scored_by == "rank fusion of cosine and words in images"


def test_without_words_the_nearest_stay_as_they_are() -> None:
    nearest = [hit("a"), hit("b")]
    assert fused(nearest, [], 1) == nearest[:1]


def test_half_of_the_words_are_enough_capitals_and_accents_aside() -> None:
    assert words_of("Caf\u00e9, GATE 42!") == {"cafe", "gate", "42"}
    assert holds_half("EXIT\nGate 42", "gate to heaven") is False
    assert holds_half("EXIT\nGate 42", "gate 7") is True
    assert holds_half("anything", "?!") is False


@pytest.fixture
def worded(filled: Library) -> tuple[Library, dict[str, str]]:
    """A library of six colours in which a reader finds what the second value says, by the name of the file."""
    return filled, {"red.png": "EXIT Gate 42", "green.png": "Gate 7", "blue.png": ""}


def reader_of(words: dict[str, str], read: list[str]) -> Any:
    def reader(image: BytesImage) -> str:
        name = Path(image.name).name
        read.append(name)
        if name == "yellow.png":
            raise DataError("it took too long", Reason.TOO_SLOW)
        return words.get(name, "")

    return reader


def test_images_are_read_once_and_found_by_their_words(worded: Any, tmp_path: Path) -> None:
    library, words = worded
    assert library.info().with_words is None
    with pytest.raises(LibraryError, match=r"do so: diptych index FOLDER --library LIBRARY --ocr"):
        library.search("gate 42", ocr=True)
    read: list[str] = []
    report = library.read_words(reader_of(words, read))
    assert (report.read, report.with_words, report.known, report.cut) == (5, 2, 0, 0)
    assert [(one.reason, Path(one.name).name) for one in report.skipped] == [(Reason.TOO_SLOW, "yellow.png")]
    assert report.to_text() == "words: read in 5 images, 2 have some, 0 were read before, skipped: 1 too_slow"
    assert library.info().with_words == 2

    first, second, *_ = library.search("red gate", 3, ocr=True)
    assert first.meta["words_in_image"] == "EXIT Gate 42"
    assert second.meta["words_in_image"] == "Gate 7"
    assert [one.meta["name"] for one in library.search("gate", 6, "words LIKE '%7'", ocr=True)] == ["green.png"]
    assert all("words_in_image" not in one.meta for one in library.search("red gate", 3))
    with pytest.raises(ConfigError, match="only plain words"):
        library.search('"gate" + "42"', ocr=True)

    read.clear()
    again = library.read_words(reader_of(words, read))
    assert (read, again.read, again.known) == (["yellow.png"], 0, 5)  # what failed is tried again


def test_copies_and_moved_files_keep_their_words_and_new_ones_are_found_without_a_new_index(worded: Any) -> None:
    library, words = worded
    library.read_words(reader_of(words, []))
    red = Path(library.search("red", 1)[0].path or "")
    red.with_name("copy.png").write_bytes(red.read_bytes())
    red.rename(red.with_name("moved.png"))
    paint(red.with_name("new.png"), "red", mark=3)
    library.index([red.parent])
    read: list[str] = []
    library.read_words(reader_of({**words, "new.png": "exit to gate 42"}, read))
    assert sorted(read) == ["new.png", "yellow.png"]
    found = library.search("red exit gate", 3, ocr=True)
    assert {one.meta["name"] for one in found} == {"copy.png", "moved.png", "new.png"}


def test_a_library_on_a_server_refuses_before_anything_is_read(fake: Any, encoder: Any, tmp_path: Path) -> None:
    remote = Library.create(tmp_path / "remote", encoder, store="fake://words")

    def never(image: BytesImage) -> str:
        raise AssertionError(image.name)

    for work in (lambda: remote.read_words(never), lambda: remote.search("red", ocr=True)):
        with pytest.raises(LibraryError, match="leave --ocr out"):
            work()


def test_an_image_that_an_earlier_version_indexed_is_asked_for_all_that_it_says(
    library: Library, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0110] = "X100"
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.jpg", exif=exif)
    library.index([tmp_path / "red.jpg"])
    store = library.opened.store()
    ids = [one.id for one in library.items().items]
    store.write([replace(row, photo=None) for row in store.get(ids)])
    library.read_words(lambda image: "EXIT")
    (row,) = library.items().items
    assert dict(row.photo) == {"camera": "X100", "words": "EXIT"}


def test_long_words_are_cut_and_counted_and_a_stop_keeps_what_was_done(filled: Library) -> None:
    report = filled.read_words(lambda image: "a" * 3000 if image.name.endswith("red.png") else "")
    assert report.cut == 1
    assert ", 1 cut after 2,000 characters" in report.to_text()
    (row,) = [one for one in filled.items().items if one.name == "red.png"]
    assert len(row.photo["words"]) == 2000

    def stopped(image: BytesImage) -> str:
        raise KeyboardInterrupt

    paint(Path(row.path).with_name("new.png"), "blue", mark=5)
    filled.index([Path(row.path).parent])
    with pytest.raises(Interrupted, match="the words of 0 images are kept"):
        filled.read_words(stopped)


def test_what_was_read_before_an_interruption_is_found(worded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    library, _ = worded
    monkeypatch.setattr("diptych.library.indexing.words._COMMIT", 1)
    read: list[str] = []

    def reader(image: BytesImage) -> str:
        if len(read) == 2:
            raise KeyboardInterrupt
        read.append(image.name)
        return "EXIT Gate 42" if len(read) == 2 else ""

    with pytest.raises(Interrupted, match="the words of 2 images are kept"):
        library.read_words(reader)
    (found,) = [one for one in library.search("gate", 6, ocr=True) if "words_in_image" in one.meta]
    assert found.path == read[1]


def test_an_image_that_is_edited_while_it_is_read_does_not_get_the_old_words(worded: Any) -> None:
    library, _ = worded
    folder = Path(library.search("red", 1)[0].path or "").parent

    def reader(image: BytesImage) -> str:
        if image.name.endswith("red.png"):
            paint(folder / "red.png", "white")
            library.index(folder)
        return "old words"

    report = library.read_words(reader)
    said = {Path(one.path).name: one.photo.get("words") for one in library.items().items}
    assert (said["red.png"], said["green.png"], report.read) == (None, "old words", 5)


def test_fewer_hits_are_the_first_of_more(worded: Any) -> None:
    library, _ = worded
    far = Path(library.search("red", 6)[-1].path or "").name
    library.read_words(reader_of({far: "red"}, []))
    many = [one.id for one in library.search("red", 6, ocr=True)]
    assert [[one.id for one in library.search("red", k, ocr=True)] for k in (1, 3)] == [many[:1], many[:3]]
    assert Path(library.search("red", 1, ocr=True)[0].path or "").name == far  # on both lists
