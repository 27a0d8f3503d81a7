"""MarianMT (the OPUS-MT models of Helsinki-NLP): one small model a direction, by transformers."""

from __future__ import annotations

from collections.abc import Sequence

from diptych.data.translation.engine import by_lines, require

from .models import ModelFolders
from .seq2seq import BEAMS, Seq2Seq


class MarianTranslator:
    """Translates by Marian models in folders, or in the Hugging Face cache.

    Models that write several languages and are told which by a token (">>spa<<") are not supported.

    Args:
        models: folder or hub name, with {source} and {target} for the languages; without them, one
            model, which does the direction that its tokenizer states.
        device: auto, cpu, cuda or cuda:N.
        beams: hypotheses of the beam search.
        allow_download: None asks DIPTYCH_ALLOW_DOWNLOAD; nothing is downloaded otherwise.

    Raises ModelError when a direction's model is not here or not whole.
    """

    name = "marian"

    def __init__(
        self, models: str, *, device: str = "auto", beams: int = BEAMS, allow_download: bool | None = None
    ) -> None:
        self._folders = ModelFolders(models, allow_download=allow_download)
        self._device = device
        self._beams = beams
        self._loaded: tuple[tuple[str, str], Seq2Seq] | None = None

    def supports(self, source: str, target: str) -> bool:
        """Any direction where the models' name has room for it; else the one that the model states."""
        return source != target if self._folders.many else self._folders.direction() == (source, target)

    def fingerprint(self, source: str, target: str) -> str:
        """Hash of the model's files and of how it is searched."""
        self._require(source, target)
        return f"{self._folders.fingerprint(source, target)}-beams{self._beams}"

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """A translation of each text. Raises as `Translator.translate`."""
        self._require(source, target)
        return by_lines(texts, self._model(source, target).translate)

    def _require(self, source: str, target: str) -> None:
        stated = None if self._folders.many else self._folders.direction()
        require(self, source, target, "-".join(stated) if stated else "models/{source}-{target}")

    def _model(self, source: str, target: str) -> Seq2Seq:
        """The direction's model; the one before it is let go, so that one is in memory at a time."""
        if self._loaded is None or self._loaded[0] != (source, target):
            self._loaded = None
            model = Seq2Seq(self._folders.folder(source, target), self._device, beams=self._beams)
            self._loaded = ((source, target), model)
        return self._loaded[1]
