"""Two small towers under any loss: a script to kill or to start under torchrun, and parts for the tests.

python pair_run.py FOLDER '{"loss": {"name": "info_nce"}, "dropout": 0.3, "settings": {"ema": 0.9}}'
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from diptych import losses
from diptych.core import registry
from diptych.core.config import Part
from diptych.training.batch_order import BatchRows, TextBatches
from diptych.training.engine import FitResult, Trainer
from diptych.training.objectives import Contrastive
from diptych.training.settings import TrainingSettings

RECORDS, WIDTH, DIM = 37, 6, 8


class Pairs(torch.nn.Module):
    """Towers and loss; what they are fed is fixed."""

    def __init__(self, loss: Mapping[str, Any], dropout: float = 0.0, seed: int = 0, norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.image, self.text = (
            torch.nn.Sequential(
                torch.nn.Linear(WIDTH, 16, bias=not norm),  # a bias before a norm has no gradient but rounding
                *([torch.nn.BatchNorm1d(16)] if norm else []),
                torch.nn.Tanh(),
                torch.nn.Dropout(dropout),
                torch.nn.Linear(16, DIM),
            )
            for _ in range(2)
        )
        options = dict(loss)
        self.loss = registry.build("loss", Part(options.pop("name"), options), dim=DIM, classes=4)
        draw = torch.Generator().manual_seed(99)
        self.register_buffer("images", torch.randn(RECORDS, WIDTH, generator=draw))
        noise = torch.randn(2 * RECORDS, WIDTH, generator=draw)
        self.register_buffer("texts", self.images.repeat_interleave(2, 0) + 0.3 * noise)

    def embed(self, rows: BatchRows) -> losses.Embedded:
        image, text, owner = (torch.from_numpy(part) for part in (rows.image, rows.text, rows.owner))
        return losses.Embedded(
            normalize(self.image(self.images[image]), dim=1),
            normalize(self.text(self.texts[text]), dim=1),
            owner,
            owner % 4,
        )


class PairRun:
    """A run on 37 records with two texts each."""

    def __init__(
        self,
        folder: Path,
        *,
        loss: Mapping[str, Any],
        settings: Mapping[str, Any],
        dropout: float = 0.0,
        pause: float = 0.0,
        stop: int = 0,
        norm: bool = False,
        extra: float = 0.0,
        direct: bool = False,
        **more: Any,
    ) -> None:
        self.module = Pairs(loss, dropout, norm=norm)
        if direct:
            self.module.image.frozen_epochs = 1  # type: ignore[assignment]
        self.pause = pause
        self.stop = stop  # interrupted when it embeds for that time
        self.embedded = 0
        options = {"epochs": 3, "batch_size": 15, "learning_rate": 0.01, "tensorboard": False, "log_steps": 1}
        options["precision"] = "32-true"
        self.settings = TrainingSettings(**{**options, **settings})
        contrastive = Contrastive(
            self.embed,
            self.module.loss,
            self.settings.chunk,
            extra=(lambda rows, embedded: extra * self.taught(rows, embedded)) if extra else None,
            weight=1 - extra,
        )
        self.trainer = Trainer(
            self.module,
            self.distance if direct else contrastive,
            self.validate,
            TextBatches(np.arange(RECORDS), np.repeat(np.arange(RECORDS), 2), batch_size=self.settings.batch_size),
            self.settings,
            folder,
            identity={"settings": dict(settings), "loss": dict(loss)},
            report=self.module.loss.report,
            start_epoch=self.module.loss.start_epoch,
            start_step=self.module.loss.start_step,
            device="cpu",
            **more,
        )

    def embed(self, rows: BatchRows) -> losses.Embedded:
        time.sleep(self.pause)
        self.embedded += 1
        if self.embedded == self.stop:
            raise KeyboardInterrupt
        return self.module.embed(rows)

    def distance(self, rows: BatchRows) -> torch.Tensor:
        """A mean over the rows that compares no two of them."""
        embedded = self.embed(rows)
        return (embedded.image - embedded.text).square().sum(1).mean() + self.taught(rows, embedded)

    def taught(self, rows: BatchRows, embedded: losses.Embedded) -> torch.Tensor:
        """A loss of each row by itself, as a teacher's is."""
        return (embedded.text[:, 0] - torch.from_numpy(rows.text) / (2 * RECORDS)).square().mean()

    def validate(self) -> Mapping[str, float]:
        image = normalize(self.module.image(self.module.images), dim=1)
        text = normalize(self.module.text(self.module.texts), dim=1)
        found = (text @ image.T).argmax(1) == torch.arange(2 * RECORDS) // 2
        return {"score": float(found.float().mean())}

    def fit(self) -> FitResult:
        return self.trainer.fit()


if __name__ == "__main__":
    for number, options in enumerate(json.loads(sys.argv[2])):
        if "stop" in options:
            with contextlib.suppress(KeyboardInterrupt):
                PairRun(Path(sys.argv[1]) / str(number), **options).fit()
            torch.manual_seed(12345)
        PairRun(Path(sys.argv[1]) / str(number), **{**options, "stop": 0}).fit()
