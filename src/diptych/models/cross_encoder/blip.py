"""A pretrained cross-encoder of transformers with the same interface: BLIP's matching head, or its captioner.

From a folder or the cache, always offline, never remote code. Li et al., "BLIP", arXiv 2201.12086.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from diptych.core import fingerprint
from diptych.core.errors import DataError, ModelError
from diptych.core.protocols import Preprocess
from diptych.core.shapes import Float, Float16, Float32, UInt8
from diptych.core.workers import SentModel
from diptych.encoders.hub import hub_folder
from diptych.encoders.image.processors import preprocess_of
from diptych.encoders.inputs import normalise_pixels
from diptych.encoders.pretrained import pretrained, pretrained_model
from diptych.encoders.pytorch import choose_device, freeze, state_fingerprint

from .settings import BLIP

_KINDS = ("BlipForImageTextRetrieval", "BlipForConditionalGeneration")
_IMAGES_AT_ONCE = 32


class BlipCrossEncoder:
    """BLIP as a cross-encoder: tokens of an image once, then scores with texts.

    A retrieval model's score is its matching logit (match minus no match); a captioner's is the sum of
    log p of the text's words. Raises ModelError for a model that is not here, not whole or not BLIP.
    """

    def __init__(self, name_or_folder: str | Path, *, device: str = "auto") -> None:
        self.folder = hub_folder(name_or_folder)
        stated = pretrained("AutoConfig", self.folder, str(self.folder)).architectures or ()
        kind = next((one for one in stated if one in _KINDS), None)
        if kind is None:
            raise ModelError(f"{self.folder} is {', '.join(stated) or 'of no kind'}; expected {' or '.join(_KINDS)}")
        module, _ = pretrained_model(kind, self.folder, str(self.folder))
        self._tokenizer = pretrained("AutoTokenizer", self.folder, str(self.folder))
        self._module: Any = freeze(module, choose_device(device))
        self.matches = kind == _KINDS[0]
        self.name = self.folder.name
        self.address = f"{BLIP}{self.folder}"  # what it is loaded by
        self.preprocess: Preprocess = preprocess_of(self.folder)

    def sent(self) -> SentModel[BlipCrossEncoder]:
        """The same as workers on other machines load it."""
        return SentModel(_load_there, str(self.folder.resolve()), self.fingerprint, self)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights and the preprocessing."""
        return fingerprint.combined([state_fingerprint(self._module), repr(self.preprocess)])

    @property
    def token_shape(self) -> tuple[int, int]:
        """(tokens, width) of one image: its patches and the class token."""
        vision = self._module.config.vision_config
        return (vision.image_size // vision.patch_size) ** 2 + 1, vision.hidden_size

    def encode_pixels(self, pixels: UInt8[np.ndarray, "b hh ww 3"]) -> Float16[np.ndarray, "b r w"]:
        """Tokens of images already prepared by `preprocess`."""
        if len(pixels) == 0:
            return np.zeros((0, *self.token_shape), dtype=np.float16)
        planes = torch.from_numpy(normalise_pixels(pixels, self.preprocess))
        with torch.inference_mode():
            states = self._module.vision_model(pixel_values=planes.to(self._device)).last_hidden_state
        return np.asarray(states.half().cpu().numpy())

    def score(self, image_tokens: Float[np.ndarray, "b r w"], texts: str | Sequence[str]) -> Float32[np.ndarray, " b"]:
        """Score of each image with its text, or with the one text given for all."""
        several = [texts] * len(image_tokens) if isinstance(texts, str) else list(texts)
        if len(several) != len(image_tokens):
            raise DataError(f"found {len(image_tokens)} images and {len(several)} texts; expected as many of each")
        found = [np.zeros(0, dtype=np.float32)]
        for start in range(0, len(several), _IMAGES_AT_ONCE):
            part = slice(start, start + _IMAGES_AT_ONCE)
            shown = torch.from_numpy(np.asarray(image_tokens[part], dtype=np.float32)).to(self._device)
            words = self._tokenizer(several[part], padding=True, truncation=True, return_tensors="pt").to(self._device)
            with torch.inference_mode():
                score = self._matching(shown, words) if self.matches else self._likelihood(shown, words)
            found.append(score.float().cpu().numpy())
        return np.concatenate(found)

    def _matching(self, shown: Tensor, words: Any) -> Tensor:
        states = self._module.text_encoder(
            input_ids=words.input_ids, attention_mask=words.attention_mask, encoder_hidden_states=shown
        ).last_hidden_state
        logits = self._module.itm_head(states[:, 0])
        found: Tensor = logits[:, 1] - logits[:, 0]
        return found

    def _likelihood(self, shown: Tensor, words: Any) -> Tensor:
        inputs = words.input_ids.clone()
        inputs[:, 0] = self._module.config.text_config.bos_token_id
        logits = self._module.text_decoder(
            input_ids=inputs, attention_mask=words.attention_mask, encoder_hidden_states=shown
        ).logits[:, :-1]
        wanted, real = inputs[:, 1:], words.attention_mask[:, 1:].bool()
        each = -functional.cross_entropy(logits.transpose(1, 2).float(), wanted, reduction="none")
        return each.masked_fill(~real, 0.0).sum(1)

    @property
    def _device(self) -> torch.device:
        found: torch.device = next(self._module.parameters()).device
        return found


def _load_there(name: str, *, threads: int | None, device: str) -> BlipCrossEncoder:
    return BlipCrossEncoder(name, device=device)
