"""What verify, export and compact take of time and memory, each in a process of its own.

    python benchmarks/many_items.py LIBRARY --from FOLDER --items 200000 --vectors-only
    python benchmarks/maintenance_memory.py LIBRARY [--only verify]

Memory is what the process had at most (VmHWM), mapped files included, and what it had before it began.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from diptych.library import Library

WORK = ("verify", "export", "compact")


def memory(kind: str) -> float:
    """Megabytes of this process: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(f"{kind}:"))


def run(folder: Path, work: str) -> str:
    """One of them, and what it took."""
    library = Library.open(folder)
    count, before, started = len(library), memory("VmRSS"), time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        if work == "export":
            library.export(Path(temporary) / "out.tar")
        elif work == "compact":
            library.compact()
        elif problems := library.verify().kinds:
            raise SystemExit(f"verify found {problems}")
    seconds = time.perf_counter() - started
    return (
        f"{work}: {count:,} items, {seconds:.1f} s, {count / seconds:,.0f} a second, "
        f"at most {memory('VmHWM'):.0f} MB, {before:.0f} MB before"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--only", choices=WORK)
    options = parser.parse_args()
    if options.only:
        print(run(options.library, options.only))
        return
    for work in WORK:
        subprocess.run([sys.executable, __file__, str(options.library), "--only", work], check=True)


if __name__ == "__main__":
    main()
