"""One of several sources that a training learns from: where it is, how it is read, and its share of an epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.config import stated_without, unknown
from diptych.core.errors import ConfigError
from diptych.core.types import numbered_label
from diptych.data.readers import SourceOptions


@dataclass(frozen=True)
class SourceSettings(SourceOptions):
    """A source beside others, with the options of `diptych data check`. In TOML each is a table `[[data.sources]]`."""

    path: str = ""  # file or folder of pairs
    name: str = ""  # in logs and on the card; left out: the name of its file or folder
    weight: float = 0.0  # share of an epoch that is of this source; 0: every record once an epoch
    train: str = ""  # its split to learn from; left out: as in [data], and so the next two
    val: str = ""  # its split that helps to choose the best epoch
    val_share: float = 0.0  # held out where it names no splits
    langs: tuple[str, ...] = ()  # of those that data.langs takes
    fields: tuple[str, ...] = ()  # of those that data.fields takes

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.weight < 1:
            raise ConfigError(
                f"the weight of {self.label} is {self.weight:g}; expected its share of an epoch, above 0 and below 1"
            )
        if not 0 <= self.val_share < 1:
            raise ConfigError(f"val_share must be between 0 and 1, found {self.val_share:g}")

    @property
    def label(self) -> str:
        """What it is called."""
        return self.name or Path(self.path).expanduser().resolve().name or self.path

    @property
    def options(self) -> SourceOptions:
        """How it is read."""
        return SourceOptions(**{each.name: getattr(self, each.name) for each in dataclasses.fields(SourceOptions)})

    def stated(self) -> dict[str, Any]:
        """What is not left out."""
        return stated_without(self, *(each.name for each in dataclasses.fields(self)))

    def without_paths(self) -> SourceSettings:
        """The same under its label, without paths of this machine."""
        return dataclasses.replace(self, path="", images_root=None, name=self.label)


def parse_source(given: str | Path | SourceSettings) -> SourceSettings:
    """A path, or "PATH:WEIGHT", as settings. Raises ConfigError for a weight that is no share."""
    if isinstance(given, SourceSettings):
        return given
    path, separator, weight = str(given).rpartition(":")
    if not separator or not path or Path(given).expanduser().exists():
        return SourceSettings(path=str(given))
    try:
        share = float(weight)
    except ValueError:
        return SourceSettings(path=str(given))
    if not 0 < share < 1:
        raise ConfigError(
            f"found the weight {weight} of {path}; expected the share of an epoch that is of this source, above 0 and "
            f"below 1, as in {path}:0.3"
        )
    return SourceSettings(path=path, weight=share)


def labels_of(sources: Sequence[SourceSettings]) -> list[str]:
    """What the sources are called, each by a name of its own."""
    names: list[str] = []
    for source in sources:
        occurrence = sum(other.label == source.label for other in sources[: len(names)])
        names.append(numbered_label(source.label, occurrence) if occurrence else source.label)
    return names


def check_chosen(chosen_on: str, names: Sequence[str]) -> None:
    """Raise ConfigError for a `data.chosen_on` that is none of the sources."""
    if chosen_on and chosen_on not in names:
        raise unknown("source in data.chosen_on", chosen_on, names)
