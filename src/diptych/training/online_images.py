"""Images that are decoded and augmented while training, in worker processes ahead of the step that needs them.

What an image becomes is a function of (seed, epoch, image), so the number of workers changes nothing, and a resumed
run sees the same images. `torch.utils.data` runs the workers, torchvision's transforms v2 augment.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diptych.core.errors import DataError, DiptychError
from diptych.core.protocols import SILENT, ImageTower, Preprocess, Progress
from diptych.core.shapes import Int, UInt8
from diptych.core.types import ImageRef, Skipped
from diptych.data.images import as_image, as_prepared, decode_for, prepare, resized
from diptych.data.online import OnlineImages
from diptych.encoders.compat import import_torchvision
from diptych.training.batch_order import IMAGES, TEXTS, BatchRows
from diptych.training.distributed import rank_rows

Key = tuple[int, int, int]  # epoch, image, view
_CHUNK = 32  # images that a worker reads at once


class LoadingError(DiptychError):
    """A worker process that reads images died."""


class AugmentedImages(Dataset[Tensor | Skipped]):
    """`images[epoch, image, view]` is the augmented image as bytes of `preprocess.shape`, or why it cannot be read.

    A tower of packed patches gets the image in its proportions, or as a square where it was padded or a crop was drawn.

    Args:
        refs: the images.
        preprocess: of the tower; its size, and how an image becomes a square without augmentation.
        settings: the augmentation.
        seed: with epoch, image and view it fixes everything drawn.
    """

    def __init__(self, refs: Sequence[ImageRef], preprocess: Preprocess, settings: OnlineImages, seed: int) -> None:
        self._refs = refs
        self._settings = settings
        self._seed = seed
        smallest = settings.random_crop[0] if settings.random_crop else 1.0
        self._preprocess = preprocess
        # The square is so large that the smallest crop of it has about the tower's size.
        self._square = _enlarged(preprocess, 1 / math.sqrt(smallest))

    def __getitem__(self, key: Key) -> Tensor | Skipped:
        ref = self._refs[key[1]]
        try:
            pixels = decode_for(ref, self._square)
        except DataError as error:
            return Skipped(ref.name, error.reason, str(error))
        draw = np.random.default_rng((self._seed, *key))
        square = torch.from_numpy(self._to_square(pixels, draw)).permute(2, 0, 1)
        with torch.random.fork_rng(devices=[]):  # the transforms draw from PyTorch's generator of the CPU
            torch.default_generator.manual_seed(int(draw.integers(1 << 62)))
            augmented = self._transform(square).permute(1, 2, 0).contiguous().numpy()
        return torch.from_numpy(as_prepared(augmented, self._preprocess))

    def _to_square(self, pixels: UInt8[np.ndarray, "h w 3"], draw: np.random.Generator) -> UInt8[np.ndarray, "hh ww 3"]:
        way = self._settings.resize[draw.integers(len(self._settings.resize))]
        if way == "plain":
            return np.array(as_image(prepare(pixels, self._square), self._square))
        size, (height, width) = self._square.size, pixels.shape[:2]
        scale = size / max(height, width)
        height, width = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (size - height) // 2, (size - width) // 2
        margins = ((top, size - height - top), (left, size - width - left), (0, 0))
        mode: Any = "constant" if way == "zero" else way
        return np.asarray(np.pad(resized(pixels, width, height), margins, mode))

    @functools.cached_property
    def _transform(self) -> Any:
        v2 = _transforms()
        wanted, size = self._settings, [self._preprocess.size, self._preprocess.size]
        cubic = v2.InterpolationMode.BICUBIC
        steps = [
            wanted.rotation and v2.RandomRotation(wanted.rotation, v2.InterpolationMode.BILINEAR),
            wanted.random_crop and v2.RandomResizedCrop(size, wanted.random_crop, wanted.ratio, cubic, antialias=True),
            wanted.flip and v2.RandomHorizontalFlip(wanted.flip),
            wanted.rand_augment and v2.RandAugment(wanted.rand_augment, wanted.magnitude),
            wanted.colour and v2.ColorJitter(*wanted.colour),
        ]
        return v2.Compose([step for step in steps if step] or [v2.Identity()])


def _enlarged(preprocess: Preprocess, scale: float) -> Preprocess:
    """The same way of preparing images, to larger ones."""
    step = preprocess.patch or 1
    size = step * math.ceil(preprocess.size * scale / step)
    return replace(preprocess, size=size, resize=math.ceil(preprocess.resize * scale))


@dataclass(frozen=True)
class LoadedRows:
    """The tower's rows of a batch's images. `keys` are image * views + view, ascending."""

    keys: Int[np.ndarray, " n"]
    rows: Tensor
    views: int

    def take(self, image: Int[np.ndarray, " b"], view: Int[np.ndarray, " b"]) -> Tensor:
        """The rows of these images, each under its view."""
        place = np.searchsorted(self.keys, image * self.views + view)
        return self.rows[torch.from_numpy(place).to(self.rows.device)]


class ImageLoader:
    """Loads the images of each batch of an epoch, for a `Trainer`.

    Each image of a batch is read once, however often it occurs. Workers read chunks of 32 images, one batch ahead, so
    that no more than about two batches of images are in memory.

    Args:
        refs: the images, by their row numbers.
        tower: gets the augmented images; its rows are what the network or the head takes.
        settings: how images are read and augmented.
        seed: of the run.
        views: how many views of an image a batch order may ask for.
        batch_size: images a batch, about.
    """

    def __init__(
        self,
        refs: Sequence[ImageRef],
        tower: ImageTower,
        settings: OnlineImages,
        *,
        seed: int,
        views: int = 1,
        batch_size: int = _CHUNK,
        progress: Progress = SILENT,
    ) -> None:
        _transforms()  # imported here once, and not in each worker
        self._tower = tower
        self._settings = settings
        self._views = views
        self._progress = progress
        self._chunks = _Chunks()
        self._seconds = self._waiting = 0.0
        self._images = 0
        workers = settings.processes
        chunks_ahead = max(2, math.ceil(batch_size / (_CHUNK * workers))) if workers else None
        self._loader = _Loader(
            AugmentedImages(refs, tower.preprocess, settings, seed),
            batch_sampler=self._chunks,
            num_workers=workers,
            collate_fn=_stack,
            pin_memory=torch.cuda.is_available(),
            prefetch_factor=chunks_ahead,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # of its own: a run's random numbers must not depend on how images are read
        )

    def load(self, epoch: int, batches: Iterator[BatchRows], fabric: Any) -> Iterator[BatchRows]:
        """The batches with `loaded`, on this process its part of the rows.

        Raises DataError for an image that could be read before and now cannot.
        """
        pending: deque[tuple[BatchRows, Int[np.ndarray, " n"], int]] = deque()

        def chunks() -> Iterator[list[Key]]:
            for rows in batches:
                keys = self._keys_of(rows[rank_rows(len(rows), fabric)])
                parts = [keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK)]
                pending.append((rows, keys, len(parts)))
                for part in parts:
                    yield [(epoch, *divmod(int(key), self._views)) for key in part]

        started = time.perf_counter()
        self._waiting, self._images = 0.0, 0
        self._chunks.source = chunks()
        read = self._read(fabric.device)
        for first in read:
            rows, keys, count = pending.popleft()
            parts = [first, *itertools.islice(read, count - 1)]
            self._images += len(keys)
            yield replace(rows, loaded=LoadedRows(keys, torch.cat(parts), self._views))
        self._seconds = time.perf_counter() - started
        self._say(epoch)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Within it images are loaded; at its end the workers end. Raises LoadingError when a worker died before."""
        try:
            yield
        except (RuntimeError, ConnectionError, EOFError) as error:  # PyTorch raises at any place of the training
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            with contextlib.suppress(RuntimeError):
                self._stop()
            raise LoadingError(
                f"a process that reads images ended ({str(error).strip()}), perhaps for want of memory or of shared "
                "memory in /dev/shm; lower data.images.workers, or set it to 0 to read without such processes; the "
                "same run goes on from its last checkpoint"
            ) from error
        finally:
            self._stop()

    def _stop(self) -> None:
        workers: Any = self._loader._iterator
        self._loader._iterator = None
        if workers is not None:
            workers._shutdown_workers()

    def report(self) -> dict[str, float]:
        """Of the last epoch: images a second, and the share of the time in which training waited for images."""
        seconds = max(self._seconds, 1e-9)
        speed, waiting = self._images / seconds, self._waiting / seconds
        return {"images_per_second": round(speed, 1), "waiting_for_images": round(waiting, 3)}

    def _say(self, epoch: int) -> None:
        found = self.report()
        self._progress.say(
            f"epoch {epoch + 1}: {found['images_per_second']:,.0f} images/s, {found['waiting_for_images']:.0%} of the "
            f"time waiting for images (data.images.workers = {self._settings.processes})"
        )

    def _keys_of(self, rows: BatchRows) -> Int[np.ndarray, " n"]:
        keys = rows.image * self._views + rows.view
        if rows.kind == TEXTS:
            return np.asarray(keys[:1])  # it needs none, but each batch has a chunk
        if rows.kind == IMAGES and rows.second is not None:
            keys = np.concatenate([keys, rows.second.row * self._views + rows.second.view])
        return np.unique(keys)

    def _read(self, device: torch.device) -> Iterator[Tensor]:
        """The tower's rows of each chunk, on the device."""
        chunks = iter(self._loader)
        while True:
            started = time.perf_counter()
            chunk = next(chunks, None)
            self._waiting += time.perf_counter() - started
            if chunk is None:
                return
            if isinstance(chunk, Skipped):
                raise chunk.error()
            yield torch.from_numpy(self._tower.embed(chunk.numpy())).to(device, non_blocking=True)


def _transforms() -> Any:
    import_torchvision()
    return importlib.import_module("torchvision.transforms.v2")


class _Loader(DataLoader[Tensor | Skipped]):
    def check_worker_number_rationality(self) -> None:
        """No warning of more workers than CPUs: the settings say how many."""


class _Chunks:
    """The keys of the chunks of the present epoch, for the DataLoader, which is made once for all epochs."""

    source: Iterator[list[Key]] = iter(())

    def __iter__(self) -> Iterator[list[Key]]:
        return self.source


def _stack(images: list[Tensor | Skipped]) -> Tensor | Skipped:
    """One tensor (n, h, w, 3), or the first image that cannot be read."""
    bad = next((image for image in images if isinstance(image, Skipped)), None)
    return bad or torch.stack([image for image in images if isinstance(image, Tensor)])
