"""`diptych relate`, as from a shell."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from diptych import DataError, relate
from diptych.core.errors import ConfigError


@pytest.fixture(scope="module")
def calibrated(small_model: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration of the small model on the shapes."""
    from diptych.cli.app import run

    path = tmp_path_factory.mktemp("relate") / "mine.json"
    command = ["relate", "--model", small_model, "--calibrate", shapes, "--calibrate-split", "train"]
    assert run([str(one) for one in [*command, "--calibration", path]]) == 0
    return path


def test_a_calibration_says_what_it_was_fitted_on_and_is_used(diptych, small_model, shapes, calibrated) -> None:
    value = json.loads(calibrated.read_text())
    assert set(value["kinds"]) == {"image-text", "text-text"}
    fitted = value["kinds"]["image-text"]
    assert (fitted["right"], fitted["wrong"]) == (35, 35)
    red, arguments = shapes.parent / "red-circle-30.png", ("--model", small_model, "--calibration", calibrated)
    code, out, _ = diptych("relate", red, "a red circle", *arguments, "--json")
    (pair,) = json.loads(out)["pairs"]
    by_hand = 1 / (1 + math.exp(-(fitted["weights"][0] * pair["cosine"] + fitted["bias"])))
    assert (code, pair["kind"]) == (0, "image-text")
    assert pair["probability"] == pytest.approx(by_hand, abs=1e-4)
    assert pair["related"] is (pair["probability"] >= 0.5)
    code, out, _ = diptych("relate", "a red circle", red, *arguments)
    assert (code, out.splitlines()[0][:9]) == (0, "related: ")
    assert "calibrated on 35 related and 35 unrelated image-text pairs (drawn at random) of captions.jsonl" in out
    assert f"(train) ({calibrated})" in out


def test_prior_and_threshold_change_the_answer(diptych, small_model, calibrated) -> None:
    def asked(*more: Any) -> Any:
        command = ("relate", "red circle", "rotes Rund", "--model", small_model, "--calibration", calibrated, "--json")
        return json.loads(diptych(*command, *more)[1])["pairs"][0]

    usual = asked()["probability"]
    odds = usual / (1 - usual) * 0.1 / 0.9
    assert asked("--prior", "0.1")["probability"] == pytest.approx(odds / (1 + odds), abs=1e-4)
    assert asked("--threshold", usual - 0.001)["related"] is True
    assert asked("--threshold", usual + 0.001)["related"] is False


def test_without_a_calibration_there_is_no_yes_or_no(diptych, tiny_model, shapes, tmp_path) -> None:
    model, red = tiny_model(tmp_path / "tiny"), shapes.parent / "red-circle-30.png"
    code, out, _ = diptych("relate", red, "red", "--model", model)
    assert code == 0
    assert out.startswith("cosine ")
    assert "related:" not in out
    assert f"diptych relate --calibrate SOURCE --calibration FILE.json --model {model}" in out
    (pair,) = json.loads(diptych("relate", red, "red", "--model", model, "--json")[1])["pairs"]
    assert (pair["related"], pair["probability"]) == (None, None)
    for flag in ("--prior", "--threshold"):
        assert diptych("relate", red, "red", "--model", model, flag, "0.2")[0] == 2


def test_a_model_that_judges_pairs_is_taken_at_its_word(diptych, tiny_model, shapes, tmp_path) -> None:
    model = tiny_model(tmp_path / "own")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "logit_scale": 10.0, "logit_bias": -2.0}))
    red = shapes.parent / "red-circle-30.png"
    found = json.loads(diptych("relate", red, "red", "--model", model, "--json")[1])
    (pair,) = found["pairs"]
    assert pair["probability"] == pytest.approx(1 / (1 + math.exp(2 - 10 * pair["cosine"])), abs=1e-4)
    assert found["judged_by"]["image-text"]["origin"] == "the own probability of own (its sigmoid)"
    assert json.loads(diptych("relate", "red", "blue", "--model", model, "--json")[1])["pairs"][0]["related"] is None
    code, _, err = diptych("relate", red, "red", "--model", model, "--prior", "0.1")
    assert (code, "a prior needs a calibration" in err) == (2, True)


def test_a_list_of_pairs_is_answered_measured_and_written(diptych, small_model, shapes, calibrated, tmp_path) -> None:
    listed = tmp_path / "asked.csv"
    for name in ("red-circle-30.png", "bad.png"):  # names of images start from its folder
        shutil.copy(shapes.parent / name, tmp_path)
    listed.write_text(
        "image,text,label\nred-circle-30.png,a red circle,1\nred-circle-30.png,ein gelbes Band,0\nbad.png,x,0\n"
        "no.png,x,0\nred-circle-30.png,x,7\n"
    )
    arguments = ("--model", small_model, "--calibration", calibrated, "--csv", tmp_path / "out.csv", "--json")
    code, out, _ = diptych("relate", "--pairs", listed, *arguments)
    found = json.loads(out)
    assert code == 0
    assert [pair["where"].rpartition(":")[2] for pair in found["pairs"]] == ["2", "3"]
    assert {skip["name"].rpartition(":")[2]: skip["reason"] for skip in found["skipped"]} == {
        "4": "not_an_image", "5": "missing", "6": "bad_row",
    }  # fmt: skip
    right = [pair["related"] == pair["label"] for pair in found["pairs"]]
    assert found["measured"]["accuracy"] == sum(right) / 2
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [row["related"] for row in rows] == [{True: "yes", False: "no"}[one["related"]] for one in found["pairs"]]
    code, out, _ = diptych("relate", "--pairs", listed, *arguments[:-1])
    assert "3 pairs left out:" in out
    assert f"  {listed}:6: the label '7' is neither 1 nor 0" in out


def test_labelled_pairs_calibrate_and_their_share_is_the_prior(diptych, small_model, shapes, tmp_path) -> None:
    rows = ["image,text,label"]
    for colour in ("red", "green", "blue", "yellow", "black"):
        for form in ("circle", "square", "stripe"):
            for size in (20, 40):
                image = shapes.parent / f"{colour}-{form}-{size}.png"
                other = "a green square" if colour != "green" else "a red circle"
                rows += [f"{image},a {colour} {form},1", f"{image},{other},0", f"{image},{form} in {colour},1"]
    (tmp_path / "labelled.csv").write_text("\n".join([*rows, f"{image},not labelled,"]))
    out_file = tmp_path / "labelled.json"
    fit = ("--calibrate-pairs", tmp_path / "labelled.csv", "--calibration", out_file)
    code, out, _ = diptych("relate", *fit, "--model", small_model)
    assert code == 0
    fitted = json.loads(out_file.read_text())["kinds"]["image-text"]
    assert (fitted["right"], fitted["wrong"]) == (60, 30)
    assert fitted["prior"] == pytest.approx(2 / 3)
    assert "pairs without a label, not fitted on: 1" in out


def test_labelled_pairs_of_texts_are_a_source_too(diptych, small_model, tmp_path) -> None:
    colours, forms = ("red", "green", "blue", "yellow", "black"), ("circle", "square", "stripe")
    rows = ["sentence1,sentence2,label"]
    for place, (colour, form) in enumerate((colour, form) for colour in colours for form in forms):
        for size in (20, 30, 40):
            asked, other = f"a {colour} {form} {size}", colours[place // 3 - 1]
            rows += [f'{asked},"{form} in {colour}, {size}",1', f'{asked},"{forms[place % 3 - 1]} in {other}",0']
    source, file = tmp_path / "sts.csv", tmp_path / "mine.json"
    source.write_text("\n".join(rows))
    code, out, err = diptych("relate", "--calibrate", source, "--model", small_model, "--calibration", file)
    assert code == 0, err
    assert "text-text: fitted on 45 related and 45 unrelated pairs (labelled so) of sts.csv" in out
    assert json.loads(file.read_text())["kinds"]["text-text"]["quality"]["auc"] > 0.8


def test_the_model_base_comes_with_a_calibration(diptych) -> None:
    code, out, _ = diptych("relate", "two dogs play in the snow", "zwei Hunde spielen im Schnee", "--json")
    found = json.loads(out)
    assert (code, found["pairs"][0]["related"]) == (0, True)
    assert "flickr8k (val) (comes with diptych-base)" in found["judged_by"]["text-text"]["origin"]
    assert json.loads(diptych("relate", "two dogs play", "a man reads a book", "--json")[1])["pairs"][0][
        "related"
    ] is False  # fmt: skip


def test_the_calibration_of_another_model_is_refused(diptych, tiny_model, calibrated, tmp_path) -> None:
    model = tiny_model(tmp_path / "other")
    code, _, err = diptych("relate", "a", "b", "--model", model, "--calibration", calibrated)
    assert (code, "fit it again with --calibrate SOURCE" in err) == (4, True)
    shutil.copy(calibrated, model / "relate.json")
    assert diptych("relate", "a", "b", "--model", model)[0] == 4
    (model / "relate.json").write_text("{}")
    code, _, err = diptych("relate", "a", "b", "--model", model)
    assert (code, "--kind" in err) == (3, False)  # it is not the pair that is wrong


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "found nothing to relate"),
        (("a.jpg",), 2, "expected two things"),
        (("a", "b", "--pairs", "x.csv"), 2, "leave one out"),
        (("a", "b", "--calibrate-split", "val"), 2, "does nothing without --calibrate"),
        (("no.jpg", "b"), 3, "cannot open no.jpg: No such file or directory; if it is a text, say what the two are"),
        (("", "b"), 3, "a text is empty"),
        (("a", "b", "--calibration", "none.json"), 3, "cannot open none.json"),
        (("--pairs", "none.csv"), 3, "cannot open none.csv"),
        (("a", "b", "--prior", "0"), 2, "Must be > 0"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_line(
    diptych, tiny_model, tmp_path, monkeypatch, arguments: tuple[str, ...], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, err = diptych("relate", *arguments, "--model", tiny_model(tmp_path / "tiny"))
    assert (found, out) == (code, "")
    assert message in err


def test_from_python(small_model, shapes, calibrated) -> None:
    red = shapes.parent / "red-circle-30.png"
    (found,) = relate(red, "a red circle", model=small_model, calibration=calibrated)
    assert found.related is (found.probability >= 0.5)
    several = relate([red, "x", shapes.parent / "bad.png"], ["ein Rund", "y", "z"], model=small_model)
    assert [one.kind for one in several] == ["image-text", "text-text"]
    assert [one.related for one in several] == [None, None]
    assert len(several.skipped) == 1
    with pytest.raises(DataError, match="not an image"):
        relate(shapes.parent / "bad.png", "z", model=small_model)
    with pytest.raises(ConfigError, match="two lists of the same length"):
        relate([red], "a", model=small_model)
