"""What is known of pretrained models on this disk, from their files alone: no model is loaded, no PyTorch imported."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from diptych.core.errors import ModelError
from diptych.core.extras import is_installed
from diptych.encoders.hub import OTHER_WEIGHTS, SAFE_WEIGHTS, record_file, url_file
from diptych.encoders.weights import check_folder, header_of

JOINT, IMAGE, TEXT, CROSS = "joint model", "image tower", "text tower", "cross-encoder"
TRANSLATOR, OTHER = "translator", "other"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CachedModel:
    """A model in the cache of the hub's client or of open_clip.

    Args:
        address: what loads it, and what `diptych models get` takes.
        kind: joint model, image tower, text tower, cross-encoder, translator or other.
        folder: where its files are.
        revision: the commit; "" of a file from a URL.
        size: bytes.
        licence: as its card states it; "" where it does not.
        last_used: when a file was last read, as far as the file system keeps that (ISO 8601, UTC).
        is_whole: whether all weights are here.
    """

    address: str
    kind: str
    folder: Path
    revision: str
    size: int
    licence: str
    last_used: str
    is_whole: bool = True


def cached_models() -> list[CachedModel]:
    """All models in the caches, by address; none without huggingface_hub or a cache."""
    found = [*_of_hub(), *_of_urls()]
    return sorted(found, key=lambda model: model.address)


def facts_of(folder: Path) -> dict[str, Any]:
    """What a model's files tell: `licence` and `languages` of its card; of a snapshot of the hub also `repository`,
    `revision` and the SHA-256 of the `weights`, where known without reading them."""
    card = _card(folder)
    found: dict[str, Any] = {"licence": _licence(card), "languages": _several(card.get("language"))}
    if _COMMIT.fullmatch(folder.name) and folder.parent.name == "snapshots":
        record = _json(record_file(folder))
        found["repository"] = folder.parent.parent.name.removeprefix("models--").replace("--", "/")
        found["revision"] = folder.name
        found["licence"] = found["licence"] or str(record.get("licence", ""))
        known = {name: str(each.get("sha256", "")) for name, each in record.get("files", {}).items()}
        for file in weights_in(folder):
            name = str(file.relative_to(folder))
            if name not in known and _SHA256.fullmatch(file.resolve().name):  # the cache names weights by their hash
                known[name] = file.resolve().name
        found["weights"] = {name: sha for name, sha in sorted(known.items()) if _is_weights(name)}
    return {key: value for key, value in found.items() if value}


def weights_in(folder: Path) -> list[Path]:
    """Every file of weights in a folder and the folders below it."""
    return sorted(file for file in folder.rglob("*") if _is_weights(file.name) and file.exists())


def parameters_in(folder: Path) -> int | None:
    """Numbers in the safetensors of a folder, without integers such as positions; None where there are none."""
    files = [file for file in weights_in(folder) if file.suffix in SAFE_WEIGHTS]
    total = 0
    for file in files:
        for tensor in header_of(file).values():
            total += math.prod(tensor["shape"]) if re.match(r"B?F\d", tensor["dtype"]) else 0
    return total if files else None


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def kind_of(folder: Path) -> str:
    """What a model is, by its configuration."""
    if (folder / "open_clip_config.json").is_file():
        return JOINT
    if modules := _json(folder / "modules.json", list):
        inside = folder / str(modules[0].get("path", ""))
        return JOINT if kind_of_config(_json(inside / "config.json")) == JOINT else TEXT
    return kind_of_config(_json(folder / "config.json"))


def kind_of_config(config: dict[str, Any]) -> str:
    """What a config.json of transformers or timm is of."""
    classes = [str(each) for each in config.get("architectures") or ()]
    if "architecture" in config:  # timm's
        return IMAGE
    if any(name.startswith("Blip") for name in classes):
        return CROSS
    if {"text_config", "vision_config"} <= config.keys():
        return JOINT if not classes or any(name.endswith("Model") for name in classes) else OTHER
    if config.get("model_type") in ("marian", "m2m_100"):
        return TRANSLATOR
    if config.get("is_encoder_decoder"):
        return OTHER
    if "vocab_size" in config:
        return TEXT
    return IMAGE if {"image_size", "num_channels", "patch_size"} & config.keys() else OTHER


def _of_hub() -> Iterator[CachedModel]:
    if not is_installed("huggingface_hub"):
        return
    from huggingface_hub import constants, scan_cache_dir

    if not Path(constants.HF_HUB_CACHE).is_dir():
        return
    for repository in scan_cache_dir(constants.HF_HUB_CACHE).repos:
        for revision in repository.revisions if repository.repo_type == "model" else ():
            folder = Path(revision.snapshot_path)
            kind = kind_of(folder)
            is_whole = _is_whole(folder)
            is_asked_for = "main" in revision.refs or not (revision.refs or is_whole)  # else its download goes on
            pinned = "" if is_asked_for else f"@{min(revision.refs, default=revision.commit_hash)}"
            yield CachedModel(
                address=_address(repository.repo_id, folder, kind) + pinned,
                kind=kind,
                folder=folder,
                revision=revision.commit_hash,
                size=revision.size_on_disk,
                licence=str(facts_of(folder).get("licence", "")),
                last_used=_day(max((file.blob_last_accessed for file in revision.files), default=0)),
                is_whole=is_whole,
            )


def _of_urls() -> Iterator[CachedModel]:
    """Weights that open_clip fetched from a URL; those of `diptych models get` have their address beside them."""
    for file in sorted(url_file("").glob("*")):
        if file.suffix in OTHER_WEIGHTS:
            record, state = _json(url_record(file)), file.stat()
            address = str(record.get("address", f"open_clip:ARCHITECTURE/{file}"))
            yield CachedModel(address, JOINT, file.parent, "", state.st_size, "", _day(state.st_atime))


def url_record(file: Path) -> Path:
    """What `diptych models get` wrote about a file that came from a URL."""
    return file.with_name(f"{file.name}.json")


def _address(name: str, folder: Path, kind: str) -> str:
    """What loads a snapshot: as it was fetched, else by the library that its files are of."""
    fetched = str(_json(record_file(folder)).get("address", "")).partition("@")[0]
    if fetched:
        return fetched
    if (folder / "open_clip_config.json").is_file():
        return f"open_clip:hf-hub:{name}"
    if (folder / "modules.json").is_file():
        return f"sentence-transformers:{name.removeprefix('sentence-transformers/')}"
    if "architecture" in _json(folder / "config.json"):
        return f"timm:hf-hub:{name}"
    return f"blip:{name}" if kind == CROSS else f"hf:{name}"


def _is_whole(folder: Path) -> bool:
    """Whether the weights are here and of the length that they state."""
    weights = weights_in(folder)
    with contextlib.suppress(ModelError):
        for below in {file.parent for file in weights}:
            check_folder(below)
        return bool(weights)
    return False


def _card(folder: Path) -> dict[str, Any]:
    """The metadata at the head of README.md."""
    from huggingface_hub.repocard import metadata_load

    with contextlib.suppress(Exception):  # whatever its author wrote there
        return dict(metadata_load(folder / "README.md") or {})
    return {}


def _licence(card: dict[str, Any]) -> str:
    named = card.get("license_name") if card.get("license") == "other" else None
    return ", ".join(_several(named or card.get("license")))


def _several(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(each) for each in value or ()]


def _is_weights(name: str) -> bool:
    return name.endswith((*SAFE_WEIGHTS, *OTHER_WEIGHTS)) and not name.endswith("training_args.bin")


def _json(path: Path, kind: type[Any] = dict) -> Any:
    """What a JSON file holds; an empty `kind` where it is not there or holds something else."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, kind):
            return found
    return kind()


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else ""
