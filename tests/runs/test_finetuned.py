"""Fine-tuning from pretrained joint models: the shipped configs, from the space as it is to a model without PyTorch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

torch = pytest.importorskip("torch", reason="training needs the [train] extra")
if find_spec("transformers") is None or find_spec("open_clip") is None:
    pytest.skip("needs the [hub] extra", allow_module_level=True)

from tests.joint_models import make_naflex, make_sentences, make_siglip  # noqa: E402

import diptych  # noqa: E402
from diptych import runs  # noqa: E402
from diptych.core.config import to_dict  # noqa: E402
from diptych.core.errors import ConfigError  # noqa: E402
from diptych.encoders.pretrained import import_transformers  # noqa: E402
from diptych.models import load  # noqa: E402
from diptych.runs import heads  # noqa: E402
from diptych.runs.dual_encoder import DualEncoderRecipe  # noqa: E402
from diptych.runs.run import RunContext, read_config  # noqa: E402

CONFIGS = Path(__file__).parents[2] / "configs" / "finetune"
NAMES = ("full", "lora", "lit", "locked_text", "adapters")
OTHERS = ("hf:siglip", "open_clip:clip")
TEXTS = ["a red circle", "blaues Band", ""]
BRIEF = [
    "training.epochs=1",
    "training.batch_size=30",
    "training.learning_rate=1e-3",
    "training.precision=32-true",
    "training.tensorboard=false",
    "data.workers=1",
]


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_siglip(tmp_path_factory.mktemp("siglip"))


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    """By the indirect parameter: "hf:clip", "hf:siglip", "open_clip:clip", or "bound": texts of another library."""
    if request.param == "bound":
        import_transformers()  # which repairs what sentence_transformers imports
        pytest.importorskip("sentence_transformers", exc_type=ImportError)
        folder = make_sentences(request.getfixturevalue("tmp_path") / "sentences")
        return f"hf:{request.getfixturevalue('clip_folder')}+sentence-transformers:{folder}"
    kinds = {"hf:clip": "clip_folder", "hf:siglip": "siglip_folder", "open_clip:clip": "open_clip_folder"}
    return f"{request.param.partition(':')[0]}:{request.getfixturevalue(kinds[request.param])}"


def config(name: str, address: str, *changes: str) -> Any:
    images = [] if name in ("lit", "adapters") else ["data.images.workers=0"]
    return read_config(CONFIGS / f"{name}.toml", [f"init={address}", *BRIEF, *images, *changes])


def files(shapes: Path) -> list[Path]:
    return sorted(shapes.parent.glob("*-30.png"))[:4]


def embedded(model: Any, shapes: Path) -> tuple[np.ndarray, np.ndarray]:
    return model.encode_images(files(shapes)), model.encode_texts(TEXTS)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        *((name, "hf:clip") for name in NAMES),
        *((name, each) for name in NAMES[1:4:2] for each in OTHERS),
        ("lora", "bound"),
    ],
    indirect=["address"],
)
def test_training_starts_at_the_pretrained_space_and_its_temperature(
    address: str, name: str, shapes: Path, tmp_path: Path
) -> None:
    model = load(address)
    recipe = DualEncoderRecipe(config(name, address), RunContext(tmp_path, "cpu"))
    module = recipe._built(0, 2).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (3, *model.preprocess.shape), dtype=np.uint8)
    assert recipe.image_tower.preprocess.stated().items() >= {"exact": True, "size": 32}.items()
    images, texts = recipe.image_tower.embed(pixels), recipe.text_tower.embed(TEXTS)
    texts = texts.astype(np.int64) if texts.dtype == np.int32 else texts
    with torch.inference_mode():
        found = module.image(torch.from_numpy(images)).numpy(), module.text(torch.from_numpy(texts)).numpy()
    np.testing.assert_allclose(found[0], model.encode_pixels(pixels), atol=1e-5)
    np.testing.assert_allclose(found[1], model.encode_texts(TEXTS), atol=1e-5)
    assert module.loss is not None
    scale, bias = module.loss.logits()
    assert scale == pytest.approx(model.config.logit_scale, rel=1e-4)
    assert bias == (model.config.logit_bias and pytest.approx(model.config.logit_bias))
    frozen = {side for side in ("image", "text") if getattr(recipe.config, side).frozen}
    assert frozen == {"lit": {"image"}, "locked_text": {"text"}, "adapters": {"image", "text"}}.get(name, set())


@pytest.mark.parametrize(
    ("name", "address"), [*((name, "hf:clip") for name in NAMES), ("lora", "open_clip:clip")], indirect=["address"]
)
def test_what_is_frozen_stays_and_the_rest_learns(address: str, name: str, shapes: Path, tmp_path: Path) -> None:
    run = runs.train(config(name, address), str(shapes), tmp_path, device="cpu")
    model = run.model
    before, after = embedded(load(address), shapes), embedded(model, shapes)
    moved = [float(np.abs(one - other).max()) for one, other in zip(before, after, strict=True)]
    for side, by in zip(("image", "text"), moved, strict=True):
        stays = name == {"image": "lit", "text": "locked_text"}[side]
        assert by < 1e-3 if stays else by > 3e-3, (side, by)
    # what was saved is what was trained, also as a module, and its probabilities have the learnt temperature
    module = model.torch()
    assert module.frozen == ()
    with torch.inference_mode():
        found = module.encode_image(module.image_inputs(files(shapes))), module.encode_text(module.text_inputs(TEXTS))
    for one, other in zip(found, after, strict=True):
        np.testing.assert_allclose(one.numpy(), other, atol=1e-4)
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert model.config.logit_scale == pytest.approx(1 / logged[-1]["temperature"], rel=1e-4)
    assert model.probability(*after).sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert model.config.licence == load(address).config.licence
    for side in (model.config.image, model.config.text):
        assert side.network is not None
        assert "lora" not in side.network.options


def test_a_finetuned_model_searches_without_pytorch(clip_folder: Path, shapes: Path, tmp_path: Path) -> None:
    run = runs.train(config("lit", f"hf:{clip_folder}"), str(shapes), tmp_path, device="cpu")
    wanted = embedded(run.model, shapes)
    code = (
        "import sys, diptych, numpy as np\n"
        f"model = diptych.load({str(run.model_folder)!r})\n"
        f"np.savez({str(tmp_path / 'found.npz')!r}, model.encode_images({list(map(str, files(shapes)))!r}), "
        f"model.encode_texts({TEXTS!r}))\n"
        "assert not {'torch', 'transformers', 'onnx'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})
    found = np.load(tmp_path / "found.npz")
    for one, other in zip((found["arr_0"], found["arr_1"]), wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_finetuned_model_is_finetuned_further(clip_folder: Path, shapes: Path, tmp_path: Path) -> None:
    address = f"hf:{clip_folder}"
    first = runs.train(config("adapters", address), str(shapes), tmp_path / "first", device="cpu").model_folder
    before = embedded(load(first), shapes)
    for name in ("lora", "lit"):
        further = config(name, str(first))
        recipe = DualEncoderRecipe(further, RunContext(tmp_path, "cpu"))
        module = recipe._built(0, 2).eval()
        texts = torch.from_numpy(recipe.text_tower.embed(TEXTS)).long()
        with torch.inference_mode():
            np.testing.assert_allclose(module.text(texts).numpy(), before[1], atol=1e-5)
        assert module.loss is not None
        assert module.loss.logits()[0] == pytest.approx(load(first).config.logit_scale, rel=1e-4)
        run = runs.train(further, str(shapes), tmp_path / name, device="cpu")
        after = embedded(run.model, shapes)
        assert np.abs(after[1] - before[1]).max() > 1e-3
        assert run.model.config.image.head.name == "adapter"


def test_the_saved_config_trains_the_same_again(clip_folder: Path, shapes: Path, tmp_path: Path) -> None:
    made = runs.train(config("adapters", f"hf:{clip_folder}"), str(shapes), tmp_path / "one", device="cpu").model
    again = runs.train(made.config.training["config"], str(shapes), tmp_path / "two", device="cpu").model
    assert again.fingerprint == made.fingerprint


def test_interrupted_with_chunks_and_averages_it_ends_with_the_same_weights(
    clip_folder: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ["training.epochs=2", "training.chunk=7", "training.ema=0.5", "training.checkpoint_steps=1"]
    wanted = config("lora", f"hf:{clip_folder}", *changes)
    runs.train(wanted, str(shapes), tmp_path / "whole", device="cpu")
    scores, calls = heads.retrieval_scores, []

    def interrupted(*arguments: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return scores(*arguments)

    monkeypatch.setattr(heads, "retrieval_scores", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runs.train(wanted, str(shapes), tmp_path / "broken", device="cpu")
    monkeypatch.setattr(heads, "retrieval_scores", scores)
    runs.train(wanted, str(shapes), tmp_path / "broken", device="cpu")
    one, other = ((tmp_path / name / "best.safetensors").read_bytes() for name in ("whole", "broken"))
    assert one == other


def steps(folder: Path) -> list[tuple[float, float]]:
    lines = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    return [(line["loss"], line["gradient_norm"]) for line in lines]


def test_in_chunks_it_is_the_run_of_the_whole_batch(clip_folder: Path, shapes: Path, tmp_path: Path) -> None:
    for chunk in (0, 7):
        wanted = config("full", f"hf:{clip_folder}", f"training.chunk={chunk}", "training.log_steps=1")
        runs.train(wanted, str(shapes), tmp_path / str(chunk), device="cpu")
    np.testing.assert_allclose(steps(tmp_path / "0"), steps(tmp_path / "7"), rtol=1e-4)
    assert len(steps(tmp_path / "0")) == 4


@pytest.mark.slow
def test_two_processes_make_the_run_of_one(clip_folder: Path, shapes: Path, tmp_path: Path) -> None:
    wanted = [*BRIEF, "training.log_steps=1", "data.images.workers=0", f"init=hf:{clip_folder}"]
    command = ["-m", "diptych", "train", str(CONFIGS / "full.toml"), str(shapes), "--device", "cpu"]
    more = [word for change in wanted for word in ("--set", change)]
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, start in (("one", [sys.executable]), ("two", two)):
        out = ["--out", str(tmp_path / name)]
        done = subprocess.run([*start, *command, *more, *out], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    np.testing.assert_allclose(steps(tmp_path / "one"), steps(tmp_path / "two"), rtol=1e-4)


def test_the_sigmoid_loss_and_its_bias_go_on(siglip_folder: Path, shapes: Path, tmp_path: Path) -> None:
    address = f"hf:{siglip_folder}"
    run = runs.train(config("full", address), str(shapes), tmp_path, device="cpu")
    assert runs.DualEncoderConfig(name="x", init=address).resolved().loss.name == "sigmoid"
    start, end = load(address).config, run.model.config
    assert end.logit_bias is not None
    assert end.logit_bias != start.logit_bias
    assert end.logit_bias == pytest.approx(start.logit_bias, abs=0.1)
    images, texts = embedded(run.model, shapes)
    cosines = images @ texts.T
    by_hand = 1 / (1 + np.exp(-(end.logit_scale * cosines + end.logit_bias)))
    np.testing.assert_allclose(run.model.probability(images, texts), by_hand, rtol=1e-4)


def test_a_model_of_any_proportion_is_finetuned_and_saved(shapes: Path, tmp_path: Path) -> None:
    address = f"hf:{make_naflex(tmp_path / 'naflex')}"
    model = runs.train(config("full", address), str(shapes), tmp_path / "run", device="cpu").model
    draw = np.random.default_rng(0)
    sizes = ((40, 70), (70, 40), (33, 33), (12, 90))
    images = [PIL.Image.fromarray(draw.integers(0, 256, (*size, 3), np.uint8)) for size in sizes]
    found, module = model.encode_images(images), model.torch().eval()
    with torch.no_grad():
        assert found == pytest.approx(module.encode_image(module.image_inputs(images)).numpy(), abs=2e-3)
    assert np.abs(found - load(address).encode_images(images)).max() > 0.01


def test_what_makes_no_sense_is_refused_before_anything_is_read(
    clip_folder: Path, tmp_path: Path, small_model: Path
) -> None:
    address = f"hf:{clip_folder}"
    both = ["image.frozen=true", "text.frozen=true"]
    for name, init, changes, message in (
        ("full", address, both, 'nothing would learn: both sides are frozen.* set head = "adapter"'),
        ("lit", str(small_model), [], "image.frozen has no effect: that side has no network"),
        ("full", address, ["dim=7"], "keeps the tower's 12 features; leave out dim or set it to that, found 7"),
    ):
        with pytest.raises(ConfigError, match=message):
            runs.train(config(name, init, *changes), str(tmp_path / "nothing"), tmp_path, device="cpu")
    with pytest.raises(ConfigError, match=r"image.tower is missing; name a tower, or an init whose"):
        read_config({"name": "x", "loss": {"name": "info_nce"}})
    towers = {"image": {"tower": "fake"}, "text": {"tower": "fake", "frozen": True}}
    with pytest.raises(ConfigError, match=r"text.frozen keeps the network of init, and there is no init"):
        read_config({"name": "x", "loss": {"name": "info_nce"}, **towers})


def test_another_tower_on_one_side_learns_beside_the_locked_image_side(
    clip_folder: Path, shapes: Path, tmp_path: Path
) -> None:
    wanted = config("lit", f"hf:{clip_folder}", 'text.tower="fake"', 'text.head="linear"')
    model = runs.train(wanted, str(shapes), tmp_path, device="cpu").model
    assert (model.config.text.tower, model.config.text.network) == ("fake", None)
    assert model.config.dim == 12
    images = load(f"hf:{clip_folder}").encode_images(files(shapes))
    np.testing.assert_allclose(model.encode_images(files(shapes)), images, atol=1e-3)
    assert to_dict(model.config)["text"]["head"]["name"] == "linear"
    assert diptych.load(tmp_path / "model").encode_texts(TEXTS).shape == (3, 12)
