"""Labels and templates from files and from Python: every form, and what is refused."""

from __future__ import annotations

import json

import pytest

from diptych.core.errors import ConfigError, DataError
from diptych.core.notes import Notes
from diptych.data.labels import Label, labels_of, read_labels
from diptych.data.templates import TEMPLATES, templates_of


def test_a_label_is_filled_into_every_template_and_prompts_stand_as_they_are() -> None:
    label = Label("dog", ("dog", "hound"), ("a puppy at play",))
    assert label.texts(("a photo of a {}.", "{}")) == ["a photo of a dog.", "a photo of a hound.", "dog", "hound",
                                                       "a puppy at play"]  # fmt: skip
    assert Label("cat").texts(("the {}, a {}",)) == ["the cat, a cat"]
    assert Label("cat", prompts=("a tabby",)).texts(("{}",)) == ["a tabby"]  # prompts alone need no template


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "dog\n\n  red fox \r\n犬\n", [Label("dog"), Label("red fox"), Label("犬")]),
        ("a.json", '["dog", "cat"]', [Label("dog"), Label("cat")]),
        ("a.json", '{"1": "dog", "2": ["cat", "kitten"]}', [Label("1", ("dog",)), Label("2", ("cat", "kitten"))]),
        (
            "a.json",
            '{"dog": {"names": "hound", "prompts": ["a pup"]}}',
            [Label("dog", ("hound",), ("a pup",))],
        ),
        (
            "a.csv",
            'label,name,prompt\ndog,hound,\ndog,,"a pup, at play"\ncat,,\n',
            [Label("dog", ("hound",), ("a pup, at play",)), Label("cat")],
        ),
        ("a.tsv", "name\tlabel\nhound\tdog\n", [Label("dog", ("hound",))]),
    ],
)
def test_every_form_of_file_is_read(tmp_path, name, content, expected) -> None:
    for encoding in ("utf-8", "utf-16"):
        (tmp_path / name).write_text(content, encoding=encoding)
        assert list(read_labels(tmp_path / name, Notes())) == expected


def test_labels_named_twice_and_labels_alike_are_noted() -> None:
    notes = Notes()
    found = labels_of(["dog", "cat", "dog"], notes)
    assert [label.name for label in found] == ["dog", "cat"]
    labels_of({"1": "crane", "2": "crane"}, notes)
    assert {note.kind: (note.count, note.examples) for note in notes} == {
        "label_twice": (1, ("dog",)),
        "labels_alike": (1, ("2",)),
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"\n \n", "holds no labels"),
        ("a.txt", b"", "holds no labels"),
        ("a.txt", b"\x89PNG\r\n\0\0\0\0\x01", "zero bytes"),
        ("a.json", b"{", "not valid JSON"),
        ("a.json", b'"dog"', "expected a list of labels"),
        ("a.json", b"[1]", "lists 1 among its labels"),
        ("a.json", b'{"dog": {"name": "x"}}', "has the key 'name'"),
        ("a.json", b'{"dog": [3]}', "for its names"),
        ("a.json", b'["\\u200b"]', "nothing can be seen"),
        ("a.csv", b"class,name\ndog,hound\n", "no column 'label'; columns found: class, name"),
    ],
)
def test_what_holds_no_labels_is_refused(tmp_path, name, content, message) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_labels(tmp_path / name, Notes())


def test_templates_are_built_in_or_from_a_file(tmp_path) -> None:
    assert templates_of("plain") == ("{}",)
    assert 20 <= len(TEMPLATES["clip"]) <= 80
    assert all(len(set(each)) == len(each) and all("{}" in one for one in each) for each in TEMPLATES.values())
    file = tmp_path / "t.txt"
    file.write_text("ein Foto von {}\n\n{} im Bild\n", encoding="utf-16")
    assert templates_of(str(file)) == ("ein Foto von {}", "{} im Bild")
    (tmp_path / "t.json").write_text(json.dumps(["a {}", "a {}"]))
    assert templates_of(tmp_path / "t.json") == ("a {}",)
    assert templates_of(["{}!"]) == ("{}!",)


def test_templates_without_a_place_for_the_label_are_refused(tmp_path) -> None:
    file = tmp_path / "t.txt"
    file.write_text("a {}\na photo of a {0}\n")
    with pytest.raises(DataError, match=r"template 2 .* has no {}; put {} where"):
        templates_of(file)
    file.write_text("\n")
    with pytest.raises(DataError, match="holds no templates"):
        templates_of(file)
    with pytest.raises(ConfigError, match="no templates 'clp': expected plain, photo, clip, or a file"):
        templates_of("clp")
