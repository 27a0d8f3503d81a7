"""Where Diptych keeps what can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`DIPTYCH_CACHE`, else `XDG_CACHE_HOME/diptych`, else `~/.cache/diptych`. Not created here."""
    if chosen := os.environ.get("DIPTYCH_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "diptych"
