"""Folders of generated images, as `generator draw --folder` writes them."""

from __future__ import annotations

import json

import pytest

from diptych.core.errors import DataError, Reason
from diptych.data.readers import open_source


def test_each_image_has_the_text_that_it_was_drawn_from(pictures, read):
    folder = pictures("0000-000000.png", "0000-000001.png", "0001-000000.png", "0002-000000.png", "extra.png")
    about = folder / "generate.json"
    about.write_text(json.dumps({"model": "emoji", "texts": ["a red apple", "rotes Herz"], "seed": 0, "size": 64}))
    assert open_source(folder).format == "drawn"
    pairs, skipped = read(folder)
    assert [(pair.id, [text.value for text in pair.texts]) for pair in pairs] == [
        ("0000-000000.png", ["a red apple"]),
        ("0000-000001.png", ["a red apple"]),
        ("0001-000000.png", ["rotes Herz"]),
    ]
    assert [(one.name, one.reason) for one in skipped] == [
        ("0002-000000.png", Reason.BAD_ROW),  # of a text that is not listed
        ("extra.png", Reason.BAD_ROW),
    ]


def test_a_damaged_list_is_named_and_another_program_s_file_is_left_alone(pictures, read):
    folder = pictures("0000-000000.png")
    (folder / "generate.json").write_text('{"texts": "a red apple"}')
    with pytest.raises(DataError, match="no list of strings"):
        read(folder)
    (folder / "generate.json").write_text('{"prompt": 1}')
    assert open_source(folder).format == "images"
