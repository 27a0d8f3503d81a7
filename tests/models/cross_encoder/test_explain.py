from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from diptych.cli.app import run
from diptych.core.errors import DataError
from diptych.models.cross_encoder import load_trained_cross_encoder
from diptych.models.cross_encoder.explain import explain_match, overlay
from diptych.models.cross_encoder.vocabulary import both_directions


def test_gains_add_up_to_the_likelihood_without_the_prior(cross_encoder_run, shapes):
    cross_encoder = load_trained_cross_encoder(cross_encoder_run.model, precision="float32")
    picture = shapes.parent / "red-circle-40.png"
    match = explain_match(cross_encoder, picture, "a red circle")
    assert [one.word for one in match.words] == ["a", "red", "circle"]
    for one in match.words:
        assert one.regions.shape == cross_encoder.grid
        assert one.regions.sum() == pytest.approx(1, abs=1e-4)
    tokens = cross_encoder.encode_images([picture])
    text = "a red circle"
    pieces = cross_encoder.words.encode([text], 16)
    inputs, targets = (torch.from_numpy(one)[None] for one in both_directions(pieces))
    with torch.inference_mode():
        ends = []
        for shown in (torch.from_numpy(tokens.astype(np.float32)), cross_encoder.network.empty()):
            each = cross_encoder.network.word_likelihoods(
                inputs, targets, cross_encoder.network.decoder.keys_values(shown)
            )[0]
            ends.append(float(each[:, len(pieces[0])].sum()))
    whole = cross_encoder.score(tokens, text)[0] - cross_encoder.scorer.prior([text])[0]
    assert sum(one.gain for one in match.words) + ends[0] - ends[1] == pytest.approx(float(whole), abs=1e-3)
    assert match.score == pytest.approx(float(cross_encoder.score(tokens, text)[0]))


def test_all_words_that_the_cross_encoder_reads_are_explained(cross_encoder_run, shapes):
    cross_encoder = load_trained_cross_encoder(cross_encoder_run.model, precision="float32")
    most = cross_encoder.network.settings.max_tokens
    text = " ".join(["red"] * (most + 3))
    match = explain_match(cross_encoder, shapes.parent / "red-circle-40.png", text)
    pieces = len(cross_encoder.words.encode(["red"], most)[0])
    assert (len(match.words), match.unread) == (most // pieces, (most + 3) * pieces - most)


def test_the_right_colour_gains_and_the_wrong_one_loses(cross_encoder_run, shapes):
    cross_encoder = load_trained_cross_encoder(cross_encoder_run.model, precision="float32")
    gains = {
        colour: {
            one.word: one.gain
            for one in explain_match(cross_encoder, shapes.parent / "red-square-40.png", f"a {colour} square").words
        }
        for colour in ("red", "blue")
    }
    assert gains["red"]["red"] > 0 > gains["blue"]["blue"]


def test_attention_follows_what_is_attended(network, words, regions):
    inputs = torch.from_numpy(both_directions(words.encode(["a blue square"], 20))[0])[None]
    with torch.inference_mode():
        found = network.attention(inputs, network.decoder.keys_values(regions[:1]))
        assert torch.allclose(found.sum(-1)[0, :, :3], torch.ones(2, 3), atol=1e-5)
        # one region that all queries like: keys of the last layer are made to point along the queries
        (keys, values) = network.decoder.keys_values(regions[:1])[-1]
        pulled = keys.clone()
        pulled[:, :, 5] *= 0
        plain = network.attention(inputs, [*network.decoder.keys_values(regions[:1])[:-1], (pulled * 0, values)])
    assert torch.allclose(plain[0, :, :3], torch.full((2, 3, 16), 1 / 16), atol=1e-6)


def test_the_overlay_is_a_picture_with_a_tile_a_word(cross_encoder_run, shapes):
    cross_encoder = load_trained_cross_encoder(cross_encoder_run.model)
    picture = shapes.parent / "red-circle-40.png"
    drawn = PIL.Image.open(io.BytesIO(overlay(picture, explain_match(cross_encoder, picture, "a red circle"))))
    assert drawn.size == (4 * 232 + 8, 224 + 34 + 8 + 8)
    with pytest.raises(DataError):
        explain_match(cross_encoder, shapes.parent / "bad.png", "a red circle")
    with pytest.raises(DataError, match="no words"):
        explain_match(cross_encoder, picture, " ")


def test_from_the_command_line(cross_encoder_run, shapes, tmp_path: Path, capsys):
    picture, out = shapes.parent / "red-circle-40.png", tmp_path / "x.png"
    command = ["explain", "a red circle", str(picture), "--by", "attention", "--reranker", str(cross_encoder_run.model)]
    assert run([*command, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["word"] for one in told["words"]] == ["a", "red", "circle"]
    assert out.read_bytes().startswith(b"\x89PNG")
    assert run([*command, "--out", str(tmp_path / "x.jpg")]) == 2
    assert run(["explain", "a red circle", "--by", "attention", "--reranker", str(cross_encoder_run.model)]) == 2
    command[1] = "a red circle " * 10
    assert run([*command, "--out", str(out), "--json"]) == 0
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert (note["kind"], note["count"]) == ("cut", 30 - 16)  # pieces; the cross-encoder reads 16
