"""Two networks against each other on the engine of all other training: each batch is one side's turn.

The engine holds one module with both sides and one optimiser. In a side's turn the other gets no gradient,
so the optimiser leaves its weights and moments as they are. Whose turn it is follows from the number of the
step, so that a resume goes on exactly. A side learns at a rate of its own by its `learning_rate_scale`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core.errors import ConfigError
from diptych.core.shapes import Float, Int
from diptych.training.batches import BatchRows, EpochPlan
from diptych.training.distributed import scaler_of
from diptych.training.objectives import Direct
from diptych.training.replay import Replayed, Turn


class Adversarial:
    """An objective whose loss is another side's from step to step.

    Over several processes each compares the rows of its own part only, as `Direct` does.

    Args:
        sides: name -> network; together they are the module that the engine trains.
        turns: name -> batch -> the side's mean loss, and numbers for the log.
        order: the names, one a step, over and over.
        steps: of the whole run.
        deal: batch rows -> batch; the rows themselves when left out.
        replay: on a single GPU, record each turn once and replay it (see `Replayed`, and what it asks of batches).
    """

    def __init__(
        self,
        sides: Mapping[str, nn.Module],
        turns: Mapping[str, Turn],
        order: Sequence[str],
        steps: int,
        *,
        deal: Callable[[BatchRows], Any] = lambda rows: rows,
        replay: bool = False,
    ) -> None:
        if not order or not set(order) <= set(sides) or sides.keys() != turns.keys():
            raise ConfigError(f"the order of turns names {sorted(set(order))}; the sides are {sorted(sides)}")
        self._sides = dict(sides)
        self._turns = dict(turns)
        self._order = tuple(order)
        self._steps = steps
        self._deal = deal
        self._replay = replay
        self._replayed: dict[str, Replayed] = {}
        self._since_line = Facts()
        self._since_round = Facts()
        self.step = 0  # of the run, from 0

    def start_step(self, done: float) -> None:
        """Told the share of all steps that is done before each."""
        self.step = round(done * self._steps)

    def check(self, module: nn.Module) -> None:
        """Any module will do."""

    def backward(self, rows: BatchRows, fabric: Any) -> Float[Tensor, ""]:
        """The gradient of the loss of the side whose turn it is, for its weights alone."""
        player = self._order[self.step % len(self._order)]

        def turn(part: BatchRows) -> Tensor:
            loss, facts = self._turns[player](self._deal(part))
            self._tell(player, facts)
            return loss

        learning = {name: _thawed(side) for name, side in self._sides.items() if name != player}
        for parameters in learning.values():
            for parameter in parameters:
                parameter.requires_grad_(False)
        try:
            if self._replay and _on_one_gpu(fabric):
                loss, facts = self._replayed_turn(player, fabric)(self._deal(rows))
                self._tell(player, facts)
                return loss
            return Direct(turn).backward(rows, fabric)
        finally:
            for parameters in learning.values():
                for parameter in parameters:
                    parameter.requires_grad_(True)

    def _replayed_turn(self, player: str, fabric: Any) -> Replayed:
        if player not in self._replayed:
            whole = nn.ModuleDict(self._sides)
            self._replayed[player] = Replayed(self._turns[player], self._sides[player], whole, fabric.autocast)
        return self._replayed[player]

    def _tell(self, player: str, facts: Mapping[str, Tensor]) -> None:
        for name, value in facts.items():
            for kept in (self._since_line, self._since_round):
                kept.add(f"{player} {name}", value)

    def since_line(self) -> dict[str, float]:
        """Means of what the turns told since the last call: for a line of steps.jsonl."""
        return self._since_line.take()

    def since_round(self) -> dict[str, float]:
        """The same, asked once an epoch; a resume within an epoch begins anew."""
        return self._since_round.take()


class Facts:
    """Means of named numbers, left on their device until they are asked for."""

    def __init__(self) -> None:
        self._seen: dict[str, list[Tensor]] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Note one value."""
        self._seen.setdefault(name, []).append(value.detach().float())

    def take(self) -> dict[str, float]:
        """The means, and begin anew."""
        means = {name: round(float(torch.stack(values).mean()), 5) for name, values in sorted(self._seen.items())}
        self._seen.clear()
        return means


def _on_one_gpu(fabric: Any) -> bool:
    """Also: no gradient scaler, which must see each loss."""
    return fabric.device.type == "cuda" and fabric.world_size == 1 and scaler_of(fabric) is None


def _thawed(side: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in side.parameters() if parameter.requires_grad]


class RoundPlan(EpochPlan):
    """An epoch is a round of so many batches; no record is twice in a batch.

    Records come in one shuffle after the other, each with a random picture, view and text of its own.

    Args:
        image_owner: record of each picture, ascending.
        text_owner: record of each text, ascending.
        steps: batches a round.
        batch_size: records a batch; cut to how many there are.
        views: how many views each picture has; view 0 is the plain one.
        seed: with the round's number it fixes everything drawn.
        plain: chance that a picture is shown plain or flipped (views 0 and 1) rather than cropped.
    """

    def __init__(
        self,
        image_owner: Int[np.ndarray, " n"],
        text_owner: Int[np.ndarray, " m"],
        *,
        steps: int,
        batch_size: int,
        views: int = 1,
        seed: int = 0,
        plain: float = 0.4,
    ) -> None:
        super().__init__(image_owner, text_owner, views=views, batch_size=batch_size, seed=seed, plain=plain)
        self.batches = steps
        self.left_out = 0  # a round is not meant to show every text
        self._size = min(batch_size, len(self._texts))

    def epoch(self, number: int) -> Iterator[BatchRows]:
        """The batches of one round, in order."""
        draw = np.random.default_rng((self._seed, number))
        left = np.empty(0, dtype=np.int64)
        for _ in range(self.batches):
            if len(left) < self._size:  # those left come first, and are not in the new shuffle's first part
                shuffled = draw.permutation(len(self._texts))
                first = np.isin(shuffled, left)
                left = np.concatenate([left, shuffled[~first], shuffled[first]])
            records, left = left[: self._size], left[self._size :]
            image = self._first_image[records] + draw.integers(0, self._images[records])
            text = self._first_text[records] + draw.integers(0, self._texts[records])
            yield BatchRows(image, self._draw_views(draw, len(records)), text, records)
