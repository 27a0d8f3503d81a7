"""What images say about themselves, read from their files again: for rows that an earlier version indexed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from diptych.core.batched import batched
from diptych.core.errors import DataError, Interrupted, LibraryError
from diptych.core.notes import Note, Notes
from diptych.core.protocols import Progress
from diptych.core.types import BytesImage
from diptych.data.images import Photo, read_photo
from diptych.library.images import Wanted, read_again
from diptych.library.kinds import holds_texts, video_of
from diptych.library.opened import Opened
from diptych.library.photos import note_left_out
from diptych.library.store.protocol import cells
from diptych.library.writer import WAIT, Writer

_COMMIT = 256  # rows that become durable together


@dataclass(frozen=True, slots=True)
class Reread:
    """What reading again did. `missing`: paths of images that are gone or have changed since they were indexed."""

    read: int
    known: int  # images that had been asked before
    missing: tuple[str, ...]
    notes: tuple[Note, ...]


def reread(opened: Opened, progress: Progress) -> Reread:
    """Ask all images that were never asked; what was done stays when it is interrupted.

    The writer's lock is held for each write alone. Raises LibraryError for a library of texts.
    """
    store = opened.store()
    if holds_texts(store):
        raise LibraryError("a library of texts has no photos; name a library of images")
    rows = [row for row in cells(store, "id", "path", "content", "meta", part="all") if not video_of(row[1])]
    wanted = [Wanted(*row[:3]) for row in rows if "photo" not in json.loads(row[3])]
    writer, notes, missing, read = Writer(opened), Notes(), list[str](), 0
    images = progress.track(read_again(wanted, opened.folder), "reading", total=len(wanted))
    try:
        for batch in batched(images, _COMMIT):
            missing += [one.path for one, image in batch if image is None]
            photos = {one.id: (one.content, _photo(image)) for one, image in batch if image is not None}
            with opened.writing(WAIT) as current:
                there = [row for row in current.get(photos, "all") if row.content == photos[row.id][0]]
                writer.write(current, [replace(row, photo=photos[row.id][1].said) for row in there])
            note_left_out(notes, (photos[row.id][1] for row in there))
            read += len(there)
    except KeyboardInterrupt as stop:
        raise Interrupted(f"{read} images were read again; the same command continues") from stop
    return Reread(read, len(rows) - len(wanted), tuple(sorted(missing)), tuple(notes))


def _photo(image: BytesImage) -> Photo:
    """What an image says; nothing where the bytes are of a sound, or cannot be read any more."""
    try:
        return read_photo(image)
    except DataError:
        return Photo()
