"""What a download is going to be: files, sizes, licence and revision, asked of the hub before anything is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.errors import ModelError
from diptych.core.text import in_bytes
from diptych.encoders.hub import OTHER_WEIGHTS, SAFE_WEIGHTS, cached_repository, url_file

from .needs import Need, Repository, WebFile, needs
from .remote import Remote

_DESCRIPTIONS = (".json", ".txt", ".model", ".spm", ".jinja")
_MODULE = re.compile(r"\d+_\w+")  # a folder of a sentence-transformers model: 1_Pooling, 2_Dense
_OTHER_FRAMEWORKS = re.compile(r"(tf_|flax_|onnx|openvino|rust_|coreml)", re.IGNORECASE)


@dataclass(frozen=True)
class RemoteFile:
    """A file that is needed: its name, bytes, and the hash by which it is checked.

    `sha256` is of the content, perhaps only its beginning; `git` the id of a small file, which git hashes in its own
    way. One of the two is known but for files at a URL that states neither.
    """

    name: str
    size: int
    sha256: str = ""
    git: str = ""

    @property
    def is_safe(self) -> bool:
        """Whether it is no pickle."""
        return not self.name.endswith(OTHER_WEIGHTS)


@dataclass(frozen=True)
class Part:
    """What is fetched from one place.

    Args:
        name: ORG/NAME of the hub, or a URL.
        commit: the commit that the revision stands for; "" of a URL.
        reference: the branch or tag that was asked for.
        files: what is needed of it.
        folder: where the files will be.
        licence, languages: as the card states them.
        is_gated: whether the hub gives it only to whoever accepted its licence.
    """

    name: str
    commit: str
    reference: str
    files: tuple[RemoteFile, ...]
    folder: Path
    licence: str = ""
    languages: tuple[str, ...] = ()
    is_gated: bool = False

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def missing_bytes(self) -> int:
        """Bytes of the files that are not here."""
        return sum(file.size for file in self.missing())

    def missing(self) -> list[RemoteFile]:
        """The files that are not here, or not whole."""
        return [
            file
            for file in self.files
            if not (path := self.folder / file.name).is_file() or path.stat().st_size != file.size
        ]


@dataclass(frozen=True)
class Plan:
    """All that an address needs, and what is worth saying about it."""

    address: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(part.size for part in self.parts)

    @property
    def missing(self) -> int:
        """Bytes that are not here yet; what was downloaded of a file that is not whole counts as missing."""
        return sum(part.missing_bytes for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "address": self.address,
            "size": self.size,
            "missing": self.missing,
            "parts": [
                {
                    "name": part.name,
                    "revision": part.commit,
                    "licence": part.licence,
                    "folder": str(part.folder),
                    "files": {file.name: {"size": file.size, "sha256": file.sha256} for file in part.files},
                }
                for part in self.parts
            ],
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """What a person decides by: a line a file, then size, licence and revision."""
        lines = [self.address]
        for part in self.parts:
            lines.append(f"  {part.name}" + (f" at {part.commit[:12]}" if part.commit else ""))
            lines.append(f"    licence: {part.licence or 'not stated'}" + (" (gated)" if part.is_gated else ""))
            lines += [f"    {in_bytes(file.size):>9}  {file.name}" for file in part.files]
        here = self.size - self.missing
        lines.append(f"  {in_bytes(self.size)} in all" + (f", {in_bytes(here)} of it is here already" if here else ""))
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def plan(address: str) -> Plan:
    """Ask the hub what a model's address stands for; nothing but its config.json is downloaded.

    Raises ModelError for a model that is not there, may not be read or has no weights that can be read, and when there
    is no connection; ConfigError for an address of another kind.
    """
    remote = Remote()
    notes: list[str] = []
    parts = [_part(remote, each, notes) for each in needs(address)]
    return Plan(address, tuple(parts), tuple(notes))


def _part(remote: Remote, wanted: Need, notes: list[str]) -> Part:
    if isinstance(wanted, WebFile):
        target = url_file(wanted.url)
        file = RemoteFile(target.name, remote.size(wanted.url), wanted.sha256)
        notes += _pickles([file])
        return Part(wanted.url, "", "", (file,), target.parent)
    found = remote.model(wanted.name, wanted.revision)
    stated = {each.name: each for each in map(_file, found.siblings or ())}
    names = chosen(stated, wanted)
    weights = [stated[name] for name in names if Path(name).suffix in (*SAFE_WEIGHTS, *OTHER_WEIGHTS)]
    if wanted.weights and not weights:
        listed = ", ".join(sorted({Path(name).suffix for name in stated} - {""})) or "no files"
        raise ModelError(
            f"{wanted.name} holds no weights of PyTorch ({listed}); expected {' or '.join(wanted.weights)}"
        )
    notes += _pickles(weights)
    if wanted.weights and "config.json" in names and remote.names_code(wanted.name, found.sha):
        notes.append(
            f"{wanted.name} names code of its own (auto_map in config.json), which Diptych never runs: it loads only "
            "if the installed library knows the architecture itself"
        )
    card = found.card_data
    licence = (card.get("license_name") if card.get("license") == "other" else card.get("license")) if card else ""
    return Part(
        name=wanted.name,
        commit=found.sha,
        reference=wanted.revision or "main",
        files=tuple(stated[name] for name in names),
        folder=cached_repository(wanted.name) / "snapshots" / found.sha,
        licence=", ".join(_several(licence)),
        languages=_several(card.get("language") if card else None),
        is_gated=bool(found.gated),
    )


def chosen(names: Iterable[str], wanted: Repository) -> list[str]:
    """Which files of a repository are needed: descriptions, tokenizers, and one set of weights a folder; no code."""
    names = sorted(names)
    kept: set[str] = set()
    for folder in sorted({name.rpartition("/")[0] for name in names}):
        if folder and not _MODULE.fullmatch(folder):
            continue
        inside = [name.rpartition("/")[2] for name in names if name.rpartition("/")[0] == folder]
        here = {name for name in inside if name.endswith(_DESCRIPTIONS) and not name.endswith(".index.json")}
        here -= {name for name in here if _OTHER_FRAMEWORKS.match(name)}
        here |= {name for name in inside if name == "README.md" or name.upper().startswith("LICEN")}
        kept |= {f"{folder}/{name}".lstrip("/") for name in here | _weights(inside, wanted)}
    return sorted(kept)


def _weights(inside: list[str], wanted: Repository) -> set[str]:
    """The weights of one folder: the first of the wanted names, with all its parts."""
    first = next((name for name in wanted.weights if name in inside), None)
    if first is None and wanted.weights and not wanted.strict:
        known = [name for suffix in (*SAFE_WEIGHTS, *OTHER_WEIGHTS) for name in inside if name.endswith(suffix)]
        first = next((name for name in known if not _OTHER_FRAMEWORKS.match(name)), None)
    if first is None:
        return set()
    if not first.endswith(".index.json"):
        return {first}
    stem, suffix = first.removesuffix(".index.json").split(".")
    shard = re.compile(rf"{re.escape(stem)}-\d+-of-\d+\.{suffix}")
    return {first, *(name for name in inside if shard.fullmatch(name))}


def _file(sibling: Any) -> RemoteFile:
    lfs: Mapping[str, Any] | None = sibling.lfs
    sha256 = str(lfs["sha256"]) if lfs else ""
    return RemoteFile(sibling.rfilename, int(sibling.size or 0), sha256, "" if sha256 else str(sibling.blob_id or ""))


def _pickles(files: Iterable[RemoteFile]) -> list[str]:
    """A note on weights that are only there as a pickle."""
    return [
        f"{file.name} is no safetensors file; it will only be read with weights_only, which runs no code"
        for file in files
        if not file.is_safe
    ]


def _several(value: Any) -> tuple[str, ...]:
    """A text, several or none, as a tuple."""
    return (value,) if isinstance(value, str) and value else tuple(map(str, value or ()))
