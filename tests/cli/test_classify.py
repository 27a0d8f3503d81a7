"""`diptych classify` as a user types it."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest

import diptych as front
from diptych.core.errors import ConfigError
from diptych.data.splits import held_out_of
from diptych.evaluation.classification import class_ranks
from diptych.evaluation.few_shot import LabelledFeatures, draw_shots, tip_adapter

SHAPES = "red circle,blue square,yellow stripe"


@pytest.fixture(scope="module")
def class_folders(tmp_path_factory, shapes):
    """The drawn shapes as an image folder: a class for each form."""
    folder = tmp_path_factory.mktemp("classes")
    for file in sorted(shapes.parent.glob("*-*-*.png")):
        target = folder / file.stem.split("-")[1] / file.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="module")
def unlisted(tmp_path_factory, small_model):
    """The small model without its list of records, so that all of them are measured on, and without a temperature."""
    folder = shutil.copytree(small_model, tmp_path_factory.mktemp("unlisted") / "model")
    (folder / "records.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "logit_scale": None}))
    return folder


def test_each_image_gets_the_nearest_labels(diptych, shapes, unlisted):
    file = shapes.parent / "red-circle-30.png"
    code, out, _ = diptych("classify", file, "--labels", SHAPES, "--model", unlisted, "--templates", "plain",
                           "--json")  # fmt: skip
    assert code == 0
    found = json.loads(out)
    assert (found["scored_by"], found["labels"], len(found["images"])) == ("cosine", 3, 1)
    model = front.load(unlisted)
    cosines = model.similarity(images=model.encode_images([file]), texts=model.encode_texts(SHAPES.split(",")))[0]
    scores = {one["label"]: one["score"] for one in found["images"][0]["scores"]}
    assert scores == pytest.approx(dict(zip(SHAPES.split(","), cosines.tolist(), strict=True)), abs=1e-5)
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert found["images"][0]["label"] == next(iter(scores))


def test_templates_are_averaged_after_normalising(shapes, unlisted):
    file = shapes.parent / "red-circle-30.png"
    templates = ["a {}", "{} on white", "the {}, a {}"]
    found = front.classify(unlisted, [file], {"a": ["red circle", "round"], "b": "square"}, templates=templates)
    model = front.load(unlisted)
    texts = ["a red circle", "a round", "red circle on white", "round on white", "the red circle, a red circle",
             "the round, a round"]  # fmt: skip
    vectors = model.encode_texts(texts)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    mean = vectors.mean(axis=0)
    expected = model.encode_images([file])[0] @ (mean / np.linalg.norm(mean))
    assert dict(found.images[0].scores)["a"] == pytest.approx(float(expected), abs=1e-5)


def test_a_clip_gives_probabilities_by_its_own_temperature(clip_folder, photos, diptych):
    torch = pytest.importorskip("torch")
    from PIL import Image

    from diptych.encoders.pretrained import import_transformers

    labels = ["red wall", "green wall", "blue wall"]
    address = f"hf:{clip_folder}"
    file = photos / "red.png"
    code, out, _ = diptych("classify", file, "--labels", ",".join(labels), "--model", address, "--json",
                           "--templates", "plain")  # fmt: skip
    found = json.loads(out)
    assert (code, found["scored_by"]) == (0, "probability")
    transformers = import_transformers()
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip_folder)
    pixels = transformers.CLIPImageProcessor.from_pretrained(clip_folder)(Image.open(file), return_tensors="pt")
    with torch.no_grad():
        wanted = model(**pixels, **tokenizer(labels, padding=True, return_tensors="pt")).logits_per_image
    scores = {one["label"]: one["score"] for one in found["images"][0]["scores"]}
    assert [scores[label] for label in labels] == pytest.approx(wanted.softmax(-1)[0].tolist(), abs=2e-3)
    code, out, _ = diptych("classify", file, "--labels", "wall,", "--model", address)
    assert code == 0
    assert "a label alone would always have the probability 1, so scores are cosines" in out


def test_calibrated_probabilities_and_none_of_these(diptych, class_folders, unlisted, tmp_path):
    kept = tmp_path / "kept.json"
    labels = tmp_path / "labels.txt"
    labels.write_text("circle\nsquare\nstripe\n")
    common = ("--labels", labels, "--model", unlisted, "--templates", "plain")
    code, out, _ = diptych("classify", *common, "--calibrate", class_folders, "--calibration", kept)
    assert code == 0
    assert "temperature" in out
    assert "none of these" in out
    values = json.loads(kept.read_text())
    assert (values["labels"], values["held_out"]["images"]) == (3, 45)
    table = tmp_path / "out.csv"
    code, out, _ = diptych("classify", class_folders, *common, "--calibration", kept, "--csv", table, "--json")
    found = json.loads(out)
    assert (code, found["scored_by"], len(found["images"])) == (0, "probability", 45)
    assert "notes" not in found
    for one in found["images"]:
        assert sum(score["score"] for score in one["scores"]) == pytest.approx(1, abs=1e-4)
        assert (one["label"] is None) == (one["none"] >= 0.5)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["image"] for row in rows] == [one["image"] for one in found["images"]]
    assert {(row["label"] or None) for row in rows} == {one["label"] for one in found["images"]}
    assert float(rows[0]["score_1"]) == found["images"][0]["scores"][0]["score"]


def test_a_calibration_of_another_model_or_another_file_is_refused(diptych, class_folders, unlisted, models, tmp_path):
    kept = tmp_path / "kept.json"
    assert diptych("classify", "--labels", "circle,square,stripe", "--model", unlisted, "--calibrate",
                   class_folders, "--calibration", kept, "--templates", "plain")[0] == 0  # fmt: skip
    arguments = ("classify", class_folders, "--labels", "a,b", "--calibration")
    code, _, err = diptych(*arguments, kept, "--model", models[0])
    assert (code, "fit it again with --calibrate" in err) == (4, True)
    code, out, _ = diptych(*arguments, kept, "--model", unlisted)
    assert (code, "note: calibration fitted with other labels or templates" in out) == (0, True)
    other = tmp_path / "other.json"
    other.write_text("{}")
    code, _, err = diptych(*arguments, other, "--model", unlisted)
    assert (code, "is no calibration" in err) == (3, True)


def test_calibrating_on_few_images_says_why_they_are_few(diptych, class_folders, small_model):
    code, _, err = diptych("classify", "--labels", "circle,square", "--model", small_model, "--calibrate",
                           class_folders)  # fmt: skip
    assert code == 3
    assert "found 10 labelled images to calibrate on; expected 20 or more; measured on the records that" in err


def test_a_threshold_gives_none_of_the_labels(diptych, photos, models):
    code, out, _ = diptych("classify", photos, "--labels", "a,b", "--model", models[0], "--none", 2)
    assert (code, "none of these 5" in out) == (0, True)


def test_bad_images_are_named_and_counted_and_stop_nothing(diptych, photos, models, tmp_path):
    (photos / "bad.png").write_bytes(b"no image")
    code, out, _ = diptych("classify", photos, tmp_path / "gone.jpg", "--labels", "a,b", "--model", models[0], "--json")
    found = json.loads(out)
    assert (code, len(found["images"])) == (0, 5)
    assert [(one["name"].rpartition("/")[2], one["reason"]) for one in found["skipped"]] == [
        ("bad.png", "not_an_image"),
        ("gone.jpg", "missing"),
    ]
    code, out, _ = diptych("classify", photos, "--labels", "a,b", "--model", models[0])
    assert "1 image left out as unreadable, the first:" in out
    code, _, err = diptych("classify", photos / "bad.png", "--labels", "a,b", "--model", models[0])
    assert (code, "none of the 1 images could be read" in err) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--labels", "a,b"), 2, "found no images"),
        (("x.png", "--labels", "no-such.txt"), 3, "no file of labels 'no-such.txt'"),
        (("x.png", "--labels", "a,b", "--templates", "nothing"), 2, "no templates 'nothing'"),
        (("x.png", "--labels", ","), 3, "holds no labels"),
        (("x.png",), 2, "--labels is missing"),
        (("x.png", "--labels", "a,b", "--none", "nan"), 2, "--none must be a number, found nan"),
        (("x.png", "--labels", "a,b", "--calibrate-split", "val"), 2, "--calibrate-split does nothing without"),
        (("x.png", "--labels", "a,b", "--top", "0"), 2, "--top"),
        (("x.png", "--labels", "a,b", "--csv", "x.json"), 2, "ends in .csv"),
        (("no-such-folder", "--labels", "a,b"), 3, "no-such-folder"),
    ],
)
def test_what_cannot_work_is_said_in_a_line(diptych, models, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    found, _, err = diptych("classify", *arguments, "--model", models[0])
    assert found == code
    assert message in err


def test_python_says_what_it_takes(small_model, shapes):
    with pytest.raises(ConfigError, match="top must be at least 1"):
        front.classify(small_model, [shapes.parent / "red-circle-30.png"], ["a"], top=0)


def test_eval_measures_class_folders(diptych, class_folders, unlisted, tmp_path):
    metrics = pytest.importorskip("sklearn.metrics")
    out = tmp_path / "report.json"
    code, text, _ = diptych("eval", class_folders, "--task", "zero-shot", "--model", unlisted, "--templates", "plain",
                            "--bootstrap", 50, "--out", out)  # fmt: skip
    assert code == 0
    assert "# Zero-shot classification:" in text
    report = json.loads(out.read_text())
    names = ["circle", "square", "stripe"]
    model = front.load(unlisted)
    files = sorted(class_folders.glob("*/*.png"))
    truth = np.array([names.index(file.parent.name) for file in files])
    scores = model.similarity(images=model.encode_images(files), texts=model.encode_texts(names))
    found = report["image_to_class"]["metrics"]
    assert found["top-1"]["value"] == pytest.approx((scores.argmax(1) == truth).mean())
    balanced = metrics.balanced_accuracy_score(truth, scores.argmax(1))
    assert found["per-class"]["value"] == pytest.approx(balanced)
    assert found["top-1"]["low"] <= found["top-1"]["value"] <= found["top-1"]["high"]
    confusion = metrics.confusion_matrix(truth, scores.argmax(1))
    for one in report["confusions"]:
        assert one["images"] == confusion[names.index(one["class"]), names.index(one["taken_for"])]
    assert sum(one["images"] for one in report["confusions"]) == 45 - np.trace(confusion)
    assert (report["scored_by"], report["calibration_error"]) == ("cosine", None)
    assert report["fitted_temperature"]["images"] == 45
    code, text, _ = diptych("compare", "--report", f"a={out}", f"b={out}", "--bootstrap", 50)
    assert code == 0
    assert "| b | " in text
    assert "Δ +0.0 [+0.0, +0.0]" in text


def test_eval_states_how_right_probabilities_are(diptych, class_folders, clip_folder, tmp_path):
    pytest.importorskip("matplotlib")
    address, plot = f"hf:{clip_folder}", tmp_path / "plot.png"
    code, out, _ = diptych("eval", class_folders, "--task", "zero-shot", "--model", address, "--bootstrap", 0, "--json",
                           "--plot", plot)  # fmt: skip
    report = json.loads(out)
    assert (code, report["scored_by"], len(report["templates"])) == (0, "probability", 5)
    assert plot.read_bytes().startswith(b"\x89PNG")
    total = sum(one["count"] * abs(one["predicted"] - one["observed"]) for one in report["reliability"])
    assert report["calibration_error"] == pytest.approx(total / 45)


def test_labels_of_a_file_are_found_by_the_names_of_the_classes(diptych, class_folders, unlisted, tmp_path):
    labels = tmp_path / "labels.json"
    labels.write_text('{"Circle": ["circle", "round"], "square": [], "hexagon": []}')
    code, out, _ = diptych("eval", class_folders, "--task", "zero-shot", "--model", unlisted, "--labels", labels,
                           "--bootstrap", 0, "--json")  # fmt: skip
    report = json.loads(out)
    assert (code, report["images"], report["labels"]) == (0, 30, ["Circle", "square", "hexagon"])
    notes = {note["kind"]: (note["count"], note["examples"]) for note in report["notes"]}
    assert notes["class_without_label"] == (15, ["stripe"])
    assert notes["label_without_images"] == (1, ["hexagon"])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--task", "zero-shot", "--protocol", "1k"), 2, "--protocol does nothing with --task zero-shot"),
        (("--labels", "a,b"), 2, "--labels does nothing with --task retrieval"),
        (("--task", "zero-shot", "--labels", "a,b"), 3, "no class of"),
        (("--task", "zero-shot", "--labels", "circle,b"), 3, "images of 1 class"),
        (("--task", "zero-shot", "--plot", "x.png"), 2, "scores are cosines; give --calibration"),
    ],
)
def test_what_eval_cannot_measure_is_said_in_a_line(
    diptych, class_folders, unlisted, tmp_path, monkeypatch, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    found, _, err = diptych("eval", class_folders, *arguments, "--model", unlisted)
    assert found == code
    assert message in err


def test_a_source_without_classes_says_how_to_name_them(diptych, photos, unlisted):
    code, _, err = diptych("eval", photos, "--task", "zero-shot", "--model", unlisted)
    assert (code, "has no classes; expected a folder of images for each class" in err) == (3, True)


def test_compare_adds_adapters_to_words(diptych, class_folders, unlisted, tmp_path):
    pytest.importorskip("matplotlib")
    out, plot = tmp_path / "compared.json", tmp_path / "plot.png"
    code, text, _ = diptych("compare", class_folders, "--task", "zero-shot", "--model", f"mine={unlisted}", "--shots",
                            "1,all", "--seeds", 2, "--templates", "plain", "--bootstrap", 50, "--out", out, "--plot",
                            plot)  # fmt: skip
    assert code == 0
    compared = json.loads(out.read_text())
    names = [f"mine {name}, {shots}" for shots in ("1 shot", "all images")
             for name in ("linear-probe", "tip-adapter", "tip-adapter-f")]  # fmt: skip
    assert list(compared["runs"]) == ["mine zero-shot", *names]
    assert "±: standard deviation over the draws" in text
    assert compared["task"]["split"] == "half"
    assert compared["runs"]["mine zero-shot"]["image_to_class top-1"]["deviation"] is None
    names, pairs = ["circle", "square", "stripe"], list(front.open_source(class_folders))
    is_measured = np.array(held_out_of(pairs, 0.5))
    model = front.load(unlisted)
    vectors = model.encode_images([pair.images[0] for pair in pairs])
    zero_shot = 100 * model.similarity(images=vectors, texts=model.encode_texts(names)).astype(np.float64)
    images = LabelledFeatures(vectors, zero_shot, np.array([names.index(str(pair.group)) for pair in pairs]))
    pool, shown = images.at(np.flatnonzero(~is_measured)), images.at(np.flatnonzero(is_measured))
    right = [(class_ranks(shown.zero_shot, shown.labels) == 0).mean()]
    for seed in (0, 1):
        drawn = draw_shots(pool.labels, 1, seed)
        adapter = tip_adapter(pool.at(drawn.learnt), pool.at(drawn.held))
        right.append((class_ranks(adapter(shown.features, shown.zero_shot), shown.labels) == 0).mean())
    by_words, adapted = (compared["runs"][f"mine {name}"]["image_to_class top-1"] for name in
                         ("zero-shot", "tip-adapter, 1 shot"))  # fmt: skip
    assert by_words["value"] == pytest.approx(right[0])
    assert adapted["value"] == pytest.approx(np.mean(right[1:]))
    assert (adapted["deviation"] or 0) == pytest.approx(np.std(right[1:]))
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_compare_measures_models_by_words(diptych, class_folders, unlisted, models, tmp_path):
    out = tmp_path / "compared.json"
    code, _, _ = diptych("compare", class_folders, "--task", "zero-shot", "--model", unlisted, models[0], "--out", out,
                         "--bootstrap", 50, "--baseline", "best")  # fmt: skip
    assert code == 0
    compared = json.loads(out.read_text())
    assert list(compared["runs"]) == ["shapes zero-shot", "tiny zero-shot"]
    assert compared["task"]["images"] == 45
    values = {name: run["image_to_class top-1"]["value"] for name, run in compared["runs"].items()}
    report = tmp_path / "report.json"
    assert diptych("eval", class_folders, "--task", "zero-shot", "--model", models[0], "--out", report)[0] == 0
    alone = json.loads(report.read_text())["image_to_class"]["metrics"]["top-1"]["value"]
    assert values["tiny zero-shot"] == alone


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--task", "zero-shot"), 2, "two or more to compare"),
        (("--task", "zero-shot", "--shots", "0"), 2, "--shots: found '0'; expected whole numbers from 1, or all"),
        (("--task", "zero-shot", "--shots", "1", "--adapters", "tip"), 2, "unknown adapter 'tip'"),
        (("--task", "zero-shot", "--shots", "1", "--report", "x.json"), 2, "--task zero-shot measures models"),
        (("--task", "zero-shot", "--shots", "1", "--modality", "text-text"), 2, "--modality does nothing with --task"),
        (("--shots", "1"), 2, "--shots does nothing with --task retrieval"),
    ],
)
def test_what_compare_cannot_do_is_said_in_a_line(
    diptych, class_folders, unlisted, tmp_path, monkeypatch, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    found, _, err = diptych("compare", class_folders, "--model", unlisted, *arguments)
    assert found == code
    assert message in err


@pytest.mark.parametrize("flags", [("--split", "train"), ("--train-split", "val")])
def test_shots_are_not_measured_on_the_records_that_they_are_learnt_from(diptych, class_folders, unlisted, flags):
    code, out, err = diptych(
        "compare", class_folders, "--task", "zero-shot", "--model", unlisted, "--shots", "1", *flags
    )
    assert (code, "per-class" in out) == (2, False)
    assert f"shots are learnt from the split {flags[1]!r}" in err


def test_shots_need_training_records(diptych, shapes, unlisted, tmp_path):
    source = tmp_path / "pairs.jsonl"
    rows = [{"image": str(shapes.parent / f"{colour}-circle-30.png"), "class": colour, "text": "x", "split": "test"}
            for colour in ("red", "green")]  # fmt: skip
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = diptych("compare", source, "--task", "zero-shot", "--model", unlisted, "--shots", "1", "--split",
                           "test", "--group-column", "class")  # fmt: skip
    assert code == 3
    assert "found the splits test (2 records), expected 'train' and 'test'; name them by --train-split" in err


def test_a_siglip_gives_each_label_a_probability_of_its_own(clip_folder, photos):
    model = front.load(f"hf:{clip_folder}")
    model.config = dataclasses.replace(model.config, logit_scale=10.0, logit_bias=-1.0)
    file = photos / "red.png"
    found = front.classify(model, [file], ["red wall", "blue wall"], templates="plain")
    cosines = model.similarity(images=model.encode_images([file]), texts=model.encode_texts(["red wall", "blue wall"]))
    wanted = 1 / (1 + np.exp(-(10 * cosines[0] - 1)))
    assert found.scored_by == "probability"
    assert dict(found.images[0].scores) == pytest.approx(
        dict(zip(["red wall", "blue wall"], wanted.tolist(), strict=True)), abs=1e-5
    )
    (alone,) = front.classify(model, [file], ["red wall"], templates="plain", least=0.99)
    assert (alone.label, alone.scores[0][1]) == (None, pytest.approx(wanted[0], abs=1e-5))
