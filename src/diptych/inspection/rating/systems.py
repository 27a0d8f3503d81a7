"""The systems that are compared, and the texts that all of them can show an image of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.notes import Note
from diptych.core.text import number
from diptych.data.readers import SourceOptions

from ..generators import Generator, GivenImages, choose_splits, open_generator
from ..generators.prompts import choose_prompts
from .study import MOST_SYSTEMS


@dataclass(frozen=True)
class System:
    """One of those compared, and its name in the results."""

    name: str
    generator: Generator

    @property
    def given(self) -> frozenset[str] | None:
        """The texts that it has images of; None for a model, which draws any text."""
        return self.generator.texts if isinstance(self.generator, GivenImages) else None


@dataclass(frozen=True)
class ChosenTexts:
    """Texts to show in the order in which they are taken, their language, and what was chosen unasked."""

    texts: Sequence[str]
    lang: str = ""
    remarks: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()  # on how the source was read


def open_systems(addresses: Sequence[str], device: str = "auto") -> list[System]:
    """Systems by their addresses: [NAME=]GENERATOR, where a generator is anything that `open_generator` takes.

    Raises ConfigError for fewer than two or more than nine, or for a name that comes twice.
    """
    if not 2 <= len(addresses) <= MOST_SYSTEMS:
        raise ConfigError(
            f"found {number(len(addresses), 'system')} to compare; expected from 2 to {MOST_SYSTEMS}: folders of "
            "diptych generator draw, generators, or images:SOURCE"
        )
    named = [_named(address) for address in addresses]
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        raise ConfigError(f"two systems have one name: {', '.join(names)}; give each its own, as NAME={addresses[0]}")
    return [System(name, open_generator(address, device)) for name, address in named]


def _named(address: str) -> tuple[str, str]:
    """The name and the address: the name that is given, else the address as it is."""
    name, equals, rest = address.partition("=")
    if equals and name.strip() and rest and not Path(address).exists() and "/" not in name and ":" not in name:
        return name.strip(), rest
    return address.rstrip("/") or address, address


def choose_texts(
    systems: Sequence[System], source: str, options: SourceOptions, fields: Sequence[str] = (), seed: int = 0
) -> ChosenTexts:
    """The texts of a source that every system can show, in an order drawn by the seed.

    Without a source, those that all systems with given images have. Raises ConfigError when there is none with given
    images, DataError when no text is left.
    """
    given = [(system.name, system.given) for system in systems if system.given is not None]
    remarks: tuple[str, ...] = ()
    lang = ""
    notes: tuple[Note, ...] = ()
    if source:
        chosen = choose_splits(source, options, "")
        lang, remarks = options.lang or "en", chosen.remarks
        prompts = choose_prompts(chosen.pairs, lang, sum(len(pair.texts) for pair in chosen.pairs), seed, fields)
        texts = list(dict.fromkeys(one.text.value for one in prompts))
        notes = tuple(chosen.source.notes)
    elif given:
        every = sorted(set().union(*(known for _, known in given if known)))
        texts = [every[place] for place in np.random.default_rng(seed).permutation(len(every))]
    else:
        raise ConfigError("all systems draw any text; name a source of the texts to draw, with --source")
    for name, known in given:
        lacking = sum(text not in (known or ()) for text in texts)
        if lacking:
            remarks = (*remarks, f"{lacking:,} of {len(texts):,} texts are left out: {name} has no image of them")
        texts = [text for text in texts if text in (known or ())]
    if not texts:
        raise DataError(
            f"no text is left that {', '.join(name for name, _ in given)} all have an image of"
            f"{f' and that {source} has' if source else ''}; the texts must be equal, letter by letter",
            Reason.MISSING,
        )
    return ChosenTexts(texts, lang, remarks, notes)
