"""Names to translation engines: one table, each entry imported only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from diptych.core.config import unknown
from diptych.core.errors import ConfigError
from diptych.data.translation import Translator


@dataclass(frozen=True, slots=True)
class Engine:
    """Where an engine lives (`target` is "module:class"), and which models its name takes after a colon.

    `models` is the pattern used when the user names none; None means that it takes none, "" that the
    user must name one. `neural` engines run on a device.
    """

    target: str
    summary: str
    models: str | None = None
    neural: bool = False


_HERE = "diptych.encoders.translation"

ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        "apertium": Engine("diptych.data.translation.apertium:Apertium", "rules, a program of the system"),
        "marian": Engine(
            f"{_HERE}.marian:MarianTranslator",
            "one model a direction, by transformers",
            "Helsinki-NLP/opus-mt-{source}-{target}",
            neural=True,
        ),
        "nllb": Engine(
            f"{_HERE}.nllb:NllbTranslator",
            "200 languages in one model, by transformers",
            "facebook/nllb-200-distilled-600M",
            neural=True,
        ),
        "ctranslate2": Engine(f"{_HERE}.ctranslate2:CTranslate2Translator", "Marian models, faster", "", neural=True),
        "fake": Engine("diptych.data.translation:FakeTranslator", "marks the words, for tests"),
    }
)


def translator(spec: str, *, device: str = "auto") -> Translator:
    """The engine that `spec` names: "apertium", "marian", "marian:models/{source}-{target}", ...

    Raises ConfigError for a name that is not in ENGINES, or a model where there is none to name.
    """
    name, _, models = spec.partition(":")
    engine = ENGINES.get(name)
    if engine is None:
        raise unknown("translation engine", name, ENGINES)
    if engine.models is None and models:
        raise ConfigError(f"found engine {spec!r}; {name} takes no model, write {name!r}")
    if engine.models == "" and not models:
        raise ConfigError(f"found engine {spec!r}; expected {name}:FOLDER, such as {name}:models/{{source}}-{{target}}")
    module, _, attribute = engine.target.partition(":")
    make: Any = getattr(importlib.import_module(module), attribute)
    found: Translator = make(models or engine.models, device=device) if engine.neural else make()
    return found
