import importlib
import json
import shutil
import sys
from collections import Counter

import pytest
from PIL import Image

import diptych
from diptych.cli import app as cli
from diptych.core.types import FileImage
from diptych.data.seen import Seen, as_marks

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")

COLOURS = {"red": "rot", "green": "grün", "blue": "blau", "black": "schwarz", "white": "weiß"}


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_model):
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def source(tmp_path):
    """Five pictures with two English texts and a German one each, and one file that is no picture."""
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = []
    for english, german in COLOURS.items():
        Image.new("RGB", (40, 30), english).save(folder / f"{english}.png")
        for text, lang in ((f"a {english} wall", "en"), (f"all {english}", "en"), (f"alles {german}", "de")):
            lines.append({"image": f"{english}.png", "text": text, "lang": lang})
    (folder / "bad.png").write_bytes(b"no picture at all")
    lines.append({"image": "bad.png", "text": "nothing", "lang": "en"})
    path = folder / "captions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `diptych eval ...` as from a shell: exit code, stdout, stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["diptych", "eval", *map(str, arguments)])
        try:
            importlib.reload(cli).main()  # a fresh command table, as in a fresh process
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_json_reports_both_directions_and_names_what_was_left_out(run, source, model):
    code, out, _ = run(source, "--model", model, "--bootstrap", 50, "--json", "--quiet")
    report = json.loads(out)

    assert code == 0
    assert report["model"]["name"] == "tiny"
    assert (report["images"], report["texts"]) == (5, 15)
    assert report["image_to_text"]["gallery"]["max"] == 15
    assert report["text_to_image"]["positives_per_query"]["max"] == 1
    assert report["text_to_image"]["metrics"]["R@5"]["value"] == 1.0  # five images in all
    assert [row["language"] for row in report["languages"]] == ["en", "de"]
    (skipped,) = report["left_out"]["skipped"]
    assert skipped["name"].endswith("bad.png")
    assert report["left_out"]["texts_of_skipped_images"] == 1


@pytest.mark.parametrize("with_list", [False, True])
def test_each_image_is_read_once(run, source, model, tmp_path, monkeypatch, with_list):
    mine = shutil.copytree(model, tmp_path / "mine")
    if with_list:  # of what it was trained on, which is looked for among the images' bytes
        Seen(as_marks([1]), as_marks([2])).write(mine)
    opened = Counter()
    plain = FileImage.open

    def counting(ref):
        opened[ref.path.name] += 1
        return plain(ref)

    monkeypatch.setattr(FileImage, "open", counting)
    code, out, _ = run(source, "--model", mine, "--bootstrap", 0, "--json", "--quiet")
    assert (code, json.loads(out)["images"]) == (0, 5)
    assert set(opened) == {"bad.png", *(f"{colour}.png" for colour in COLOURS)}
    assert set(opened.values()) == {1}


def test_markdown_is_printed_and_both_files_are_written(run, source, model, tmp_path):
    files = tmp_path / "deep" / "report.json", tmp_path / "report.md"
    code, out, err = run(source, "--model", model, "--bootstrap", 0, "--out", files[0], "--markdown", files[1])

    assert code == 0, err
    assert out.startswith("# Retrieval: tiny on ")
    assert files[1].read_text(encoding="utf-8").strip() == out.strip()
    assert json.loads(files[0].read_text(encoding="utf-8"))["bootstrap"] is None


def test_languages_and_protocols_can_be_chosen(run, source, model):
    code, out, err = run(
        source, "--model", model, "--languages", "de", "--protocol", "bagged:3x4", "--bootstrap", 0, "--json"
    )
    report = json.loads(out)

    assert code == 0, err
    assert report["languages_asked"] == ["de"]
    assert (report["images"], report["texts"]) == (5, 5)
    assert report["protocol"]["draws"] == 3
    assert report["text_to_image"]["gallery"]["max"] == 4


def test_the_seed_is_the_bags_seed(run, source, model):
    reports = [
        json.loads(run(source, "--model", model, "--protocol", "bagged:2x3", "--seed", seed, "--json", "--quiet")[1])
        for seed in (1, 1, 2)
    ]

    assert reports[0] == reports[1]
    assert [report["protocol"]["seed"] for report in reports] == [1, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--protocol", "10k"), 2, "choose from full, 1k, 5k"),
        (("--protocol", "5k"), 3, "needs 5,000 records with images and texts, found 5"),
        (("--languages", "xx"), 3, "nothing to evaluate"),
        (("--relevance", "group"), 3, "no pair names a group"),
        (("--split", "val"), 3, "no split 'val'"),
        (("--model", "/nowhere/at/all"), 4, "no model"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_with_its_exit_code(run, source, model, arguments, code, message):
    options = arguments if "--model" in arguments else ("--model", model, *arguments)
    found, out, err = run(source, *options, "--quiet")

    assert (found, out) == (code, "")
    assert err.startswith("diptych: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_source_that_is_not_there_is_named(run, model, tmp_path):
    code, _, err = run(tmp_path / "none.csv", "--model", model)

    assert code == 3
    assert "none.csv" in err


def test_a_second_evaluation_reads_the_embeddings_of_the_first(run, source, model, tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    code, first, err = run(source, "--model", model, "--json")
    assert code == 0
    assert "embedded before" not in err
    code, again, err = run(source, "--model", model, "--json")
    assert (code, again) == (0, first)
    place = f"were embedded before; read from {tmp_path / 'cache' / 'embeddings'}"
    assert f"5 of 5 images {place}" in err
    assert f"15 of 15 texts {place}" in err


def test_texts_are_found_by_texts_with_labels(run, model, tmp_path):
    rows = [
        ("a red wall", "all red", 4),
        ("a red wall", "all blue", 1),
        ("blue sky", "all blue", 5),
        ("green", "wood", 0),
    ]
    path = tmp_path / "sts.csv"
    path.write_text("sentence1,sentence2,score\n" + "".join(f"{a},{b},{label}\n" for a, b, label in rows))
    code, out, _ = run(path, "--model", model, "--bootstrap", 20, "--out", tmp_path / "a.json", "--quiet")
    assert code == 0
    assert "3 queries, gallery of 3" not in out  # one query has nothing to find
    assert "2 queries, gallery of 3" in out
    assert "1 queries have no relevant document" in out
    assert "Spearman x 100" in out
    report = json.loads((tmp_path / "a.json").read_text())
    assert (report["modality"], report["protocol"]["relevance"]) == ("text-text", "label")
    assert report["correlations"]["labelled_pairs"] == 4
    code, _, err = run(path, "--model", model, "--relevant-from", 6, "--quiet")
    assert (code, "the highest label is 5" in err) == (3, True)
    code, _, err = run(path, "--model", model, "--sheet", tmp_path / "s.png", "--quiet")
    assert (code, "no sheet" in err) == (2, True)


def test_paraphrases_need_no_images(run, model, tmp_path):
    path = tmp_path / "p.jsonl"
    rows = [{"texts": [f"{colour} one", f"{colour} two"]} for colour in COLOURS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = run(path, "--texts-only", "--model", model, "--bootstrap", 0, "--json", "--quiet")
    report = json.loads(out)
    assert (code, report["texts"], report["images"]) == (0, 10, 0)
    assert report["text_to_text"]["queries"]["max"] == 10
    code, _, err = run(path, "--texts-only", "--model", model, "--modality", "image-image", "--quiet")
    assert (code, "has no images" in err) == (3, True)
    code, _, err = run(path, "--texts-only", "--model", model, "--relevant-from", 1, "--quiet")
    assert (code, "no documents with labels" in err) == (2, True)


def test_queries_and_documents_of_ones_own_are_measured(model):
    def record(name, *documents):
        found = [diptych.Text(value, role=diptych.Role.DOCUMENT, label=label) for value, label in documents]
        return diptych.Pair(name, (), (diptych.Text(name, role=diptych.Role.QUERY), *found))

    pairs = [record("a red wall", ("all red", 3.0), ("all blue", 0.0)), record("a blue wall", ("all blue", 2.0))]
    report = diptych.evaluate(model, pairs, resamples=0)
    assert set(report.correlations) == {"spearman", "pearson"}
    assert report.metrics("query_to_document")["share@5"] == 1
