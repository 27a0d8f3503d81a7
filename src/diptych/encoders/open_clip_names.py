"""Where an OpenCLIP model is, by its name: a folder, a repository of the hub, or an architecture with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.core.errors import ModelError
from diptych.core.extras import need
from diptych.core.registry import nearest
from diptych.encoders.compat import import_torchvision
from diptych.encoders.hub import GET, OTHER_WEIGHTS, SAFE_WEIGHTS, hub_folder, lasting, url_file, weights_file
from diptych.encoders.weights import check_whole

PREFIX = "open_clip:"
_HUB = "hf-hub:"
_LOCAL = "local-dir:"
_CONFIG = "open_clip_config.json"
_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors")
_PREPARING = ("mean", "std", "interpolation", "resize_mode")  # what a tag says of image preprocessing


@dataclass(frozen=True)
class Found:
    """An OpenCLIP model whose weights are here.

    Args:
        name: what finds exactly these weights later: full paths, or with the revision of the hub.
        source: what open_clip's makers take: an architecture, or "local-dir:FOLDER".
        file: the weights.
        options: what open_clip's makers take besides, for the weights of an architecture.
        repository: of the hub, where the weights are from there.
    """

    name: str
    source: str
    file: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    repository: str = ""

    @property
    def in_folder(self) -> bool:
        """Whether a config beside the weights says what they are."""
        return self.source.startswith(_LOCAL)

    @property
    def folder(self) -> Path:
        """Where the weights are."""
        return self.file.parent


def locate(name: str | Path) -> Found:
    """The model of that name.

    `name` is ARCHITECTURE/TAG, ARCHITECTURE/FILE (so ARCHITECTURE//FULL/PATH), "hf-hub:ORG/NAME", or a folder with
    open_clip_config.json, also as "local-dir:FOLDER". "@REVISION" may follow a tag and ORG/NAME.

    Raises ModelError for what is not here or not whole, with the nearest name or the command that fetches it.
    """
    text = str(name)
    path = Path(text.removeprefix(_LOCAL)).expanduser()
    if isinstance(name, Path) or text.startswith(_LOCAL) or path.is_dir():
        return _in_folder(path, str(path.resolve()))
    if text.startswith(_HUB):
        repository = text.removeprefix(_HUB)
        folder = hub_folder(repository, address=f"{PREFIX}{text}")
        return _in_folder(folder, f"{_HUB}{lasting(repository, folder)}", f"{PREFIX}{text}")
    import_torchvision()
    architecture, weights = _architecture(text)
    file = Path(weights).expanduser()
    return _of_file(architecture, file) if file.is_file() else _tagged(architecture, weights)


def _in_folder(folder: Path, name: str, address: str = "") -> Found:
    if not (folder / _CONFIG).is_file():
        raise ModelError(f"no {_CONFIG} in {folder}; expected a folder as open_clip saves it")
    return Found(name, f"{_LOCAL}{folder}", _weights(folder, (), address))


def _weights(folder: Path, names: tuple[str, ...], address: str) -> Path:
    file = weights_file(folder, *names, *_NAMES)
    if file is None:
        again = f"; fetch the rest: {GET} {address}" if address else ""
        raise ModelError(f"{folder} has no weights; expected {_NAMES[0]} in it{again}")
    check_whole(file, address)
    return file


def _architecture(text: str) -> tuple[str, str]:
    """The architecture that a name begins with, and the rest; old names as "ViT-B/32" have a slash themselves."""
    known = need("open_clip", "an OpenCLIP model").list_models()
    parts = text.split("/")
    for count in range(1, len(parts) + 1):
        if (architecture := "-".join(parts[:count])) in known:
            break
    else:
        if text.startswith((".", "/", "~")):
            raise ModelError(f"no model folder at {text}; expected a folder with {_CONFIG} and its weights")
        near = nearest(parts[0], known) or (f"; did you mean {PREFIX}{_HUB}{text}?" if len(parts) == 2 else "")
        raise ModelError(f"{parts[0]!r} is neither a folder nor an architecture that open_clip knows{near}")
    rest = "/".join(parts[count:])
    if not rest:
        raise ModelError(f"{PREFIX}{text} names no weights; expected {text}/TAG or {text}/FILE; {_tags(architecture)}")
    return architecture, rest


def _tags(architecture: str) -> str:
    import open_clip

    return f"its tags are {', '.join(open_clip.list_pretrained_tags_by_model(architecture)) or 'none'}"


def _of_file(architecture: str, file: Path) -> Found:
    """Weights in a file, prepared for as all tags of the architecture agree, else as open_clip does by default."""
    import open_clip

    if file.suffix not in (*SAFE_WEIGHTS, *OTHER_WEIGHTS):
        raise ModelError(f"{file} is not a known kind of weights; expected .safetensors, .pt, .pth or .bin")
    check_whole(file)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    settings = [_preparing(open_clip.get_pretrained_cfg(architecture, tag)) for tag in tags]
    agreed = settings[0] if settings and all(each == settings[0] for each in settings) else {}
    options = {"pretrained": str(file), "force_preprocess_cfg": agreed}
    return Found(f"{architecture}/{file.resolve()}", architecture, file, options)


def _tagged(architecture: str, weights: str) -> Found:
    """Weights that a tag of open_clip names: in the hub's cache, or where open_clip keeps those of a URL."""
    import open_clip

    if weights.startswith((".", "/", "~")):
        raise ModelError(f"no weights file at {weights}; expected .safetensors, .pt, .pth or .bin")
    tag, _, revision = weights.partition("@")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in tags:
        raise ModelError(
            f"{tag!r} is neither a file nor a tag of {architecture}{nearest(tag, tags)}; {_tags(architecture)}"
        )
    said = open_clip.get_pretrained_cfg(architecture, tag)
    name = f"{architecture}/{tag}"
    address = f"{PREFIX}{name}" + (f"@{revision}" if revision else "")
    repository, _, filename = str(said.get("hf_hub", "")).rpartition("/")
    file = url_file(str(said["url"])) if said.get("url") and not revision else None
    if repository:
        try:
            folder = hub_folder(repository, revision or None, address=address)
        except ModelError:
            if file is None or not file.is_file():
                raise
        else:
            file, name = _weights(folder, _preferred(filename), address), f"{name}@{folder.name}"
    if file is None or not file.is_file():
        raise ModelError(f"the weights {address} are not here (looked for {file}); fetch them: {GET} {address}")
    check_whole(file, address)
    # open_clip itself only warns where the architecture's activation is not the one that the weights were trained with
    options = {
        "pretrained": str(file),
        "force_preprocess_cfg": _preparing(said),
        "force_quick_gelu": bool(said.get("quick_gelu")),
    }
    return Found(name, architecture, file, options, repository)


def _preferred(filename: str) -> tuple[str, ...]:
    """A tag's own file, and before it the same as safetensors."""
    return (f"{Path(filename).stem}.safetensors", filename) if filename else ()


def _preparing(said: Mapping[str, Any]) -> dict[str, Any]:
    return {key: said[key] for key in _PREPARING if said.get(key) is not None}
