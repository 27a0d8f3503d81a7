"""What images say about themselves (`data.images.Photo`) and could not be taken: counted by reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from diptych.core.notes import Notes

if TYPE_CHECKING:
    from diptych.data.images import Photo

_LEFT_OUT = "what images say about themselves, left out (the images are in the library)"


def note_left_out(notes: Notes, photos: Iterable[Photo | None]) -> Notes:
    """The notes, with one remark for each thing that was left out."""
    for photo in photos:
        for what in () if photo is None else photo.left_out:
            notes.add("photo_left_out", _LEFT_OUT, part=what)
    return notes
