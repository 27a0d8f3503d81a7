from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the [train] extra")

from diptych import runs
from diptych.cli.app import run
from diptych.core import fingerprint
from diptych.core.config import load, to_dict
from diptych.core.errors import ConfigError, DataError, ModelError
from diptych.core.types import Text
from diptych.data.alternatives import LanguagePolicy
from diptych.data.features import CachedRows, CaptionedImages, Selection, collect_captions
from diptych.data.readers import open_source
from diptych.encoders.fake import FakeMapTower, FakeTextTower
from diptych.models.cross_encoder import IMAGE_TO_TEXT, load_trained_cross_encoder
from diptych.models.cross_encoder.network import CrossNetwork
from diptych.models.cross_encoder.saving import read_network
from diptych.models.cross_encoder.settings import ScoringSettings
from diptych.runs import cross_encoder
from diptych.runs.initial_words import words_lookup
from diptych.runs.reading import read_splits
from diptych.runs.run import RunContext
from diptych.training.batch_order import BatchRows


def test_a_small_cross_encoder_learns_and_is_saved_whole(cross_encoder_run):
    scores = cross_encoder_run.report.scores
    assert scores["t2i R@5"] > 60
    assert scores["i2t R@5"] > 60
    config = json.loads((cross_encoder_run.model / "config.json").read_text())
    assert config["kind"] == "cross"
    graphs = {f"{name}.onnx" for name in ("regions", "keys_values", "likelihood", "next_words", "attention")}
    assert set(config["files"]) == {"model.safetensors", "tokenizer.json", *graphs}
    assert "# shapes-slow" in (cross_encoder_run.model / "README.md").read_text()


def test_the_right_colour_scores_higher(cross_encoder_run, shapes):
    cross_encoder = load_trained_cross_encoder(cross_encoder_run.model, precision="float32")
    tokens = cross_encoder.encode_images([shapes.parent / f"{colour}-square-30.png" for colour in ("red", "blue")])
    assert tokens.shape == (2, *cross_encoder.token_shape)
    assert tokens.dtype == np.float16
    red, blue = cross_encoder.score(tokens, "a red square"), cross_encoder.score(tokens, "a blue square")
    assert red[0] > red[1]
    assert blue[1] > blue[0]


def test_pairs_and_matrix_agree_in_both_directions(cross_encoder_run, shapes):
    cross_encoder = load_trained_cross_encoder(cross_encoder_run.model, precision="float32")
    tokens = cross_encoder.encode_images(sorted(shapes.parent.glob("*-20.png"))[:3])
    texts = ["a red square", "stripe in blue, 30", "a yellow circle"]
    for direction in ("text_to_image", IMAGE_TO_TEXT):
        matrix = cross_encoder.scores(tokens, texts, direction)
        assert np.allclose(matrix.diagonal(), cross_encoder.score(tokens, texts, direction), atol=1e-3)
    h = cross_encoder.scores(tokens, texts)
    prior, lengths = cross_encoder.scorer.prior(texts), cross_encoder.scorer.lengths(texts)
    scoring = cross_encoder.config.scoring
    expected = (h - scoring.prior * prior[:, None]) / lengths[:, None] ** scoring.length
    assert np.allclose(cross_encoder.scores(tokens, texts, IMAGE_TO_TEXT), expected, atol=1e-4)


def test_it_scores_on_onnx_runtime_as_on_pytorch(cross_encoder_run, shapes):
    texts, images = (
        ["a red square", "a blue circle"],
        [shapes.parent / f"red-{form}-30.png" for form in ("circle", "square")],
    )
    one, other = (
        load_trained_cross_encoder(cross_encoder_run.model, precision="float32", graphs=graphs)
        for graphs in (True, False)
    )
    assert [type(found.backend).__name__ for found in (one, other)] == ["OnnxBackend", "TorchBackend"]
    tokens = one.encode_images(images)
    assert np.allclose(tokens.astype(np.float32), other.encode_images(images), atol=2e-3)  # half precision
    assert one.scores(tokens, texts) == pytest.approx(other.scores(tokens, texts), abs=1e-4)
    assert one.token_shape == (other.network.fusion.count, 32)


def test_what_cannot_be_scored_is_said(cross_encoder_run):
    cross_encoder = load_trained_cross_encoder(cross_encoder_run.model)
    tokens = np.zeros((2, *cross_encoder.token_shape), dtype=np.float16)
    with pytest.raises(DataError, match="2 images and 1 texts"):
        cross_encoder.score(tokens, ["a red square"])
    with pytest.raises(ConfigError, match="unknown direction"):
        cross_encoder.score(tokens, "a red square", "sideways")


def test_a_damaged_or_foreign_folder_is_refused(cross_encoder_run, small_model, tmp_path: Path):
    import shutil

    with pytest.raises(ModelError, match="holds a dual encoder"):
        load_trained_cross_encoder(small_model)
    with pytest.raises(ModelError, match="no model folder"):
        load_trained_cross_encoder(tmp_path / "nothing")
    copy = tmp_path / "model"
    shutil.copytree(cross_encoder_run.model, copy)
    with (copy / "model.safetensors").open("r+b") as stream:
        stream.seek(-4, 2)
        stream.write(b"\1\2\3\4")
    with pytest.raises(ModelError, match="hash differs"):
        load_trained_cross_encoder(copy).backend  # noqa: B018


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    small_cross_encoder, shapes, cache, tmp_path: Path, monkeypatch
):
    from safetensors.numpy import load_file

    config = small_cross_encoder(epochs=3)
    whole = runs.train(config, str(shapes), tmp_path / "whole", device="cpu")

    told = 0

    class Stop:
        def track(self, items, label, total=None):
            yield from items

        def say(self, message: str) -> None:
            nonlocal told
            told += 1
            if told == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.train(config, str(shapes), tmp_path / "cut", device="cpu", progress=Stop())
    assert not (tmp_path / "cut" / "model").exists()
    again = runs.train(config, str(shapes), tmp_path / "cut", device="cpu")
    one, other = (load_file(report.model_folder / "model.safetensors") for report in (whole, again))
    assert all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ["cross_encoder", "cross_encoder_resnet50", "cross_encoder_video"])
def test_the_shipped_configs_fit(name):
    config = load(cross_encoder.CrossEncoderConfig, Path(__file__).parents[2] / "configs" / f"{name}.toml")
    assert config.kind == "cross-encoder"
    assert config.data.val not in ("val", "dev", "test")  # chosen on a part of the training split


def test_a_tower_without_maps_is_refused(small_cross_encoder, shapes, tmp_path: Path):
    with pytest.raises(ConfigError, match="no feature maps"):
        runs.train(small_cross_encoder(tower="fake"), str(shapes), tmp_path)


def test_the_command_trains_it(shapes, tmp_path: Path, capsys):
    config = tmp_path / "cross_encoder.toml"
    config.write_text(
        'name = "tiny"\nkind = "cross-encoder"\nvocabulary = 100\n[image]\ntower = "fake-maps"\n'
        "[network]\nwidth = 16\nlayers = 1\nheads = 2\n[training]\nepochs = 1\nbatch_size = 30\n"
    )
    out = tmp_path / "run"
    assert run(["train", str(config), str(shapes), "--out", str(out), "--quiet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"] == str(out / "model")
    assert run(["train", str(config), str(shapes), "--set", "network.heads=3"]) == 2
    assert "multiple of heads" in capsys.readouterr().err


def test_a_model_of_before_keeps_its_fingerprint(cross_encoder_run):
    config = load_trained_cross_encoder(cross_encoder_run.model).config
    parts = [to_dict(part) for part in (config.image, config.network, config.objective, config.scoring)]
    assert set(parts[0]) == {"tower", "maps", "preprocess", "fingerprint", "source"}  # the keys of the first models
    assert "decoders" not in parts[1]
    assert config.fingerprint == fingerprint.of_json(["cross", 1, parts, dict(sorted(config.files.items()))])


@pytest.mark.skipif(find_spec("timm") is None, reason="needs the [train] extra")
def test_the_config_of_a_resnet_trains_on_its_maps_and_is_read_again(shapes, tmp_path: Path, capsys):
    config = str(Path(__file__).parents[2] / "configs" / "cross_encoder_resnet50.toml")
    small = ("network.width=16", "network.layers=1", "vocabulary=100", "training.epochs=1", "training.batch_size=30")
    tower = ("image.tower.name=timm-maps:test_resnet", "image.tower.pretrained=false")
    options = [part for each in (*small, *tower) for part in ("--set", each)]
    assert run(["train", config, str(shapes), "--out", str(tmp_path), "--quiet", *options]) == 0
    model = load_trained_cross_encoder(tmp_path / "model")
    assert model.config.image.options == {"levels": 3, "pretrained": False}
    assert model.grid == (20, 20)  # of the finest map: an eighth of 160 pixels
    capsys.readouterr()
    assert run(["caption", str(shapes.parent / "red-square-30.png"), "--reranker", str(tmp_path / "model")]) == 0
    tower = ("image.tower.levels=9", "image.tower.name=timm-maps:test_resnet", "image.tower.pretrained=false")
    assert run(["train", config, str(shapes), *[part for each in tower for part in ("--set", each)]]) == 4
    assert "choose fewer levels" in capsys.readouterr().err


def test_separate_decoders_train_score_and_are_read_again(small_cross_encoder, shapes, tmp_path: Path, capsys):
    config = small_cross_encoder(epochs=1)
    config = replace(config, network=replace(config.network, layers=1, decoders="separate"))
    made = runs.train(config, str(shapes), tmp_path / "run", device="cpu")
    model = load_trained_cross_encoder(made.model_folder, precision="float32")
    assert json.loads((made.model_folder / "config.json").read_text())["network"]["decoders"] == "separate"
    tokens = model.encode_images([shapes.parent / "red-square-30.png"])
    texts = ["a red square", "stripe in blue, 30"]
    assert model.scores(tokens, texts)[0, 0] == pytest.approx(model.score(tokens, texts[:1])[0], abs=1e-3)
    photo = str(shapes.parent / "red-square-30.png")
    assert run(["caption", photo, "--reranker", str(made.model_folder), "--json"]) == 0
    (caption,) = json.loads(capsys.readouterr().out)["captions"]
    assert caption["log_likelihood"] < 0
    backwards = [key for key in model.network.state_dict() if key.startswith("backward_decoder.")]
    assert len(backwards) == len([key for key in model.network.state_dict() if key.startswith("decoder.")])


def trained_by_command(shapes: Path, out: Path, *more: str) -> int:
    """`diptych train` of a narrow cross-encoder for one epoch, with settings."""
    config = out / "cross_encoder.toml"
    out.mkdir(exist_ok=True)
    config.write_text(
        'name = "tiny"\nkind = "cross-encoder"\nvocabulary = 100\n[image]\ntower = "fake-maps"\n'
        "[network]\nwidth = 16\nlayers = 1\nheads = 2\n[training]\nepochs = 1\nbatch_size = 30\n"
    )
    options = [part for each in more for part in ("--set", each)]
    return run(["train", str(config), str(shapes), "--out", str(out / "run"), *options])


def test_word_vectors_begin_as_a_file_or_a_text_tower_has_them(shapes, tmp_path: Path, capsys):
    glove = tmp_path / "glove.txt"
    glove.write_text("red 1 2 3\ncircle 0 1 0\n")
    assert trained_by_command(shapes, tmp_path, f"network.vectors={glove}") == 0
    assert "glove.txt: 2 word pieces begin with their vectors" in capsys.readouterr().err
    saved = json.loads((tmp_path / "run/model/config.json").read_text())
    assert "vectors" not in saved["network"]  # they are among the weights
    assert saved["training"]["config"]["network"]["vectors"] == "glove.txt"  # and no path of this machine
    for named, message in (("ues", "neither a file"), ("wordpiece", "has no vectors of words")):
        assert trained_by_command(shapes, tmp_path, f"network.vectors={named}") == 2
        assert message in capsys.readouterr().err
    places, vectors = words_lookup("fake", RunContext(tmp_path, cache=tmp_path))(["red", "circle"])
    assert places.tolist() == [0, 1]
    assert np.allclose(vectors, FakeTextTower().embed(["red", "circle"]), atol=1e-2)


def test_wrong_partners_are_mined_and_the_matching_score_becomes_a_part_of_the_likelihood(
    shapes, tiny_model, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.setattr(cross_encoder, "_MATCHING", (2.0,))
    dual_encoder = tiny_model(tmp_path / "dual")
    both = ("objective.contrastive=0.5", "objective.contrastive_texts=0.2")
    partners = ("objective.matching=0.5", *both, "objective.group=4", "objective.mined=8")
    assert trained_by_command(shapes, tmp_path, *partners, f"model={dual_encoder}") == 0
    assert "% of the partners in a group are among the 8 that" in capsys.readouterr().err
    card = (tmp_path / "run/model/README.md").read_text()
    assert "matching 0.5, contrastive 0.5, contrastive texts 0.2 in groups of 4" in card
    assert f"of 8 that `{dual_encoder}` finds near" in card
    assert "the matching score is added to the likelihood 2.0 times" in card
    graphs, model = (
        load_trained_cross_encoder(tmp_path / "run/model", graphs=on, precision="float32") for on in (True, False)
    )
    tokens = model.encode_images([shapes.parent / "red-square-30.png"])
    h = model.scores(tokens, ["a red square"])
    assert graphs.scores(tokens, ["a red square"]) == pytest.approx(h, abs=1e-3)
    assert model.network.adds_matching
    model.network.adds_matching = False
    assert abs(model.scores(tokens, ["a red square"]) - h) > 1e-2
    assert trained_by_command(shapes, tmp_path, *partners, "model=gone") == 4
    assert "gone" in capsys.readouterr().err
    assert trained_by_command(shapes, tmp_path, "objective.mined=8") == 2
    assert "captioning alone has no wrong partners to mine" in capsys.readouterr().err


def test_the_weight_of_the_matching_score_is_that_of_the_best_ranks(small_cross_encoder, shapes, tmp_path: Path):
    import torch

    recipe = cross_encoder.CrossEncoderRecipe(small_cross_encoder(), RunContext(tmp_path, "cpu", tmp_path))
    _, pairs = recipe.collect(read_splits(recipe.config.data, str(shapes)))
    torch.manual_seed(0)
    network = CrossNetwork(recipe.tower.maps, len(recipe.words), recipe.config.network).eval()
    validation = cross_encoder._Validation(recipe.config, network, recipe.words, pairs)
    records = np.arange(pairs.records)
    texts = [pairs.captions[place] for place in np.searchsorted(pairs.text_owner, records)]
    regions = validation._regions(records)

    def scores(captioner: bool) -> np.ndarray:
        return validation._scorer(ScoringSettings(), captioner).matrix(regions, texts)

    h, matched = scores(True), scores(False)
    ranks = {
        weight: np.log1p(((h + weight * matched) > (h + weight * matched).diagonal()[:, None]).sum(1)).mean()
        for weight in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    }
    weight = validation.fit_matching()
    assert ranks[weight] == min(ranks.values())
    assert np.allclose(scores(True), h + weight * matched, atol=1e-3)


def test_a_language_policy_shows_other_languages_and_measures_by_the_originals(
    small_cross_encoder, shapes, tmp_path: Path
):
    policy = LanguagePolicy(back=0.0, other=1.0, original="en", of_record=True)
    config = small_cross_encoder(data=runs.DataConfig(language=policy, workers=1, views=("full",)))
    recipe = cross_encoder.CrossEncoderRecipe(config, RunContext(tmp_path, "cpu", tmp_path))
    recipe.training, recipe.validation = recipe.collect(read_splits(config.data, str(shapes)))
    assert {text.lang for text in recipe.training.written} == {"en", "de"}
    assert {text.lang for text in recipe.validation.written} == {"en"}
    assert 1 not in recipe.words.encode(["rotes quadrat"], 16)[0]  # the vocabulary is of both
    rows = next(iter(recipe._batch_order().epoch(0)))
    assert {recipe.training.written[row].lang for row in rows.text} == {"de"}  # always in the other language
    with pytest.raises(ConfigError, match=r"data\.together has no effect on a cross-encoder"):
        replace(config, data=replace(config.data, language=None, together=2))


def test_batches_by_hand():
    images = CachedRows(np.arange(8, dtype=np.float16).reshape(4, 2), np.arange(4))
    training = CaptionedImages(
        images=(images,),
        written=(Text(""),) * 6,
        image_owner=np.arange(4),
        text_owner=np.array([0, 0, 1, 2, 2, 2]),
        ids=("",) * 4,
        keys=("",) * 4,
        image_keys=(b"",) * 4,
        groups=(None,) * 4,
    )
    rows = BatchRows(np.array([2, 2, 0]), np.zeros(3, dtype=int), np.array([5, 3, 0]), np.array([2, 2, 0]))
    pieces = [[9], [0], [0], [7, 8], [0], [6]]
    flat, inputs, targets = cross_encoder.batch_arrays(training, pieces, rows)
    assert flat.tolist() == [[4, 5], [0, 1]]
    assert inputs[0].tolist() == [[2, 6, 0], [3, 6, 0], [2, 7, 8], [3, 8, 7]]
    assert inputs[1].tolist() == [[2, 9, 0], [3, 9, 0], [0, 0, 0], [0, 0, 0]]
    assert targets[0].tolist() == [[6, 4, 0], [6, 4, 0], [7, 8, 4], [8, 7, 4]]


def test_captions_are_collected_with_what_was_left_out(shapes, tmp_path: Path):
    pairs = list(open_source(shapes))
    found = collect_captions(pairs, FakeMapTower(), tmp_path, Selection(langs=("de",)))
    assert found.records == 45
    assert len(found.captions) == 45
    assert found.images[0][np.array([0])].shape == (1, FakeMapTower.dim)
    with pytest.raises(DataError, match="no usable pair"):
        collect_captions(pairs, FakeMapTower(), tmp_path, Selection(langs=("xx",)))
    assert runs.DataConfig().views == ("full", "flip")


def test_weights_with_their_older_names_are_read(cross_encoder_run, tmp_path: Path):
    from safetensors.torch import load_file, save_file

    model = load_trained_cross_encoder(cross_encoder_run.model)
    older = {
        "nothing" if key == "empty_image_token" else key.replace(".mlp_", ".wide_"): value
        for key, value in load_file(model.folder / "model.safetensors").items()
    }
    save_file(older, tmp_path / "model.safetensors")
    read, now = read_network(tmp_path, model.config).state_dict(), model.network.state_dict()
    assert "decoder.layers.0.mlp_in.weight" in now
    assert all(np.array_equal(read[key], now[key]) for key in now)
