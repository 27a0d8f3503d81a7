import contextlib
import functools
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diptych.core.errors import ConfigError, LimitError
from diptych.library.store import milvus_filter
from diptych.library.store.lance_filter import to_sql
from diptych.library.store.where import AllOf, AnyOf, Condition, FilterError, condition, conditions, holds, negated
from diptych.library.store.where_sql import MOST_CHARACTERS, MOST_DEPTH, parse

from .. import slow_where

COLUMNS = {
    "name": "text", "folder": "text", "group": "text", "show": "text", "camera_model": "text", "width": "integer",
    "height": "integer", "modified": "timestamp", "modified_ns": "integer", "n": "number", "ok": "boolean",
}  # fmt: skip


@pytest.mark.parametrize(
    ("where", "sql"),
    [
        ("width > 800", "`width` > 800"),
        ("800 < width", "`width` > 800"),
        ("Width > 800 AND NOT ok", "(`width` > 800) AND (`ok` IS NOT NULL AND `ok` != TRUE)"),
        ("NOT (width > 1 OR n IS NULL)", "(`width` <= 1) AND (`n` IS NOT NULL)"),
        ("width > height", "`width` > `height`"),
        ("group = 'it''s'", "`group` = 'it''s'"),
        ("show = 'x' AND group = 'y'", "(`show` = 'x') AND (`group` = 'y')"),
        ("\"Camera Model\" NOT LIKE 'a%'", "`camera_model` IS NOT NULL AND `camera_model` NOT like 'a%'"),
        ("name LIKE '100!%%' ESCAPE '!'", "`name` like '100\\%%'"),
        ("width > 3.5", "`width` > 3"),
        ("width < 3.5", "`width` <= 3"),
        ("width = 3.5", "FALSE"),
        ("NOT width = 3.5", "`width` IS NOT NULL AND TRUE"),
        ("width < 1e30", "`width` IS NOT NULL AND TRUE"),
        ("width > 1e999999999", "FALSE"),
        ("n >= -1e999", "`n` IS NOT NULL AND TRUE"),
        ("n IN (1, 2.5, -3)", "`n` IN (1.0, 2.5, -3.0)"),
        ("n NOT BETWEEN 1 AND 2", "(`n` < 1.0) OR (`n` > 2.0)"),
        ("modified IS NOT NULL", "`modified_ns` IS NOT NULL"),
    ],
)
def test_what_is_taken_and_what_it_becomes(where, sql):
    assert to_sql(parse(where, COLUMNS)) == sql


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("length(repeat('a', 1900000000)) > 0", r"functions are not taken, found length\("),
        ("lower(name) = 'a'", "functions are not taken"),
        ("width IN (SELECT 1)", "cannot read it"),
        ("EXISTS (SELECT 1)", "functions are not taken"),
        ("width > 0; DROP TABLE pictures", "without ';'"),
        ("width > 0 -- all", "comments"),
        ("width /* x */ > 0", "comments"),
        ("width + 1 = 2", r"found '\+'"),
        ("name || 'a' = 'b'", "found"),
        ("width::text = '1'", "found '::'"),
        ("CASE WHEN ok THEN 1 END", "cannot read it"),
        ("n = 1 UNION SELECT 1", "cannot read it"),
        ("pictures.width = 1", "found '.'"),
        ("ok IS TRUE", "no comparison"),
        ("width IS DISTINCT FROM 3", "cannot read it at"),
        ("name LIKE ANY ('a')", "functions are not taken"),
        ("name ILIKE 'a'", "cannot read it at 'ILIKE'"),
        ("name = 'a' 'b'", "not taken"),
        ("n BETWEEN SYMMETRIC 1 AND 2", "no|not"),
        ("", "no comparison"),
        ("   ", "no comparison"),
        ("width", "a comparison is missing behind 'width'"),
        ("width >", "cannot read it|too early"),
        ("1 = 1", "expected a column"),
        ("((width = 1)", "cannot read it|too early"),
        ("name = 'open", "quote is open"),
        ("\udcff = 1", "half a character"),
        ("n = NULL", "write IS NULL"),
        ("n IN ()", "without values"),
        ("widht > 3", "no column 'widht'; did you mean width"),
        ("metadata.key = 3", "found '.'"),
        ("name = 3", "holds texts, found the number 3; write a text in quotes"),
        ("width = '3'", "holds whole numbers, found the text '3'; write a number without quotes"),
        ("ok = 1", "write ok = true or ok = false"),
        ("ok > false", "compare it with = or !="),
        ("n LIKE '1%'", "only texts"),
        ("name = width", "they cannot be compared"),
        ("modified > '31.1.2026'", "written as '2026-01-31'"),
        ("modified > '2026-02-30'", "written as '2026-01-31'"),
        ("modified > 1700000000", "written as '2026-01-31'"),
        ("name LIKE 'a\\'", "ends with its escape"),
        ("name LIKE 'a' ESCAPE 'xy'", "one character"),
        ("(" * (MOST_DEPTH + 1) + "ok" + ")" * (MOST_DEPTH + 1), "brackets"),
        ("NOT " * (MOST_DEPTH + 1) + "ok", "brackets"),
        ("ok" + " " * MOST_CHARACTERS, "characters, the limit is 1,000"),
        ("n = 1 or " * 120 + "n = 2", "characters, the limit is 1,000"),
    ],
)
def test_what_is_not_taken_is_said_in_one_line(where, why):
    with pytest.raises((ConfigError, LimitError), match=why) as caught:
        parse(where, COLUMNS)
    assert "cannot use --where" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_columns_are_named():
    with pytest.raises(FilterError, match=r"columns: name \(text\), folder \(text\).*for example: --where") as caught:
        parse("nosuch = 1", COLUMNS)
    assert caught.value.reason == "there is no column 'nosuch'"


TOKENS = (
    "name n ok width modified AND OR NOT IN BETWEEN LIKE IS NULL TRUE ( ) ( ) , = != < <= - 'a' '' '2026' 3 1e9 .5 "
    "ESCAPE '!' DATE TIMESTAMP \" ` ' ; -- /* [ { :: . @ # $$ ? \\ \x00 é 🙂 select from case any exists interval cast "
    "row x'41' || => -> := e'a' b'1' {{ {% distinct symmetric"
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TOKENS.split(" ")), max_size=40).map(" ".join) | st.text(max_size=60))
def test_whatever_is_written_is_read_or_refused(where):
    with contextlib.suppress(FilterError):
        to_sql(parse(where, COLUMNS))


def test_any_name_may_be_a_column_even_a_word_of_sql():
    words = ["desc", "from", "case", "when", "order", "select", "fetch", "show", "date", "if", "any", "end", "key"]
    for word in words:
        found = parse(f"{word} = 'x' AND ({word} IS NULL OR NOT {word} IN ('y'))", dict.fromkeys(words, "text"))
        assert {one.column for one in conditions(found)} == {word}


def test_the_longest_chain_of_conditions_is_one_level_deep():
    found = parse(" OR ".join(f"n={number}" for number in range(90)), COLUMNS)
    assert isinstance(found, AnyOf)
    assert len(found.parts) == 90


@pytest.mark.parametrize(
    ("folder", "fits"),
    [
        ("Summer", ["/a/Summer", "/Summer", "Summer", "/a/b.tar::Summer"]),
        ("a/Summer/", ["/a/Summer"]),
        ("/a/Summer", ["/a/Summer"]),
        ("100%", ["/x/100%"]),
        ("/", ["/"]),
    ],
)
def test_a_folder_is_found_by_its_name_or_its_path(folder, fits):
    there = [
        "/a/Summer",
        "/Summer",
        "Summer",
        "/a/b.tar::Summer",
        "/a/Midsummer",
        "/a/summer",
        "/x/100%",
        "/x/1000",
        "/",
    ]
    for where, wanted in ((f"folder = '{folder}'", fits), (f"folder IN ('{folder}', '/none')", fits)):
        found = parse(where, COLUMNS)
        assert [one for one in there if holds(found, {"folder": one}.get)] == wanted
        others = [one for one in there if one not in wanted]
        assert [one for one in there if holds(negated(found), {"folder": one}.get)] == others
    assert not holds(parse(f"folder != '{folder}'", COLUMNS), {"folder": None}.get)


@pytest.mark.parametrize(
    ("written", "begin", "end"),
    [
        ("2026-01-31", 1769817600, 1769904000),
        ("2026-02", 1769904000, 1772323200),
        ("2024", 1704067200, 1735689600),
        ("2026-01-31 14:30", 1769869800, 1769869860),
        ("2026-01-31T14:30:05", 1769869805, 1769869806),
        ("2026-01-31T14:30:05Z", 1769869805, 1769869806),
        ("2026-01-31 14:30:05 +02:00", 1769862605, 1769862606),
        ("2026-01-31T14:30:05-0330", 1769882405, 1769882406),
        ("2026-01-31T14:30:05.25", 1769869805.25, 1769869805.26),
    ],
)
def test_a_date_stands_for_all_of_its_day_month_or_minute(written, begin, end):
    first, last = (round(one * 100) * 10**7 for one in (begin, end))
    instants = [first - 1, first, last - 1, last]
    meant = {
        "=": [0, 1, 1, 0],
        "!=": [1, 0, 0, 1],
        "<": [1, 0, 0, 0],
        "<=": [1, 1, 1, 0],
        ">": [0, 0, 0, 1],
        ">=": [0, 1, 1, 1],
    }
    for op, wanted in meant.items():
        found = parse(f"modified {op} '{written}'", COLUMNS)
        assert [holds(found, {"modified_ns": at}.get) for at in instants] == list(map(bool, wanted)), op
    between = parse(f"modified BETWEEN timestamp '{written}' AND '{written}'", COLUMNS)
    assert [holds(between, {"modified_ns": at}.get) for at in instants] == [False, True, True, False]


def test_dates_before_and_after_what_a_clock_can_count():
    assert holds(parse("modified > '1066-10-14'", COLUMNS), {"modified_ns": 0}.get)
    assert not holds(parse("modified > '9999'", COLUMNS), {"modified_ns": 2**62}.get)


def test_a_structured_condition_is_checked_as_the_sql_is():
    assert condition("n", "in", [1, 2], COLUMNS) == parse("n IN (1, 2)", COLUMNS)
    assert holds(condition("name", "contains", "ÉT", COLUMNS), {"name": "L'Été"}.get)
    for column, op, value in (("n", "=", float("nan")), ("n", "=", "1"), ("name", "in", [1]), ("ok", "contains", "t")):
        with pytest.raises(FilterError):
            condition(column, op, value, COLUMNS)


@pytest.mark.parametrize(
    ("where", "expression", "is_exact"),
    [
        ("width = 3 OR height <> 4", "(width == 3) or (height != 4)", True),
        ("n != -1.5", "(exists n) and (n != -1.5)", True),
        ("NOT n IN (1, 2)", "(exists n) and (not (n in [1.0, 2.0]))", True),
        ("group IS NULL", "not (exists group)", True),
        ("width IS NULL", 'id == ""', True),
        ("name LIKE 'a b%'", 'name like "a b%"', True),
        ("group NOT LIKE 'a%'", '(exists group) and (not (group like "a%"))', True),
        ("name = 'x'' OR 1 = 1 --\\'", 'name == "x\' OR 1 = 1 --\\\\"', True),
        ("name LIKE '%b'", 'id != ""', False),
        ("name LIKE 'a\\%b%' AND width < 3", '(id != "") and (width < 3)', False),
        ("n > width", "(exists n)", False),
        ("ok", "(exists ok) and (ok == true)", True),
    ],
)
def test_what_a_milvus_server_is_asked(where, expression, is_exact):
    fixed = ("name", "folder", "width", "height", "modified_ns")
    assert milvus_filter.to_expression(parse(where, COLUMNS), fixed) == (expression, is_exact)


@settings(max_examples=200, deadline=None)
@given(slow_where.filters)
def test_a_row_is_checked_here_as_slow_obvious_code_does(filter):
    sql, meant = filter
    kinds = {"word": "text", "show": "text", "group": "text", "folder": "text", "n": "number", "ok": "boolean"}
    kinds |= {"width": "integer", "height": "integer", "bytes": "integer", "modified": "timestamp"}
    assume(len(sql) <= MOST_CHARACTERS)
    found = parse(sql, kinds)
    for row in slow_where.ROWS:
        assert holds(found, functools.partial(slow_where.value, row)) == (meant(row) is True)


def test_no_pattern_is_slow():
    begun = time.perf_counter()
    found = parse(f"name LIKE '{'%a' * 400}%b'", COLUMNS)
    assert not holds(found, {"name": "a" * 60_000}.get)
    assert time.perf_counter() - begun < 5  # a backtracking search takes longer than anybody waits


def test_negating_twice_changes_nothing():
    found = AllOf((Condition("n", "<", 1.0), AnyOf((Condition("name", "like", "a"), Condition("ok", "null")))))
    assert negated(negated(found)) == found
