import unicodedata
from collections import Counter

from diptych.library.store.where_sql import parse
from diptych.library.view import hints

COLUMNS = {"folder": "text", "n": "number", "ok": "boolean", "modified": "timestamp"}


class Rows:
    def __init__(self, **columns):
        self.columns = columns

    def count(self):
        return len(next(iter(self.columns.values())))

    def facets(self, columns):
        return {name: Counter(value for value in self.columns[name] if value is not None) for name in columns}


def told(where, secret=(), **columns):
    return hints.nothing_passes(parse(where, COLUMNS), Rows(**columns), secret)


def test_the_values_nearest_to_the_filter_come_first():
    folders = ["/a/Winter"] * 5 + ["/a/2019"] * 4 + ["/a/2020"] * 3 + ["/a/2021"] * 2 + ["/a/Summer"]
    for mistyped in ("Sumer", "summer", "/a/Summr"):
        found = told(f"folder = '{mistyped}'", folder=folders)
        assert found == (
            "0 of 15 pass the filter; folder has: '/a/Summer' (1), '/a/Winter' (5), '/a/2019' (4), '/a/2020' (3), …"
        )


def test_a_name_whose_accents_are_written_in_another_way_comes_first():
    there = unicodedata.normalize("NFD", "/a/Bücher")
    folders = [f"/a/{year}" for year in range(2000, 2010)] + [there]
    assert f"folder has: {there!r} (1), " in told(
        f"folder = '{unicodedata.normalize('NFC', 'Bücher')}'", folder=folders
    )


def test_numbers_and_dates_from_the_least_to_the_greatest():
    days = [1_700_000_000_000_000_000, 1_780_000_000_000_000_000]
    found = told("n > 9 AND modified < '2000' AND ok", n=[1.0, 2.5], modified_ns=days, ok=[False, None])
    assert found == "0 of 2 pass the filter; n has: 1 to 2.5; modified has: 2023-11-14 to 2026-05-28; ok has: false (1)"


def test_what_is_secret_or_missing():
    assert told("folder = 'x' AND n = 1", ["folder"], folder=["/secret"], n=[None]) == (
        "0 of 1 pass the filter; n has: no value"
    )
    assert told("folder = 'x'", ["folder"], folder=["/secret"]) == "0 of 1 pass the filter"
