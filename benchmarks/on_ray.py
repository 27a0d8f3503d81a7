"""How much quicker two Ray workers index than one, on one machine.

    python benchmarks/on_ray.py FOLDER [--limit 2000] [--model base] [--rounds 3]

The images of FOLDER are indexed into a new library by a cluster of this machine with one core, then with two, each core
a worker; and without a cluster, on one decoding thread and all cores for the model. Each is a process of its own; the
rounds alternate. Times are without the start of the cluster, but workers load the model within them: take many images.
Target: two workers index 1.5 times as many images a second as one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from diptych.core.extras import need
from diptych.data.images import SUFFIXES
from diptych.library import IndexOptions, Library, RayEngine
from diptych.models import load

OPTIONS = IndexOptions(workers=1)


@contextlib.contextmanager
def cluster(cores: int) -> Iterator[RayEngine]:
    """A cluster of this machine, as if it had so many cores."""
    ray = need("ray", "benchmarks/on_ray.py")
    with contextlib.redirect_stdout(io.StringIO()):
        ray.init("local", num_cpus=cores, log_to_driver=False, logging_level="CRITICAL")
        try:
            with RayEngine() as engine:
                yield engine
        finally:
            ray.shutdown()


def speed(photos: list[Path], model: str, cores: int) -> float:
    """Images a second, by a cluster of so many cores; 0 is no cluster."""
    with cluster(cores) if cores else contextlib.nullcontext() as engine, tempfile.TemporaryDirectory() as folder:
        report = Library.create(Path(folder) / "library", load(model)).index(photos, options=OPTIONS, engine=engine)
    if report.notes or report.skipped:
        raise SystemExit(f"something went wrong: {report.notes} {report.skipped}")
    return report.embedded / report.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=2000)
    parser.add_argument("--model", default="base")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cores is not None:
        found = (path for path in sorted(options.folder.rglob("*")) if path.suffix.lower() in SUFFIXES)
        print(speed(list(itertools.islice(found, options.limit)), options.model, options.cores))
        return
    speeds: dict[int, list[float]] = {1: [], 2: [], 0: []}
    for _ in range(options.rounds):
        for cores, measured in speeds.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--cores", str(cores)]
            measured.append(float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    for cores, name in ((1, "1 worker"), (2, "2 workers"), (0, "without a cluster")):
        measured = speeds[cores]
        print(f"{name}: {statistics.median(measured):.1f} images/s ({min(measured):.1f} to {max(measured):.1f})")
    ratios = [two / one for one, two in zip(speeds[1], speeds[2], strict=True)]
    print(f"2 workers / 1 worker: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
