"""A sequence-to-sequence model of transformers, loaded from its folder, translating lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, Reason
from diptych.encoders.pretrained import pretrained, pretrained_model
from diptych.encoders.pytorch import choose_device, freeze

from .models import BEAMS

BATCH = 32  # lines at once
_GROWTH = 3  # a translation may have this many times the tokens of its original, and _SPARE more
_SPARE = 20


class Seq2Seq:
    """One model and its tokenizer. Deterministic beam search; no code from the folder is run.

    Args:
        folder: config.json, weights and tokenizer, as `save_pretrained` writes them.
        device: auto, cpu, cuda or cuda:N.
        beams: hypotheses of the beam search.

    Raises ModelError when the folder does not hold such a model, whole.
    """

    def __init__(self, folder: Path, device: str, beams: int = BEAMS) -> None:
        self._device = choose_device(device)
        self._beams = beams
        what = f"the translation model {folder}"
        self.tokenizer = pretrained("AutoTokenizer", folder, what)
        module, _ = pretrained_model("AutoModelForSeq2SeqLM", folder, what)
        self._module = freeze(module, self._device)
        positions = getattr(module.config, "max_position_embeddings", None)
        self._limit = min(int(limit) for limit in (positions, self.tokenizer.model_max_length) if limit)

    def translate(self, lines: Sequence[str], first_token: int | None = None) -> list[str]:
        """A translation of each line, in order; `first_token` tells the model the language to write.

        Raises DataError when a line has more tokens than the model takes: it would be cut.
        """
        lengths = [len(ids) for ids in self.tokenizer(list(lines), verbose=False)["input_ids"]] if lines else []
        if lengths and max(lengths) > self._limit:
            raise DataError(f"a line of {max(lengths)} tokens; the model takes {self._limit}", Reason.TOO_LARGE)
        order = sorted(range(len(lines)), key=lambda place: lengths[place])  # little padding
        done: dict[int, str] = {}
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            found = self._generate([lines[place] for place in places], lengths[places[-1]], first_token)
            done |= dict(zip(places, found, strict=True))
        return [done[place] for place in range(len(lines))]

    def _generate(self, lines: list[str], longest: int, first_token: int | None) -> list[str]:
        import torch

        inputs = self.tokenizer(lines, padding=True, return_tensors="pt").to(self._device)
        extra: dict[str, Any] = {} if first_token is None else {"forced_bos_token_id": first_token}
        with torch.inference_mode():
            output = self._module.generate(
                **inputs,
                num_beams=self._beams,
                do_sample=False,
                max_length=min(self._limit, _GROWTH * longest + _SPARE),
                **extra,
            )
        decoded: list[str] = self.tokenizer.batch_decode(output, skip_special_tokens=True)
        return [text.strip() for text in decoded]
