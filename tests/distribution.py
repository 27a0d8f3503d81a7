"""Build what is published and look at it: the source archive, and the wheel that is made from it.

    python tests/distribution.py OUT

Runs without pytest, in an environment with `build` and `twine`. The wheel is built from the source archive, so what it
lacks is lacking there. Exit code 1, with a line each, where something is wrong.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "diptych"
LARGEST = 60_000_000  # bytes of the wheel; the package index takes 100 MB
IN_SOURCE = ("README.md", "CHANGELOG.md", "CITATION.cff", "SECURITY.md", "LICENSE", "pyproject.toml")
FOLDERS = ("benchmarks", "configs", "docs", "examples", "src", "tests", "website")


def main(out: Path) -> list[str]:
    """What is wrong."""
    for old in (*out.glob("*.whl"), *out.glob("*.tar.gz")):
        old.unlink()
    build = [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)]
    made = subprocess.run(build, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode:
        return [made.stdout]
    (source,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    twine = [sys.executable, "-m", "twine", "check", "--strict", str(source), str(wheel)]
    checked = subprocess.run(twine, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return [*([checked.stdout] if checked.returncode else []), *in_source(source), *in_wheel(wheel)]


def in_source(path: Path) -> list[str]:
    """Faults of the source archive."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wrong = [f"{path.name} lacks {name}" for name in IN_SOURCE if name not in names]
    tops = {name.partition("/")[0] for name in names if "/" in name}
    return wrong + [f"{path.name} lacks the folder {name}" for name in FOLDERS if name not in tops]


def in_wheel(path: Path) -> list[str]:
    """Faults of the wheel: files of the package that it lacks, and files that are none of the package's."""
    tracked = subprocess.run(
        ["git", "ls-files", "src/diptych"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    wanted = {name.removeprefix("src/") for name in tracked} or {
        str(each.relative_to(PACKAGE.parent)) for each in PACKAGE.rglob("*") if each.is_file() and each.suffix != ".pyc"
    }
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    about = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
    kinds = {name.partition("/")[2] for name in about}
    wrong = [f"{path.name} lacks {name}" for name in sorted(wanted - names)]
    wrong += [f"{path.name} has {name}, which is no file of the package" for name in sorted(names - wanted - about)]
    wrong += [f"{path.name} lacks {name}" for name in ("entry_points.txt", "licenses/LICENSE") if name not in kinds]
    size = path.stat().st_size
    return wrong + [f"{path.name} has {size:,} bytes, more than {LARGEST:,}"] * (size > LARGEST)


if __name__ == "__main__":
    found = main(Path(sys.argv[1]))
    print("\n".join(found), file=sys.stderr) if found else None
    sys.exit(bool(found))
