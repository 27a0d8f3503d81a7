from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from diptych.data.readers import open_source
from diptych.synthesis import load as load_generator

pytest.importorskip("torch", reason="training needs the [train] extra")

from diptych.encoders.export import read_weights


def test_a_grid_of_one_text(diptych, trained_generator, tmp_path):
    out = tmp_path / "grid.png"
    code, told, _ = diptych(
        "generator", "draw", "a red circle", "-n", 8, "--seed", 1, "--out", out, "--generator", trained_generator.model
    )
    assert code == 0
    assert told.strip() == f"8 images in {out}"
    first = out.read_bytes()
    assert first.startswith(b"\x89PNG")
    diptych(
        "generator", "draw", "a red circle", "-n", 8, "--seed", 1, "--out", out, "--generator", trained_generator.model
    )
    assert out.read_bytes() == first
    diptych(
        "generator", "draw", "a red circle", "-n", 8, "--seed", 2, "--out", out, "--generator", trained_generator.model
    )
    assert out.read_bytes() != first


def test_languages_side_by_side_as_json(diptych, trained_generator, tmp_path):
    code, told, _ = diptych(
        "generator",
        "draw",
        "red circle",
        "rotes Rund",
        "-n",
        3,
        "--out",
        tmp_path / "a.png",
        "--generator",
        trained_generator.model,
        "--json",
    )
    assert code == 0
    value = json.loads(told)
    assert (value["images"], value["size"], value["texts"]) == (6, 16, ["red circle", "rotes Rund"])


def test_from_one_text_to_another(diptych, trained_generator, tmp_path):
    out = tmp_path / "way.png"
    code, told, _ = diptych(
        "generator", "draw", "red", "--to", "blue", "-n", 5, "--out", out, "--generator", trained_generator.model
    )
    assert code == 0
    assert told.startswith("5 images")


def test_many_go_to_a_folder(diptych, trained_generator, tmp_path):
    code, told, _ = diptych(
        "generator", "draw", "red", "-n", 40, "--folder", tmp_path / "many", "--generator", trained_generator.model
    )
    assert code == 0
    assert len(list((tmp_path / "many").glob("*.png"))) == 40
    assert "40 images in" in told
    (pair, *others) = open_source(tmp_path / "many")  # the folder is a source: each image with its text
    assert (pair.id, [text.value for text in pair.texts], len(others)) == ("0000-000000.png", ["red"], 39)


@pytest.mark.parametrize(
    ("arguments", "message", "exit_code"),
    [
        (["red", "-n", "0"], "-n must be from 1", 2),
        (["red", "-n", "10000"], "write them to --folder", 2),
        (["red", "blue", "--to", "green"], "--to goes from one text", 2),
        (["red", "--to", "green", "-n", "1"], "at least 2", 2),
        (["red", "--out", "a.jpg"], "ends in .png", 2),
        ([], "expected a text", 2),
        ([" "], "empty text", 3),
        (["x" * 1001], "1001 characters", 2),
        (["red", "--generator", "nothing"], "no generator 'nothing'", 4),
    ],
)
def test_what_makes_no_sense(diptych, trained_generator, tmp_path, arguments, message, exit_code, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = [] if "--generator" in arguments else ["--generator", trained_generator.model]
    code, _, told = diptych("generator", "draw", *arguments, *model)
    assert code == exit_code
    assert message in told
    assert not list(tmp_path.iterdir())


def test_words_that_are_not_looked_at_are_named(diptych, trained_generator, tmp_path):
    _, _, told = diptych(
        "generator",
        "draw",
        "one two three four five",
        "--out",
        tmp_path / "a.png",
        "-n",
        1,
        "--generator",
        trained_generator.model,
    )
    assert "not these: five" in told


def test_xmc_gan_as_published_by_the_command(diptych, small_bert, shapes, tmp_path):
    """At a rate of next to nothing what it starts from can be seen: no standardised texts, grey images."""
    config = Path(__file__).parents[2] / "configs" / "synthesis" / "xmc_paper.toml"
    changes = {"size": 32, "steps": 3, "text.tower": f"hf:{small_bert}", "text.max_words": 3}
    changes |= {"frozen_network.name": "timm:test_resnet", "frozen_network.size": 32}
    changes |= {"frozen_network.pretrained": "false", "xmc.width": 4, "xmc.most": 2, "xmc.space": 8}
    changes |= {"training.epochs": 1, "training.batch_size": 8, "training.learning_rate": 1e-12, "data.workers": 1}
    given = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    code, _, err = diptych("train", config, shapes, "--out", tmp_path / "run", *given)
    assert code == 0, err
    assert "timm:test_resnet has random weights: its features tell colours and textures apart, not objects" in err
    model = tmp_path / "run" / "model"
    card = " ".join((model / "README.md").read_text().split())
    assert "in the features of `timm:test_resnet`, which had random weights" in card
    assert "frozen, words in their context; seed 0" in card
    weights = read_weights(model, "generator")
    assert bool((weights["standard.mean"] == 0).all())
    assert bool((weights["standard.std"] == 1).all())
    assert bool(weights["picture.bias"].abs().max() < 1e-6)
    saved = load_generator(model)
    assert saved.config.text.words == "in_context"
    words = saved.tower.embed_words(["a red circle"], 3)[1][0]
    assert np.allclose(saved.read(["a red circle"]).words[0], words, atol=1e-3)
    code, _, err = diptych(
        "generator", "draw", "a red circle in blue", "--out", tmp_path / "a.png", "--generator", model
    )
    assert code == 0
    assert "not these: in blue" in err


def test_training_by_the_command(diptych, shapes, tmp_path):
    config = tmp_path / "tiny.toml"
    config.write_text(
        'name = "tiny"\nkind = "generator"\nsize = 16\nsteps = 2\ndiscriminator_steps = 1\nfrozen_network = "layout"\n'
        '[text]\ntower = "fake"\n[xmc]\nwidth = 2\nmost = 2\nregion_side = 8\n'
        '[data]\nviews = ["full"]\nworkers = 1\n'
        "[training]\nepochs = 1\nbatch_size = 4\nweight_decay = 0.0\ntensorboard = false\n"
    )
    other = tmp_path / "other.toml"
    other.write_text('extends = "tiny.toml"\nname = "other"\n')  # the kind stands in the file that it extends
    code, told, err = diptych("train", other, shapes, "--out", tmp_path / "run", "--quiet")
    assert code == 0, err
    assert "diptych generator draw" in told
    code, _, _ = diptych(
        "generator", "draw", "red", "--out", tmp_path / "a.png", "--generator", tmp_path / "run" / "model"
    )
    assert code == 0
    code, told, err = diptych("train", other, shapes, "--out", tmp_path / "x", "--set", "size=48")
    assert code == 2
    assert "power of two" in err
