"""`diptych generator eval` as a user meets it, on images that were made elsewhere."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="module")
def made(shapes, tmp_path_factory):
    """Images for every text: each is the real image of a neighbouring size."""
    folder = tmp_path_factory.mktemp("made")
    rows = [json.loads(line) for line in shapes.read_text(encoding="utf-8").splitlines()]
    lines = []
    for row in rows:
        if row["image"] != "bad.png":
            other = row["image"].replace("-30.png", "-40.png")
            lines.append(json.dumps({"image": str(shapes.parent / other), "text": row["text"]}))
    listed = folder / "made.jsonl"
    listed.write_text("\n".join(lines), encoding="utf-8")
    return listed


def test_measuring_images_made_elsewhere(diptych, made, shapes, small_model, tmp_path):
    code, out, _ = diptych(
        "generator", "eval", shapes, "--generator", f"images:{made}", "--model", small_model, "--features", "fake",
        "--maps", "fake-maps", "--pool", 5, "--bootstrap", 50, "--texts", 20, "--json", "--quiet",
        "--out", tmp_path / "m.json", "--markdown", tmp_path / "m.md",
    )  # fmt: skip
    assert code == 0
    told = json.loads(out)
    assert [note["kind"] for note in told.pop("notes")] == ["joined_rows"]
    assert told == json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert told["split"] == "val"
    by_key = {one["key"]: one for one in told["measures"]}
    assert by_key["r_precision"]["value"] > 0.5
    assert by_key["copies"]["value"] == 1.0  # the larger drawings are training images
    assert "| R-precision, 1 of 5 % |" in (tmp_path / "m.md").read_text(encoding="utf-8")


def test_a_source_without_splits_or_without_val_is_measured_and_said(diptych, made, shapes, tmp_path):
    rows = [json.loads(line) for line in shapes.read_text(encoding="utf-8").splitlines()]
    rows = [row | {"image": str(shapes.parent / row["image"])} for row in rows if row["image"] != "bad.png"]

    def measured(name, change, *more):
        source = tmp_path / f"{name}.jsonl"
        source.write_text("".join(json.dumps(change(row)) + "\n" for row in rows), encoding="utf-8")
        return diptych(
            "generator", "eval", source, "--generator", f"images:{made}", "--model", "", "--features", "fake",
            "--maps", "", "--bootstrap", 0, "--texts", 20, "--json", "--quiet", *more,
        )  # fmt: skip

    code, out, _ = measured("none", lambda row: {key: row[key] for key in row if key != "split"})
    told = json.loads(out)
    assert (code, told["split"]) == (0, "")
    assert told["remarks"] == [
        "none.jsonl has no split val, and none was named: measured on all 45 pairs, which the generator may have "
        "learnt from",
        "none.jsonl has no split train: nothing is said about copies of training images",
    ]
    test = measured("test", lambda row: row | {"split": row["split"].replace("val", "test")})
    assert json.loads(test[1])["split"] == "test"
    assert json.loads(test[1])["remarks"] == [
        "test.jsonl has no split val, and none was named: measured on its split test"
    ]
    code, out, _ = measured("train", lambda row: row | {"split": "train"})
    assert "are among those measured" in json.loads(out)["remarks"][-1]
    code, _, err = measured("train", lambda row: row | {"split": "train"}, "--split", "val")
    assert (code, "has no split 'val'; splits found: train (45 pairs)" in err) == (3, True)


def test_the_protocol_of_papers_has_as_many_generated_images_as_distinct_real_ones(diptych, made, shapes):
    code, out, _ = diptych(
        "generator", "eval", shapes, "--generator", f"images:{made}", "--model", "", "--features", "fake", "--maps", "",
        "--protocol", "captions", "--bootstrap", 0, "--quiet",
    )  # fmt: skip
    assert code == 0
    assert "10 texts (en), 1 image each of" in out
    assert "10 real and 10 generated images; 30,000 were asked for, and there are no more" in out


def test_bad_input(diptych, made, shapes, tmp_path):
    arguments = (shapes, "--model", "", "--features", "fake", "--maps", "", "--quiet")
    code, _, err = diptych("generator", "eval", "--generator", f"images:{tmp_path / 'gone.jsonl'}", *arguments)
    assert (code, "no file or folder" in err) == (3, True)
    code, _, err = diptych("generator", "eval", "--generator", f"images:{made}", *arguments, "--languages", "fr")
    assert (code, "no texts to draw in fr; languages found: de, en" in err) == (3, True)
    code, _, err = diptych("generator", "eval", "--generator", f"images:{made}", *arguments, "--texts", 2)
    assert (code, "texts must be at least 4" in err) == (2, True)
    arguments = (shapes, "--model", "", "--features", "inception:gone.pth", "--maps", "", "--quiet")
    code, _, err = diptych("generator", "eval", "--generator", f"images:{made}", *arguments)
    assert (code, "no Inception weights at gone.pth" in err) == (4, True)


def test_a_report_of_a_run_measures_and_keeps_what_it_measured(diptych, made, shapes, small_model, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    code, out, _ = diptych("generator", "report", run, "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["measured"] is False
    assert "R-precision" not in (run / "report.html").read_text(encoding="utf-8")
    code, _, _ = diptych(
        "generator", "report", run, shapes, "--generator", f"images:{made}", "--model", small_model, "--features",
        "fake", "--maps", "fake-maps", "--bootstrap", 50, "--texts", 20, "--quiet",
    )  # fmt: skip
    assert code == 0
    assert "R-precision" in (run / "report.html").read_text(encoding="utf-8")
    code, out, _ = diptych("generator", "report", run, "--out", tmp_path / "again.html", "--quiet")
    assert code == 0
    assert "R-precision" in (tmp_path / "again.html").read_text(encoding="utf-8")
    code, _, err = diptych("generator", "report", tmp_path / "made-up")
    assert (code, "expected the folder of a run" in err) == (3, True)


def test_an_audit_of_images_made_elsewhere(diptych, made, shapes, small_model, tmp_path):
    asked = tmp_path / "pairs.jsonl"
    rows = [("colour", "a red circle", "a blue circle"), ("form", "a red circle", "a red square")]
    asked.write_text("\n".join(json.dumps(dict(zip(("attribute", "one", "other"), row, strict=True))) for row in rows))
    code, out, _ = diptych(
        "generator", "audit", "--generator", f"images:{made}", "--model", small_model, "--pairs", asked, shapes,
        "--split", "val", "--noises", 2, "--bootstrap", 50, "--json", "--quiet", "--page", tmp_path / "a.html", "--png",
        tmp_path / "a.png", "--out", tmp_path / "a.json",
    )  # fmt: skip
    assert code == 0
    told = json.loads(out)
    by_name = {one["name"]: one for one in told["attributes"]}
    assert by_name["colour"]["pairs"] > 1  # those of the source too
    assert by_name["colour"]["generated"]["value"] > 0.7
    assert by_name["colour"]["real"]["value"] > 0.7
    assert by_name["form"]["real"] is None
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = diptych(
        "generator", "audit", "--generator", f"images:{made}", "--model", small_model, "--png", "x.jpg"
    )
    assert (code, "--png" in err) == (2, True)
