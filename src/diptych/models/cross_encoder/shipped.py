"""The re-ranker that ships in the package, fitted to the dual encoder "base"."""

from __future__ import annotations

from pathlib import Path

from diptych.core.errors import ModelError
from diptych.models.folder import CONFIG

from .pair import is_fitted

NAME = "base"
FOLDER = Path(__file__).parent.parent / "shipped" / "base-reranker"
_TRAIN = "diptych train configs/cross_encoder.toml makes one, to name as --reranker"


def is_shipped() -> bool:
    """Whether this package holds one."""
    return (FOLDER / CONFIG).is_file()


def find(spec: str | Path) -> Path:
    """The folder of a cross-encoder: the shipped one's for its name, else the folder that is named.

    Raises ModelError where none ships, and where there is no such folder.
    """
    folder = Path(spec).expanduser()
    if str(spec).removeprefix("diptych-") == NAME and not (folder / CONFIG).exists():
        if not is_shipped():
            raise ModelError(f"no re-ranker ships with this version of Diptych; {_TRAIN}")
        return FOLDER
    if not folder.is_dir():
        choices = f"; {NAME!r} is the one that ships" if is_shipped() else ""
        raise ModelError(f"no model folder at {folder}; {_TRAIN}{choices}")
    return folder


def default() -> str:
    """What is taken where no re-ranker is named. Raises ModelError where none ships."""
    if not is_shipped():
        raise ModelError(f"no re-ranker was named, and none ships with this version of Diptych; {_TRAIN}")
    return NAME


def fitted_to(dual_encoder: str) -> str | None:
    """The shipped re-ranker's name where it is fitted to a dual encoder, by its fingerprint; else None."""
    return NAME if is_shipped() and is_fitted(FOLDER, dual_encoder) else None
