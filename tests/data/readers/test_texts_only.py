"""Sources of texts only: pairs, labels, paraphrases, BEIR's and STS's layouts."""

import json
from pathlib import Path

import pytest

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.types import Role, Text
from diptych.data.readers import SourceOptions, open_source


def query(value: str, lang: str | None = None) -> Text:
    return Text(value, lang, "query", role=Role.QUERY)


def document(value: str, label: float | None = None, lang: str | None = None) -> Text:
    return Text(value, lang, "document", role=Role.DOCUMENT, label=label)


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


ROWS = [
    {"sentence1": "a fox runs", "sentence2": "a fox is running", "score": 4.5},
    {"sentence1": "snow falls", "sentence2": "it snows", "score": 5},
    {"sentence1": "a fox runs", "sentence2": "a cat sleeps", "score": 0},
]
READ = [
    (query("a fox runs"), document("a fox is running", 4.5), document("a cat sleeps", 0.0)),
    (query("snow falls"), document("it snows", 5.0)),
]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_rows_of_one_query_are_one_record_in_every_kind_of_table(tmp_path, read, kind):
    path = tmp_path / f"t.{kind}"
    if kind == "jsonl":
        write(path, "".join(json.dumps(row) + "\n" for row in ROWS))
    elif kind == "parquet":
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist([{**row, "score": float(row["score"])} for row in ROWS]), path)
    else:
        between = "," if kind == "csv" else "\t"
        lines = [between.join(ROWS[0]), *(between.join(map(str, row.values())) for row in ROWS)]
        write(path, "\n".join(lines))
    pairs, skipped = read(path)
    assert ([pair.texts for pair in pairs], skipped) == (READ, [])
    assert all(pair.images == () for pair in pairs)


def test_negatives_languages_and_lists(tmp_path, read):
    row = {"en": "a dog", "de": ["ein Hund", "der Hund"], "other": "eine Katze", "split": "dev", "stars": 3}
    options = {"query_column": "en", "document_column": "de", "negative_column": "other"}
    [pair], skipped = read(write(tmp_path / "t.jsonl", json.dumps(row)), **options)
    texts = (query("a dog", "en"), document("ein Hund", lang="de"), document("der Hund", lang="de"))
    assert (pair.texts, skipped) == ((*texts, document("eine Katze", 0.0)), [])
    assert (pair.split, pair.meta) == ("val", {"stars": 3})


def test_bad_rows_are_named_and_the_scale_is_kept(tmp_path):
    lines = [
        "query,document,label",
        "a,b,1",
        "a,c,5",
        "a,d,5.5",
        "a,e,0.9",
        "a,f,much",
        "a,g,",
        "a,h,nan",
        ",i,2",
        "j,,2",
    ]
    source = open_source(write(tmp_path / "t.csv", "\n".join(lines)), SourceOptions(label_scale="1:5"))
    assert [pair.texts for pair in source] == [(query("a"), document("b", 0.0), document("c", 4.0))]
    assert [(entry.name[-1], entry.reason) for entry in source.skipped] == [
        *((line, Reason.BAD_ROW) for line in "45678"),
        ("9", Reason.EMPTY_TEXT),
        ("0", Reason.EMPTY_TEXT),
    ]
    assert source.skipped[0].detail == "the label 5.5 is outside the scale; expected 1 to 5"
    assert source.skipped[2].detail == "the label 'much' is no number; expected 1 to 5"


def test_labels_in_words_and_a_document_labelled_twice(tmp_path):
    lines = ["question1,question2,is_duplicate", "a,b,duplicate", "a,c,not_duplicate", "a,b,0", "a,c,-1"]
    source = open_source(write(tmp_path / "t.csv", "\n".join(lines)))
    assert [pair.texts for pair in source] == [(query("a"), document("b", 1.0), document("c", 0.0))]
    notes = {note.kind: note for note in source.notes}
    assert (notes["label_in_words"].count, notes["conflict"].count, notes["joined_rows"].count) == (2, 1, 2)
    assert "another label" in notes["conflict"].detail
    assert [entry.name for entry in source.skipped] == ["t.csv line 5"]


def test_labels_of_entailment_are_words_or_of_a_stated_scale(tmp_path, read):
    rows = [("a", "b", "entailment"), ("a", "c", "contradiction"), ("d", "e", "-")]
    lines = [json.dumps(dict(zip(("sentence1", "sentence2", "gold_label"), row, strict=True))) for row in rows]
    [pair], skipped = read(write(tmp_path / "snli.jsonl", "\n".join(lines)))
    assert pair.texts == (query("a"), document("b", 1.0), document("c", 0.0))
    assert "the label '-' is no number" in skipped[0].detail
    numbers = write(tmp_path / "mnli.csv", "premise,hypothesis,label\na,b,0\na,c,2\n")  # 0 is entailment there
    with pytest.raises(DataError, match="0 often stands for entailment; write entailment, neutral or contradiction"):
        list(open_source(numbers))
    [pair], _ = read(numbers, label_scale="0:2")
    assert [text.label for text in pair.documents] == [0.0, 2.0]


def test_a_document_that_is_a_negative_of_its_own_query_is_counted(tmp_path):
    path = write(tmp_path / "t.csv", "query,document,negative\na,b,b\nc,d,e\n")
    source = open_source(path)
    assert [pair.texts for pair in source] == [
        (query("a"), document("b")),
        (query("c"), document("d"), document("e", 0.0)),
    ]
    assert [(note.kind, note.count) for note in source.notes if note.kind == "conflict"] == [("conflict", 1)]


def test_paraphrases_of_one_row_or_one_group(tmp_path, read):
    rows = [{"group": "a", "text": "one"}, {"group": "b", "text": "two"}, {"group": "a", "text": ["uno", "one"]}]
    path = write(tmp_path / "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"no column that looks like images.*--image-column, or .* --texts-only"):
        list(open_source(path))
    pairs, skipped = read(path, texts_only=True)
    assert [(pair.group, [text.value for text in pair.texts]) for pair in pairs] == [
        ("a", ["one", "uno"]),
        ("b", ["two"]),
    ]
    assert skipped == []


def test_a_table_with_images_stays_one(pictures, read):
    folder = pictures("a.jpg")
    path = write(folder / "t.csv", "image,question,answer,caption\na.jpg,what is it,a fox,a fox\n")
    [pair], _ = read(path)
    assert (len(pair.images), [text.value for text in pair.texts]) == (1, ["a fox"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query_column": "a"}, "name both sides"),
        ({"query_column": "a", "document_column": "x"}, "has no column 'x'; columns found: a, b, label"),
        ({"query_column": "a", "document_column": "a"}, "one column cannot be two of"),
        ({"label_scale": "5"}, "expected LOW:HIGH, such as 0:5 or 1:5"),
        ({"label_scale": "5:0"}, "expected LOW:HIGH"),
        ({"image_column": "a", "texts_only": True}, "for a source of texts only; leave one out"),
    ],
)
def test_wrong_settings_say_what_was_expected(tmp_path, options, message):
    path = write(tmp_path / "t.csv", "a,b,label\nx,y,1\n")
    with pytest.raises(ConfigError, match=message):
        list(open_source(path, SourceOptions(**options)))


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """Four documents, three queries, two splits."""
    documents = [{"_id": f"d{n}", "title": "" if n else "Fox", "text": f"document {n}"} for n in range(4)]
    write(tmp_path / "b/corpus.jsonl", "\n".join(map(json.dumps, documents)))
    queries = [{"_id": f"q{n}", "text": f"query {n}"} for n in range(3)]
    write(tmp_path / "b/queries.jsonl", "\n".join(map(json.dumps, queries)))
    judged = "query-id\tcorpus-id\tscore\nq0\td0\t2\nq0\td1\t0\nq0\td9\t1\nq7\td0\t1\nq0\td2\t-1\n"
    write(tmp_path / "b/qrels/test.tsv", judged)
    write(tmp_path / "b/qrels/dev.tsv", "q1 0 d1 1\n")
    return tmp_path / "b"


def test_beir_documents_are_ranked_in_every_split(beir):
    source = open_source(beir, SourceOptions(split="test"))
    assert source.format == "beir"
    asked, *gallery = source
    assert (asked.id, asked.split, [text.value for text in asked.queries]) == ("q0", "test", ["query 0"])
    assert [(text.value, text.label, text.item) for text in asked.documents] == [
        ("Fox document 0", 2.0, "d0"),
        ("document 1", 0.0, "d1"),
    ]
    assert [pair.id for pair in gallery] == ["d0", "d1", "d2", "d3"]
    assert all(pair.is_gallery for pair in gallery)
    assert not asked.is_gallery
    assert [entry.detail for entry in source.skipped] == [
        "no document has the _id d9",
        "no query has the _id q7",
        "the label -1 is outside the scale; expected 0 (unrelated) or more; state another scale with --label-scale, "
        "such as 1:5",
    ]
    assert {note.kind: note.count for note in source.notes} == {"no_judgement": 1}
    assert next(pair.id for pair in open_source(beir, SourceOptions(split="val"))) == "q1"
    with pytest.raises(DataError, match=r"no split 'train'; splits found: val \(1 pairs\), test \(1 pairs\)$"):
        list(open_source(beir, SourceOptions(split="train")))


def test_the_fingerprint_knows_labels_and_sides(tmp_path):
    def of(rows: str) -> str:
        return open_source(write(tmp_path / "t.csv", rows)).fingerprint()

    first = of("query,document,label\na,b,1\n")
    assert first == of("query,document,label\na,b,1.0\n")
    assert len({first, of("query,document,label\na,b,2\n"), of("query,document,label\nb,a,1\n")}) == 3


def test_sts_benchmark_and_semeval(tmp_path, read):
    line = 'main\tMSRvid\t2012\t0001\t{}\tA plane "takes off.\tAn air plane.\tlicence\n'
    write(tmp_path / "s/sts-dev.csv", line.format("5.000") + line.format("6") + "too\tshort\n")
    pairs, skipped = read(tmp_path / "s")
    texts = (Text('A plane "takes off.', role=Role.QUERY), Text("An air plane.", role=Role.DOCUMENT, label=5.0))
    assert [(pair.texts, pair.split) for pair in pairs] == [(texts, "val")]
    assert [entry.name for entry in skipped] == ["sts-dev.csv line 2", "sts-dev.csv line 3"]
    write(tmp_path / "e/STS.input.images.txt", "a\tb\nc\td\ne\tf\n")
    write(tmp_path / "e/STS.gs.images.txt", "4.2\n\n0\n")
    pairs, skipped = read(tmp_path / "e")
    assert [(pair.queries[0].value, pair.documents[0].label) for pair in pairs] == [("a", 4.2), ("e", 0.0)]
    assert skipped == []
