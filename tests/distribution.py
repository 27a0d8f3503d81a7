"""Build what is published and look at it: the source archive, the wheel made from it, and its bill of materials.

    python tests/distribution.py OUT

Runs without pytest, in an environment with `build`, `twine`, `uv` and `cyclonedx-bom`. The wheel is built from the
source archive, so what it lacks is lacking there. The bill of materials (CycloneDX) lists what a fresh environment has
after the wheel was installed with the extra `demo`, and the shipped files that LICENCES.md names. Exit code 1, with a
line each, where something is wrong.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "diptych"
LARGEST = 60_000_000  # bytes of the wheel; the package index takes 100 MB
IN_SOURCE = ("README.md", "CHANGELOG.md", "CITATION.cff", "SECURITY.md", "LICENSE", "LICENCES.md", "pyproject.toml")
# packages whose metadata names no licence that SPDX has; as their licence files say
KNOWN = {"overrides": "Apache-2.0", "protobuf": "BSD-3-Clause", "resvg_py": "MIT"}
EXTRA = "demo"  # the bill of materials is of the wheel with it
FOLDERS = ("benchmarks", "configs", "docs", "examples", "src", "tests", "website")


def main(out: Path) -> list[str]:
    """What is wrong."""
    for old in (*out.glob("*.whl"), *out.glob("*.tar.gz"), *out.glob("*.cdx.json")):
        old.unlink()
    build = [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)]
    made = subprocess.run(build, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode:
        return [made.stdout]
    (source,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    twine = [sys.executable, "-m", "twine", "check", "--strict", str(source), str(wheel)]
    checked = subprocess.run(twine, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return [*([checked.stdout] if checked.returncode else []), *in_source(source), *in_wheel(wheel), *bill(wheel)]


@dataclass(frozen=True)
class Shipped:
    """A row of LICENCES.md."""

    patterns: tuple[str, ...]
    what: str
    licence: str  # SPDX
    origin: str

    def has(self, path: str) -> bool:
        """Whether a file of the repository is one of these."""
        return any(fnmatch(path, pattern) for pattern in self.patterns)


def shipped() -> list[Shipped]:
    """The table in LICENCES.md."""
    rows = []
    for line in (ROOT / "LICENCES.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == 4:
            rows.append(Shipped(tuple(re.findall("`([^`]+)`", cells[0])), cells[1], cells[2], cells[3]))
    return rows


def bill(wheel: Path) -> list[str]:
    """Write the bill of materials beside the wheel; packages whose licence is not known."""
    tools = Path(sys.executable).parent
    path = wheel.with_name("-".join(wheel.name.split("-")[:2]) + ".cdx.json")
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "venv" / "bin" / "python"
        for command in (
            [tools / "uv", "venv", "--quiet", "--python", sys.executable, Path(folder) / "venv"],
            [tools / "uv", "pip", "install", "--quiet", "--python", python, f"{wheel}[{EXTRA}]"],
            [
                *(
                    tools / "cyclonedx-py",
                    "environment",
                    "--pyproject",
                    ROOT / "pyproject.toml",
                    "--mc-type",
                    "library",
                ),
                *("--output-reproducible", "--output-file", path, python),
            ],
        ):
            done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                return [done.stdout]
    found = json.loads(path.read_text())
    unsaid = [one for one in found["components"] if not one.get("licenses") and one["name"] != "diptych"]
    for one in unsaid:
        if one["name"] in KNOWN:
            one["licenses"] = [{"license": {"id": KNOWN[one["name"]]}}]
    for row in shipped():
        if any(pattern.startswith("src/") for pattern in row.patterns):
            name = ", ".join(pattern.removeprefix("src/") for pattern in row.patterns)
            kind = "machine-learning-model" if row.what.startswith("weights") else "file"
            licences = [{"license": {"id": row.licence}}]
            described = f"{row.what}, in the wheel; made from: {row.origin}"
            found["components"].append({"type": kind, "name": name, "description": described, "licenses": licences})
    path.write_text(json.dumps(found, indent=2) + "\n")
    return [
        f"{path.name} has no licence of {name}"
        for name in sorted(one["name"] for one in unsaid if not one.get("licenses"))
    ]


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
    wrong += [
        f"{path.name} lacks {name}"
        for name in ("entry_points.txt", "licenses/LICENSE", "licenses/LICENCES.md")
        if name not in kinds
    ]
    size = path.stat().st_size
    return wrong + [f"{path.name} has {size:,} bytes, more than {LARGEST:,}"] * (size > LARGEST)


if __name__ == "__main__":
    found = main(Path(sys.argv[1]))
    print("\n".join(found), file=sys.stderr) if found else None
    sys.exit(bool(found))
