from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the cross-encoder needs the [train] extra")

from diptych.cli.app import run
from diptych.core.errors import DataError, ModelError
from diptych.data.readers import SourceOptions, open_source
from diptych.models import load
from diptych.models.cross_encoder import IMAGE_TO_TEXT, TEXT_TO_IMAGE, load_trained_cross_encoder
from diptych.runs import reranking


@pytest.fixture(scope="module")
def fitted(cross_encoder_run, small_model, shapes, tmp_path_factory):
    """A copy of the small cross-encoder, fitted to the small dual encoder."""
    folder = tmp_path_factory.mktemp("fitted") / "model"
    shutil.copytree(cross_encoder_run.model, folder)
    pairs = list(open_source(shapes, SourceOptions(split="train")))
    report = reranking.fit_reranker(load(small_model), load_trained_cross_encoder(folder), pairs, most=60)
    return folder, report


def test_what_was_fitted_is_kept_for_the_pair(fitted, small_model):
    folder, report = fitted
    assert report.pair.k in reranking.DEPTHS
    assert report.pair.beta in reranking.BETAS
    best = max(report.pair.fitted["text_to_image R@1 by K"].values())
    assert best >= report.pair.fitted["dual encoder R@1"]["text_to_image"]
    ranker = reranking.reranker(load(small_model), load_trained_cross_encoder(folder))
    assert (ranker.beta, ranker.k) == (report.pair.beta, report.pair.k)


def test_a_pair_that_was_not_fitted_says_how(cross_encoder_run, small_model):
    cross_encoder = load_trained_cross_encoder(cross_encoder_run.model)
    with pytest.raises(ModelError, match="rerank fit"):
        reranking.reranker(load(small_model), cross_encoder)
    assert reranking.reranker("whatever", cross_encoder, beta=2.0).beta == 2.0


def test_too_few_pairs(cross_encoder_run, small_model, shapes):
    with pytest.raises(DataError, match="at least 10"):
        reranking.fit_reranker(
            load(small_model), load_trained_cross_encoder(cross_encoder_run.model), list(open_source(shapes))[:4]
        )


def test_scores_are_those_of_the_models(cross_encoder_run, small_model, shapes):
    dual_encoder, cross_encoder = (
        load(small_model),
        load_trained_cross_encoder(cross_encoder_run.model, precision="float32"),
    )
    pairs = list(open_source(shapes, SourceOptions(split="val")))
    prepared = reranking.Prepared.of(dual_encoder, cross_encoder, pairs)
    scored = prepared.score(IMAGE_TO_TEXT, depth=4, most=3, seed=2)
    assert scored.cosines.shape == (3, len(prepared.embedded.values))
    assert scored.scores.shape == (3, 4)
    picture = int(np.sort(np.random.default_rng(2).permutation(len(pairs))[:3])[1])
    own = [prepared.embedded.values[item] for item in scored.candidates[1]]
    alone = cross_encoder.score(np.repeat(prepared.tokens[picture : picture + 1], 4, axis=0), own, IMAGE_TO_TEXT)
    assert np.allclose(scored.scores[1], alone, atol=1e-3)


def test_every_picture_has_its_own_tokens_whatever_the_ids(cross_encoder_run, small_model, shapes):
    dual_encoder, cross_encoder = (
        load(small_model),
        load_trained_cross_encoder(cross_encoder_run.model, precision="float32"),
    )
    pairs = [dataclasses.replace(pair, id=str(place % 2)) for place, pair in enumerate(open_source(shapes))][:6]
    both = dataclasses.replace(pairs[0], images=pairs[0].images + pairs[1].images)
    prepared = reranking.Prepared.of(dual_encoder, cross_encoder, [both, *pairs[2:]])
    assert prepared.embedded.image_owner.tolist() == [0, 0, 1, 2, 3, 4]
    images = [image for pair in [both, *pairs[2:]] for image in pair.images]
    assert np.array_equal(prepared.tokens, cross_encoder.encode_images(images))
    assert prepared.embedded.values == tuple(text.value for pair in [both, *pairs[2:]] for text in pair.texts)
    scored = prepared.score(TEXT_TO_IMAGE, depth=6)
    assert scored.positives.counts.max() == 2


def test_from_the_command_line(fitted, small_model, shapes, tmp_path: Path, capsys):
    folder, _ = fitted
    library = tmp_path / "library"
    arguments = ["--library", str(library), "--quiet", "--json"]
    assert run(["index", str(shapes), "--model", str(small_model), *arguments]) == 0
    capsys.readouterr()
    assert run(["search", "a red circle", "--rerank", "20", *arguments]) == 4
    assert "rerank prepare" in capsys.readouterr().err
    assert run(["rerank", "prepare", "--library", str(library), "--reranker", str(folder), "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["added"] == 45
    assert run(["search", "a red circle", "--rerank", "20", "-k", "3", *arguments]) == 0
    hits = json.loads(capsys.readouterr().out)["hits"]
    assert "red-" in hits[0]["path"]
    assert all(0 <= hit["meta"]["probability"] <= 1 for hit in hits)
    assert 0 <= hits[0]["meta"]["nothing_matches"] <= 1
    assert hits[0]["scored_by"].startswith("shapes-slow h + ")
    assert run(["search", "a red circle", "--budget-ms", "500", "-k", "3", "--library", str(library), "--quiet"]) == 0
    assert "ordered by shapes-slow h" in capsys.readouterr().out
    assert (
        run(["search", "a red circle", "--reranker", str(folder), "-k", "3", *arguments]) == 0
    )  # as many as was fitted
    assert json.loads(capsys.readouterr().out)["hits"][0]["id"] == hits[0]["id"]
    assert run(["search", "--like", hits[0]["id"], "--rerank", "20", *arguments]) == 2
    assert "only a search for words can be re-ranked" in capsys.readouterr().err


def test_index_keeps_tokens_in_the_same_command(fitted, small_model, shapes, tmp_path: Path, capsys):
    folder, _ = fitted
    library = str(tmp_path / "library")
    command = ["index", str(shapes), "--model", str(small_model), "--library", library, "--reranker", str(folder)]
    assert run([*command, "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"]["added"] == 45


def test_fit_from_the_command_line(fitted, small_model, shapes, capsys):
    folder, report = fitted
    command = ["rerank", "fit", "--model", str(small_model), "--reranker", str(folder), str(shapes)]
    assert run([*command, "--split", "train", "--queries", "60", "--quiet"]) == 0
    assert f"h + {report.pair.beta:g} cosine" in capsys.readouterr().out


def test_evidence_takes_the_right_picture_away(cross_encoder_run, small_model, shapes):
    cross_encoder = load_trained_cross_encoder(cross_encoder_run.model, precision="float32")
    prepared = reranking.Prepared.of(
        load(small_model), cross_encoder, list(open_source(shapes, SourceOptions(split="val")))
    )
    scored = prepared.score("text_to_image", most=8)
    found = reranking.evidence(cross_encoder, scored, 5)
    there = sum(
        bool(np.isin(scored.candidates[row, :5], scored.positives.items[scored.positives.offsets[row]]).any())
        for row in range(8)
    )
    assert len(found.queries) == 8 + there
    assert found.nothing.sum() == 8
    assert found.right.sum() == there
    assert len(found.hits) == 5 * len(found.queries)


def test_calibration_from_the_command_line(fitted, small_model, shapes, tmp_path: Path, capsys):
    folder, _ = fitted
    command = ["rerank", "check", "--model", str(small_model), "--reranker", str(folder), str(shapes)]
    plot = tmp_path / "reliability.png"
    assert run([*command, "--split", "train", "--plot", str(plot), "--json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ECE of hits"] < 0.1
    (count,) = [note["count"] for note in told["notes"] if note["kind"] == "fitted_on"]
    assert count == told["records fitted on"] > 0
    assert plot.read_bytes().startswith(b"\x89PNG")


def relate(capsys, *arguments) -> dict:
    capsys.readouterr()
    assert run(["relate", *map(str, arguments), "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def test_one_pair_is_judged_by_what_was_fitted(fitted, small_model, shapes, capsys):
    folder, report = fitted
    cross_encoder = load_trained_cross_encoder(folder)
    image, text = shapes.parent / "red-circle-30.png", "a red circle"
    found = relate(capsys, image, text, "--model", small_model, "--reranker", folder)
    (pair,) = found["pairs"]
    h = cross_encoder.score(cross_encoder.encode_images([image]), [text])[0]
    gain = (h - cross_encoder.scorer.prior([text])[0]) / cross_encoder.scorer.lengths([text])[0]
    model = load(small_model)
    cosine = model.similarity(images=model.encode_images([image]), texts=model.encode_texts(text))[0, 0]
    assert (pair["gain a word"], pair["cosine"]) == pytest.approx((gain, cosine), abs=1e-3)
    calibration = report.pair.relate["kinds"]["image-text"]
    evidence = calibration["weights"][0] * gain + calibration["weights"][1] * cosine + calibration["bias"]
    assert pair["probability"] == pytest.approx(1 / (1 + np.exp(-evidence)), abs=1e-3)
    assert "calibrated on 35 related and " in found["judged_by"]["image-text"]["origin"]
    (wrong,) = relate(capsys, image, "ein gelbes Band", "--model", small_model, "--reranker", folder)["pairs"]
    assert wrong["gain a word"] < pair["gain a word"]


def test_both_models_can_be_calibrated_on_a_source(fitted, small_model, shapes, capsys, tmp_path: Path):
    folder, report = fitted
    file, models = tmp_path / "mine.json", ("--model", small_model, "--reranker", folder)
    command = ["relate", "--calibrate", shapes, "--calibrate-split", "train", *models, "--calibration", file, "--quiet"]
    assert run([str(word) for word in command]) == 0
    assert "image-text: fitted on 35 related and 35 unrelated pairs (drawn at random) of" in capsys.readouterr().out
    made = json.loads(file.read_text())
    assert made["model"] == report.pair.relate["model"]
    assert made["measures"] == ["gain a word", "cosine"]
    found = relate(capsys, shapes.parent / "red-circle-30.png", "a red circle", *models, "--calibration", file)
    assert str(file) in found["judged_by"]["image-text"]["origin"]


def test_a_cross_encoder_that_was_not_fitted_gives_scores_alone(cross_encoder_run, small_model, shapes, capsys):
    models = "--model", small_model, "--reranker", cross_encoder_run.model
    found = relate(capsys, shapes.parent / "red-circle-30.png", "a red circle", *models)
    assert found["pairs"][0]["related"] is None
    assert f"diptych rerank fit PAIRS --model {small_model} --reranker" in found["notes"][0]["detail"]
    assert run(["relate", "two", "texts", *map(str, models), "--quiet"]) == 2
    assert "leave the reranker out" in capsys.readouterr().err
