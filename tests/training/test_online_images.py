"""Images that are augmented while training: the same for any number of workers, exact resumes, bad files."""

import dataclasses
import hashlib
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="needs the [train] extra")
if find_spec("torchvision") is None:
    pytest.skip("needs the [train] extra", allow_module_level=True)

from diptych.core.errors import ConfigError, DataError  # noqa: E402
from diptych.core.protocols import Preprocess  # noqa: E402
from diptych.core.types import FileImage  # noqa: E402
from diptych.data.images import as_image, prepared  # noqa: E402
from diptych.data.online import OnlineImages  # noqa: E402
from diptych.encoders.image.pixel_tower import PixelTower  # noqa: E402
from diptych.training import checkpoints  # noqa: E402
from diptych.training.batch_order import MixedBatches, PairShares, TextBatches  # noqa: E402
from diptych.training.engine import BEST, LAST  # noqa: E402
from diptych.training.online_images import (  # noqa: E402
    AugmentedImages,
    ImageLoader,
    LoadingError,
)

from .online_run import EVERYTHING, OnlineRun, write_images  # noqa: E402

SCRIPT = Path(__file__).parent / "online_run.py"
ONE = SimpleNamespace(world_size=1, global_rank=0, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def refs(tmp_path_factory: pytest.TempPathFactory) -> list[FileImage]:
    return write_images(tmp_path_factory.mktemp("images"), 40)


def order(count: int, batch_size: int = 20) -> TextBatches:
    return TextBatches(np.arange(count), np.repeat(np.arange(count), 2), batch_size=batch_size)


def loaded(refs: list[FileImage], epoch: int, workers: int, seed: int = 0) -> list[torch.Tensor]:
    settings = dataclasses.replace(EVERYTHING, workers=workers)
    loader = ImageLoader(refs, PixelTower(16), settings, seed=seed, batch_size=20)
    batches = loader.load(epoch, order(len(refs)).epoch(epoch), ONE)
    return [rows.loaded.take(rows.image, rows.view) for rows in batches if rows.loaded]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return len(left) == len(right) and all(map(torch.equal, left, right))


def test_the_images_are_the_same_with_any_number_of_workers(refs: list[FileImage]) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    here = loaded(refs, 1, 0)
    assert torch.equal(state, torch.get_rng_state())  # the run's own random numbers are not touched
    assert [tuple(each.shape) for each in here] == [(20, 16 * 16 * 3)] * 4
    for workers in (1, 3):
        assert same(here, loaded(refs, 1, workers))
        assert torch.equal(state, torch.get_rng_state())
    assert not same(here, loaded(refs, 1, 0, seed=1))


def test_each_epoch_and_view_shows_another_image_and_the_place_in_the_order_does_not_matter(
    refs: list[FileImage],
) -> None:
    images = AugmentedImages(refs, Preprocess(16), EVERYTHING, seed=5)
    shown = {(epoch, view): images[epoch, 7, view] for epoch in range(3) for view in range(2)}
    assert len({value.numpy().tobytes() for value in shown.values()}) == 6
    assert torch.equal(images[2, 7, 1], shown[2, 1])


def test_without_augmentation_an_image_is_what_search_sees(refs: list[FileImage]) -> None:
    for preprocess in (Preprocess(16), Preprocess(24, "crop")):
        found = AugmentedImages(refs, preprocess, OnlineImages(), seed=0)[0, 3, 0]
        assert np.array_equal(found.numpy(), prepared(refs[3], preprocess))


@pytest.mark.parametrize(("way", "corner"), [("zero", 0), ("edge", 200), ("reflect", 200)])
def test_padding_keeps_the_shape_and_fills_the_rest(tmp_path: Path, way: str, corner: int) -> None:
    Image.new("RGB", (40, 20), (200, 200, 200)).save(tmp_path / "wide.png")
    images = AugmentedImages([FileImage(tmp_path / "wide.png")], Preprocess(16), OnlineImages(resize=(way,)), seed=0)
    found = images[0, 0, 0].numpy()
    assert found.shape == (16, 16, 3)
    assert (found[4:12] == 200).all()  # 16 x 8 pixels of the image
    assert (found[:4] == corner).all()
    assert (found[12:] == corner).all()


def test_flips_come_as_often_as_asked_for(refs: list[FileImage]) -> None:
    images = AugmentedImages(refs, Preprocess(16), OnlineImages(flip=0.25), seed=0)
    plain = prepared(refs[0], Preprocess(16))
    shown = [images[epoch, 0, 0].numpy() for epoch in range(200)]
    flipped = [np.array_equal(each, plain[:, ::-1]) for each in shown]
    assert all(one or np.array_equal(each, plain) for one, each in zip(flipped, shown, strict=True))
    assert 0.15 < np.mean(flipped) < 0.35


def test_an_image_is_read_once_a_batch_and_both_views_of_a_pair_are_there(refs: list[FileImage]) -> None:
    owners = np.arange(len(refs)), np.repeat(np.arange(len(refs)), 2)
    mixed = MixedBatches(order(len(refs)), PairShares(across=0.0, images=0.5, texts=0.5), *owners, views=2)
    settings = dataclasses.replace(EVERYTHING, workers=0)
    loader = ImageLoader(refs, PixelTower(16), settings, seed=0, views=2, batch_size=20)
    for rows in loader.load(0, mixed.epoch(0), ONE):
        assert rows.loaded is not None
        assert rows.second is not None
        if rows.kind == "texts":
            assert len(rows.loaded.rows) == 1  # a batch of texts needs no images
            continue
        views = [(rows.image, rows.view), (rows.second.row, rows.second.view)]
        first, second = (rows.loaded.take(*each) for each in views)
        assert not (first == second).all(1).any()  # two views of one image differ
        asked = {pair for image, view in views for pair in zip(image.tolist(), view.tolist(), strict=True)}
        assert len(rows.loaded.rows) == len(asked)


def test_each_process_reads_its_own_rows(refs: list[FileImage]) -> None:
    parts = []
    for rank in range(2):
        fabric = SimpleNamespace(world_size=2, global_rank=rank, device=torch.device("cpu"))
        loader = ImageLoader(refs, PixelTower(16), dataclasses.replace(EVERYTHING, workers=0), seed=0, batch_size=20)
        rows = next(loader.load(0, order(len(refs)).epoch(0), fabric))
        part = slice(0, 10) if rank == 0 else slice(10, 20)
        assert rows.loaded is not None
        assert len(rows.loaded.keys) == len(np.unique(rows.image[part]))
        parts.append(rows.loaded.take(rows.image[part], rows.view[part]))
    assert torch.equal(torch.cat(parts), loaded(refs, 0, 0)[0])


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_is_damaged_meanwhile_is_named(tmp_path: Path, workers: int) -> None:
    refs = write_images(tmp_path, 6)
    refs[4].path.write_bytes(refs[4].path.read_bytes()[:200])
    loader = ImageLoader(refs, PixelTower(16), OnlineImages(workers=workers), seed=0)
    with pytest.raises(DataError, match=r"4\.jpg ends early or is damaged"):
        list(loader.load(0, order(6, 12).epoch(0), ONE))


def test_a_worker_that_dies_is_a_clear_error(refs: list[FileImage], monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

    # seconds until PyTorch looks whether a worker that gives nothing is still there; otherwise 5
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.2,))
    loader = ImageLoader(refs, KillingTower(), OnlineImages(workers=1), seed=0, batch_size=20)
    message = r"a process that reads images ended.*lower data\.images\.workers"
    with pytest.raises(LoadingError, match=message), loader.running():
        list(loader.load(0, order(len(refs), 2).epoch(0), ONE))
    with pytest.raises(RuntimeError, match="something else"), loader.running():
        raise RuntimeError("something else")


class KillingTower(PixelTower):
    """Kills the worker when the first images have come."""

    def __init__(self) -> None:
        super().__init__(16)

    def embed(self, pixels: Any) -> Any:
        import multiprocessing

        for child in multiprocessing.active_children():
            child.kill()
            child.join()
        return super().embed(pixels)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_killed_with_workers_a_run_resumes_to_bit_identical_weights(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    OnlineRun(tmp_path / "whole", workers=0).fit()
    folder = tmp_path / "killed"
    command = [sys.executable, str(SCRIPT), str(folder), "2", "0.1"]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        until = time.monotonic() + 60
        while process.poll() is None and not (folder / LAST).exists() and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.3)
    finally:
        process.kill()
    assert process.wait() == -9
    facts = checkpoints.read(folder / LAST).facts
    assert 0 < 4 * facts["epoch"] + facts["batch"] < 12
    OnlineRun(folder, workers=1).fit()
    assert sha256(folder / BEST) == sha256(tmp_path / "whole" / BEST)
    last, other = (checkpoints.read(each / LAST) for each in (folder, tmp_path / "whole"))
    torch.testing.assert_close(last.optimiser, other.optimiser, rtol=0, atol=0)


def test_the_log_says_how_fast_images_come(tmp_path: Path) -> None:
    said: list[str] = []
    progress = SimpleNamespace(track=lambda items, *_, **__: iter(items), say=said.append)
    result = OnlineRun(tmp_path, workers=0, progress=progress).fit()
    assert all(row["images_per_second"] > 0 and 0 < row["waiting_for_images"] <= 1 for row in result.rows)
    assert any(line.startswith("epoch 1: ") and "images/s" in line and "workers = 0" in line for line in said)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize": ("stretch",)}, "unknown resize 'stretch'; choose from"),
        ({"resize": ()}, "resize must name at least one of plain, zero"),
        ({"workers": -2}, "workers must be at least -1, found -2"),
        ({"random_crop": (0.5,)}, r"random_crop must be two shares, .* found \[0.5\]"),
        ({"random_crop": (0.0, 1.0)}, "random_crop must be two shares"),
        ({"ratio": (2.0, 1.0)}, "ratio must be above 0 and ascending"),
        ({"rotation": 200.0}, "rotation must be from 0 to 180 degrees, found 200"),
        ({"flip": 2.0}, "flip must be from 0 to 1"),
        ({"rand_augment": -1}, "rand_augment must be at least 0"),
        ({"magnitude": 31}, "magnitude must be from 0 to 30"),
        ({"colour": (0.1, 0.1)}, "colour must be four numbers"),
        ({"colour": (0.1, 0.1, 0.1, 0.9)}, "hue from 0 to 0.5"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OnlineImages(**options)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (OnlineImages(), (32, 64)),
        (OnlineImages(flip=1.0, rotation=5.0), (32, 64)),
        (OnlineImages(random_crop=(0.3, 1.0)), (48, 48)),
        (OnlineImages(resize=("reflect",)), (48, 48)),
    ],
)
def test_packed_patches_are_augmented_before_they_are_packed(
    tmp_path: Path, settings: OnlineImages, shape: tuple[int, int]
) -> None:
    preprocess = Preprocess(48, "patches", patch=16)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    found = AugmentedImages([FileImage(tmp_path / "wide.png")], preprocess, settings, 0)[0, 0, 0]
    assert isinstance(found, torch.Tensor)
    assert tuple(found.shape) == preprocess.shape
    assert as_image(found.numpy(), preprocess).shape[:2] == shape
    if settings == OnlineImages():
        assert np.array_equal(found.numpy(), prepared(tmp_path / "wide.png", preprocess))


def test_a_margin_grows_with_the_square_that_crops_are_drawn_from(refs: list[FileImage]) -> None:
    preprocess = Preprocess(16, "shortest", resize=20)
    images = AugmentedImages(refs, preprocess, OnlineImages(random_crop=(0.25, 1.0)), 0)
    assert (images._square.size, images._square.resize) == (32, 40)
    assert tuple(images[0, 0, 0].shape) == (16, 16, 3)
