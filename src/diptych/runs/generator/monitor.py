"""After each round: samples with fixed noise, how well their records are recognised, and alarms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core.files import write_bytes, write_json
from diptych.core.protocols import Progress
from diptych.evaluation import Positives, ranks_from_scores
from diptych.evaluation.metrics import recall_at
from diptych.synthesis import monitoring
from diptych.synthesis.contrast import centred, cosines
from diptych.synthesis.image_files import draw_grid
from diptych.synthesis.sampling import to_bytes

from .config import GeneratorConfig
from .data import GeneratorPairs

SAMPLES = "samples"  # a folder of the run
LEGEND = "legend.json"
_STATISTICS_BATCHES, _STATISTICS_SIZE = 16, 64
_TEXTS, _NOISES = 8, 8
MEASURED = 200  # held-out records that choose the best round
_TOGETHER = 64  # images made at once


class RoundMonitor:
    """Measures the generator after each round, with averaged weights where there are any.

    Every round ends with `samples/step-NNNNNN.png`: a row for each held-out text, first the real image, then the
    generated ones, always from the same noise; `samples/legend.json` has the texts.

    "score", which chooses the best round, is R@1 + R@5 + R@10 in percent of finding a held-out record's real
    image by the generated one, in the features of the frozen network.

    Args:
        config: of the run.
        generator: the network, as the engine trains it.
        frozen: the frozen network.
        training, validation: the pairs.
        folder: of the run.
        step: -> steps done.
    """

    def __init__(
        self,
        config: GeneratorConfig,
        generator: nn.Module,
        frozen: nn.Module,
        training: GeneratorPairs,
        validation: GeneratorPairs,
        folder: Path,
        step: Callable[[], int],
    ) -> None:
        self._generator, self._frozen = generator, frozen
        self._training, self._validation = training, validation
        self._folder = folder / SAMPLES
        self._step = step
        draw = np.random.default_rng((config.seed, 1))
        size = min(_STATISTICS_SIZE, config.training.batch_size)
        self._statistics = [draw.integers(0, training.pairs.records, size) for _ in range(_STATISTICS_BATCHES)]
        self._shown = validation.spread(_TEXTS)
        self._measured = validation.spread(MEASURED)
        noise = int(generator.noise)  # type: ignore[arg-type]
        normal = torch.Generator().manual_seed(config.seed + 1)
        self._noises = torch.randn(_NOISES, noise, generator=normal)
        self._measured_noise = torch.randn(len(self._measured), noise, generator=normal)
        self._statistics_noise = [torch.randn(size, noise, generator=normal) for _ in self._statistics]
        self.alarms: list[str] = []

    @property
    def _device(self) -> torch.device:
        return next(self._generator.parameters()).device

    def validate(self) -> dict[str, float]:
        """Fit the statistics of the batch norms, draw the samples, measure."""
        self.fit_statistics()
        self._generator.eval()
        shown = self._draw_samples()
        made = self._make(self._measured, self._measured_noise)
        real = self._validation.images(self._measured)
        wanted = self._features(real)
        scores = cosines(centred(self._features(made), wanted), centred(wanted)).numpy()
        labels = np.arange(len(made))
        ranks = ranks_from_scores(scores, Positives.from_labels(labels, labels))
        found = {f"R@{k}": round(100 * float(recall_at(ranks, k).mean()), 2) for k in (1, 5, 10)}
        return {"score": round(sum(found.values()), 2), **found, **monitoring.diversity(shown, real)}

    def fit_statistics(self) -> None:
        """Statistics of the batch norms for the weights as they are, from fixed texts and noises."""
        batches = [self._training.given(records, self._device) for records in self._statistics]
        monitoring.collect_statistics(self._generator, batches, [z.to(self._device) for z in self._statistics_noise])

    def _draw_samples(self) -> Tensor:
        count = len(self._shown)
        made = self._make(np.repeat(self._shown, _NOISES), self._noises.repeat(count, 1))
        made = made.view(count, _NOISES, *made.shape[1:])
        real = self._validation.images(self._shown)
        sheet = torch.cat([real[:, None], made], dim=1).flatten(0, 1)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"step-{self._step():06d}.png"
        write_bytes(path, draw_grid(to_bytes(sheet.numpy()), _NOISES + 1))
        legend: dict[str, Any] = {"rows": self._validation.written(self._shown)}
        legend |= {"columns": ["real", *(f"noise {number}" for number in range(_NOISES))]}
        legend |= {"records": [self._validation.pairs.keys[record] for record in self._shown]}
        write_json(self._folder / LEGEND, legend)
        return made

    def _make(self, records: np.ndarray, noise: Tensor) -> Tensor:
        """Images of these held-out records on the CPU."""
        parts: list[Tensor] = []
        for start in range(0, len(records), _TOGETHER):
            here = slice(start, start + _TOGETHER)
            z = noise[here].to(self._device)
            parts.append(self._generator(z, *self._validation.given(records[here], self._device)).float().cpu())
        return torch.cat(parts).contiguous()

    def _features(self, images: Tensor) -> Tensor:
        parts = torch.split(images, _TOGETHER)
        return torch.cat([self._frozen(part.to(self._device)).float().cpu() for part in parts])

    def raise_alarms(self, facts: dict[str, float], progress: Progress) -> dict[str, Any]:
        """Report signs of a collapse to the user; they are also returned for the log."""
        found = monitoring.alarms(facts)
        for alarm in found:
            progress.say(f"warning: {alarm}")
        return {"alarms": found} if found else {}
