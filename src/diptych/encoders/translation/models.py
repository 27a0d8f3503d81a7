"""Which folder holds the model of a direction, and what it holds."""

from __future__ import annotations

import json
from pathlib import Path

from diptych.core import fingerprint
from diptych.core.errors import ConfigError
from diptych.data.language import two_letters
from diptych.encoders.offline import hub_folder

PLACES = ("{source}", "{target}")


class ModelFolders:
    """Names or folders of models, one a direction ("models/{source}-{target}"), or a single one.

    Args:
        pattern: a folder or a name on the Hugging Face hub; {source} and {target} stand for the
            languages' two-letter codes.
        allow_download: see `diptych.encoders.offline.hub_folder`.
    """

    def __init__(self, pattern: str, *, allow_download: bool | None = None) -> None:
        self.pattern = pattern
        self.allow_download = allow_download
        self.many = all(place in pattern for place in PLACES)
        if not self.many and any(place in pattern for place in PLACES):
            raise ConfigError(f"found models {pattern!r}; expected both {' and '.join(PLACES)} in it, or neither")
        self._fingerprints: dict[Path, str] = {}

    def folder(self, source: str, target: str) -> Path:
        """Where the direction's model is. Raises ModelError when it is not here."""
        name = self.pattern.replace(PLACES[0], source).replace(PLACES[1], target)
        return hub_folder(name, allow_download=self.allow_download)

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
