"""npm packages as `npm pack` or `npm install` leave them; read in place, nothing is ever extracted or run."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, Reason

_MANIFEST = "package.json"
_MAX_FILE = 32 << 20  # bytes; the largest that is wanted, an index of names, has about 2 MB
_TAR_ENDINGS = (".tgz", ".tar.gz")
_DEPTH = ("*/package.json", "@*/*/package.json", "node_modules/*/package.json", "node_modules/@*/*/package.json")


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """One package: a .tgz file or an installed folder."""

    path: Path
    name: str
    version: str

    def files(self, pattern: re.Pattern[str]) -> Iterator[tuple[re.Match[str], bytes]]:
        """The files whose name inside the package matches the whole pattern, in no particular order.

        Raises DataError for a tar that is cut or damaged.
        """
        if self.path.is_dir():
            yield from _folder_files(self.path, pattern)
        else:
            yield from _tar_files(self.path, pattern)


def find_packages(paths: Iterable[Path], wanted: Iterable[str]) -> dict[str, NpmPackage]:
    """name -> package, for the `wanted` names found at `paths`.

    A path is a .tgz, a package's folder, or a folder that holds either (such as node_modules). The first
    of two packages of one name counts. Raises DataError for a path that does not exist or is neither.
    """
    names = frozenset(wanted)
    found: dict[str, NpmPackage] = {}
    for path in paths:
        for package in _packages_at(path):
            if package.name in names:
                found.setdefault(package.name, package)
    return found


def _packages_at(path: Path) -> Iterator[NpmPackage]:
    if path.is_file():
        if not path.name.endswith(_TAR_ENDINGS):
            raise DataError(f"{path} is no npm package: expected a .tgz as `npm pack NAME` writes it, or a folder")
        yield _opened(path)
    elif path.is_dir():
        manifests = [path / _MANIFEST] if (path / _MANIFEST).is_file() else []
        manifests += sorted(found for pattern in _DEPTH for found in path.glob(pattern))
        yield from (_opened(manifest.parent) for manifest in manifests)
        yield from (_opened(file) for file in sorted(path.iterdir()) if file.name.endswith(_TAR_ENDINGS))
    else:
        raise DataError(f"no npm package at {path}; get one with: npm pack NAME@VERSION", Reason.MISSING)


def _opened(path: Path) -> NpmPackage:
    if path.is_dir():
        content = (path / _MANIFEST).read_bytes()
    else:
        content = next((data for _, data in _tar_files(path, re.compile(re.escape(_MANIFEST)))), b"")
    try:
        manifest: Any = json.loads(content)
        return NpmPackage(path, str(manifest["name"]), str(manifest.get("version", "")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is no npm package: its {_MANIFEST} is missing or names no package") from error


def _folder_files(folder: Path, pattern: re.Pattern[str]) -> Iterator[tuple[re.Match[str], bytes]]:
    for path in sorted(folder.rglob("*")):
        match = pattern.fullmatch(path.relative_to(folder).as_posix())
        if match and path.is_file() and path.stat().st_size <= _MAX_FILE:
            yield match, path.read_bytes()


def _tar_files(path: Path, pattern: re.Pattern[str]) -> Iterator[tuple[re.Match[str], bytes]]:
    try:
        with tarfile.open(path, "r|gz") as tar:
            for member in tar:
                match = pattern.fullmatch(member.name.partition("/")[2])  # below "package/"
                if match is None or not member.isreg() or member.size > _MAX_FILE:
                    continue
                stream = tar.extractfile(member)
                if stream is not None:
                    yield match, stream.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        message = f"{path} is cut or is no .tgz ({error}); get it again with npm pack"
        raise DataError(message, Reason.TRUNCATED) from error
