"""What an address needs: repositories of the Hugging Face hub, or a file at a URL."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.errors import ModelError
from diptych.core.extras import need
from diptych.core.registry import nearest, unknown
from diptych.encoders.compat import import_torchvision
from diptych.encoders.joint import bound_sides
from diptych.encoders.joint.sentence_transformers import IMAGE_SIDES

# Weights in the order in which a library looks for them; of each folder the first that is there is fetched.
HF = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors")
TIMM = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Repository:
    """A repository of the hub, and which weights of it are read.

    Args:
        name: ORG/NAME.
        revision: a commit, branch or tag; None is the branch "main".
        weights: names of weights, the preferred first; none where the tokenizer alone is needed.
        strict: whether weights of other names cannot be read.
    """

    name: str
    revision: str | None = None
    weights: tuple[str, ...] = HF
    strict: bool = False


@dataclass(frozen=True)
class WebFile:
    """A file at a URL, as old weights of open_clip are; `sha256` is how its hash begins, "" where it is not known."""

    url: str
    sha256: str = ""

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.url.rpartition("/")[2]


Need = Repository | WebFile


def needs(address: str) -> list[Need]:
    """What has to be fetched for a model: its weights first, then what they refer to.

    Raises ModelError for a name that the library does not know, ConfigError for another prefix.
    """
    if sides := bound_sides(address):
        return [each for side in sides for each in needs(side)]
    prefix, colon, name = address.partition(":")
    if not colon:
        raise ModelError(f"{address!r} names no source of models; expected one of {_LISTED}")
    if prefix not in _SOURCES:
        raise unknown("source of models", prefix, _SOURCES)
    if not name:
        raise ModelError(f"{address!r} names no model; expected one of {_LISTED}")
    if Path(name).expanduser().is_dir():
        raise ModelError(f"{address} is a folder on this disk, so there is nothing to fetch; use it as it is")
    return _SOURCES[prefix](name)


def _hf(name: str) -> list[Need]:
    return [Repository(*_pinned(name), strict=True)]


def _sentence_transformers(name: str) -> list[Need]:
    repository, revision = _pinned(name)
    repository = repository if "/" in repository else f"sentence-transformers/{repository}"
    images = IMAGE_SIDES.get(repository)
    return [Repository(repository, revision), *(needs(images) if images else ())]


def _timm(name: str) -> list[Need]:
    for prefix in ("hf-hub:", "hf_hub:"):
        if name.startswith(prefix):
            return [Repository(*_pinned(name.removeprefix(prefix)), TIMM)]
    import_torchvision()
    timm = need("timm", "the weights of a timm model")
    name, revision = _pinned(name)
    found = None
    with contextlib.suppress(RuntimeError):  # for a tag that is not the architecture's
        found = timm.get_pretrained_cfg(name) if timm.is_model(name.split(".")[0]) else None
    if found is None:
        near = nearest(name, timm.list_models(pretrained=True))
        raise ModelError(f"timm knows no weights {name!r}{near or '; expected ARCHITECTURE.TAG'}")
    if not found.hf_hub_id:
        raise ModelError(f"the hub has no weights for timm's {name!r}; choose another model")
    return [Repository(found.hf_hub_id, revision, _first(found.hf_hub_filename, TIMM))]


def _open_clip(name: str) -> list[Need]:
    if name.startswith("hf-hub:"):
        return [Repository(*_pinned(name.removeprefix("hf-hub:")), OPEN_CLIP)]
    import_torchvision()
    open_clip = need("open_clip", "the weights of an OpenCLIP model")
    name, revision = _pinned(name)
    architecture, _, tag = name.rpartition("/")
    known = open_clip.list_models()
    if (architecture or tag).replace("/", "-") not in known:
        near = nearest(architecture or tag, known)
        raise ModelError(f"open_clip knows no architecture {architecture or tag!r}{near}; expected ARCHITECTURE/TAG")
    tags = open_clip.list_pretrained_tags_by_model(architecture or tag)
    if not architecture or tag not in tags:
        found = f"no weights {tag!r} of {architecture}" if architecture else f"no TAG after {tag}"
        raise ModelError(
            f"found {found}{nearest(tag, tags)}; choose from {', '.join(tags) or 'none: it has no weights'}"
        )
    text = open_clip.get_model_config(architecture)["text_cfg"]
    others = {text.get("hf_tokenizer_name"), text.get("hf_model_name")} - {None, ""}
    words: list[Need] = [Repository(other, weights=()) for other in sorted(others)]
    return [_tagged(open_clip.get_pretrained_cfg(architecture, tag), revision), *words]


def _tagged(found: dict[str, Any], revision: str | None) -> Need:
    """Where the weights of an OpenCLIP tag are: on the hub if they are there, else at a URL."""
    repository, _, filename = str(found.get("hf_hub", "")).rpartition("/")
    if repository:
        return Repository(repository, revision, _first(filename, OPEN_CLIP))
    url = str(found["url"])
    if "openaipublic" in url:  # .../SHA256/NAME.pt
        return WebFile(url, url.split("/")[-2])
    marked = re.search(r"-([0-9a-f]{8,64})\.\w+$", url)  # .../NAME-BEGINNING_OF_SHA256.pt
    return WebFile(url, marked[1] if marked and "mlfoundations" in url else "")


def _first(filename: str | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names with a file's own before them, and before that the same as safetensors."""
    if not filename:
        return names
    return tuple(dict.fromkeys([re.sub(r"\.\w+$", ".safetensors", filename), filename, *names]))


def _pinned(name: str) -> tuple[str, str | None]:
    """A name without its "@REVISION", and the revision."""
    name, _, revision = name.partition("@")
    return name, revision or None


_SOURCES: dict[str, Callable[[str], list[Need]]] = {
    "hf": _hf,
    "blip": _hf,
    "open_clip": _open_clip,
    "sentence-transformers": _sentence_transformers,
    "timm": _timm,
}


_LISTED = "hf:ORG/NAME, open_clip:ARCHITECTURE/TAG, open_clip:hf-hub:ORG/NAME, sentence-transformers:NAME, timm:NAME"
