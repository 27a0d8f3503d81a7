import json

import numpy as np

from diptych.core.errors import Reason
from diptych.core.types import Skipped
from diptych.evaluation import Bagged, Embeddings, Report, evaluate_embeddings
from diptych.evaluation.report import FORMAT, FORMAT_VERSION

from .test_evaluate import collection


def report(evaluation, **changes):
    settings = {"model": "base", "model_fingerprint": "f00d", "source": "photos.jsonl", "split": "val"}
    return Report(evaluation, **(settings | changes))


def test_json_holds_every_number_and_names_its_protocol():
    evaluation = evaluate_embeddings(collection(), Bagged(3, 20), resamples=30, seed=5)
    record = report(evaluation).to_json()

    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["format"], record["version"]) == (FORMAT, FORMAT_VERSION)
    assert record["model"] == {"name": "base", "fingerprint": "f00d"}
    assert record["split"] == "val"
    assert record["protocol"]["name"] == "bagged:3x20"
    assert (record["protocol"]["draws"], record["protocol"]["seed"]) == (3, 5)
    assert record["bootstrap"] == {"resamples": 30, "level": 0.95, "unit": "record"}
    side = record["text_to_image"]
    assert side["gallery"] == side["queries"] == {"min": 20, "mean": 20.0, "max": 20}
    assert side["positives_per_query"] == {"min": 1, "mean": 1.0, "max": 1}
    assert set(side["metrics"]["R@1"]) == {"value", "low", "high", "deviation"}
    assert side["metrics"]["R@1"]["value"] == evaluation.scores.text_to_image.metrics["R@1"].value


def test_markdown_says_what_was_measured_and_how():
    page = report(evaluate_embeddings(collection(), resamples=30)).table()

    assert "# Retrieval: base on photos.jsonl" in page
    assert "**full**" in page
    assert "- image → text: 60 queries, gallery of 180, 3 positives a query" in page
    assert "30 bootstrap resamples" in page
    assert "## Languages" not in page
    assert "## Left out" not in page
    single = evaluate_embeddings(
        Embeddings(np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32), np.arange(4)), resamples=0
    )
    assert "- text → image: 4 queries, gallery of 4, 1 positive a query\n" in report(single).table()


def test_markdown_prints_percentages_for_shares_and_places_for_ranks():
    perfect = Embeddings(np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32), np.arange(4))
    lines = report(evaluate_embeddings(perfect, resamples=0)).table().splitlines()

    assert "| R@1 % | 100.0 | 100.0 |" in lines
    assert "| medR (lower is better) | 1.0 | 1.0 |" in lines
    assert "| rsum (both) | 600.0 |  |" in lines


def test_tables_have_as_many_cells_in_every_row():
    evaluation = evaluate_embeddings(
        collection(languages=("en", "xx", None) * 60), resamples=10, made_for=frozenset({"en"})
    )
    page = report(evaluation).table()
    tables = [block for block in page.split("\n\n") if block.startswith("|")]

    assert len(tables) == 2
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "| xx * | 60 | 60 |" in page
    assert "not made for this language" in page
    assert "| unknown | 60 | 60 |" in page


def test_languages_that_differ_in_size_come_with_a_warning():
    even = report(evaluate_embeddings(collection(languages=("en", "de", "fr") * 60), resamples=0)).table()
    uneven = report(evaluate_embeddings(collection(languages=("en", "de", "en") * 60), resamples=0)).table()

    assert "compare across rows with care" in uneven
    assert "compare across rows with care" not in even


def test_skipped_inputs_are_counted_and_named_and_cannot_break_the_page():
    skipped = (
        Skipped("a|b\nc<script>.jpg", Reason.TRUNCATED, "cut at byte 9"),
        *(Skipped(f"{number}.jpg", Reason.MISSING) for number in range(30)),
    )
    whole = report(evaluate_embeddings(collection(), resamples=0), skipped=skipped, skipped_texts=93)
    page, record = whole.table(), whole.to_json()

    assert "31 unusable inputs, and 93 texts of theirs" in page
    assert "a\\|b c&lt;script>.jpg: truncated (cut at byte 9)" in page
    assert "and 11 more" in page
    assert len(record["left_out"]["skipped"]) == 31
    assert record["left_out"]["skipped"][0]["reason"] == "truncated"
