"""What neural translators share: which folder holds the model of a direction, and one model in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from diptych.core import fingerprint
from diptych.core.errors import ConfigError
from diptych.data.language import two_letters
from diptych.data.translation.engine import by_lines, require_direction
from diptych.encoders.hub import hub_folder

PLACES = ("{source}", "{target}")
BEAMS = 4  # hypotheses of a beam search


class ModelFolders:
    """Names or folders of models, one a direction ("models/{source}-{target}"), or a single one.

    Args:
        pattern: a folder or a name on the Hugging Face hub; {source} and {target} stand for the
            languages' two-letter codes.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.many = all(place in pattern for place in PLACES)
        if not self.many and any(place in pattern for place in PLACES):
            raise ConfigError(f"found models {pattern!r}; expected both {' and '.join(PLACES)} in it, or neither")
        self._fingerprints: dict[Path, str] = {}

    def folder(self, source: str, target: str) -> Path:
        """Where the direction's model is. Raises ModelError when it is not here."""
        name = self.pattern.replace(PLACES[0], source).replace(PLACES[1], target)
        return hub_folder(name)

    def direction(self) -> tuple[str, str] | None:
        """The languages of a single model, as its tokenizer states them; None when it does not."""
        path = self.folder("", "") / "tokenizer_config.json"
        try:
            stated = json.loads(path.read_text(encoding="utf-8"))
            return two_letters(stated["source_lang"]), two_letters(stated["target_lang"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def fingerprint(self, source: str, target: str) -> str:
        """Hash of every file in the folder: weights, vocabulary, settings. Loads nothing."""
        folder = self.folder(source, target)
        if folder not in self._fingerprints:
            files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
            hashes = [part for path in files for part in (path.name, fingerprint.of_file(path))]
            self._fingerprints[folder] = fingerprint.combined(hashes)
        return self._fingerprints[folder]


@runtime_checkable
class LineModel(Protocol):
    """A loaded model."""

    def translate(self, lines: Sequence[str]) -> list[str]:
        """A translation of each line."""
        ...


class NeuralTranslator:
    """Base of the translators whose models lie in folders. A subclass says what it `supports` and how to `_load`.

    Args:
        models: folder or hub name, with {source} and {target} for the languages; without them, one model;
            `published` when left out.
        device: auto, cpu, cuda or cuda:N.
        beams: hypotheses of the beam search.
    """

    name: str
    published = ""  # the models that are meant where none are named

    def __init__(self, models: str = "", *, device: str = "auto", beams: int = BEAMS) -> None:
        self._folders = ModelFolders(models or self.published)
        self._device = device
        self._beams = beams
        self._loaded: tuple[Path, LineModel] | None = None

    def supports(self, source: str, target: str) -> bool:
        """Whether it translates in this direction."""
        raise NotImplementedError

    def fingerprint(self, source: str, target: str) -> str:
        """Hash of the model's files and of how it is searched."""
        require_direction(self, source, target, self._choices())
        return f"{self._folders.fingerprint(source, target)}-beams{self._beams}"

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """A translation of each text. Raises as `Translator.translate`."""
        require_direction(self, source, target, self._choices())
        folder = self._folders.folder(source, target)
        if self._loaded is None or self._loaded[0] != folder:
            self._loaded = None  # frees the model before, so that one is in memory at a time
            self._loaded = (folder, self._load(folder))
        return by_lines(texts, self._lines(self._loaded[1], source, target))

    def _choices(self) -> str:
        """The directions, for an error."""
        raise NotImplementedError

    def _load(self, folder: Path) -> LineModel:
        raise NotImplementedError

    def _lines(self, model: Any, source: str, target: str) -> Callable[[Sequence[str]], list[str]]:
        """What translates lines in this direction."""
        translate: Callable[[Sequence[str]], list[str]] = model.translate
        return translate
