"""What was fitted for a dual encoder and a cross-encoder; kept in the cross-encoder's folder.

pairs/<fingerprint of the dual encoder>.json, one file for each dual encoder
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from diptych.core.config import from_dict, to_dict
from diptych.core.errors import ConfigError, ModelError
from diptych.core.files import write_json

FOLDER = "pairs"
_RENAMED = {"fast": "dual_encoder", "slow": "cross_encoder", "fast_name": "dual_encoder_name"}  # before 2026-12


@dataclass(frozen=True)
class PairSettings:
    """How the scores of the two models are combined, and how they are calibrated."""

    dual_encoder: str  # fingerprints
    cross_encoder: str
    dual_encoder_name: str
    beta: float  # text -> image: h + beta * cosine
    k: int  # candidates
    beta_image_to_text: float = 0.0
    fitted: Mapping[str, Any] = field(default_factory=dict)  # on what, and what it gave
    calibration: Mapping[str, Any] = field(default_factory=dict)  # of hits of a search: `diptych.library.relevance`
    relate: Mapping[str, Any] = field(default_factory=dict)  # of single pairs: `diptych.inspection.relating`
    records: tuple[int, ...] = ()  # marks of what it was fitted on, see `data.seen`


def write_pair(folder: Path, pair: PairSettings) -> Path:
    """Write what was fitted into the cross-encoder's folder."""
    path = _path(folder, pair.dual_encoder)
    write_json(path, to_dict(pair))
    return path


def is_fitted(folder: Path, dual_encoder: str) -> bool:
    """Whether something was fitted for the cross-encoder of a folder and a dual encoder, by its fingerprint."""
    return _path(folder, dual_encoder).is_file()


def read_pairs(folder: Path) -> list[PairSettings]:
    """All that was fitted for the cross-encoder of a folder; files that cannot be read are left out."""
    found = []
    for path in sorted((folder / FOLDER).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, AttributeError, ConfigError):
            found.append(_read(path))
    return found


def read_pair(folder: Path, dual_encoder: str, cross_encoder: str, named: str) -> PairSettings:
    """What was fitted for these two models, by their fingerprints; the dual encoder can be loaded as `named`.

    Raises ModelError when nothing was fitted, or for another cross-encoder.
    """
    path = _path(folder, dual_encoder)
    try:
        pair = _read(path)
    except OSError as error:
        raise ModelError(
            f"{folder} was not fitted to this dual encoder ({dual_encoder[:8]}); do so once, with PAIRS that neither "
            f"was trained on: diptych rerank fit PAIRS --model {quote(named)} --reranker {quote(str(folder))}"
        ) from error
    except ConfigError as error:
        raise ModelError(str(error)) from error
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error}); fit the pair again") from error
    if pair.cross_encoder != cross_encoder:
        raise ModelError(f"{path} was fitted for another version of the cross-encoder; fit the pair again")
    return pair


def _read(path: Path) -> PairSettings:
    values = {_RENAMED.get(key, key): value for key, value in json.loads(path.read_text(encoding="utf-8")).items()}
    return from_dict(PairSettings, values, str(path))


def _path(folder: Path, dual_encoder: str) -> Path:
    return folder / FOLDER / f"{dual_encoder}.json"
