"""Sentences that a label is put into before it is embedded ("a photo of a {}."): built-in sets, or a file of them.

The average over several sentences is nearer to the images than the bare label, because joint models are trained on
sentences. Source: Radford et al. 2021, section 3.1.4 (prompt ensembling; arXiv 2103.00020).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.text import is_blank, one_line
from diptych.data.readers.encodings import decoded

SLOT = "{}"  # where the label goes
_KINDS = ("photo", "picture", "image")
_QUALITIES = ("good", "bad", "blurry", "bright", "dark", "cropped", "close-up", "low-resolution", "black and white")
_SIZES = ("small", "large", "clean", "old", "new")
_DRAWN = ("drawing", "painting", "sketch", "cartoon", "sculpture", "toy", "logo", "rendering")
_PLACES = ("in a room", "outdoors", "on a white background", "seen from above", "with people", "at night")

TEMPLATES: dict[str, tuple[str, ...]] = {
    "plain": (SLOT,),
    "photo": ("a photo of a {}.", "a photo of the {}.", "a close-up photo of a {}.", "a picture of {}.", "{}"),
    "clip": (
        SLOT,
        *(f"a {kind} of {article}{{}}." for kind in _KINDS for article in ("a ", "the ", "one ", "many ", "")),
        *(f"a {quality} photo of {article} {{}}." for quality in _QUALITIES for article in ("a", "the")),
        *(f"a photo of {article} {size} {{}}." for size in _SIZES for article in ("a", "the")),
        *(f"a {drawn} of {article} {{}}." for drawn in _DRAWN for article in ("a", "the")),
        *(f"a photo of a {{}} {place}." for place in _PLACES),
    ),
}
DEFAULT = "photo"


def templates_of(choice: str | Path | Sequence[str] = DEFAULT, encoding: str | None = None) -> tuple[str, ...]:
    """The templates of a built-in set by its name, of a file with one a line (or a JSON list), or as they are.

    Raises ConfigError for a name that is neither, DataError for a template without {} or a file without any.
    """
    if not isinstance(choice, str | Path):
        return _checked(list(choice), "templates")
    if str(choice) in TEMPLATES:
        return TEMPLATES[str(choice)]
    path, shown = Path(choice).expanduser(), one_line(str(choice))
    if not path.is_file():
        raise ConfigError(
            f"no templates {shown!r}: expected {', '.join(TEMPLATES)}, or a file with one template a line"
        )
    text, _ = decoded(path.read_bytes(), shown, encoding)
    if path.suffix.lower() != ".json":
        return _checked([line.strip() for line in text.splitlines() if not is_blank(line)], shown)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown} is not valid JSON: {error}") from error
    return _checked(values, shown)


def _checked(values: object, where: str) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise DataError(f"{where}: expected a list of texts, each with {SLOT} where the label goes")
    if not values:
        raise DataError(f"{where} holds no templates; expected one a line, with {SLOT} where the label goes",
                        Reason.EMPTY_TEXT)  # fmt: skip
    for number, value in enumerate(values, 1):
        if SLOT not in value:
            raise DataError(
                f"{where}: template {number} ({one_line(value[:60])!r}) has no {SLOT}; put {SLOT} where the label goes"
            )
    return tuple(dict.fromkeys(values))
