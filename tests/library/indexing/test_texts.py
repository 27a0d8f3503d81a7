"""A library of texts."""

import io
import json
from pathlib import Path

import PIL.Image
import pytest

from diptych.core.errors import DataError, LibraryError
from diptych.library import Library
from diptych.library.rendering.text_thumbnails import text_thumbnail
from diptych.library.rendering.thumbnails import SIZE
from diptych.library.store.rows import text_of

from ..conftest import MosaicEncoder, paint

TEXTS = ["a green hill", "two blue cats", "a red car", "黄色い yellow 車"]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    source = tmp_path / "captions.jsonl"
    for number in range(len(TEXTS)):
        paint(tmp_path / f"{number}.jpg", "red", mark=number + 1)
    source.write_text(
        "".join(
            json.dumps({"id": f"r{number}", "image": f"{number}.jpg", "text": text, "lang": "en"}) + "\n"
            for number, text in enumerate(TEXTS)
        ),
        encoding="utf-8",
    )
    return source


@pytest.fixture
def library(tmp_path: Path, encoder: MosaicEncoder) -> Library:
    return Library.create(tmp_path / "texts.library", encoder)


def test_a_text_is_found_by_itself_and_tells_where_it_is_from(library: Library, listed: Path) -> None:
    report = library.index_texts([listed])
    assert (report.added, report.embedded, report.skipped, library.holds_texts()) == (4, 4, (), True)
    assert {text_of(library.search(text, 1)[0].meta) for text in TEXTS} == set(TEXTS)
    best = library.search(TEXTS[1], 4)[0]
    assert best.score == pytest.approx(1, abs=1e-5)
    assert best.meta["texts"] == [TEXTS[1]]
    assert (best.meta["record"], best.meta["lang"], best.meta["kind"]) == ("r1", "en", "text")
    assert best.path == f"{listed}::r1#0"
    assert library.verify().problems == ()


def test_only_what_changed_is_embedded_again(library: Library, listed: Path) -> None:
    library.index_texts([listed])
    again = library.index_texts([listed])
    assert (again.unchanged, again.embedded, again.removed) == (4, 0, 0)
    identifier = library.search(TEXTS[2], 1)[0].id
    lines = listed.read_text(encoding="utf-8").splitlines()
    lines[2] = lines[2].replace("red", "white")
    listed.write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")
    report = library.index_texts([listed])
    assert (report.updated, report.unchanged, report.removed, report.embedded) == (1, 2, 1, 1)
    best = library.search("a white car", 1)[0]
    assert (best.id, best.meta["texts"]) == (identifier, ["a white car"])
    assert not any(hit.meta["texts"] == [TEXTS[0]] for hit in library.search(TEXTS[0], 4))


def test_the_lines_of_a_plain_file_are_texts(library: Library, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("red note\n\n  blue note \n", encoding="utf-8")
    assert library.index_texts([notes]).added == 2
    best = library.search("blue note", 1)[0]
    assert (best.meta["texts"], best.meta["record"]) == (["blue note"], "line 3")
    assert [hit.meta["record"] for hit in library.search("red note", 5, where="record = 'line 1'")] == ["line 1"]


def test_pictures_and_texts_do_not_mix(library: Library, listed: Path, tmp_path: Path, encoder: MosaicEncoder) -> None:
    pictures = paint(tmp_path / "pictures" / "red.png", "red").parent
    library.index_texts([listed])
    with pytest.raises(LibraryError, match="holds texts"):
        library.index([pictures])
    with pytest.raises(LibraryError, match="not embedded again"):
        library.reembed(MosaicEncoder("other", seed=1))
    other = Library.create(tmp_path / "pictures.library", encoder)
    other.index([pictures])
    with pytest.raises(LibraryError, match="holds images"):
        other.index_texts([listed])
    assert len(library.search("a", 10)) == 4  # as it was


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "found no text"),
        (b"\n \n", "found no text"),
        ("чёрный\nпёс".encode("koi8-r"), "is not UTF-8"),
        (None, "cannot read"),
    ],
)
def test_a_source_without_texts_changes_nothing(
    library: Library, listed: Path, tmp_path: Path, content: bytes | None, expected: str
) -> None:
    library.index_texts([listed])
    bad = tmp_path / "bad.txt"
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(DataError, match=expected):
        library.index_texts([bad])
    assert library.info().images == 4


@pytest.mark.parametrize("text", ["", "short", "word " * 400, "w" * 5000, "赤い車" * 100, "a\u0000b\udcff‮"])
def test_any_text_fits_its_card(text: str) -> None:
    data = text_thumbnail(text)
    assert data.startswith(b"\xff\xd8\xff")
    assert PIL.Image.open(io.BytesIO(data)).size == (SIZE, SIZE)


def test_of_queries_and_documents_the_documents_are_items_each_once(library: Library, tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    rows = ["red hills,a green hill,1", "red hills,two blue cats,0", "cars,a red car,1", "cats,two blue cats,1"]
    table.write_text("query,document,label\n" + "\n".join(rows) + "\n")
    report = library.index_texts([table])
    assert report.added == 3
    assert {note.kind: note.count for note in report.notes}["queries"] == 3
    assert text_of(library.search("a red car", 1)[0].meta) == "a red car"
    assert library.index_texts([table]).unchanged == 3


def test_a_beir_corpus_is_a_library_whose_records_are_its_ids(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    documents = [json.dumps({"_id": f"d{n}", "text": text}) for n, text in enumerate(TEXTS)]
    (folder / "corpus.jsonl").write_text("\n".join(documents))
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "hill"}')
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td3\t1\n")
    assert library.index_texts([folder]).added == len(TEXTS)
    found = [library.search(text, 1)[0] for text in TEXTS]
    assert [hit.meta["record"] for hit in found] == ["d0", "d1", "d2", "d3"]
    assert found[3].path == f"{folder}::d3#0"


def test_a_table_without_images_is_indexed_by_its_texts(library: Library, tmp_path: Path) -> None:
    table = tmp_path / "notes.csv"
    table.write_text("id,text,stars\nn1,a green hill,3\nn2,a red car,4\n")
    assert library.index_texts([table]).added == 2
    assert [library.search("a red car", 1)[0].meta[key] for key in ("record", "stars")] == ["n2", "4"]
