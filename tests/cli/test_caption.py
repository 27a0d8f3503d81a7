from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="the cross-encoder needs the [train] extra")
pytest.importorskip("sacrebleu", reason="needs the [captions] extra")

from diptych.cli.app import run


def test_a_picture_is_described(cross_encoder_run, shapes, capsys):
    picture = shapes.parent / "red-circle-30.png"
    assert run(["caption", str(picture), "--reranker", str(cross_encoder_run.model), "--quiet"]) == 0
    assert "red" in capsys.readouterr().out  # the small cross-encoder sees colours well, forms badly


@pytest.mark.parametrize("decode", ["greedy", "nucleus"])
def test_several_pictures_and_a_bad_one(cross_encoder_run, shapes, capsys, decode):
    files = [str(shapes.parent / name) for name in ("blue-square-20.png", "bad.png", "green-stripe-40.png")]
    assert (
        run(["caption", *files, "--reranker", str(cross_encoder_run.model), "--decode", decode, "--json", "--quiet"])
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert [one["path"] for one in told["captions"]] == [files[0], files[2]]
    assert told["skipped"][0]["reason"] == "not_an_image"


def test_a_source_is_scored(cross_encoder_run, shapes, capsys):
    command = [
        "caption",
        str(shapes),
        "--split",
        "val",
        "--reranker",
        str(cross_encoder_run.model),
        "--json",
        "--quiet",
    ]
    assert run(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["CIDEr"] > 0.3
    assert told["BLEU-4"] >= 0
    assert told["retrieval by its own captions"]["R@5"] >= 50
    assert len(told["captions"]) == told["gallery"] == 10


def test_every_picture_of_every_record_is_described_whatever_its_id(cross_encoder_run, shapes, capsys, tmp_path):
    images = [str(shapes.parent / f"{name}.png") for name in ("red-circle-20", "red-circle-40", "blue-square-20")]
    rows = [{"id": 1, "images": images[:2], "text": "a red circle"}, {"id": 1, "image": images[2], "text": "blue"}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [str(tmp_path / "t.jsonl"), "--reranker", str(cross_encoder_run.model), "--json", "--quiet"]
    assert run(["caption", *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(one["id"], one["image"]) for one in told["captions"]] == [("1", name) for name in images]
    assert told["gallery"] == 3


def test_what_cannot_be_described(cross_encoder_run, small_model, shapes, capsys):
    assert run(["caption", "--reranker", str(cross_encoder_run.model)]) == 2
    assert "expected image files" in capsys.readouterr().err
    assert run(["caption", str(shapes.parent / "bad.png"), "--reranker", str(cross_encoder_run.model), "--quiet"]) == 3
    assert "none of the 1 files" in capsys.readouterr().err
    assert run(["caption", "x.png", "--reranker", str(small_model)]) == 4
