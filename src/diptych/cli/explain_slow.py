"""`diptych explain-match`: what the cross-encoder looked at."""

from __future__ import annotations

from pathlib import Path

from diptych.core.errors import ConfigError
from diptych.core.extras import need
from diptych.core.files import write_bytes
from diptych.core.notes import Note
from diptych.core.types import BytesImage

from .outputs import PNG, check_file
from .shared import Common

COMMON = Common()


def explain_match(
    text: str,
    image: Path | None = None,
    /,
    *,
    slow: Path,
    library: Path | None = None,
    id: str = "",
    out: Path = Path("explained.png"),
    common: Common = COMMON,
) -> None:
    """Draw which regions of a picture each word of a text looked at, and what the picture told about it.

    The number behind a word is by how many nats the picture made it likelier: large ones made the match,
    negative ones spoke against it.

    For example:

        diptych explain-match "a dog catches a red frisbee" photo.jpg --slow runs/cross-encoder/model

        diptych explain-match "a red frisbee" --library my.library --id 3f2a91c07be44d10 --slow runs/cross-encoder/model

    Args:
        text: The text.
        image: The picture.
        slow: The cross-encoder's folder.
        library: Take the picture from this library instead, by its id.
        id: The id of a hit, as search prints it.
        out: Where the PNG goes.
    """
    need("torch", "diptych explain-match")
    from diptych.data.images import name_of
    from diptych.models.cross_encoder import load_trained_cross_encoder
    from diptych.models.cross_encoder.explain import explain_match as explain
    from diptych.models.cross_encoder.explain import overlay

    check_file(out, "--out", PNG)
    if (image is None) == (library is None):
        raise ConfigError("expected a picture, or --library and --id, and not both")
    shown = image if image is not None else _in_library(library or Path(), id)
    match = explain(load_trained_cross_encoder(slow, device=common.device), shown, text)
    write_bytes(out, overlay(shown, match))
    value = {
        "text": match.text,
        "image": name_of(shown),
        "h": match.score,
        "words": [{"word": one.word, "gain": one.gain, "regions": one.regions.tolist()} for one in match.words],
        "out": str(out),
    }
    lines = [f"  {one.word:16} {one.gain:+6.2f}" for one in match.words]
    notes = [Note("cut", match.unread, "word pieces at the end of the text that the cross-encoder does not read")]
    text = "\n".join([f"h = {match.score:.2f}; nats that the picture adds to each word:", *lines, str(out)])
    common.show(value, text, notes if match.unread else ())


def _in_library(folder: Path, identifier: str) -> BytesImage:
    from diptych.library import Library

    return Library.open(folder).image(identifier)
