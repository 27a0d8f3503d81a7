import pytest

from diptych.core.errors import ConfigError
from diptych.library.milvus_filter import translate

FIXED, EXTRA = ("id", "width", "height", "path"), ("group", "n", "ok")

SAME = {
    "width = 3": "width == 3",
    "width <> 3 AND n != -1.5": "width != 3 and n != -1.5",
    "path LIKE '/a/%'": 'path like "/a/%"',
    "path not like 'it''s \"x\" \\'": 'not (path like "it\'s \\"x\\" \\\\")',
    "n IN (1, 2)": "n in [1, 2]",
    "n NOT IN ('a')": 'not (n in ["a"])',
    "`group` IS NULL": "not (exists group)",
    '"group" IS NOT NULL': "exists group",
    "width IS NULL": 'id == ""',
    "ok": "ok == true",
    "NOT ok": "not (ok == true)",
    "(n > 1 OR ok) AND width < height": "(n > 1 or ok == true) and width < height",
    "n BETWEEN 1 AND 2 OR width > 1e3": "(n >= 1 and n <= 2) or width > 1e3",
    "path = date '2024-01-01'": 'path == "2024-01-01"',
}


@pytest.mark.parametrize("where", SAME)
def test_what_both_have(where):
    assert translate(where, FIXED, EXTRA) == SAME[where]


@pytest.mark.parametrize(
    "where",
    ["", "width", "width >", "> 3", "nosuch = 1", "lower(path) = 'a'", "width + 1 = 2", "n IN 1", "n IN (", "(n = 1",
     "n = 1 n = 2", "n = 1; drop", "n = 'open", "n BETWEEN 1", "n IS 1", "((width))", "n ILIKE 'a'"],
)  # fmt: skip
def test_what_it_has_not_is_said(where):
    with pytest.raises(ConfigError, match="cannot use --where") as caught:
        translate(where, FIXED, EXTRA)
    assert "\n" not in str(caught.value)


def test_a_text_stays_a_text_whatever_is_in_it():
    assert translate("path = 'x'' OR 1 = 1 --'", FIXED, EXTRA) == 'path == "x\' OR 1 = 1 --"'
