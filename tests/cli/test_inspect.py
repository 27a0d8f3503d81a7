"""`eval` within a modality, `compare`, `map`, `explain`, `data filter` and `data mine`, as a user meets them."""

import io
import json
import shutil

import PIL.Image
import pytest

from diptych.cli.app import run
from diptych.data.mined import read_mined
from diptych.data.readers import open_source


@pytest.fixture
def diptych(capsys):
    """`code, out, err = diptych("eval", ...)`."""

    def run_command(*arguments):
        code = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run_command


def is_png(path):
    return PIL.Image.open(io.BytesIO(path.read_bytes())).format == "PNG"


def test_texts_find_texts(diptych, shapes, small_model, tmp_path):
    sheet = tmp_path / "sheet.png"
    code, out, err = diptych(
        *("eval", shapes, "--model", small_model, "--modality", "text-text", "--bootstrap", 0),
        *("--languages", "en", "--sheet", sheet, "--json"),
    )
    report = json.loads(out)
    assert code == 0, err
    assert (report["modality"], report["texts"]) == ("text-text", 20)  # of the 10 records that training held out
    assert report["text_to_text"]["gallery"]["max"] == 19
    assert "ranks" not in report  # they are for the file
    assert is_png(sheet)


def test_views_find_their_images(diptych, shapes, small_model, tmp_path):
    sheet = tmp_path / "sheet.png"
    code, out, err = diptych(
        *("eval", shapes, "--model", small_model, "--modality", "image-image", "--bootstrap", 0, "--json"),
        *("--split", "train", "--views", "crop-0", "--sheet", sheet, "--sheet-queries", "worst", "--sheet-count", 2),
    )
    report = json.loads(out)
    assert code == 0, err
    assert report["image_to_image"]["queries"]["max"] == 35
    assert report["protocol"]["relevance"] == "view"
    assert [one["name"].endswith("bad.png") for one in report["left_out"]["skipped"]] == [True]
    assert is_png(sheet)


def test_languages_of_images_are_refused(diptych, shapes, small_model):
    code, _, err = diptych("eval", shapes, "--model", small_model, "--modality", "image-image", "--languages", "en")
    assert code == 2
    assert "no texts" in err


def test_reports_and_models_are_compared(diptych, shapes, small_model, tmp_path):
    report = tmp_path / "a.json"
    base = ("--quiet", "--split", "val")
    assert diptych("eval", shapes, "--model", small_model, "--bootstrap", 0, "--out", report, *base)[0] == 0
    files = [tmp_path / name for name in ("c.json", "c.md", "c.png")]
    code, out, err = diptych(
        *("compare", shapes, "--report", f"old={report}", "--model", small_model, "--bootstrap", 50, *base),
        *("--out", files[0], "--markdown", files[1], "--plot", files[2]),
    )
    assert code == 0, err
    assert out.startswith("# Comparison")
    cells = json.loads(files[0].read_text())["runs"]
    assert list(cells) == ["shapes", "old"]
    assert cells["old"]["rsum"]["difference"]["value"] == 0.0  # the very same model
    assert out.startswith(files[1].read_text().strip())
    assert is_png(files[2])


def test_comparisons_that_cannot_be_are_explained(diptych, shapes, small_model, tmp_path):
    for split in ("train", "val"):
        out = tmp_path / f"{split}.json"
        assert diptych("eval", shapes, "--model", small_model, "--split", split, "--out", out, "--quiet")[0] == 0
    code, _, err = diptych("compare", "--report", tmp_path / "train.json", tmp_path / "val.json")
    assert code == 3
    assert "split: train and val" in err
    report = ("--report", tmp_path / "val.json")
    assert diptych("compare", *report)[0] == 2
    assert "--model needs a source" in diptych("compare", *report, "--model", small_model)[2]
    assert "and no --model to measure on it" in diptych("compare", shapes, *report, tmp_path / "val.json")[2]
    assert "no such file" in diptych("compare", *report, "none.json")[2]


def test_a_filter_writes_verdicts_a_source_and_a_plot(diptych, shapes, small_model, tmp_path):
    out = tmp_path / "filtered"
    code, printed, err = diptych(
        "data", "filter", shapes, "--model", small_model, "--out", out, "--quiet", "--criterion", "equal-error"
    )
    assert code == 0, err
    assert "pairs kept" in printed
    verdicts = [json.loads(line) for line in (out / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(verdicts) == 135
    kept = list(open_source(out / "kept.jsonl"))
    texts = {(pair.id, text.value) for pair in kept for text in pair.texts}
    assert texts == {(one["id"], one["text"]) for one in verdicts if one["keep"]}
    assert {text.lang for pair in kept for text in pair.texts} == {"en", "de"}
    assert all(
        one["keep"] == (one["score"] >= json.loads((out / "filter.json").read_text())["threshold"] - 1e-5)
        for one in verdicts
    )
    assert is_png(out / "filter.png")


@pytest.mark.parametrize("similarity", ["cosine", "l2"])
def test_a_filter_calibrates_single_pairs_too(diptych, shapes, small_model, tmp_path, similarity):
    out = tmp_path / "filtered"
    small_model = shutil.copytree(small_model, tmp_path / "model")
    config = json.loads((small_model / "config.json").read_text())
    (small_model / "config.json").write_text(json.dumps(config | {"similarity": similarity}))
    line = ("--score", "cosine", "--criterion", "recall", "--target", "0.9")
    code, _, err = diptych("data", "filter", shapes, "--model", small_model, "--out", out, "--quiet", *line)
    assert code == 0, err
    verdicts = [json.loads(one) for one in (out / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    verdicts.sort(key=lambda one: one["score"])
    asked = tmp_path / "asked.jsonl"
    chosen = [*verdicts[:5], *verdicts[-5:]]
    rows = [{"image": str(shapes.parent / one["id"]), "text": one["text"]} for one in chosen]
    asked.write_text("\n".join(map(json.dumps, rows)))
    relate = ("relate", "--pairs", asked, "--model", small_model, "--calibration", out / "filter.json", "--json")
    code, printed, err = diptych(*relate)
    assert code == 0, err
    found = json.loads(printed)
    assert [one["related"] for one in found["pairs"]] == [one["keep"] for one in chosen]
    assert {one["related"] for one in found["pairs"]} == {True, False}
    if similarity == "cosine":  # of l2 the filter's own score stays the cosine
        assert [one["probability"] for one in found["pairs"]] == pytest.approx(
            [one["probability"] for one in chosen], abs=1e-3
        )
    assert found["judged_by"]["image-text"]["calibration"]["criterion"] == "recall"
    code, _, err = diptych(*relate, "--prior", "0.5")
    assert (code, "the line was drawn for recall" in err) == (2, True)


def test_other_pairs_can_calibrate(diptych, shapes, small_model, tmp_path):
    code, out, err = diptych(
        "data",
        "filter",
        shapes,
        "--split",
        "val",
        "--calibration",
        shapes,
        "--json",
        "--quiet",
        "--calibration-split",
        "train",
        "--model",
        small_model,
        "--out",
        tmp_path / "f",
    )
    assert code == 0, err
    found = json.loads(out)
    assert found["calibration"]["contamination"] == 0.0
    assert found["calibration"]["given"] == 105
    assert found["pairs"] == 30


def test_mined_negatives_are_of_the_source(diptych, shapes, small_model, tmp_path):
    out = tmp_path / "mined.jsonl"
    code, printed, err = diptych(
        *("data", "mine", shapes, "--model", small_model, "--out", out, "-k", 3, "--margin", 2, "--guard", 2),
        *("--text-guard", 0.9999, "--json", "--quiet"),
    )
    assert code == 0, err
    mined = read_mined(out)
    ids = {pair.id for pair in open_source(shapes)} - {"bad.png"}
    assert set(mined.negatives) == ids
    assert all(set(others) <= ids - {record} and len(others) <= 3 for record, others in mined.negatives.items())
    assert json.loads(printed)["negatives"] == sum(map(len, mined.negatives.values())) > 0


@pytest.mark.parametrize("command", ["mine", "filter"])
def test_what_is_left_out_of_mining_and_filtering_is_said(diptych, shapes, small_model, tmp_path, command):
    more = tmp_path / "more.jsonl"
    rows = [json.loads(line) for line in shapes.read_text(encoding="utf-8").splitlines()]
    rows += [{"image": rows[0]["image"].replace("-20.png", "-30.png"), "split": "other"}]
    root = str(shapes.parent)
    more.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    out = tmp_path / ("mined.jsonl" if command == "mine" else "kept")
    code, printed, err = diptych(
        *("data", command, more, "--images-root", root, "--model", small_model, "--out", out, "--quiet")
    )
    assert code == 0, err
    assert "left out as unreadable, the first: " in printed
    assert "\nleft out as without a text: 1 of the records\n" in printed


def test_a_map_is_a_page_and_a_image(diptych, shapes, small_model, tmp_path):
    out = tmp_path / "map.html"
    code, printed, err = diptych(
        "map", shapes, "--model", small_model, "--out", out, "--method", "pca", "--quiet", "--limit", 10
    )
    assert code == 0, err
    assert "Images and texts: 4" in printed
    assert "<canvas" in out.read_text(encoding="utf-8")
    assert is_png(tmp_path / "map.png")
    assert diptych("map", shapes, "--model", small_model, "--out", tmp_path / "map.pdf")[0] == 2


def test_a_match_is_explained(diptych, shapes, small_model, tmp_path):
    out = tmp_path / "why.png"
    image = shapes.parent / "red-circle-40.png"
    code, printed, err = diptych(
        "explain", "a red circle", image, "--model", small_model, "--out", out, "--grid", 4, "--json", "--quiet"
    )
    assert code == 0, err
    found = json.loads(printed)
    assert [one["word"] for one in found["words"]] == ["a", "red", "circle"]
    assert (len(found["regions"]), len(found["regions"][0])) == (4, 4)
    assert is_png(out)
    code, _, err = diptych("explain", "x", shapes.parent / "bad.png", "--model", small_model, "--out", out, "--quiet")
    assert code == 3
    assert "not an image" in err


def test_an_image_of_a_library_is_explained_and_flags_that_do_nothing_are_refused(diptych, library, models, tmp_path):
    asked = ("--model", models[0], "--out", tmp_path / "why.png", "--grid", 2, "--window", 1, "--quiet")
    identifier = json.loads(diptych("search", "red", "--library", library, "--json")[1])["hits"][0]["id"]
    assert diptych("explain", "red", "--library", library, "--id", identifier, *asked)[0] == 0
    assert is_png(tmp_path / "why.png")
    assert "--id needs --library" in diptych("explain", "red", "--id", identifier, *asked)[2]
    assert "expected an image, or --id" in diptych("explain", "red", *asked)[2]
    turned = diptych("explain", tmp_path / "why.png", "a red square", *asked)
    assert (turned[0], "why.png where the text was expected; the text comes first" in turned[2]) == (2, True)
    assert "add --by attention" in diptych("explain", "red", "x.png", "--reranker", "x", *asked)[2]
    pytest.importorskip("torch", reason="attention needs the [train] extra")
    own = ("explain", "red", tmp_path / "photos" / "red.png", "--by", "attention", "--model")
    assert "has no attention over words and no feature map" in diptych(*own, models[0])[2]
    attention = ("--by", "attention", "--reranker", "x", "--grid", 2)
    assert "--grid and --window do nothing" in diptych("explain", "red", "x.png", *attention)[2]


def test_a_long_text_and_a_chinese_one_are_explained(diptych, shapes, small_model, tmp_path):
    image, out = shapes.parent / "red-circle-20.png", tmp_path / "why.png"
    arguments = ("--model", small_model, "--out", out, "--grid", 2, "--window", 1, "--quiet")
    code, told, _ = diptych("explain", "a red circle " * 50, image, *arguments)
    assert code == 0
    assert "note: a long text, taken apart 3 words at a time; parts: 50" in told
    code, told, _ = diptych("explain", "一只红色的狗", image, *arguments, "--json")
    assert [one["word"] for one in json.loads(told)["words"]] == list("一只红色的狗")
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "command",
    [
        ("eval", "--modality", "text-text"),
        ("eval", "--modality", "image-image"),
        ("eval", "--sheet", "sheet.png"),
        ("data", "mine", "--out", "mined.jsonl"),
        ("data", "filter", "--out", "filtered"),
    ],
    ids=" ".join,
)
def test_what_ranks_by_the_cosine_refuses_a_model_that_does_not(
    diptych, shapes, small_model, tmp_path, monkeypatch, command
):
    by_order = tmp_path / "model"
    shutil.copytree(small_model, by_order)
    config = json.loads((by_order / "config.json").read_text())
    (by_order / "config.json").write_text(json.dumps(config | {"similarity": "order"}))
    monkeypatch.chdir(tmp_path)
    words = list(command)
    at = 2 if words[0] == "data" else 1
    code, _, err = diptych(*words[:at], shapes, *words[at:], "--model", by_order, "--quiet")
    assert (code, "was trained to compare by order, and" in err) == (2, True), err
