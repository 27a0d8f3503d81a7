"""Writing a model folder, in one step, from trained heads and the towers below them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from diptych.core import fingerprint
from diptych.core.config import Part, to_dict
from diptych.core.errors import ModelError
from diptych.core.files import fsync_file, fsync_folder, write_bytes, write_json
from diptych.core.protocols import ImageTower, TextTower
from diptych.core.version import __version__
from diptych.encoders.export import Graph, GraphSpec, read_graph, write_graphs
from diptych.models import folder as files
from diptych.models.heads import Head


@runtime_checkable
class Portable(Protocol):
    """A tower whose graph travels inside model folders; `folder` holds image_tower.onnx and its weights."""

    @property
    def folder(self) -> Path: ...


def save(
    folder: Path,
    *,
    name: str,
    image_tower: ImageTower,
    image_tower_spec: str,
    image_head: Head,
    image_head_part: Part,
    text_tower: TextTower,
    text_tower_spec: str,
    text_head: Head,
    text_head_part: Part,
    dim: int,
    card: str,
    training: Mapping[str, Any],
    licence: str = "",
    compact: bool = False,
) -> files.ModelConfig:
    """Write a complete model folder; an older model at that place is replaced only when all is written.

    A portable image tower is copied in, so that the folder needs nothing but the text tower's package; other
    towers are named with their fingerprint. `compact` stores the heads' large matrices in 8 bits.

    Raises ModelError when `folder` exists and is not a model folder.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / files.CONFIG).exists():
        raise ModelError(f"{folder} exists and is not a model folder; choose another --out, or empty it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        portable = isinstance(image_tower, Portable)
        graphs: dict[str, GraphSpec | Graph] = {
            files.IMAGE_HEAD: GraphSpec(image_head, torch.zeros(2, image_tower.dim), compact=compact),
            files.TEXT_HEAD: GraphSpec(text_head, torch.zeros(2, text_tower.dim), compact=compact),
        }
        if isinstance(image_tower, Portable):
            graphs[files.IMAGE_TOWER] = read_graph(image_tower.folder, files.IMAGE_TOWER)
        write_graphs(temporary, graphs)
        written = sorted(path.name for path in temporary.iterdir())
        for file in written:
            fsync_file(temporary / file)
        config = files.ModelConfig(
            name=name,
            dim=dim,
            image=files.SideConfig(
                tower=files.BUNDLED if portable else image_tower_spec,
                source=image_tower_spec if portable else "",
                features=image_tower.dim,
                head=image_head_part,
                preprocess=image_tower.preprocess,
                fingerprint="" if portable else image_tower.fingerprint,
            ),
            text=files.SideConfig(
                tower=text_tower_spec,
                features=text_tower.dim,
                head=text_head_part,
                fingerprint=text_tower.fingerprint,
            ),
            diptych=__version__,
            licence=licence,
            files={file: fingerprint.of_file(temporary / file) for file in written},
            training=training,
        )
        write_json(temporary / files.CONFIG, to_dict(config))
        write_bytes(temporary / files.CARD, card.encode())
        temporary.chmod(0o755)
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return config


def _replace(new: Path, folder: Path) -> None:
    """Put `new` in the place of `folder`; a crash in between leaves the old one under a dotted name."""
    if not folder.exists():
        os.replace(new, folder)
    else:
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
        os.replace(new, folder)
        shutil.rmtree(old, ignore_errors=True)
    fsync_folder(folder.parent)
