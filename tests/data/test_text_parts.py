"""One long text a recipe out of the parts that are asked for."""

from __future__ import annotations

import pytest

from diptych.core.errors import ConfigError
from diptych.core.types import FileImage, Origin, Pair, Role, Text
from diptych.data.text_parts import join_parts, parse_parts

TITLE, WATER, BOIL = Text("汤", "zh", "title"), Text("水\n盐", "zh", "ingredients"), Text("煮", "zh", "instructions")


@pytest.fixture
def recipe(tmp_path):
    return lambda *texts: Pair("r", (FileImage(tmp_path / "a.jpg"),), texts, "train", "soup", {"stars": 4})


@pytest.mark.parametrize(
    ("parts", "value"),
    [
        (("title", "ingredients", "instructions"), "汤\n水\n盐\n煮"),
        (("instructions", "title"), "煮\n汤"),
        (("ingredients",), "水\n盐"),
    ],
)
def test_parts_come_in_the_order_asked_for(recipe, parts, value):
    joined = join_parts(recipe(TITLE, WATER, BOIL), parts)
    assert joined.texts == (Text(value, "zh", "+".join(parts)),)
    assert (joined.id, joined.images, joined.split, joined.group, joined.meta) == (
        "r",
        recipe().images,
        "train",
        "soup",
        {"stars": 4},
    )


def test_a_missing_part_is_left_out_and_other_fields_are_dropped(recipe):
    joined = join_parts(recipe(TITLE, BOIL, Text("x", "zh", "comment")), ("title", "ingredients", "instructions"))
    assert [text.value for text in joined.texts] == ["汤\n煮"]
    assert join_parts(recipe(Text("x")), ("title",)).texts == ()


def test_each_language_and_engine_is_a_text_and_all_have_one_meaning(recipe):
    soup = Text("Soup", "en", "title", Origin.TRANSLATED, 0, "e zh-en")
    boil = Text("Boil", "en", "instructions", Origin.TRANSLATED, 2, "e zh-en")
    again = Text("烧", "zh", "instructions", Origin.BACK_TRANSLATED, 2, "e zh-en-zh")
    joined = join_parts(recipe(TITLE, soup, BOIL, boil, again), ("title", "instructions"))
    field = "title+instructions"
    assert joined.texts == (
        Text("汤\n煮", "zh", field, meaning=0),
        Text("Soup\nBoil", "en", field, Origin.TRANSLATED, 0, "e zh-en"),
        Text("汤\n烧", "zh", field, Origin.BACK_TRANSLATED, 0, "e zh-en-zh"),  # its title came back as it was
    )


def test_parts_are_parsed_from_flags():
    assert parse_parts(("title, ingredients", "instructions")) == ("title", "ingredients", "instructions")
    assert parse_parts(()) == ()
    for wrong in (("title,title",), ("title,",), ("",)):
        with pytest.raises(ConfigError, match="expected different names"):
            parse_parts(wrong)


def test_queries_and_documents_have_no_parts():
    pair = Pair("q", (), (Text("a", field="query", role=Role.QUERY), Text("b", field="document", role=Role.DOCUMENT)))
    with pytest.raises(ConfigError, match="leave the text parts out"):
        join_parts(pair, ("query",))
