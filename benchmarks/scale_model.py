"""Straight lines through what `scale.py` measured, what they say of larger libraries, and a plot.

    python benchmarks/scale_model.py results.jsonl [--plot docs/images/scale.svg]

Each quantity is fitted as a + b * n, n the images, so that relative errors are least and a and b at least 0: a search
reads a share of all vectors, a snapshot has a line for each row. The largest relative error of the fit is printed.
Forecasts for more than ten times the largest library measured are marked with *.

Memory of an index is the code of each vector and 8 bytes, times --overhead for what a server needs beside it.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.library.index_choice import CODES, code_bytes

QUANTITIES = {
    "search_ms": "a search, ms of CPU",
    "filter1_ms": "among 1 %, ms of CPU",
    "filter10_ms": "among 10 %, ms of CPU",
    "filter50_ms": "among 50 %, ms of CPU",
    "cold_ms": "from a cold start to an answer, ms of CPU",
    "page_ms": "a page behind a filter, ms of CPU",
    "serve_mb": "memory of serve without vectors, MB",
    "map_bytes": "the map, bytes",
    "add_p99_ms": "an addition, p99, ms",
    "snapshot_bytes": "snapshot, bytes",
    "bytes_on_disk": "folder, bytes",
}
AHEAD = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)


@dataclass(frozen=True)
class Line:
    """y = at_zero + each * n, and the largest relative error where it was measured."""

    at_zero: float
    each: float
    error: float

    def at(self, count: float) -> float:
        """y at so many images."""
        return self.at_zero + self.each * count


def fitted(counts: np.ndarray, values: np.ndarray) -> Line:
    """The line of least relative squares that is nowhere negative."""
    weighted = np.column_stack([1 / values, counts / values])
    lines = [np.linalg.lstsq(weighted, np.ones(len(values)), rcond=None)[0]]
    lines += [np.array([0.0, np.median(values / counts)]), np.array([np.median(values), 0.0])]
    usable = [one for one in lines if (one >= 0).all()]
    best = min(usable, key=lambda one: float(np.square(weighted @ one - 1).sum()))
    return Line(float(best[0]), float(best[1]), float(np.abs(weighted @ best - 1).max()))


def short(value: float) -> str:
    """1,234 as 1.2k, and so on."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--memory", type=float, default=64e9, help="bytes of one machine")
    parser.add_argument("--overhead", type=float, default=2.0, help="memory of a server over what its index takes")
    options = parser.parse_args()
    results = [json.loads(line) for line in options.results.read_text().splitlines()]
    lines: dict[str, tuple[np.ndarray, np.ndarray, Line]] = {}
    for name, said in QUANTITIES.items():
        known = [(one["items"], one[name]) for one in results if one.get(name)]
        if len({count for count, _ in known}) >= 2:
            counts, values = np.array(known, dtype=float).T
            lines[name] = counts, values, fitted(counts, values)
            line = lines[name][2]
            ahead = [count for count in AHEAD if count > counts.max()]
            told = [f"{short(line.at(count))}{'*' * (count > 10 * counts.max())}" for count in ahead]
            print(f"{said}: {short(line.at_zero)} + {line.each:.3g} n, error {line.error:.0%}; {', '.join(told)}")
    print(
        f"fitted at {sorted({one['items'] for one in results})} images, forecast at {[short(count) for count in AHEAD]}"
    )
    print("* more than ten times beyond what was measured")
    dim = results[-1]["dim"]
    for count in AHEAD[2:]:
        for code in CODES:
            needed = count * (code_bytes(code, dim) + 8)
            machines = math.ceil(options.overhead * needed / options.memory)
            told = f"{needed / 1e9:,.0f} GB, {machines} machines of {options.memory / 1e9:.0f} GB"
            print(f"{short(count)} vectors of {dim} numbers as {code}: {told}")
    if options.plot is not None:
        draw(lines, options.plot)


def draw(lines: dict[str, tuple[np.ndarray, np.ndarray, Line]], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "diptych"
    from matplotlib import pyplot

    figure, both = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    times, sizes = ("search_ms", "filter10_ms", "cold_ms", "page_ms"), ("snapshot_bytes", "bytes_on_disk")
    for axes, unit, names in zip(both, ("ms", "bytes"), (times, sizes), strict=True):
        for name in (one for one in names if one in lines):
            counts, values, line = lines[name]
            drawn = axes.plot(counts, values, "o", label=QUANTITIES[name].partition(",")[0])[0]
            ahead = np.geomspace(counts.min(), 1e8, 50)
            axes.plot(ahead, [line.at(count) for count in ahead], color=drawn.get_color(), linewidth=1)
        axes.set(xscale="log", yscale="log", xlabel="images", ylabel=unit)
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
