"""A library on a server asks it: what a call costs in rows and requests does not grow with the library."""

from __future__ import annotations

from dataclasses import replace

import pytest

from diptych.library import Library, NewItem
from diptych.library.store import places
from diptych.library.view import snapshot

from .fake_remote import SCHEME
from .test_items import RED, png
from .test_stores import row

MANY = 600


@pytest.fixture
def library(tmp_path, encoder, fake):
    """An upload and 600 other rows on a server."""
    made = Library.create(tmp_path / "library", encoder, store=f"{SCHEME}://pictures")
    vectors = encoder.encode_texts(["red", "blue", "green", "white"])
    rows = [row(number, path=f"/a/{number % 10}/{number}.jpg", source="/a") for number in range(MANY)]
    made.opened.store().write([one_of(one, vectors[at % 4]) for at, one in enumerate(rows)])
    made.add([NewItem(png(RED), "up.png")])
    return made


def one_of(one, vector):
    return replace(one, vector=vector, content=f"{int(one.id, 16):032x}")


@pytest.fixture
def cost(library, fake):
    """What a call costs the server: rows that it gives, and requests."""
    kept = fake.collections["pictures"]

    def measured(call):
        kept.rows_given, before = 0, kept.requests.total()
        found = call()
        return found, kept.rows_given, kept.requests.total() - before

    return measured


def test_reading_costs_what_it_shows(library, cost):
    answers, rows, requests = cost(lambda: library.search("red", 5))
    assert (len(answers), requests) == (5, 3)  # how many there are, the search, what it found
    assert rows <= 5 + 16 + 5
    found, rows, requests = cost(lambda: library.search("red", 5, "width > 100"))
    assert (len(found), requests) == (5, 3)
    page, rows, requests = cost(lambda: library.items(limit=10))
    assert (len(page.items), page.total, rows) == (10, MANY + 1, 11 + 10)
    page, rows, _ = cost(lambda: library.items("path LIKE '%7.jpg'", limit=10, cursor=page.cursor))
    assert (page.total, rows) == (MANY // 10, 21)
    assert cost(lambda: library.count("width >= 140"))[:2] == (MANY - 100, 0)
    assert cost(lambda: len(library))[1:] == (0, 1)
    assert cost(lambda: library.thumbnail(page.items[0].id))[1] == 1
    assert cost(lambda: library.knows("/a/3")) == (True, 0, 1)
    assert cost(lambda: library.knows("/b")) == (False, 0, 1)


def test_writing_costs_what_it_changes(library, cost):
    gone, rows, _ = cost(lambda: library.remove(["/a/3/3.jpg", "/a/3/13.jpg"]))
    assert (len(gone.ids), rows) == (2, 4)
    back, rows, _ = cost(lambda: library.undo(gone))
    assert (back.restored, rows) == (gone.ids, 4)  # two of the trash, listed and read
    gone = library.delete(where="name = 'up.png'")
    assert cost(lambda: library.purge(0)) == (1, 2, 4)  # listed, read, removed, compacted
    assert len(library) == MANY
    assert not list(library.uploads.folder.rglob("*.png"))


def test_a_search_in_many_vectors_is_one_request(library, encoder, cost):
    vectors = encoder.encode_texts(["red", "blue", "green"])
    answers, _, requests = cost(lambda: library.search_many(vectors, [1, 4, 2]))
    assert ([len(answer.hits) for answer in answers], requests) == ([1, 4, 2], 3)
    assert answers[0].hits[0].id == library.search("red", 1)[0].id


def test_a_map_shows_a_sample(library, cost):
    points, rows, _ = cost(lambda: library.points(50))
    assert (len(points), points.total, points.version) == (50, MANY + 1, library.version)
    assert rows == 2 * 50  # their ids, then what they are
    assert [library.vector_of(str(one, "ascii")) for one in points.ids[:3]] == pytest.approx(points.vectors[:3])
    assert cost(library.holds_texts)[:2] == (False, 2)


def test_no_copy_of_its_rows_is_made(library):
    library.search("red")
    library.items(limit=1000)
    library.facets("folder")
    library.compact()
    assert library.verify().kinds.keys() <= {"missing_file", "missing_thumb"}
    assert snapshot.in_use(library.opened.snapshots.folder) is None


def test_facets_of_what_passes(library):
    assert library.facets("folder", most=2, where="width < 50") == [(f"/a/{number}", 1) for number in range(2)]
    assert library.facets("suffix") == [(".jpg", MANY), (".png", 1)]


def test_a_kind_of_store_that_there_is_not(fake):
    assert set(places.KINDS) == {"lance", "milvus", SCHEME}
