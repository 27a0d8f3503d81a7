"""A tiny training on augmented images: parts for tests, and a script to kill.

python online_run.py FOLDER WORKERS PAUSE
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import normalize

from diptych.core.protocols import SILENT
from diptych.core.types import FileImage
from diptych.data.online import OnlineImages
from diptych.encoders.image.pixel_tower import PixelTower
from diptych.losses import Embedded
from diptych.losses.info_nce import InfoNCE
from diptych.training.batch_order import BatchRows, TextBatches
from diptych.training.engine import FitResult, Trainer
from diptych.training.objectives import Contrastive
from diptych.training.online_images import ImageLoader
from diptych.training.settings import TrainingSettings

EVERYTHING = OnlineImages(
    resize=("plain", "zero", "edge", "reflect"),
    rotation=10.0,
    random_crop=(0.5, 1.0),
    flip=0.5,
    rand_augment=1,
    colour=(0.2, 0.2, 0.2, 0.1),
)
RECORDS, SIZE = 20, 8


def write_images(folder: Path, count: int) -> list[FileImage]:
    """Photos of coloured blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for number in range(count):
        blocks = draw.integers(0, 256, (5, 4 + number % 3, 3), dtype=np.uint8)
        path = folder / f"{number}.jpg"
        if not path.exists():
            Image.fromarray(blocks.repeat(6, 0).repeat(6, 1)).save(path)
    return [FileImage(folder / f"{number}.jpg") for number in range(count)]


class OnlineRun:
    """A linear image tower against free vectors of the texts, with dropout so that the random state matters."""

    def __init__(self, folder: Path, *, workers: int, pause: float = 0.0, progress: Any = SILENT) -> None:
        torch.manual_seed(0)
        refs = write_images(folder / "images", RECORDS)
        self.image = torch.nn.Sequential(torch.nn.Linear(SIZE * SIZE * 3, 8), torch.nn.Dropout(0.2))
        self.text = torch.nn.Embedding(RECORDS, 8)
        self.pause = pause
        owners = np.arange(RECORDS)
        settings = dataclasses.replace(EVERYTHING, workers=workers)
        self.trainer = Trainer(
            torch.nn.ModuleList([self.image, self.text]),
            Contrastive(self.embed, InfoNCE(), chunk=2),
            lambda: {"score": float(self.text.weight.detach().sum())},
            TextBatches(owners, owners, batch_size=5),
            TrainingSettings(
                epochs=3, batch_size=5, precision="32-true", chunk=2, checkpoint_steps=1, tensorboard=False
            ),
            folder,
            identity={"run": "online"},
            images=ImageLoader(refs, PixelTower(SIZE), settings, seed=0, batch_size=5, progress=progress),
            device="cpu",
        )

    def embed(self, rows: BatchRows) -> Embedded:
        time.sleep(self.pause)
        assert rows.loaded is not None
        pixels = rows.loaded.take(rows.image, rows.view).float() / 255
        text = self.text(torch.from_numpy(rows.text))
        return Embedded(normalize(self.image(pixels), dim=1), normalize(text, dim=1), torch.from_numpy(rows.owner))

    def fit(self) -> FitResult:
        return self.trainer.fit()


if __name__ == "__main__":
    OnlineRun(Path(sys.argv[1]), workers=int(sys.argv[2]), pause=float(sys.argv[3])).fit()
