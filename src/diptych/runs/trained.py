"""A recipe that trains with PyTorch: it gives every training of the engine what all kinds share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from diptych.training.batch_order import BatchOrder, BatchRows
from diptych.training.checkpoints import remove_run
from diptych.training.engine import Trainer, accelerator
from diptych.training.objectives import Objective

from .run import C, Recipe, RunContext


class TrainedRecipe(Recipe[C]):
    """A recipe whose `fit` runs one `trainer` or several. Raises ConfigError for a device that there is not."""

    own_files: ClassVar[tuple[str, ...]] = ()  # that it writes into the run's folder beside the engine's: glob patterns

    def __init__(self, config: C, place: RunContext) -> None:
        super().__init__(config, place)
        accelerator(place.device)

    def forget(self) -> None:
        """Remove logs, curves and checkpoints of an earlier run in the same folder; whatever else lies there stays."""
        forget(self.place.folder, self.own_files)

    def row_names(self, rows: BatchRows) -> list[str]:
        """The records of a batch's rows, for messages."""
        return [self.training.keys[owner] for owner in rows.owner]

    def trainer(
        self,
        module: nn.Module,
        step: Callable[[BatchRows], Tensor] | Objective,
        validate: Callable[[], Mapping[str, float]],
        order: BatchOrder,
        *,
        folder: Path | None = None,
        seed: int | None = None,
        identity: Mapping[str, Any] | None = None,
        **hooks: Any,
    ) -> Trainer:
        """The engine for one module.

        Args:
            module, step, validate, order: as of `Trainer`.
            folder: where checkpoints go; None is the run's folder.
            seed: of this module; None is the config's.
            identity: what else a resumed run must agree on.
            hooks: what else `Trainer` takes.
        """
        seed = self.config.seed if seed is None else seed
        return Trainer(
            module,
            step,
            validate,
            order,
            self.config.training,
            folder or self.place.folder,
            identity={
                "config": self.config.identity(),
                "towers": self.towers,
                "data": self.fingerprints(),
                "seed": seed,
                **(identity or {}),
            },
            name_rows=self.row_names,
            device=self.place.device,
            title=f"{self.config.name}, seed {seed}",
            progress=self.place.progress,
            **hooks,
        )


def forget(out: Path, own_files: Sequence[str] = ()) -> None:
    """Remove what a training wrote into `out`, and the files of its kind; the model and whatever else is there stay."""
    for folder in (out, *out.glob("member-*")):
        remove_run(folder)
    for pattern in own_files:
        for path in out.glob(pattern):
            path.unlink()
