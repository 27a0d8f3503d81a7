"""What an installation weighs, and how quickly the package starts.

    python benchmarks/installed.py [--python VENV/bin/python] [--runs 5]

Run with any Python; measured is the environment of `--python`, by default this one. Sizes are those of the files that
each distribution lists, bytecode included. Starts are processes of their own, in turn: a bare interpreter, one that
imports diptych, and `diptych --help`; medians of the time and of the CPU time, which a busy machine stretches less. The
bare interpreter's is taken off for the import.

Targets: the base package 720 MB at most, `import diptych` 50 ms, `diptych --help` 0.25 s.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

SIZES = """
import importlib.metadata, json
sizes = {}
for one in importlib.metadata.distributions():
    files = {str(file.locate().resolve()) for file in one.files or ()}
    sizes[one.name] = sum(__import__("os").path.getsize(file) for file in files if __import__("os").path.isfile(file))
print(json.dumps(sizes))
"""
LARGE = 5_000_000  # bytes; smaller ones are told together


def sizes(python: str) -> dict[str, int]:
    """Bytes of each distribution."""
    done = subprocess.run([python, "-c", SIZES], capture_output=True, text=True, check=True)
    return dict(sorted(json.loads(done.stdout).items(), key=lambda one: -one[1]))


def starts(python: str, runs: int) -> dict[str, tuple[float, float]]:
    """Median seconds of a process of each kind: on the clock, and of CPU time."""
    program = str(Path(python).with_name("diptych"))
    commands = {
        "bare": [python, "-c", "pass"],
        "import diptych": [python, "-c", "import diptych"],
        "diptych --help": [program, "--help"],
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            begun, used = time.perf_counter(), cpu()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            if turn:  # the first reads the files
                taken[name].append((time.perf_counter() - begun, cpu() - used))
    return {
        name: (statistics.median(t for t, _ in each), statistics.median(c for _, c in each))
        for name, each in taken.items()
    }


def cpu() -> float:
    """CPU seconds of the processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="the environment's interpreter")
    parser.add_argument("--runs", type=int, default=5, help="processes of each kind")
    given = parser.parse_args()
    found = sizes(given.python)
    for name, size in found.items():
        if size >= LARGE:
            print(f"{name:40} {size / 1e6:7.1f} MB")
    rest = [size for size in found.values() if size < LARGE]
    print(f"{f'{len(rest)} others':40} {sum(rest) / 1e6:7.1f} MB")
    print(f"{'together':40} {sum(found.values()) / 1e6:7.1f} MB")
    told = starts(given.python, given.runs)
    (bare, bare_cpu), (imported, imported_cpu), (helped, helped_cpu) = told.values()
    print(f"a bare interpreter: {1000 * bare:.0f} ms, CPU {1000 * bare_cpu:.0f} ms")
    print(f"import diptych: {1000 * (imported - bare):.0f} ms more, CPU {1000 * (imported_cpu - bare_cpu):.0f} ms more")
    print(f"diptych --help: {1000 * helped:.0f} ms, CPU {1000 * helped_cpu:.0f} ms")


if __name__ == "__main__":
    main()
