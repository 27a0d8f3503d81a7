"""Large files as numbered parts that each fit where only small files can be taken along, and back.

    python benchmarks/file_parts.py split FOLDER
    python benchmarks/file_parts.py join FOLDER

split replaces every file over 15 MiB below the folder by NAME.part-001, NAME.part-002, ... and NAME.parts.json, which
holds its size and its SHA-256. join puts the files together again, checks them, and removes the parts. Either may be
interrupted and run again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from diptych.core.files import atomic_write, write_json

MOST = 15 << 20  # bytes of a file that stays whole
MANIFEST = ".parts.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("split", "join"))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    if not options.folder.is_dir():
        raise SystemExit(f"there is no folder {options.folder}")
    done = split(options.folder) if options.task == "split" else join(options.folder)
    print(f"{len(done)} files {'split' if options.task == 'split' else 'joined'}")


def split(folder: Path, most: int = MOST) -> list[Path]:
    """Replace files of more than `most` bytes by parts; the files that there were."""
    large = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size > most]
    for path in large:
        _remove_parts(path)  # of an earlier, unfinished call
        digest, count = hashlib.sha256(), 0
        with path.open("rb") as stream:
            while piece := stream.read(most):
                count += 1
                digest.update(piece)
                _part(path, count).write_bytes(piece)
        about = {"sha256": digest.hexdigest(), "bytes": path.stat().st_size, "parts": count}
        write_json(path.with_name(path.name + MANIFEST), about)
        path.unlink()
    return large


def join(folder: Path) -> list[Path]:
    """Put files together again; the files. Exits where a part is missing or damaged, with the file's name."""
    joined = []
    for manifest in sorted(folder.rglob(f"*{MANIFEST}")):
        path = manifest.with_name(manifest.name.removesuffix(MANIFEST))
        if not path.exists():  # otherwise splitting or joining was interrupted at its very end
            about = json.loads(manifest.read_text(encoding="utf-8"))
            parts = [_part(path, number) for number in range(1, about["parts"] + 1)]
            if missing := [part.name for part in parts if not part.exists()]:
                raise SystemExit(f"{path} lacks {', '.join(missing)}; copy all of its parts again")
            digest = hashlib.sha256()
            for part in parts:
                digest.update(part.read_bytes())
            if digest.hexdigest() != about["sha256"]:
                raise SystemExit(f"the parts of {path} are damaged: their SHA-256 is not that of {manifest.name}")
            with atomic_write(path) as stream:
                for part in parts:
                    stream.write(part.read_bytes())
        _remove_parts(path)
        joined.append(path)
    return joined


def _part(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.part-{number:03d}")


def _remove_parts(path: Path) -> None:
    """The manifest last, so that what is left is known as parts."""
    names = [each for each in path.parent.iterdir() if each.name.startswith(f"{path.name}.part-")]
    for each in [*names, path.with_name(path.name + MANIFEST)]:
        each.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
