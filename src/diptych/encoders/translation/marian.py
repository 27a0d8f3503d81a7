"""MarianMT (the OPUS-MT models of Helsinki-NLP): one small model a direction, by transformers."""

from __future__ import annotations

from pathlib import Path

from diptych.core.registry import register

from .models import LineModel, NeuralTranslator
from .seq2seq import Seq2Seq


@register.translator("marian", "one model a direction, by transformers", arguments=("MODELS",), optional=True)
class MarianTranslator(NeuralTranslator):
    """Translates by Marian models in folders, or in the Hugging Face cache.

    Models that write several languages and are told which by a token (">>spa<<") are not supported.

    A single model, without {source} and {target} in its name, does the direction that its tokenizer states.

    Raises ModelError when a direction's model is not here or not whole.
    """

    name = "marian"
    published = "Helsinki-NLP/opus-mt-{source}-{target}"

    def supports(self, source: str, target: str) -> bool:
        """Any direction where the models' name has room for it; else the one that the model states."""
        return source != target if self._folders.many else self._folders.direction() == (source, target)

    def _choices(self) -> str:
        stated = None if self._folders.many else self._folders.direction()
        return "-".join(stated) if stated else "models/{source}-{target}"

    def _load(self, folder: Path) -> LineModel:
        return Seq2Seq(folder, self._device, beams=self._beams)
