"""What was fitted for a pair of a fast and a slow model; kept beside the slow one, a file for each fast model.

pairs/<fingerprint of the fast model>.json
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class PairSettings:
    """How the two scores of a pair go together, and how far they can be trusted."""

    fast: str  # fingerprints
    slow: str
    fast_name: str
    beta: float  # text -> image: h + beta * cosine
    k: int  # candidates
    beta_image_to_text: float = 0.0
    fitted: Mapping[str, Any] = field(default_factory=dict)  # on what, and what it gave
    calibration: Mapping[str, Any] = field(default_factory=dict)  # see `calibration`
    records: tuple[int, ...] = ()  # marks of what it was fitted on, see `data.seen`


def write_pair(slow_folder: Path, pair: PairSettings) -> Path:
    """Write what was fitted into the slow model's folder."""
    path = _path(slow_folder, pair.fast)
    write_json(path, to_dict(pair))
    return path


def read_pair(slow_folder: Path, fast: str, slow: str, named: str) -> PairSettings:
    """What was fitted for these two models, by their fingerprints; the fast one can be loaded as `named`.

    Raises ModelError when nothing was fitted, or for another slow model.
    """
    path = _path(slow_folder, fast)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"{slow_folder} was not fitted to this fast model ({fast[:8]}); do so once, with PAIRS that neither was "
            f"trained on: diptych fit-rerank --fast {quote(named)} --slow {quote(str(slow_folder))} --data PAIRS"
        ) from error
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error}); fit the pair again") from error
    try:
        pair = from_dict(PairSettings, values, str(path))
    except ConfigError as error:
        raise ModelError(str(error)) from error
    if pair.slow != slow:
        raise ModelError(f"{path} was fitted for another version of the matcher; fit the pair again")
    return pair


def _path(folder: Path, fast: str) -> Path:
    return folder / FOLDER / f"{fast}.json"
