"""Marian models converted for CTranslate2, several times faster on a CPU, and without PyTorch.

ct2-transformers-converter --model MODEL --output_dir models/en-es --copy_files source.spm target.spm
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diptych.core.errors import ConfigError, DataError, ModelError, first_line
from diptych.core.extras import is_installed, need
from diptych.core.registry import register

from .models import BEAMS, PLACES, LineModel, NeuralTranslator

BATCH = 64  # lines at once
LIMIT = 512  # tokens a line that Marian models are trained to take
_FILES = ("model.bin", "source.spm", "target.spm")


@register.translator("ctranslate2", "Marian models, faster", arguments=("FOLDER",))
class CTranslate2Translator(NeuralTranslator):
    """Translates by converted Marian models, one folder a direction: model.bin, source.spm and target.spm.

    Raises ConfigError for `models` without {source} and {target}, ModelError for a folder that lacks a file.
    """

    name = "ctranslate2"

    def __init__(self, models: str, *, device: str = "auto", beams: int = BEAMS) -> None:
        super().__init__(models, device=device, beams=beams)
        if not self._folders.many:
            raise ConfigError(f"found models {models!r}; expected a folder with {' and '.join(PLACES)} in its name")
        if not is_installed("ctranslate2"):  # said now, and imported when it is used
            need("ctranslate2", "the engine ctranslate2")

    def supports(self, source: str, target: str) -> bool:
        """Any direction; whether its folder is there is seen when it is used."""
        return source != target

    def _choices(self) -> str:
        return "two different languages"

    def _load(self, folder: Path) -> LineModel:
        return _Model(folder, self._device, self._beams)


class _Model:
    """One direction: the model and its two SentencePiece vocabularies."""

    def __init__(self, folder: Path, device: str, beams: int) -> None:
        ctranslate2 = need("ctranslate2", "the engine ctranslate2")
        sentencepiece = need("sentencepiece", "the engine ctranslate2")
        if missing := [name for name in _FILES if not (folder / name).is_file()]:
            raise ModelError(
                f"{folder} has no {missing[0]}; expected a converted Marian model with {', '.join(_FILES)}"
            )
        kind, _, number = device.partition(":")
        try:
            self._model: Any = ctranslate2.Translator(str(folder), device=kind, device_index=int(number or 0))
            self._source, self._target = (
                sentencepiece.SentencePieceProcessor(model_file=str(folder / name)) for name in _FILES[1:]
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise ModelError(f"ctranslate2 cannot load {folder}: {first_line(error)}") from error
        self._beams = beams

    def translate(self, lines: Sequence[str]) -> list[str]:
        """A translation of each line. Raises DataError for one of more than LIMIT tokens."""
        tokens = [[*self._source.encode(line, out_type=str), "</s>"] for line in lines]
        if tokens and (longest := max(map(len, tokens))) > LIMIT:
            raise DataError(f"a line of {longest} tokens; the model takes {LIMIT}")
        results = self._model.translate_batch(
            tokens, beam_size=self._beams, max_batch_size=BATCH, max_input_length=0, max_decoding_length=LIMIT
        )
        return [self._target.decode(result.hypotheses[0]).strip() for result in results]
