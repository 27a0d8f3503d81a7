"""A text cross-encoder as it is saved and used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.config import Part, to_dict
from diptych.core.errors import ModelError
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32, Int
from diptych.data.seen import Seen
from diptych.encoders.graphs import Graph, write
from diptych.encoders.onnx_session import start_session
from diptych.encoders.text.tokens import TokenTower, read_tokens
from diptych.models import folder as files
from diptych.models.loaded import LoadedModel

from .pair_tokens import PairTokens

KIND = "text-cross"
SCORER = "scorer"  # the graph: rows of pairs to scores
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class TextCrossConfig(files.SavedModel):
    """What config.json of a text cross-encoder holds."""

    tower: Part  # the tokenizer; its file is in the folder
    network: Part
    objective: str  # "ranking": only the order of scores means something; "binary": logits of being related
    kind: str = KIND

    @property
    def fingerprint(self) -> str:
        """Changes when weights, tokenizer or network do."""
        parts = [self.kind, self.format, self.objective, to_dict(self.network)["name"]]
        return fingerprint.of_json([*parts, dict(sorted(self.files.items()))])


class TextCrossEncoder(LoadedModel):
    """A query and a text in, a score out: higher is a better answer. Runs on ONNX Runtime.

    Made by `load_text_cross_encoder(folder)`. A pair costs a pass of the network, so it re-ranks what a dual
    encoder found.
    """

    config: TextCrossConfig

    def __init__(self, folder: Path, config: TextCrossConfig, *, device: str = "auto") -> None:
        self.folder = folder
        self.config = config
        self.device = device

    @property
    def fingerprint(self) -> str:
        """Changes when weights, tokenizer or network do."""
        return self.config.fingerprint

    @cached_property
    def tokens(self) -> PairTokens:
        """Texts to rows of token ids."""
        return PairTokens(read_tokens(self._verified))

    @cached_property
    def _session(self) -> Any:
        return start_session(self._verified / f"{SCORER}.onnx", device=self.device)

    def score(self, query: str, texts: Sequence[str]) -> Float32[np.ndarray, " b"]:
        """Score of each text as an answer to the query."""
        return self.score_pairs([query, *texts], np.zeros(len(texts), dtype=np.int64), np.arange(1, len(texts) + 1))

    def score_pairs(
        self,
        texts: Sequence[str],
        queries: Int[np.ndarray, " p"],
        others: Int[np.ndarray, " p"],
        *,
        progress: Progress = SILENT,
    ) -> Float32[np.ndarray, " p"]:
        """Scores of many pairs, each named by the places of its query and its text among `texts`.

        Pairs of like length are scored together, so that little padding is computed. Pairs of the same words are
        scored once, so that they have the same score to the last bit.
        """
        number: dict[str, int] = {}
        same = np.array([number.setdefault(text, len(number)) for text in texts], dtype=np.int64)
        once, back = np.unique(same[queries] * len(number) + same[others], return_inverse=True)
        return self._scored(list(number), once // max(1, len(number)), once % max(1, len(number)), progress)[back]

    def _scored(
        self, texts: list[str], queries: Int[np.ndarray, " p"], others: Int[np.ndarray, " p"], progress: Progress
    ) -> Float32[np.ndarray, " p"]:
        found = np.zeros(len(queries), dtype=np.float32)
        ids = self.tokens.tokens.embed(texts)
        counts = (ids >= 0).sum(1)
        length = counts[queries] + counts[others]
        order = np.argsort(length, kind="stable")
        starts = range(0, len(order), _BATCH)
        for start in progress.track(starts, "pairs of texts (batches)", total=len(starts)):
            chosen = order[start : start + _BATCH]
            rows = self.tokens.rows(ids[queries[chosen]], ids[others[chosen]])
            rows = np.ascontiguousarray(rows[:, : int(length[chosen].max())], dtype=np.int64)
            (scores,) = self._session.run(None, {"features": rows})
            found[chosen] = scores
        return found


def is_text_cross_encoder(folder: str | Path) -> bool:
    """Whether a folder says that it holds one."""
    return files.model_kind(Path(folder).expanduser()) == KIND


def load_text_cross_encoder(folder: str | Path, *, device: str = "auto") -> TextCrossEncoder:
    """Load a text cross-encoder from its folder. Raises ModelError for a folder that is not one."""
    path = Path(folder).expanduser()
    made_by = "a text cross-encoder: diptych train configs/text_cross_encoder.toml makes one"
    if not path.is_dir():
        raise ModelError(f"no model folder at {path}; expected {made_by}")
    return TextCrossEncoder(path, files.read_saved(path, TextCrossConfig, KIND, made_by), device=device)


def save(
    folder: Path, *, config: TextCrossConfig, tokens: TokenTower, graph: Graph, card: str, seen: Seen
) -> TextCrossConfig:
    """Write a complete model folder; an older model there is replaced only when all is written."""
    with files.written_whole(folder) as temporary:
        write(temporary, {SCORER: graph})
        tokens.save(temporary)
        config = files.finish(temporary, config, card)
        seen.write(temporary)
    return config
