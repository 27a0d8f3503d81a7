"""A saved generator is a folder of the same family as other models, with `kind` "synthesis".

config.json          design, size, noise, text tower and its fingerprint, training record, hashes of the files
model.safetensors    every weight of the generator, in half precision
generator.onnx       noise and text -> image
README.md            the model card

Loading runs no code from the folder and needs no PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.core import fingerprint
from diptych.core.config import Part, stated_without, to_dict
from diptych.core.errors import ModelError
from diptych.core.registry import nearest
from diptych.models.folder import CONFIG, SavedModel, finish, read_saved, verify, written_whole
from diptych.synthesis.words import ALONE

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
    words: str = ALONE  # or in_context; see `words`

    def stated(self) -> dict[str, Any]:
        """The fields; how words are read is left out where each is read alone."""
        return stated_without(self, "words")


@dataclass(frozen=True, kw_only=True)
class SavedGeneratorConfig(SavedModel):
    """What config.json of a generator holds."""

    design: str  # xmc | x_mrs
    size: int  # pixels
    noise: int  # numbers
    text: TextSide
    condition: str = "text"  # text | image: whose embedding it learnt from
    kind: str = KIND

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


def read_config(folder: Path) -> SavedGeneratorConfig:
    """The config of a generator's folder. Raises ModelError when it is not one, or its files are damaged."""
    made_by = "a generator of images: diptych train configs/synthesis/xmc_emoji.toml makes one"
    config = read_saved(folder, SavedGeneratorConfig, KIND, made_by)
    verify(folder, config)
    return config


def save(folder: Path, config: SavedGeneratorConfig, generator: nn.Module, card: str) -> SavedGeneratorConfig:
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
        return finish(temporary, config, card)
