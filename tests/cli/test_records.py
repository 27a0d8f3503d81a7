"""Whole commands on sources whose ids repeat, whose rows stand apart, and whose records have several images."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from diptych import runs
from diptych.core.errors import DataError
from diptych.data.mined import read_mined

from ..conftest import COLOURS, FORMS, small_config


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def twice(shapes, tmp_path) -> Path:
    """45 records, every id given to two of them but the last."""
    rows = []
    for size in (20, 30, 40):
        for colour in COLOURS:
            for form in FORMS:
                image = str(shapes.parent / f"{colour}-{form}-{size}.png")
                texts = [f"a {colour} {form}, {size}", f"{form} in {colour} of {size}"]
                rows.append({"id": len(rows) // 2, "image": image, "caption": texts})
    return write_jsonl(tmp_path / "twice.jsonl", rows)


@pytest.fixture
def several(shapes, tmp_path) -> Path:
    """15 records with three images and two texts each."""
    rows = [
        {
            "id": f"{colour} {form}",
            "images": [str(shapes.parent / f"{colour}-{form}-{size}.png") for size in (20, 30, 40)],
            "caption": [f"a {colour} {form}", f"{form} in {colour}"],
        }
        for colour in COLOURS
        for form in FORMS
    ]
    return write_jsonl(tmp_path / "several.jsonl", rows)


def notes(told: dict) -> dict[str, int]:
    return {note["kind"]: note["count"] for note in told["notes"] if note["kind"] != "trained_on"}


def test_a_sheet_shows_each_records_own_picture(diptych, small_model, tmp_path):
    for number, colour in enumerate(("red", "green", "blue", "yellow")):
        PIL.Image.new("RGB", (64, 64), colour).save(tmp_path / f"{number}.png")
    rows = "".join(f"{number % 2},{number}.png,text {number}\n" for number in range(4))
    (tmp_path / "t.csv").write_text(f"id,image,caption\n{rows}")
    sheet = tmp_path / "sheet.png"
    code, out, err = diptych(
        *("eval", tmp_path / "t.csv", "--model", small_model, "--bootstrap", 0, "--sheet", sheet),
        *("--sheet-count", 4, "--json", "--quiet"),
    )
    assert code == 0, err
    assert notes(json.loads(out)) == {"repeated_id": 2, "few_records": 4}
    drawn = np.asarray(PIL.Image.open(sheet).convert("RGB"))
    queries = drawn[:, 28 : 28 + 168].reshape(-1, 3)  # the pictures as queries are in the first column
    for colour in ((255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 0)):
        assert (queries == colour).all(axis=1).sum() == 64 * 64, colour


def test_mined_negatives_name_records_and_are_refused_for_others(diptych, twice, small_model, tmp_path):
    mined = tmp_path / "mined.jsonl"
    command = ("data", "mine", twice, "--model", small_model, "--out", mined, "-k", 3, "--margin", 2, "--guard", 2)
    code, out, err = diptych(*command, "--text-guard", 0.9999, "--json", "--quiet")
    assert code == 0, err
    assert notes(json.loads(out)) == {"repeated_id": 22}
    found = read_mined(mined).negatives
    assert len(found) == 45
    assert all(record not in others and set(others) <= found.keys() for record, others in found.items())

    rows = [json.loads(line) for line in twice.read_text().splitlines()]
    other = {**rows[0], "image": rows[5]["image"].replace("-20.png", "-40.png"), "caption": "put in above"}
    write_jsonl(twice, [other, *rows])
    changed = small_config(data=runs.DataConfig(mined=str(mined), workers=1))
    with pytest.raises(DataError, match=r"mined from other images.*mine again"):
        runs.train(changed, str(twice), tmp_path / "run")


def test_filtering_judges_every_record_for_itself(diptych, twice, small_model, tmp_path):
    out = tmp_path / "filtered"
    code, _, err = diptych("data", "filter", twice, "--model", small_model, "--out", out, "--json", "--quiet")
    assert code == 0, err
    verdicts = [json.loads(line) for line in (out / "pairs.jsonl").read_text().splitlines()]
    assert len({one["record"] for one in verdicts}) == 45
    kept = [json.loads(line) for line in (out / "kept.jsonl").read_text().splitlines()]
    texts = [text["text"] for row in kept for text in row["texts"]]
    assert texts == [one["text"] for one in verdicts if one["keep"]]
    for row in kept:  # each text still beside its own picture
        colour, form, _ = Path(row["image"]).stem.split("-")
        assert colour in str(row["texts"])
        assert form in str(row["texts"])


def test_eval_uses_every_image_and_says_what_is_shared(diptych, several, small_model, tmp_path):
    code, out, err = diptych("eval", several, "--model", small_model, "--bootstrap", 50, "--json", "--quiet")
    assert code == 0, err
    told = json.loads(out)
    assert (told["records"], told["images"], told["texts"], notes(told)) == (15, 45, 30, {"few_records": 15})
    assert told["image_to_text"]["queries"]["max"] == 45
    assert told["text_to_image"]["positives_per_query"] == {"min": 3, "mean": 3.0, "max": 3}
    assert told["bootstrap"]["unit"] == "record"

    rows = [json.loads(line) for line in several.read_text().splitlines()]
    rows.append({"id": "again", "images": rows[0]["images"][:2], "caption": [rows[1]["caption"][0], "again"]})
    write_jsonl(several, rows)
    code, out, err = diptych("eval", several, "--model", small_model, "--bootstrap", 0, "--quiet")
    assert code == 0, err
    assert "images that several records have: a right answer will count as wrong: 4 (" in out
    assert "texts that several records have: a right answer will count as wrong: 2 (a red square" in out


def test_training_says_what_its_records_share(shapes, tmp_path):
    rows = []
    for number, line in enumerate(shapes.read_text(encoding="utf-8").splitlines()[:60:3]):
        row = json.loads(line)
        rows.append({**row, "image": str(shapes.parent / row["image"]), "split": "val" if number >= 15 else "train"})
    rows[4] = {**rows[4], "image": [rows[4]["image"], rows[3]["image"]]}
    rows[17] = {**rows[17], "image": [rows[17]["image"], rows[3]["image"]], "text": rows[16]["text"]}
    report = runs.train(
        small_config(data=runs.DataConfig(views=("full",), workers=1)),
        str(write_jsonl(tmp_path / "t.jsonl", rows)),
        tmp_path / "run",
    )
    said = [(note.kind, note.count) for note in report.notes]
    assert ("shared_image", 2) in said
    assert ("leaked_image", 1) in said
    assert any(note.kind == "shared_text" and "validation records" in note.detail for note in report.notes)


def test_rows_that_stand_apart_measure_as_their_neighbours_do(diptych, shapes, small_model, tmp_path):
    images = [str(shapes.parent / f"{colour}-circle-20.png") for colour in COLOURS]
    rows = [f"{image},text {turn} of {place}" for turn in range(2) for place, image in enumerate(images)]
    told = []
    for name, lines in (("apart", rows), ("sorted", sorted(rows))):
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join(["image,caption", *lines]))
        code, out, err = diptych("eval", path, "--model", small_model, "--bootstrap", 0, "--json", "--quiet")
        assert code == 0, err
        told.append(json.loads(out))
    assert notes(told[0]) == notes(told[1]) == {"joined_rows": 5, "few_records": 5}
    for direction in ("image_to_text", "text_to_image"):
        apart, beside = ({name: one["value"] for name, one in each[direction]["metrics"].items()} for each in told)
        assert apart == pytest.approx(beside)
    assert told[0]["text_to_image"]["queries"]["max"] == 10
