"""The embedding map: every image a point in the plane, similar images near each other.

PCA is there at once; PaCMAP (the `[map]` extra), which keeps neighbourhoods together, takes its place
when it has been computed in the background. Both are kept in Diptych's cache, for the newest version of each library.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.files import atomic_write, cache_folder
from diptych.core.shapes import Float32
from diptych.core.types import Hit
from diptych.library import Points

from .errors import log

_PACMAP_FROM = 50  # images; fewer have no neighbourhoods worth keeping
_SAMPLE = 20_000  # rows that the axes of PCA are learnt from
_EDGE = 0.94  # of the way from the middle to the rim
_SHARPNESS = 30.0  # how much more a better hit pulls the query's place


@dataclass(frozen=True, slots=True)
class Plan:
    """Places in [-1, 1] and a shade in [0, 1] for each image of one version, in order of id."""

    version: str
    method: str
    ids: np.ndarray[Any, np.dtype[np.bytes_]]
    places: Float32[np.ndarray, "n 2"]
    shade: Float32[np.ndarray, " n"]
    total: int  # images of that version: more than are here where the map shows a sample

    def place(self, identifier: str) -> tuple[float, float] | None:
        """Where an image is; None for one that this version does not have."""
        at = int(np.searchsorted(self.ids, identifier.encode()))
        if at >= len(self.ids) or self.ids[at] != identifier.encode():
            return None
        return float(self.places[at, 0]), float(self.places[at, 1])


def pca(vectors: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n 3"]:
    """The first three principal components; what the vectors do not span is zero. Signs are settled by the data."""
    count, dim = vectors.shape
    if count == 0:
        return np.zeros((0, 3), dtype=np.float32)
    step = max(1, count // _SAMPLE)
    sample = np.asarray(vectors[::step], dtype=np.float64)
    mean = sample.mean(axis=0)
    centred = sample - mean
    _, axes = np.linalg.eigh(centred.T @ centred)
    chosen = axes[:, ::-1][:, :3]
    chosen = chosen * np.where(np.abs(chosen).max(axis=0) == chosen.max(axis=0), 1.0, -1.0)
    found = np.asarray(vectors @ chosen.astype(np.float32) - (mean @ chosen).astype(np.float32), dtype=np.float32)
    return np.asarray(np.pad(found, ((0, 0), (0, 3 - min(dim, 3)))), dtype=np.float32)


def fitted(places: Float32[np.ndarray, "n c"]) -> Float32[np.ndarray, "n c"]:
    """Each axis centred, all scaled by one factor so that nearly everything lies within ±_EDGE.

    What lies outside keeps its order on the way to ±1: cut off, it would be seen as a line.
    """
    if not len(places):
        return places
    low, high = np.percentile(places, [0.5, 99.5], axis=0)
    half = max(float((high - low).max()) / 2, 1e-9)
    scaled = (places - (low + high) / 2) / half * _EDGE
    inside = np.minimum(np.abs(scaled), _EDGE)
    rest = 1 - _EDGE
    beyond = rest * -np.expm1(-(np.abs(scaled) - inside) / rest)
    return np.asarray(np.clip(np.sign(scaled) * (inside + beyond), -1, 1), dtype=np.float32)


def lands(plan: Plan, hits: Sequence[Hit]) -> tuple[float, float] | None:
    """Where a query lies: the mean place of its hits, the better ones pulling more; None without hits."""
    placed = [(place, hit.score) for hit in hits if (place := plan.place(hit.id)) is not None]
    if not placed:
        return None
    scores = np.array([score for _, score in placed])
    weights = np.exp(_SHARPNESS * (scores - scores.max()))
    x, y = (weights @ np.array([place for place, _ in placed])) / weights.sum()
    return float(x), float(y)


class Mapper:
    """The plans of one library, made once for each version and kept."""

    def __init__(self, library_id: str, folder: Path | None = None) -> None:
        self._id = library_id
        self._folder = folder or cache_folder() / "maps"
        self.latest: Plan | None = None  # the newest plan that was made, whatever its version
        self._lock = threading.Lock()
        self._background: threading.Thread | None = None

    def plan(self, version: str, whole: Callable[[], Points], *, improve: bool = True) -> Plan:
        """The best plan there is for this version; `whole` gives its vectors if they are needed.

        Blocks for PCA; with `improve`, PaCMAP starts in the background.
        """
        with self._lock:
            if self.latest is None or self.latest.version != version or (improve and self.latest.method == "pca"):
                points = whole()
                if self.latest is None or self.latest.version != points.version:
                    self.latest = self._kept(points, "pacmap") or self._made(points, "pca", lambda: pca(points.vectors))
                    self._drop_others(points)
                if improve and self.latest.method == "pca" and len(points) >= _PACMAP_FROM and self._can_start():
                    self._background = threading.Thread(target=self._improve, args=(points,), daemon=True)
                    self._background.start()
            return self.latest

    def _can_start(self) -> bool:
        idle = self._background is None or not self._background.is_alive()
        return idle and importlib.util.find_spec("pacmap") is not None

    def _improve(self, points: Points) -> None:
        try:
            better = self._made(points, "pacmap", lambda: _apart(points.vectors))
        except Exception as error:  # whatever goes wrong over there, the map of PCA stays
            log.warning("the map could not be improved: %s", type(error).__name__)
            return
        with self._lock:
            if self.latest is not None and self.latest.version == points.version:
                self.latest = better
            else:  # it came too late
                self._file(points, "pacmap").unlink(missing_ok=True)

    def _drop_others(self, points: Points) -> None:
        """The files of other versions of this library: nobody asks for those again."""
        kept = {self._file(points, method) for method in ("pca", "pacmap")}
        for file in set(self._folder.glob(f"{self._id}-*.npy")) - kept:
            with contextlib.suppress(OSError):
                file.unlink()

    def _made(self, points: Points, method: str, work: Callable[[], Float32[np.ndarray, "n 3"]]) -> Plan:
        kept = self._kept(points, method)
        if kept is not None:
            return kept
        found = fitted(work())
        with contextlib.suppress(OSError), atomic_write(self._file(points, method)) as stream:
            np.save(stream, found)
        return _plan(points, method, found)

    def _kept(self, points: Points, method: str) -> Plan | None:
        with contextlib.suppress(OSError, ValueError):
            found = np.load(self._file(points, method), allow_pickle=False)
            if found.shape == (len(points), 3) and found.dtype == np.float32:
                return _plan(points, method, found)
        return None

    def _file(self, points: Points, method: str) -> Path:
        return self._folder / f"{self._id}-{points.version}-{method}.npy"


def _plan(points: Points, method: str, found: Float32[np.ndarray, "n 3"]) -> Plan:
    places, shade = np.ascontiguousarray(found[:, :2]), (found[:, 2] + 1) / 2
    return Plan(points.version, method, points.ids, places, shade, points.total)


def _apart(vectors: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n 3"]:
    """PaCMAP in a process of its own, at low priority: it takes minutes, and searches come first."""
    with tempfile.TemporaryDirectory(prefix="diptych-map-") as folder:
        given, made = Path(folder, "vectors.npy"), Path(folder, "places.npy")
        np.save(given, vectors)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        command = [sys.executable, "-m", "diptych.serve.pacmap_worker", str(given), str(made)]
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as worker:
            if worker.wait():  # its stdin stays open until then: it ends when we do
                raise subprocess.CalledProcessError(worker.returncode, command)
        places = np.load(made, allow_pickle=False)
    shade = fitted(pca(vectors))[:, 0] * np.abs(places).max()
    return np.asarray(np.column_stack([places, shade]), dtype=np.float32)


def packed(plan: Plan) -> bytes:
    """Little-endian float32 x, y, shade for each image, then 8 bytes of id each, in the same order."""
    points = np.column_stack([plan.places, plan.shade]).astype("<f4")
    return points.tobytes() + bytes.fromhex(plan.ids.tobytes().decode("ascii"))
