"""Notes: counted, with the first examples, in the order they came up."""

from __future__ import annotations

from collections.abc import Sequence

from diptych.core.notes import CUT, Note, Notes, cut_note, note_lines, notes_json


def test_remarks_of_one_kind_and_detail_are_counted_together():
    notes = Notes()
    for name in ("a.png", "b.png", "b.png", "c.png", "d.png"):
        notes.add("mask", "masks, not read", name)
    notes.add("guess", "the file was read as\nlatin-1")
    notes.add("mask", "masks, not read", count=5)
    assert list(notes) == [
        Note("mask", 10, "masks, not read", ("a.png", "b.png", "c.png")),
        Note("guess", 1, "the file was read as latin-1"),
    ]
    assert note_lines(notes) == [
        "note: masks, not read: 10 (a.png, b.png, c.png, ...)",
        "note: the file was read as latin-1: 1",
    ]
    assert notes_json(notes)[1] == {
        "kind": "guess",
        "count": 1,
        "detail": "the file was read as latin-1",
        "examples": (),
        "parts": {},
    }


def test_notes_of_several_sources_add_up():
    one, other = Notes(), Notes()
    one.add("mask", "masks", "a")
    other.add("mask", "masks", "b", count=3)
    one.extend(other)
    assert list(one) == [Note("mask", 4, "masks", ("a", "b"))]


def test_parts_are_counted_and_columns_once():
    notes = Notes()
    for name in ("a.psd", "b.psd", "c.svg"):
        notes.add("other_kind", "files of other kinds", name, part=name[1:])
    for name in ("blip", "blip", "alt"):
        notes.name("unread_column", "columns", name)
    both = Notes([*notes, *notes])
    assert [note.to_text() for note in notes] == ["files of other kinds: 3 (2 .psd, 1 .svg)", "columns: 2 (blip, alt)"]
    assert next(iter(both)).parts == {".psd": 4, ".svg": 2}


def test_half_a_character_in_a_name_is_spelled_out():
    notes = Notes()
    notes.add("mask", "masks", "\udcff.png")
    assert note_lines(notes) == ["note: masks: 1 (\\udcff.png)"]


def test_texts_that_are_cut_are_counted_and_each_distinct_one_tokenised_once() -> None:
    asked: list[str] = []

    def words(texts: Sequence[str]) -> list[int]:
        asked.extend(texts)
        return [len(text.split()) for text in texts]

    (note,) = cut_note(["a b c", "a", "a b c", "d  e f g"], words, 2, "captions")
    assert note == Note(CUT, 3, "captions cut after 2 tokens", ("a b c...", "d e f g..."))
    assert asked == ["a b c", "a", "d  e f g"]
    assert cut_note(["a b"], words, 2) == cut_note(["a b c"], words, None) == ()
