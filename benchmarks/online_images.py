"""Images that are decoded and augmented while training: images a second with 0, 1, 2, ... worker processes.

    python benchmarks/online_images.py
    python benchmarks/online_images.py --images photos/ --workers 0 2 4 8 --step 0.1 --json

Each epoch loads the same batches of images (made-up photos without `--images`) and spends `--step` seconds a batch
where a training step would compute (by waiting, so that the step takes no CPU, as on a GPU). Printed are images a
second, the share of the time in which the step waits for images, and the ratio to no workers in the same run. The
first epoch of each number of workers, in which they start, is not counted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from diptych.core.types import FileImage
from diptych.data.image_inputs import SUFFIXES
from diptych.data.online import OnlineImages
from diptych.encoders.image.pixel_tower import PixelTower
from diptych.training.batch_order import GroupedBatches
from diptych.training.online_images import ImageLoader

AUGMENTATION = OnlineImages(random_crop=(0.4, 1.0), flip=0.5, colour=(0.4, 0.4, 0.4, 0.1))
ONE_PROCESS = SimpleNamespace(world_size=1, global_rank=0, device=torch.device("cpu"))


def make_photos(folder: Path, count: int) -> list[FileImage]:
    """JPEGs of 500 x 375 pixels with the detail of photos."""
    draw = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (47, 63, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
    return [FileImage(folder / f"{number}.jpg") for number in range(count)]


def measure(
    refs: Sequence[FileImage], workers: int, batch: int, epochs: int, step: float, size: int
) -> dict[str, float]:
    """Medians over the epochs."""
    owners = np.arange(len(refs))
    order = GroupedBatches(owners, owners, batch_size=batch)
    settings = dataclasses.replace(AUGMENTATION, workers=workers)
    loader = ImageLoader(refs, PixelTower(size), settings, seed=0, batch_size=batch)
    found = []
    for epoch in range(epochs + 1):
        for _ in loader.load(epoch, order.epoch(epoch), ONE_PROCESS):
            time.sleep(step)
        found.append(loader.report())
    return {key: median(each[key] for each in found[1:]) for key in found[0]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of images; without it, made-up photos")
    parser.add_argument("--count", type=int, default=256, help="images an epoch (default 256)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="(default 0 1 2)")
    parser.add_argument("--batch", type=int, default=64, help="images a batch (default 64)")
    parser.add_argument("--epochs", type=int, default=3, help="counted epochs (default 3)")
    parser.add_argument("--step", type=float, default=0.2, help="seconds a training step takes (default 0.2)")
    parser.add_argument("--size", type=int, default=224, help="pixels of the tower (default 224)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if options.images:
            paths = sorted(path for path in options.images.rglob("*") if path.suffix.lower() in SUFFIXES)
            refs = [FileImage(path) for path in paths[: options.count]]
        else:
            refs = make_photos(Path(folder), options.count)
        found = {
            workers: measure(refs, workers, options.batch, options.epochs, options.step, options.size)
            for workers in options.workers
        }
    first = found[options.workers[0]]["images_per_second"]
    for each in found.values():
        each["ratio"] = round(each["images_per_second"] / first, 2)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for workers, each in found.items():
        print(
            f"{workers} workers: {each['images_per_second']:7.1f} images/s, {each['ratio']:.2f}x {options.workers[0]} "
            f"workers, {each['waiting_for_images']:.0%} of the time waiting for images"
        )


if __name__ == "__main__":
    main()
