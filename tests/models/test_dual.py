"""The dual encoder: what it takes, what it gives, and what it does not import."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import diptych
from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.types import FileImage, Skipped
from diptych.models import SHIPPED
from diptych.models.dual import DualEncoder, require_cosine


@pytest.fixture(scope="module")
def model(small_model: Path) -> DualEncoder:
    return diptych.load(small_model)


@pytest.fixture
def red(shapes: Path) -> Path:
    return shapes.parent / "red-circle-40.png"


def test_it_has_learnt_something(model: DualEncoder, shapes: Path) -> None:
    names = [f"{colour}-{form}-30" for colour in ("red", "green", "blue", "black") for form in ("circle", "square")]
    images = model.encode_images([shapes.parent / f"{name}.png" for name in names])
    texts = model.encode_texts([f"a {name.replace('-', ' ').removesuffix(' 30')}" for name in names])
    scores = model.similarity(images=images, texts=texts)
    assert np.diag(scores).mean() > scores.mean() + 0.1
    assert scores.shape == (8, 8)


def test_the_similarity_knows_which_are_the_images_or_asks(model: DualEncoder) -> None:
    draw = np.random.default_rng(0)
    images, texts = (draw.normal(size=(count, 16)).astype(np.float32) for count in (3, 2))
    cosines = model.similarity(images=images, texts=texts)
    assert cosines.shape == (3, 2)
    assert model.similarity(texts, images) == pytest.approx(cosines.T)  # the cosine is the same both ways
    by_order = DualEncoder(model.folder, dataclasses.replace(model.config, similarity="order"))
    beyond = np.maximum(np.abs(texts)[None] - np.abs(images)[:, None], 0)
    wanted = -(beyond**2).sum(2)
    assert by_order.similarity(images=images, texts=texts) == pytest.approx(wanted, rel=1e-4)
    assert by_order.similarity(texts=texts, images=images) == pytest.approx(wanted, rel=1e-4)
    by_distance = DualEncoder(model.folder, dataclasses.replace(model.config, similarity="l2", logit_scale=20.0))
    assert by_distance.similarity(texts, images) == pytest.approx(-np.sqrt(2 - 2 * cosines.T), abs=1e-3)
    assert by_distance.cosine_scale is None  # what it learnt is multiplied by another number than the cosine
    require_cosine(by_distance, "ranking")
    with pytest.raises(ConfigError, match="ranking ranks by the cosine"):
        require_cosine(by_order, "ranking")
    with pytest.raises(ConfigError, match=r"compares by order.*name them: similarity\(images=\.\.\., texts=\.\.\.\)"):
        by_order.similarity(texts, images)
    with pytest.raises(ConfigError, match="both by name"):
        model.similarity(images, texts=texts)
    with pytest.raises(ConfigError, match="both by name"):
        model.similarity(images=images)
    with pytest.raises(DataError, match=r"shape \(n, 16\), found \(3, 8\)"):
        model.similarity(images[:, :8], texts[:, :8])


def test_every_kind_of_picture_is_the_same_picture(model: DualEncoder, red: Path) -> None:
    with Image.open(red) as opened:
        opened.load()
        kinds = [str(red), red, FileImage(red), red.read_bytes(), opened, np.asarray(opened.convert("RGB"))]
    vectors = model.encode_images(kinds)
    assert vectors.shape == (6, 16)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(6), abs=1e-5)
    assert vectors == pytest.approx(np.broadcast_to(vectors[:1], (6, 16)), abs=1e-5)
    assert model.encode_images(red) == pytest.approx(vectors[:1], abs=1e-5)


def test_batches_do_not_matter(model: DualEncoder, shapes: Path) -> None:
    paths = sorted(shapes.parent.glob("*-30.png"))
    whole = model.encode_images(paths)
    for size, workers in ((1, 1), (4, 3), (100, 2)):
        assert model.encode_images(paths, batch_size=size, workers=workers) == pytest.approx(whole, abs=1e-5)
    texts = [f"text {n}" for n in range(600)]
    assert model.encode_texts(texts)[-1:] == pytest.approx(model.encode_texts(texts[-1]), abs=1e-5)


def test_a_picture_that_cannot_be_read(model: DualEncoder, shapes: Path, red: Path) -> None:
    bad = shapes.parent / "bad.png"
    with pytest.raises(DataError, match=r"bad\.png") as caught:
        model.encode_images([red, bad])
    assert caught.value.reason is Reason.NOT_AN_IMAGE
    skipped: list[Skipped] = []
    assert model.encode_images([red, bad, red], skipped=skipped).shape == (2, 16)
    assert [skip.reason for skip in skipped] == [Reason.NOT_AN_IMAGE]


def test_nothing_gives_nothing(model: DualEncoder) -> None:
    assert model.encode_images([]).shape == (0, 16)
    assert model.encode_texts([]).shape == (0, 16)
    assert model.encode_pixels(np.zeros((0, 32, 32, 3), np.uint8)).shape == (0, 16)
    assert np.isfinite(model.encode_texts("")).all()


def test_it_tells_about_itself(model: DualEncoder) -> None:
    assert (model.name, model.dim, model.preprocess.size) == ("shapes", 16, 32)
    assert model.languages == frozenset()
    assert repr(model) == f"DualEncoder('shapes', dim=16, fingerprint={model.fingerprint[:8]})"


@pytest.mark.parametrize("side", ["text", "image"])
def test_search_needs_no_pytorch(small_model: Path, red: Path, side: str) -> None:
    call = "encode_texts('a red circle')" if side == "text" else f"encode_images({str(red)!r})"
    code = (
        f"import sys, diptych; diptych.load({str(small_model)!r}).{call}; "
        "heavy = {'torch', 'timm', 'transformers', 'lightning_fabric', 'onnx', 'lancedb'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_text_query_touches_no_image_tower(small_model: Path) -> None:
    model = diptych.load(small_model)
    model.encode_texts("red")
    assert "image_tower" not in vars(model)
    assert "image_head" not in vars(model)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_models_are_whole(name: str) -> None:
    from diptych.models import shipped
    from diptych.models.folder import verify

    folder = Path(shipped.__file__).parent / name
    if not folder.exists():
        pytest.skip(f"the weights of {name} are not in this checkout")
    model = diptych.load(name)
    verify(model.folder, model.config)
    assert (model.folder / "README.md").stat().st_size > 500
    assert sum(path.stat().st_size for path in model.folder.iterdir()) < 25e6
    assert diptych.load(f"diptych-{name}").fingerprint == model.fingerprint
    assert os.path.commonpath([model.folder, folder]) == str(folder)


def test_the_first_dimensions_alone_are_a_model_too(small_model: Path) -> None:
    whole = diptych.load(small_model)
    cut = whole.truncated(5)
    assert (cut.dim, whole.dim) == (5, 16)
    assert cut.fingerprint != whole.fingerprint
    texts = ["a red circle", "blaues Band"]
    wanted = whole.encode_texts(texts)[:, :5]
    assert cut.encode_texts(texts) == pytest.approx(wanted / np.linalg.norm(wanted, axis=1, keepdims=True), abs=1e-6)
    size = whole.preprocess.size
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    assert cut.encode_pixels(pixels).shape == (2, 5)
    for dims in (0, 17):
        with pytest.raises(ConfigError, match="dims must be from 1 to 16"):
            whole.truncated(dims)
