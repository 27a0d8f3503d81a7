"""PaCMAP (Wang et al. 2021) of one file of vectors: `python -m diptych.serve.pacmap_worker VECTORS.npy PLACES.npy`."""

from __future__ import annotations

import os
import sys
import threading

import numpy as np

from diptych.core.shapes import Float32

LANDMARKS = 20_000  # most rows that PaCMAP itself lays out; the others are placed beside them
_NEAREST = 8  # landmarks that place a row
_BLOCK = 1_024  # rows
LOW_PRIORITY = 10  # searches come first; it still gets some processor time


def _end_with_parent() -> None:
    """End this process when the server has ended: the server holds the other end of stdin open until then."""
    while os.read(0, 1):  # not by way of sys.stdin, whose lock would be in the way at the end
        pass
    os._exit(1)


def main(given: str, made: str) -> None:
    """Two dimensions for each row, the same ones every time."""
    os.nice(LOW_PRIORITY)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import numba
    import pacmap

    numba.set_num_threads(1)
    vectors = np.load(given, allow_pickle=False).astype(np.float32)
    step = max(1, -(-len(vectors) // LANDMARKS))
    places = pacmap.PaCMAP(n_components=2, random_state=0).fit_transform(vectors[::step])
    np.save(made, places if step == 1 else beside_landmarks(vectors, vectors[::step], places))


def beside_landmarks(
    vectors: Float32[np.ndarray, "n d"], landmarks: Float32[np.ndarray, "m d"], places: Float32[np.ndarray, "m 2"]
) -> Float32[np.ndarray, "n 2"]:
    """Each unit vector among the landmarks nearest to it: their mean place, the nearer ones pulling more.

    A landmark stays where it is. All distances are computed: PaCMAP's time grows with the rows, this is a product.
    """
    nearest = min(_NEAREST, len(landmarks))
    found = np.empty((len(vectors), 2), dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK):
        cosines = vectors[start : start + _BLOCK] @ landmarks.T
        chosen = np.argpartition(-cosines, nearest - 1, axis=1)[:, :nearest]
        squares = 2 - 2 * np.minimum(np.take_along_axis(cosines, chosen, axis=1), 1 - 1e-6)
        weights = (1 / squares**2)[..., np.newaxis]
        found[start : start + _BLOCK] = (weights * places[chosen]).sum(axis=1) / weights.sum(axis=1)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
