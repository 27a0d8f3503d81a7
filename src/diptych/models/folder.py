"""A saved model is a folder: config.json, model.safetensors, its graphs, and a card.

    config.json          what it is: towers, preprocessing, dimension, training record, hashes
    model.safetensors    every weight; an exported model has a file for each graph instead: image_tower.safetensors, ...
    image_tower.onnx     pixels -> features (when the tower's weights travel with the model)
    image_head.onnx      features -> embedding
    text_tower.onnx      token ids -> features (of an exported model)
    text_head.onnx       features, or token ids, -> embedding
    query_head.onnx      the same for queries, of a model whose queries have a side of their own
    tokenizer.json       texts -> token ids (when the text side reads them)
    relate.json          calibrations of `diptych relate`, where there are any (not part of the fingerprint)
    familiar.json        what the training images look like, where that is known (not part of the fingerprint)
    README.md            the model card

Loading runs no code from the folder and never unpickles.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from diptych.core import fingerprint, hashes
from diptych.core.config import Part, from_dict, to_dict
from diptych.core.errors import ConfigError, ModelError
from diptych.core.files import fsync_file, fsync_folder, write_bytes, write_json
from diptych.core.protocols import Preprocess
from diptych.core.version import __version__

S = TypeVar("S", bound="SavedModel")
DUAL = "dual"  # the kind of a dual encoder, whose config.json names none
FORMAT = 1
CONFIG = "config.json"
_IN_WORDS = {
    DUAL: "a dual encoder",
    "cross": "a cross-encoder of images and texts",
    "text-cross": "a text cross-encoder",
    "synthesis": "a generator",
}
CARD = "README.md"
WEIGHTS = "model.safetensors"
IMAGE_TOWER, IMAGE_HEAD, TEXT_TOWER, TEXT_HEAD = "image_tower", "image_head", "text_tower", "text_head"
QUERY_HEAD = "query_head"  # over the text tower
_FROM_ELSEWHERE = ("hf", "sentence-transformers")
EXPORTED = "exported_from"  # the key of `training` that says what a model was exported from
BUNDLED = "bundled"  # the tower's graph is in the folder


@dataclasses.dataclass(frozen=True)
class SideConfig:
    """One side of a dual encoder: which tower, and which network and head sit on it."""

    tower: str  # the name of a registered tower, or "bundled"
    features: int  # width of the tower's output
    head: Part
    network: Part | None = None  # trained, between tower and head; its graph is part of the head's
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of the tower
    source: str = ""  # where a bundled tower came from
    preprocess: Preprocess | None = None  # image side only
    fingerprint: str = ""  # of a tower that is not bundled


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedModel:
    """What config.json of any kind of model holds; each kind adds its parts."""

    name: str
    diptych: str = ""  # version that wrote it
    format: int = FORMAT
    licence: str = ""
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)  # file -> fingerprint
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ConfigError(_other_format(self.format))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig(SavedModel):
    """What config.json of a dual encoder holds."""

    dim: int
    image: SideConfig
    text: SideConfig
    query: SideConfig | None = None  # texts that ask, where they have a network and a head of their own
    similarity: str = "cosine"
    # of a model that gives probabilities, at the end of its training: the cosine times the scale, plus the bias.
    # Without a bias, softmax over the texts at hand (CLIP); with one, the sigmoid of each pair alone (SigLIP)
    logit_scale: float | None = None
    logit_bias: float | None = None

    @property
    def fingerprint(self) -> str:
        """Changes when weights, towers or preprocessing do; the name, card, record and scale don't count."""
        sides = [_stated(to_dict(side)) for side in (self.image, self.text, self.query) if side]
        return fingerprint.of_json([self.format, self.dim, self.similarity, sides, dict(sorted(self.files.items()))])


def has_graph(config: SavedModel, name: str) -> bool:
    """Whether the folder holds the graph of a tower or head."""
    return f"{name}.onnx" in config.files


def _stated(side: dict[str, Any]) -> dict[str, Any]:
    """Without the keys that came later and say nothing here, so that older models keep their fingerprint.

    Of a tower from a hub or a folder the place does not count: its own fingerprint is among the keys.
    """
    kept = {key: value for key, value in side.items() if value or key not in ("network", "options")}
    prefix = str(side["tower"]).partition(":")[0]
    return kept | {"tower": prefix} if prefix in _FROM_ELSEWHERE and side["fingerprint"] else kept


def _other_format(found: object) -> str:
    return f"model format {found}, this Diptych reads {FORMAT}; update Diptych or re-export"


def read_config(folder: Path) -> ModelConfig:
    """The config of a dual encoder's folder. Raises ModelError when it is not one."""
    return read_saved(folder, ModelConfig, DUAL, "a dual encoder")


def read_saved(folder: Path, config: type[S], kind: str, expected: str) -> S:
    """The config of a model folder of one `kind`; `expected` says in words what was to be there.

    Raises ModelError when the folder holds something else, or a model of a later format.
    """
    path = folder / CONFIG
    if not folder.is_dir():
        raise ModelError(f"no model at {folder}: expected a folder with {CONFIG}, as `diptych train` writes it")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{folder} is not a model: it has no {CONFIG}; {_run_or_other(folder)}") from error
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error}); restore the folder from its source") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} holds no JSON object; restore the folder from its source")
    if (found := values.get("kind", DUAL)) != kind:
        raise ModelError(
            f"{folder} holds {_IN_WORDS.get(str(found), f'a model of kind {found!r}')}; expected {expected}"
        )
    if values.get("format", FORMAT) != FORMAT:  # before anything else: a later format has other keys
        raise ModelError(f"{path}: {_other_format(values['format'])}")
    try:
        return from_dict(config, values, str(path))
    except ConfigError as error:
        raise ModelError(str(error)) from error


def _run_or_other(folder: Path) -> str:
    """What to give instead of a folder that is no model."""
    inside = folder / "model"
    if (inside / CONFIG).is_file():
        return f"it is the folder of a run, whose model is {inside}"
    return "give a folder that `diptych train` wrote"


def model_kind(folder: Path) -> str:
    """The kind of a saved model, as config.json says it ("dual" where it says nothing); "" where there is none."""
    try:
        return str(json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("kind", DUAL))
    except (OSError, ValueError, AttributeError):
        return ""


def finish(folder: Path, config: S, card: str) -> S:
    """Put config.json and the card beside all that was written into a new folder; the config with their hashes."""
    written = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in written:
        path.chmod(0o644)
        fsync_file(path)
    found = {str(path.relative_to(folder)): fingerprint.of_file(path) for path in written}
    config = dataclasses.replace(config, files=found, diptych=__version__)
    write_json(folder / CONFIG, to_dict(config))
    write_bytes(folder / CARD, card.encode())
    return config


def add_record(folder: Path, record: Mapping[str, Any], section: str) -> None:
    """Add to the training record of a saved model, and a section to its card; the fingerprint stays."""
    values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    write_json(folder / CONFIG, values | {"training": {**values.get("training", {}), **record}})
    card = (folder / CARD).read_text(encoding="utf-8")
    write_bytes(folder / CARD, f"{card}\n{section}".encode())


def verify(folder: Path, config: SavedModel) -> None:
    """Raise ModelError when a file is missing or is not the one that config.json speaks of."""
    for name, expected in config.files.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"the model {folder} lacks {name}; copy the whole folder again")
        if hashes.of_file(path) != expected:
            raise ModelError(f"{path} is damaged or was changed: its hash differs from {CONFIG}; copy it again")


@contextlib.contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A new folder to write a model in; it takes the place of `folder`, and of an older model there, at the end.

    On any exception `folder` is as it was; a crash while the two change places leaves the old one under a dotted
    name. Raises ModelError when `folder` holds something that is no model.
    """
    if folder.exists() and any(folder.iterdir()) and not _is_ours(folder):
        raise ModelError(f"{folder} exists and is not a model folder of Diptych; choose another --out, or empty it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Whether Diptych wrote the model there: the folders of other libraries have a config.json too."""
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and {"diptych", "format"} <= values.keys()


def _replace(new: Path, folder: Path) -> None:
    if not folder.exists():
        os.replace(new, folder)
    else:
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
        os.replace(new, folder)
        shutil.rmtree(old, ignore_errors=True)
    fsync_folder(folder.parent)
