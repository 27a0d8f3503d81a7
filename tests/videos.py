"""Small real videos, made with PyAV."""

from __future__ import annotations

from pathlib import Path

import numpy as np

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 200, 30),
    "blue": (30, 30, 220),
    "yellow": (230, 220, 30),
    "black": (15, 15, 15),
    "white": (240, 240, 240),
}


def film(path: Path, colours: list[str], seconds: float = 2.0, rate: int = 8, size: int = 64) -> Path:
    """A video that shows each colour for so many seconds, with a square that moves across it."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for colour in colours:
            for number in range(round(seconds * rate)):
                picture = np.full((size, size, 3), COLOURS[colour], dtype=np.uint8)
                left = number * 3 % (size - 8)
                picture[4:12, left : left + 8] = 128
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
