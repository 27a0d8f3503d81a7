"""The words inside the images of a library, read once for each image that was never asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from diptych.core.batched import batched
from diptych.core.errors import DataError, Interrupted, LibraryError, Reason
from diptych.core.protocols import SILENT, Progress
from diptych.core.text import plain
from diptych.core.types import BytesImage, Skipped
from diptych.data.images import read_photo
from diptych.library.images import Wanted, read_again
from diptych.library.kinds import holds_texts, video_of
from diptych.library.opened import Opened
from diptych.library.store.protocol import cells
from diptych.library.writer import WAIT, Writer

MOST_CHARACTERS = 2_000  # of one image; what is longer is cut
_COMMIT = 8  # images whose words become durable together
_KEEP_SECONDS = 3600.0  # old versions that a reader may still be using


@dataclass(frozen=True, slots=True)
class WordReport:
    """What reading words did."""

    read: int
    with_words: int  # of those that were read
    known: int  # images whose words had been read before
    cut: int  # whose words were cut
    skipped: tuple[Skipped, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        counts = {"read": self.read, "with_words": self.with_words, "known": self.known, "cut": self.cut}
        return {**counts, "skipped": [one.to_json() for one in self.skipped]}

    def to_text(self) -> str:
        """The counts, on one line."""
        reasons = Counter(one.reason.value for one in self.skipped)
        skipped = f", skipped: {', '.join(f'{count} {name}' for name, count in sorted(reasons.items()))}"
        cut = f", {self.cut} cut after {MOST_CHARACTERS:,} characters"
        return (
            f"words: read in {self.read} images, {self.with_words} have some, {self.known} were read before"
            f"{cut if self.cut else ''}{skipped if self.skipped else ''}"
        )


def read_words(
    opened: Opened,
    reader: Callable[[BytesImage], str],
    progress: Progress = SILENT,
    among: Collection[str] | None = None,
) -> WordReport:
    """Read the words of all images, or of those among these ids, that were never asked; what was done stays when it is
    interrupted.

    Raises LibraryError for a library of texts, or one on a server.
    """
    store = opened.store()
    store.check_words()
    if holds_texts(store):
        raise LibraryError("a library of texts has no images to read words in; leave --ocr out")
    rows = [row for row in cells(store, "id", "path", "content", "meta") if not video_of(row[1])]
    rows = [row for row in rows if among is None or row[0] in among]
    wanted = [Wanted(*row[:3]) for row in rows if "words" not in (json.loads(row[3]).get("photo") or {})]
    writer, skipped, counts = Writer(opened), list[Skipped](), Counter[str]()
    images = progress.track(read_again(wanted, opened.folder), "reading words", total=len(wanted))
    try:
        for batch in batched(_read(images, reader, skipped, counts), _COMMIT):
            with opened.writing(WAIT) as current:
                words = {one.id: found for one, found, _ in batch}
                images_of = {one.id: image for one, _, image in batch}
                contents = {one.id: one.content for one, _, _ in batch}
                there = [row for row in current.get(words) if row.content == contents[row.id]]  # not edited meanwhile
                photos = {row.id: _said(images_of[row.id]) if row.photo is None else row.photo for row in there}
                writer.write(current, [replace(row, photo={**photos[row.id], "words": words[row.id]}) for row in there])
                if not counts["with"] and any(words[row.id] for row in there):
                    current.compact(_KEEP_SECONDS)  # makes the words' index: what is read is found from now on
            counts["read"] += len(there)
            counts["with"] += sum(bool(words[row.id]) for row in there)
    except KeyboardInterrupt as stop:
        raise Interrupted(f"the words of {counts['read']} images are kept") from stop
    if counts["read"]:
        with opened.writing(WAIT) as current:
            current.compact(_KEEP_SECONDS)  # brings the words' index up to date
            opened.view.refresh()
    return WordReport(counts["read"], counts["with"], len(rows) - len(wanted), counts["cut"], tuple(skipped))


def _read(
    images: Iterator[tuple[Wanted, BytesImage | None]],
    reader: Callable[[BytesImage], str],
    skipped: list[Skipped],
    counts: Counter[str],
) -> Iterator[tuple[Wanted, str, BytesImage]]:
    """Each image that can be read, its words and its bytes."""
    for one, image in images:
        if image is None:
            detail = "it is gone or has changed since it was indexed; index its folder again"
            skipped.append(Skipped(one.path, Reason.MISSING, detail))
            continue
        try:
            words = plain(reader(image)).strip()
        except DataError as error:
            skipped.append(Skipped(one.path, error.reason, str(error)))
            continue
        counts["cut"] += len(words) > MOST_CHARACTERS
        yield one, words[:MOST_CHARACTERS], image


def _said(image: BytesImage) -> Mapping[str, Any]:
    """What an image that an earlier version indexed says about itself: it was not asked yet."""
    try:
        return read_photo(image).said
    except DataError:
        return {}
