"""How quickly `index` sees that nothing has changed, and what it takes of memory.

    python benchmarks/index_again.py FOLDER [--files 100000] [--photo one.jpg] [--profile]

Makes FOLDER/images with so many files (one photo, with a number behind its end so that each has a content of its own; a
thousand in a folder) and FOLDER/library with a row for each, written past the model with random vectors. Both are made
once. Then the library is opened in a process of its own and the folder is indexed again, three times.
Target: 20,000 files a second, at 100,000 and at 1,000,000 files.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import pstats
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image

from diptych.core.batched import batched
from diptych.core.cosine import normalise
from diptych.core.file_names import escape
from diptych.library import Library
from diptych.library.store.rows import Row, content_of, new_id
from diptych.models import load

IN_A_FOLDER = 1000
COMMIT = 20_000  # rows


def memory(kind: str) -> float:
    """Megabytes of this process: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(f"{kind}:"))


def make(folder: Path, files: int, photo: bytes) -> None:
    images, model, random = folder / "images", load("base"), np.random.default_rng(0)
    library = Library.create(folder / "library", model)
    for numbers in batched(range(files), COMMIT):
        rows = []
        vectors = normalise(random.normal(size=(len(numbers), model.dim)).astype(np.float32))
        for number, vector in zip(numbers, vectors, strict=True):
            path = images / f"{number // IN_A_FOLDER:04}" / f"{number:07}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            data = photo + str(number).encode()
            path.write_bytes(data)
            written, content = escape(str(path)), content_of(data)
            rows.append(
                Row(
                    id=new_id(written, content, ()),
                    path=written,
                    source=escape(str(images)),
                    content=content,
                    bytes=len(data),
                    modified_ns=path.stat().st_mtime_ns,
                    width=96,
                    height=64,
                    vector=vector,
                    photo={},
                )
            )
        library.opened.store().write(rows)
    library.compact()


def run(folder: Path, profile: bool) -> None:
    library = Library.open(folder / "library")
    library.required_model()
    library.knows("nothing")  # imports what reads the rows
    before = memory("VmRSS")
    for _ in range(1 if profile else 3):
        started, processor = time.perf_counter(), time.process_time()
        with cProfile.Profile() if profile else contextlib.nullcontext() as profiler:
            report = library.index(folder / "images")
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
        if report.unchanged != report.found or report.skipped:
            raise SystemExit(f"something changed: {report.to_json()}")
        print(
            f"{report.found:,} files: {seconds:.2f} s, {report.found / seconds:,.0f} files/s; of one core "
            f"{processor:.2f} s, {report.found / processor:,.0f} files/s; at most {memory('VmHWM'):.0f} MB, "
            f"{before:.0f} MB before"
        )
        if profile:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--photo", type=Path, help="a small JPEG; without it one of a single colour")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(options.folder, options.profile)
        return
    if not (options.folder / "library").exists():
        if options.photo is None:
            options.folder.mkdir(parents=True, exist_ok=True)
            options.photo = options.folder / "photo.jpg"
            PIL.Image.new("RGB", (96, 64), "teal").save(options.photo)
        make(options.folder, options.files, options.photo.read_bytes())
    arguments = [sys.executable, __file__, str(options.folder), "--run", *["--profile"] * options.profile]
    subprocess.run(arguments, check=True)


if __name__ == "__main__":
    main()
