"""PaCMAP (Wang et al. 2021) of one file of vectors: `python -m diptych.serve.pacmap_worker VECTORS.npy PLACES.npy`."""

from __future__ import annotations

import os
import sys
import threading

import numpy as np

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
    np.save(made, pacmap.PaCMAP(n_components=2, random_state=0).fit_transform(vectors))


if __name__ == "__main__":
    main(*sys.argv[1:])
