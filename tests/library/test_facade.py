"""The library's facade: every method is that of a part, with its parameters and docstring."""

from __future__ import annotations

import inspect

import pytest

from diptych.library import Library
from diptych.library.indexing.indexer import Indexer
from diptych.library.maintenance.maintainer import Maintenance
from diptych.library.reader import Reader
from diptych.library.searcher import Searcher
from diptych.library.writer import Writer

PARTS = {
    Reader: (
        "search_many",
        "like",
        "vector",
        "get",
        "items",
        "facts",
        "image",
        "thumbnail",
        "duplicates",
        "trash",
        "info",
    ),
    Searcher: ("search", "attach", "reordered"),
    Indexer: ("index", "index_texts", "index_videos", "add_tokens"),
    Writer: ("add", "patch", "delete", "remove", "undo", "purge"),
    Maintenance: ("verify", "repair", "compact", "export", "reembed"),
}


@pytest.mark.parametrize(("part", "name"), [(part, name) for part, names in PARTS.items() for name in names])
def test_a_method_is_its_parts(part, name) -> None:
    ours, theirs = getattr(Library, name), getattr(part, name)
    assert inspect.signature(ours) == inspect.signature(theirs)
    assert ours.__doc__ == theirs.__doc__
    assert ours.__doc__


def test_each_part_can_be_used_by_itself(filled, encoder) -> None:
    (hit,) = filled.search("red", 1)
    assert filled.reader.search("red", 1) == [hit]
    deletion = filled.writer.delete([hit.id])
    assert filled.reader.search("red", 1) != [hit]
    assert filled.writer.undo(deletion).restored == (hit.id,)
    assert filled.maintenance.verify().problems == ()


def test_several_queries_are_answered_of_one_version(filled) -> None:
    vectors = filled.model.encode_texts(["red", "blue"])
    red, none = filled.search_many(vectors, [2, 3]), filled.search_many(vectors, [2, 3], "width > 1000")
    assert [(len(one.hits), one.considered, one.version) for one in red] == [
        (2, 6, filled.version),
        (3, 6, filled.version),
    ]
    assert red[0].hits == filled.search("red", 2)
    assert [(one.hits, one.considered) for one in none] == [([], 0), ([], 0)]


def test_facts_and_facets(filled) -> None:
    hits = filled.search("red", 2)
    facts = filled.facts([hits[1].id, "0" * 16, hits[0].id])
    assert [(one.id, one.path, one.meta) for one in facts] == [(hit.id, hit.path, hit.meta) for hit in hits[::-1]]
    assert filled.facets("width") == [(40, 6)]
    assert dict(filled.facets("suffix", 1)) == {".png": 6}
