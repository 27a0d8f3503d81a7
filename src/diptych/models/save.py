"""Writing a model folder, in one step, from trained heads and the towers below them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from diptych.core.config import Part
from diptych.core.protocols import Preprocess
from diptych.data.seen import Seen
from diptych.encoders.graphs import Graph, read_graph, write
from diptych.encoders.none import NONE
from diptych.encoders.text.features_and_tokens import named_fingerprint, tokens_of
from diptych.encoders.text.tokens import TokenTower
from diptych.models import familiarity
from diptych.models import folder as files
from diptych.models.familiarity import Familiarity


@dataclass(frozen=True)
class TrainedSide:
    """One side of a trained model, and how a config names its parts."""

    tower: Any  # ImageTower or TextTower
    tower_part: Part
    head_part: Part
    head: Any  # the tower's rows to embeddings: an nn.Module, or a Graph made without PyTorch
    network_part: Part | None = None


@runtime_checkable
class Portable(Protocol):
    """A tower whose graph travels inside model folders; `folder` holds image_tower.onnx and its weights."""

    @property
    def folder(self) -> Path: ...


def save(
    folder: Path,
    *,
    name: str,
    image: TrainedSide,
    text: TrainedSide,
    query: TrainedSide | None = None,
    dim: int,
    card: str,
    training: Mapping[str, Any],
    similarity: str = "cosine",
    licence: str = "",
    compact: bool = False,
    seen: Seen | None = None,
    familiar: Familiarity | None = None,
    logits: tuple[float, float | None] | None = None,
) -> files.ModelConfig:
    """Write a complete model folder; an older model at that place is replaced only when all is written.

    A portable image tower and a tokenizer are copied in, so that the folder needs no other; other towers are
    named with their fingerprint. `query` is a side for queries over the tower of `text`. `compact` stores the heads'
    large matrices in 8 bits. `seen` are the records that the model was trained on, and those held out; `familiar` says
    what the training images look like, and does not count for the model's fingerprint. `logits` are the scale and the
    bias of its probabilities, see `ModelConfig`.

    Raises ModelError when `folder` exists and is not a model folder.
    """
    with files.written_whole(folder) as temporary:
        sides = {files.IMAGE_HEAD: image, files.TEXT_HEAD: text} | ({files.QUERY_HEAD: query} if query else {})
        graphs = {name: _head_graph(side, compact) for name, side in sides.items() if side.tower_part.name != NONE}
        if isinstance(image.tower, Portable):
            graphs[files.IMAGE_TOWER] = read_graph(image.tower.folder, files.IMAGE_TOWER)
        write(temporary, graphs)
        if tokens := tokens_of(text.tower):
            tokens.save(temporary)
        config = files.ModelConfig(
            name=name,
            dim=dim,
            image=dataclasses.replace(_side(image), preprocess=_preprocess(image)),
            text=_side(text),
            query=_side(query) if query else None,
            similarity=similarity,
            licence=licence,
            training=training,
            logit_scale=logits[0] if logits else None,
            logit_bias=logits[1] if logits else None,
        )
        config = files.finish(temporary, config, card)
        if seen is not None:
            seen.write(temporary)
        if familiar is not None:
            familiarity.write(temporary, familiar)
    return config


def _preprocess(image: TrainedSide) -> Preprocess | None:
    """How images are prepared; None for a model without an image side."""
    return None if image.tower_part.name == NONE else image.tower.preprocess


def _side(side: TrainedSide) -> files.SideConfig:
    bundled = isinstance(side.tower, Portable | TokenTower)
    return files.SideConfig(
        tower=files.BUNDLED if bundled else side.tower_part.name,
        source=side.tower_part.name if bundled else "",
        options=dict(side.tower_part.options),
        features=side.tower.dim,
        network=side.network_part,
        head=side.head_part,
        fingerprint="" if bundled else named_fingerprint(side.tower),
    )


def _head_graph(side: TrainedSide, compact: bool) -> Graph:
    if isinstance(side.head, Graph):
        return side.head
    from diptych.encoders.export import trace_head

    return trace_head(side.head, side.tower, compact=compact)
