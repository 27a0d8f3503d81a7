"""What every model that was loaded from a folder shares: verified files, its image tower, images in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import ModelError
from diptych.core.protocols import ImageTower, Preprocess, Progress
from diptych.core.registry import Part, build_saved
from diptych.core.types import Skipped
from diptych.data.image_inputs import ImageInput
from diptych.encoders.image.onnx import OnnxImageTower

from . import folder as files


class LoadedModel:
    """Base of the models in a folder. Nothing of the folder but config.json is read before it is asked for."""

    folder: Path
    config: files.SavedModel

    @property
    def name(self) -> str:
        """The model's name."""
        return self.config.name

    @cached_property
    def _verified(self) -> Path:
        """The folder, once all files in it are known to be whole."""
        files.verify(self.folder, self.config)
        return self.folder

    def _image_tower(self, side: Any, graph: str, threads: int | None = None) -> ImageTower:
        """The registered tower that a side of the config names, or the `graph` in the folder."""
        if side.tower != files.BUNDLED:
            tower: ImageTower = build_saved("image_tower", Part(side.tower, getattr(side, "options", {})), self.folder)
            require_fingerprint(side, tower.fingerprint)
            return tower
        if side.preprocess is None:
            raise ModelError(f"the model {self.folder} names no preprocessing for its image tower; export it again")
        path = self._verified / graph
        return OnnxImageTower(path, side.preprocess, threads=threads, weights=path.with_name(files.WEIGHTS))


def embed_all(
    images: ImageInput | Sequence[ImageInput],
    preprocess: Preprocess,
    encode: Callable[[np.ndarray], np.ndarray],
    label: str,
    batch_size: int,
    workers: int,
    progress: Progress,
    skipped: list[Skipped] | None,
) -> np.ndarray:
    """What `encode` makes of the prepared pixels of each batch, one row an image that can be read.

    With a list given as `skipped`, other images are named there; without it the first of them raises DataError.
    """
    from diptych.data.images import stream

    several: list[Any] = list(images) if isinstance(images, list | tuple) else [images]
    rows = [encode(np.zeros((0, preprocess.size, preprocess.size, 3), dtype=np.uint8))]
    batches = stream(several, preprocess, batch_size=batch_size, workers=workers)
    for batch in progress.track(batches, label, total=-(-len(several) // batch_size)):
        for _, problem in batch.skipped:
            if skipped is None:
                raise problem.error()
            skipped.append(problem)
        rows.append(encode(batch.pixels))
    return np.concatenate(rows)


def require_fingerprint(side: Any, found: str) -> None:
    """Raise ModelError for a tower of another fingerprint than the one that the model was trained on."""
    if side.fingerprint and side.fingerprint != found:
        raise ModelError(
            f"this model was trained on the tower {side.tower!r} with fingerprint {side.fingerprint[:8]}, "
            f"the one installed here has {found[:8]}; install the version named in the model's card"
        )
