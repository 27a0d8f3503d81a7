"""Whether two images are copies of one: one may be the other rescaled, encoded again, cropped, mirrored or turned.

The pixels decide. One image is laid over the other, as a whole or as a window of it (Gauss-Newton on the window's
edges, brightness and contrast). Copies then agree everywhere; two photos of one scene differ where something moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import PIL.Image

from diptych.core.shapes import Float32, Float64, UInt8

MOST_CUT = 0.25  # of the area: windows that keep less are not looked for
MOST_WORST, LEAST_CORRELATION = 0.3, 0.98  # of copies
SAME_SHAPE = 0.985  # of an edge; a larger window is the whole image
_SIDE, _LEAST_SIDE = 96, 32  # pixels of the squares that are compared; proportions are ignored there
_SHARPEST = 2 / 3  # of the pixels of the smaller image: how sharp it is there depends on what scaled it
_COARSE = 32  # pixels of the squares in which a window is first looked for
_SHRINK = 0.97  # from one size of window to the next
_BLOCKS = 8  # in each direction, compared one by one
_STEPS, _DONE = 8, 2e-4  # of Gauss-Newton; the change of the window at which it ends
_FLAT = 3.0  # grey levels (standard deviation): in a flatter image nothing tells it from another
_NEAR = 0.6  # correlation of coarse squares: worth a closer look
_CERTAIN = 0.1  # a block's difference at which no other position is looked at
_LEAST = 1e-6
_POSITIONS = 2  # of the eight: those that correlate best are looked at

Array = Float32[np.ndarray, "_ _"]


@dataclass(frozen=True, slots=True)
class Grey:
    """An image, made ready to be compared."""

    image: PIL.Image.Image  # mode L

    @classmethod
    def of(cls, pixels: UInt8[np.ndarray, "h w 3"]) -> Grey | None:
        """None for a flat image, which nothing tells from another."""
        image = PIL.Image.fromarray(np.ascontiguousarray(pixels)).convert("L")
        return cls(image) if np.asarray(image).std() >= _FLAT else None

    @property
    def aspect(self) -> float:
        """Width divided by height."""
        return self.image.width / self.image.height

    def placed(self, turns: int, *, mirrored: bool) -> Grey:
        """Turned counter-clockwise by quarters, then mirrored left to right."""
        pixels = np.rot90(np.asarray(self.image), turns)
        return Grey(PIL.Image.fromarray(np.ascontiguousarray(pixels[:, ::-1] if mirrored else pixels)))

    def scaled(self, width: int, height: int, box: tuple[float, float, float, float] | None = None) -> Array:
        """The image, or a box of it in pixels, at another size."""
        return np.asarray(self.image.resize((width, height), PIL.Image.Resampling.BILINEAR, box), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Window:
    """A part of an image, as shares of its width and height."""

    left: float
    top: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """Share of the image's area; 1 where all edges are those of the image."""
        return 1.0 if min(self.width, self.height) > SAME_SHAPE else self.width * self.height


@dataclass(frozen=True, slots=True)
class Overlay:
    """How one image lies on another: turned counter-clockwise by quarters, then mirrored, the second fits the first."""

    turns: int
    mirrored: bool
    kept: float  # share of the first image's area that the second shows
    holds: float  # share of the second image's area that the first shows; one of the two is 1
    correlation: float  # of the grey pixels, in [-1, 1]
    worst: float  # the block that differs most (root mean square), in standard deviations of the whole

    @property
    def is_copy(self) -> bool:
        """Whether the two agree everywhere, as far as encoding and resizing leave it."""
        return self.worst <= MOST_WORST and self.correlation >= LEAST_CORRELATION


def overlay(first: Grey, second: Grey) -> Overlay | None:
    """The best way to lay the second image on the first; None when no part of one looks like the other."""
    found: list[Overlay] = []
    for position in _likely_positions(first, second):
        found += _laid(first, second, *position)
        if found and found[0].worst < _CERTAIN:
            break
    return min(found, key=lambda one: one.worst, default=None)


def _likely_positions(first: Grey, second: Grey) -> list[tuple[int, bool]]:
    """The positions of the second in which the whole squares correlate best: (quarter turns, mirrored)."""
    square, other = (_standard(one.scaled(_COARSE, _COARSE)) for one in (first, second))
    positions = [(turns, mirrored) for turns in range(4) for mirrored in (False, True)]
    scores = {}
    for turns, mirrored in positions:
        placed = np.rot90(other, turns)
        scores[turns, mirrored] = float((square * (placed[:, ::-1] if mirrored else placed)).mean())
    return sorted(positions, key=lambda position: -scores[position])[:_POSITIONS]


def _laid(first: Grey, second: Grey, turns: int, mirrored: bool) -> Iterator[Overlay]:
    placed = second.placed(turns, mirrored=mirrored)
    start = _coarse_window(first, placed)
    if start is not None:
        window, correlation, worst = _refined(first, placed, start)
        yield Overlay(turns, mirrored, window.area, 1.0, correlation, worst)
        if worst < _CERTAIN:
            return
    start = _coarse_window(placed, first)
    if start is not None:
        window, correlation, worst = _refined(placed, first, start)
        yield Overlay(turns, mirrored, 1.0, window.area, correlation, worst)


def _coarse_window(outer: Grey, inner: Grey) -> Window | None:
    """Where in the outer image the inner one correlates best, to a pixel of a small square; None when nowhere."""
    square, wider = outer.scaled(_COARSE, _COARSE), inner.aspect / outer.aspect
    best, found = _NEAR, None
    height = min(1.0, 1 / wider)
    while height * height * wider >= 1 - MOST_CUT:
        rows, columns = round(_COARSE * height), round(_COARSE * height * wider)
        scores = _correlations(square, inner.scaled(columns, rows))
        top, left = np.unravel_index(int(scores.argmax()), scores.shape)
        if scores[top, left] > best:
            best = float(scores[top, left])
            found = Window(left / _COARSE, top / _COARSE, columns / _COARSE, rows / _COARSE)
        height *= _SHRINK
    return found


def _correlations(square: Array, part: Array) -> Float32[np.ndarray, "r c"]:
    """The correlation of a part with the square at every place where it lies within it."""
    views = np.lib.stride_tricks.sliding_window_view(square, part.shape)
    variance = _sums(square**2, part.shape) / part.size - (_sums(square, part.shape) / part.size) ** 2
    spread = np.sqrt(np.maximum(variance, _LEAST)) * part.size
    return np.asarray(np.einsum("rcij,ij->rc", views, _standard(part)) / spread, dtype=np.float32)


def _sums(square: Array, shape: tuple[int, int]) -> Float64[np.ndarray, "r c"]:
    """The sum of every part of this shape."""
    rows, columns = shape
    total = np.pad(square, ((1, 0), (1, 0))).cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    beyond = total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    return np.asarray(beyond, dtype=np.float64)


def _standard(square: Array) -> Array:
    """With mean 0 and standard deviation 1."""
    return np.asarray((square - square.mean()) / max(float(square.std()), _LEAST), dtype=np.float32)


def _refined(outer: Grey, inner: Grey, window: Window) -> tuple[Window, float, float]:
    """The window at which the outer image is most like the inner one; the correlation there, and the worst block."""
    shorter = min(*outer.image.size, *inner.image.size)
    side = max(_LEAST_SIDE, min(_SIDE, int(shorter * _SHARPEST)) // _BLOCKS * _BLOCKS)
    wanted = inner.scaled(side, side)
    along = (np.arange(side, dtype=np.float32) + 0.5) / side
    for _ in range(_STEPS):
        seen = _view(outer, window, side)
        down, across = np.gradient(seen)
        across, down = across * side / window.width, down * side / window.height
        columns = [across, across * along, down, down * along[:, np.newaxis], seen, np.ones_like(seen)]
        matrix = np.stack([column.ravel() for column in columns], axis=1)
        fitted = np.linalg.lstsq(matrix.T @ matrix, matrix.T @ wanted.ravel(), rcond=None)[0]
        if fitted[4] <= 0:  # a negative is not a copy
            break
        moved = _moved(window, *(fitted[:4] / fitted[4]).tolist())
        change = max(abs(moved.left - window.left), abs(moved.top - window.top),
                     abs(moved.width - window.width), abs(moved.height - window.height))  # fmt: skip
        window = moved
        if change < _DONE:
            break
    return (window, *_agreement(_view(outer, window, side), wanted))


def _view(outer: Grey, window: Window, side: int) -> Array:
    width, height = outer.image.size
    box = (window.left * width, window.top * height,
           min(window.left + window.width, 1.0) * width, min(window.top + window.height, 1.0) * height)  # fmt: skip
    return outer.scaled(side, side, box)


def _moved(window: Window, left: float, width: float, top: float, height: float) -> Window:
    """The window with its edges changed by so much, within the image and not smaller than looked for."""
    least = 1 - MOST_CUT - 0.05
    left, top = (min(max(one, 0.0), 1 - least) for one in (window.left + left, window.top + top))
    width = min(max(window.width + width, least), 1 - left)
    return replace(window, left=left, top=top, width=width, height=min(max(window.height + height, least), 1 - top))


def _agreement(seen: Array, wanted: Array) -> tuple[float, float]:
    """The correlation of two squares; and how much their most different block differs."""
    seen, wanted = _standard(seen), _standard(wanted)
    correlation = float((seen * wanted).mean())
    block = len(wanted) // _BLOCKS
    squares = ((wanted - seen * correlation) ** 2).reshape(_BLOCKS, block, _BLOCKS, block).mean(axis=(1, 3))
    return correlation, float(np.sqrt(squares.max()))
