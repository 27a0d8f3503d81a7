"""A saved generator is a folder of the same family as other models, with `kind` "synthesis".

config.json          design, size, noise, text tower and its fingerprint, training record, hashes of the files
model.safetensors    every weight of the generator, in half precision
generator.onnx       noise and text -> picture
README.md            the model card

Loading runs no code from the folder and needs no PyTorch.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.core import fingerprint
from diptych.core.config import Part, from_dict, to_dict
from diptych.core.errors import ConfigError, ModelError
from diptych.core.files import fsync_file, write_bytes, write_json
from diptych.core.registry import nearest
from diptych.core.version import __version__
from diptych.models.folder import CARD, CONFIG, FORMAT, WEIGHTS, verify, written_whole

if TYPE_CHECKING:
    from torch import nn

KIND = "synthesis"
GRAPH = "generator"
INPUTS = ("noise", "sentence", "words", "mask")
OUTPUT = "picture"
SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True)
class TextSide:
    """What a generator reads."""

    tower: Part  # see `conditions.text_tower`
    features: int
    max_words: int  # 0: the sentence alone
    fingerprint: str  # of the tower


@dataclass(frozen=True)
class GeneratorConfig:
    """What config.json of a generator holds."""

    name: str
    design: str  # xmc | x_mrs
    size: int  # pixels
    noise: int  # numbers
    text: TextSide
    condition: str = "text"  # text | image: whose embedding it learnt from
    kind: str = KIND
    diptych: str = ""
    format: int = FORMAT
    licence: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Changes when weights, size or text tower do."""
        sides = [self.design, self.size, self.noise, to_dict(self.text), self.condition]
        return fingerprint.of_json([self.kind, self.format, sides, dict(sorted(self.files.items()))])


def shipped() -> dict[str, Path]:
    """Name -> folder of the generators inside the package."""
    return {path.parent.name: path.parent for path in sorted(SHIPPED.glob(f"*/{CONFIG}"))}


def find(name: str | Path) -> Path:
    """The folder of a generator by name or folder. Raises ModelError when there is none."""
    here = shipped()
    folder = Path(name).expanduser()
    if (folder / CONFIG).exists():
        return folder
    if str(name) in here:
        return here[str(name)]
    if not folder.exists():
        listed = ", ".join(here) or "none in this version"
        raise ModelError(
            f"no generator {str(name)!r}: it is neither a folder nor one of the shipped ones ({listed})"
            f"{nearest(str(name), here)}; diptych train configs/synthesis/xmc_emoji.toml makes one"
        )
    raise ModelError(f"{folder} is not a model: it has no {CONFIG}; give a folder that `diptych train` wrote")


def read_config(folder: Path) -> GeneratorConfig:
    """The config of a generator's folder. Raises ModelError when it is not one."""
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind = str(values.get("kind", "dual"))
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder / CONFIG} cannot be read ({error}); copy the whole folder again") from error
    if kind != KIND:
        raise ModelError(
            f"{folder} holds a model of kind {kind!r}; expected a generator of pictures: "
            "diptych train configs/synthesis/xmc_emoji.toml makes one"
        )
    if values.get("format", FORMAT) != FORMAT:
        raise ModelError(f"{folder}: model format {values['format']}, this Diptych reads {FORMAT}; update Diptych")
    try:
        return from_dict(GeneratorConfig, values, str(folder / CONFIG))
    except ConfigError as error:
        raise ModelError(str(error)) from error


def save(folder: Path, config: GeneratorConfig, generator: nn.Module, card: str) -> GeneratorConfig:
    """Write a complete model folder; an older model there is replaced only when all is written.

    Raises ModelError when `folder` holds something that is no model.
    """
    import torch

    from diptych.encoders.export import GraphSpec, write_graphs

    with written_whole(folder) as temporary:
        words = max(1, config.text.max_words)
        example = (
            torch.zeros(2, config.noise),
            torch.ones(2, config.text.features),
            torch.ones(2, words, config.text.features),
            torch.ones(2, words, dtype=torch.bool),
        )
        write_graphs(temporary, {GRAPH: GraphSpec(generator, example, INPUTS, (OUTPUT,))})
        written = sorted(path.name for path in temporary.iterdir())
        for file in written:
            (temporary / file).chmod(0o644)
            fsync_file(temporary / file)
        files = {file: fingerprint.of_file(temporary / file) for file in written}
        config = dataclasses.replace(config, files=files, diptych=__version__)
        write_json(temporary / CONFIG, to_dict(config))
        write_bytes(temporary / CARD, card.encode())
    return config


__all__ = ["CONFIG", "GRAPH", "KIND", "WEIGHTS", "GeneratorConfig", "TextSide", "find", "read_config", "save", "verify"]
