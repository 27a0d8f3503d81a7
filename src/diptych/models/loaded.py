"""What every model that was loaded from a folder shares: verified files, its image tower, images in batches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import ModelError
from diptych.core.protocols import SILENT, ImageTower, Preprocess, Progress
from diptych.core.registry import Part, build_saved
from diptych.core.shapes import Float, UInt8
from diptych.core.types import Skipped
from diptych.data.image_inputs import ImageInput
from diptych.encoders.graphs import weights_of
from diptych.encoders.image.onnx import OnnxImageTower

from . import folder as files


class LoadedModel:
    """Base of the models in a folder. Nothing of the folder but config.json is read before it is asked for."""

    folder: Path
    config: files.SavedModel
    device = "auto"  # where towers and networks run

    @property
    def name(self) -> str:
        """The model's name."""
        return self.config.name

    @cached_property
    def _verified(self) -> Path:
        """The folder, once all files in it are known to be whole."""
        files.verify(self.folder, self.config)
        return self.folder

    @property
    def preprocess(self) -> Preprocess:
        """How images must be prepared for `encode_pixels`."""
        raise NotImplementedError

    def encode_pixels(self, pixels: UInt8[np.ndarray, "b hh ww 3"]) -> Float[np.ndarray, "b ..."]:
        """One row for each RGB image already prepared by `preprocess`."""
        raise NotImplementedError

    def encode_images(
        self,
        images: ImageInput | Sequence[ImageInput],
        *,
        batch_size: int = 32,
        workers: int = 2,
        progress: Progress = SILENT,
        skipped: list[Skipped] | None = None,
    ) -> Float[np.ndarray, "n ..."]:
        """What `encode_pixels` gives, of paths, PIL images, encoded bytes, arrays or image references.

        A dual encoder gives L2-normalised embeddings (n, d), a cross-encoder region tokens (n, r, w). A video, or a
        part of one, is an image too: see `reading`.
        With a list given as `skipped`, images that cannot be read are left out and named there;
        without it the first such image raises DataError.
        """
        from diptych.data.images import stream

        several: list[Any] = list(images) if isinstance(images, list | tuple) else [images]
        rows = [self.encode_pixels(np.zeros((0, *self.preprocess.shape), dtype=np.uint8))]
        preprocess, encode = self.reading(several)
        batches = stream(several, preprocess, batch_size=batch_size, workers=workers)
        for batch in progress.track(batches, "batches of images", total=-(-len(several) // batch_size)):
            for _, problem in batch.skipped:
                if skipped is None:
                    raise problem.error()
                skipped.append(problem)
            if batch.indices:
                rows.append(encode(batch.pixels))
        return np.concatenate(rows)

    def reading(self, images: Sequence[ImageInput]) -> tuple[Preprocess, Callable[[Any], Float[np.ndarray, "b ..."]]]:
        """How these images are prepared, and what encodes them then.

        A model that reads several frames of a video reads an image as one that stands still. Of the others, a dual
        encoder takes the mean of several frames' vectors, a cross-encoder the frame in the middle.
        """
        return self.preprocess, self.encode_pixels

    def _image_tower(self, side: Any, graph: str, threads: int | None = None) -> ImageTower:
        """The registered tower that a side of the config names, or the `graph` in the folder."""
        if side.tower != files.BUNDLED:
            tower: Any = build_saved(
                "image_tower", Part(side.tower, getattr(side, "options", {})), self.folder, device=self.device
            )
            if side.preprocess is not None and side.preprocess != tower.preprocess:
                with contextlib.suppress(AttributeError):  # of a tower that cannot be told
                    tower.preprocess = side.preprocess  # as the heads were trained, whatever the library says by now
            require_fingerprint(side, tower.fingerprint)
            found: ImageTower = tower
            return found
        if side.preprocess is None:
            raise ModelError(f"the model {self.folder} names no preprocessing for its image tower; export it again")
        path = self._verified / graph
        weights = weights_of(path.parent, path.stem)
        return OnnxImageTower(path, side.preprocess, threads=threads, weights=weights, device=self.device)


def require_fingerprint(side: Any, found: str) -> None:
    """Raise ModelError for a tower of another fingerprint than the one that the model was trained on."""
    if side.fingerprint and side.fingerprint != found:
        raise ModelError(
            f"this model was trained on the tower {side.tower!r} with fingerprint {side.fingerprint[:8]}, "
            f"the one installed here has {found[:8]}; install the version named in the model's card"
        )
