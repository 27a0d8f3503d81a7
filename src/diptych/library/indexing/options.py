"""How an indexing run works."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from diptych.data.image_inputs import ImageLimits

Acknowledge = Callable[[Sequence[str]], None]  # is given the paths of each batch once it is durable


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How an indexing run works."""

    batch_size: int = 32  # images embedded at once
    workers: int = 2  # decoding threads
    commit_rows: int = 256  # rows that become durable together, unless
    commit_seconds: float = 5.0  # this much time has passed
    limits: ImageLimits = field(default_factory=ImageLimits)
    prune: bool = False  # remove also what is not found because all of its folder is away
