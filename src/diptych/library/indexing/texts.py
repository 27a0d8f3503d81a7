"""A library of texts: each is a row, found by words that mean the same, or by a picture that it would describe.

    /notes/captions.csv::1003.jpg#0      path of a text: the file that lists it, its record, its place there

A library holds pictures or texts, not both: a text is always nearer to a text than any picture is.
"""

from __future__ import annotations

import io
import os
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import DataError, Interrupted, LibraryError, Reason
from diptych.core.file_names import DistinctNames, escape
from diptych.core.notes import Notes
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32
from diptych.core.types import Pair, Skipped, Text
from diptych.data.readers import SourceOptions, open_source
from diptych.data.readers.reading import Reading
from diptych.data.readers.textfile import lines
from diptych.library.rendering.text_thumbnails import font_for, wrapped
from diptych.library.rendering.thumbnails import SIZE, Thumbs
from diptych.library.store.protocol import Part, Store
from diptych.library.store.rows import BROUGHT_BACK, TEXT_KIND, Row, content_of, description_digest, new_id
from diptych.library.store.trash import Batch, is_of_gone

from .absent import UNDONE, Kept, away
from .descriptions import KEPT_DESCRIPTION, KEPT_DETAIL, is_touched, kept
from .report import IndexReport

Embed = Callable[[Sequence[str]], Float32[np.ndarray, "b d"]]

ANY_SOURCE = SourceOptions()
MARK = "texts:"  # how the source of a text's row begins, so that indexing pictures of the same file never removes it
_AT_ONCE = 256  # texts embedded together
_COMMIT = 2048  # rows that become durable together
_PAPER, _INK, _FONT, _LINES = "#fbf7ef", "#23201a", 18, 8
_MOST_LETTERED = 300  # characters; more do not fit a card, and fitting them takes long


@dataclass(frozen=True, slots=True)
class _Listed:
    """A text that a source has."""

    path: str  # written form
    source: str
    modified_ns: int
    text: Text
    pair: Pair

    @property
    def encoded(self) -> bytes:
        return self.text.value.encode("utf-8", "surrogatepass")

    @property
    def content(self) -> str:
        return content_of(self.encoded)

    @property
    def meta(self) -> dict[str, Any]:
        told = {"kind": TEXT_KIND, "record": self.pair.id, "lang": self.text.lang, "field": self.text.field}
        return {**self.pair.meta, **{name: value for name, value in told.items() if value}}

    @property
    def digest(self) -> str:
        return description_digest((self.text.value,), self.pair.split, self.pair.group, self.meta)


def index_texts(
    store: Store,
    thumbs: Thumbs,
    embed: Embed,
    paths: Iterable[Path | str],
    *,
    format: str | None = None,
    options: SourceOptions = ANY_SOURCE,
    progress: Progress = SILENT,
) -> IndexReport:
    """Bring the store up to date with the texts of these sources; counts are texts. The caller holds the lock.

    Unchanged texts are not embedded again; those that a source named now no longer lists go into the trash. Those of a
    source that is away, or lists nothing any more, are kept. What was said about a text here stays.

    Raises DataError for a source that cannot be read or has no text, before anything is changed, and LibraryError
    for a library of pictures.
    """
    started = time.monotonic()
    options = replace(options, format=format or options.format)
    run = _Run(store, thumbs, embed)
    listed: dict[str, _Listed] = {}
    sources: set[str] = set()
    stays: list[Kept] = []
    for root in dict.fromkeys(os.path.abspath(os.fsdecode(given)) for given in paths):  # noqa: PTH100 - keep symlinks
        shown = escape(root)
        try:
            found = {one.path: one for one in _survey([root], options, run.skipped, run.notes)}
            if not found:
                raise DataError(f"found no text in {shown} (the library is unchanged)", Reason.EMPTY_TEXT)
        except DataError as error:
            stay = tuple(sorted(one.path for one in run.known if one.source == f"{MARK}{shown}"))
            if not stay:
                raise
            stays.append(Kept(shown, away(Path(root)) or str(error).partition(";")[0], stay))
        else:
            listed |= found
            sources.add(f"{MARK}{shown}")
    if not listed and not stays:
        raise DataError("no source was named; expected files or folders that hold texts")
    try:
        stays += run.write(list(listed.values()), sources, progress)
    except KeyboardInterrupt as stop:
        raise Interrupted(f"{run.durable} texts of this run are in the library and stay there") from stop
    return IndexReport(
        **run.counts,
        skipped=tuple(run.skipped),
        seconds=time.monotonic() - started,
        notes=tuple(run.notes),
        kept=tuple(stays),
        batch=run.gone.name if run.counts["removed"] else None,
    )


class _Run:
    """One run over all texts that were found."""

    def __init__(self, store: Store, thumbs: Thumbs, embed: Embed) -> None:
        self._store, self._thumbs, self._embed = store, thumbs, embed
        self.known = _known(store, "live")
        self.gone = Batch.of_gone()
        names = ("added", "updated", "moved", "unchanged", "removed", "embedded", "trashed", "restored")
        self.counts = dict.fromkeys(names, 0)
        self.skipped: list[Skipped] = []
        self.notes = Notes()
        self.durable = 0  # texts
        self._taken = {one.id for one in self.known}
        self._returning: defaultdict[str, list[_Known]] = defaultdict(list)  # by content: what indexing put there
        self._deleted: set[tuple[str, str]] = set()  # (path or source, content) of what somebody put into the trash
        for one in _known(store, "trash"):
            self._taken.add(one.id)
            if is_of_gone(one.batch):
                self._returning[one.content].append(one)
            else:
                self._deleted |= {(one.path, one.content), (one.source, one.content)}
        self._replaced: set[str] = set()  # contents that texts had before the run

    def write(self, listed: Sequence[_Listed], sources: Collection[str], progress: Progress) -> list[Kept]:
        """Rows for all that is listed; what these sources list no more goes into the trash, or stays (given back)."""
        matched = _matched(listed, self.known)
        new: list[_Listed] = []
        described: list[_Listed] = []  # known texts of which the source now says something else
        for one in listed:
            before = matched.get(one.path)
            if before is None and {(one.path, one.content), (one.source, one.content)} & self._deleted:
                self.counts["trashed"] += 1
                continue
            if before is None and (before := self._take_returned(one)) is not None:
                matched[one.path] = before
            if before is None or before.content != one.content:
                new.append(one)
            elif (before.path, before.digest, before.batch) == (one.path, one.digest, None):
                self.counts["unchanged"] += 1
            else:
                described.append(one)
        for chunk in _chunks(described, _COMMIT):
            self._describe(chunk, matched)
        chunks = _chunks(new, _AT_ONCE)
        rows: list[Row] = []
        for chunk in progress.track(chunks, "texts", total=len(chunks)):
            rows += self._embedded(chunk, matched)
            if len(rows) >= _COMMIT:
                self._write(rows)
                rows = []
        self._write(rows)
        still = {one.id for one in matched.values()}
        missed = [one for one in self.known if one.source in sources and one.id not in still]
        gone = self._store.get([one.id for one in missed if one.batch != BROUGHT_BACK])
        self._store.write(self.gone.put_on(gone))
        self.counts["removed"] = len(gone)
        self._thumbs.forget(self._replaced, self._store)
        return [Kept(one.path, UNDONE, (one.path,)) for one in missed if one.batch == BROUGHT_BACK]

    def _take_returned(self, one: _Listed) -> _Known | None:
        waiting = self._returning[one.content]
        if not waiting:
            return None
        found = min(waiting, key=lambda row: (row.path != one.path, row.source != one.source))
        waiting.remove(found)
        return found

    def _describe(self, chunk: Sequence[_Listed], matched: Mapping[str, _Known]) -> None:
        stored = {row.id: row for row in self._store.get([matched[one.path].id for one in chunk], "all")}
        rows = []
        for one in chunk:
            old = stored[matched[one.path].id]
            row = kept(_row(one, old.vector, old.id), old, source_speaks=True)
            if old.deleted_at is not None:
                self.counts["restored"] += 1
            elif row.path != old.path:
                self.counts["moved"] += 1
            else:
                self.counts["updated" if row.digest != old.digest else "unchanged"] += 1
            rows.append(row)
        self._write(rows)

    def _embedded(self, chunk: Sequence[_Listed], matched: Mapping[str, _Known]) -> list[Row]:
        vectors = normalise(self._embed([one.text.value for one in chunk]))
        edited = [matched[one.path].id for one in chunk if one.path in matched]
        stored = {row.id: row for row in self._store.get(edited)}
        self.counts["embedded"] += len(chunk)
        rows = []
        for one, vector in zip(chunk, vectors, strict=True):
            self._thumbs.write(one.content, lettered(one.text.value))
            if before := matched.get(one.path):
                old = stored[before.id]
                self.counts["updated"] += 1
                self._replaced.add(old.content)
                if is_touched(old):
                    self.notes.add(KEPT_DESCRIPTION, KEPT_DETAIL, one.path)
                rows.append(kept(_row(one, vector, before.id), old, source_speaks=True))
            else:
                self.counts["added"] += 1
                identifier = new_id(one.path, one.content, self._taken)
                self._taken.add(identifier)
                rows.append(_row(one, vector, identifier))
        return rows

    def _write(self, rows: Sequence[Row]) -> None:
        self._store.write(rows)
        self.durable += len(rows)


def _chunks(listed: Sequence[_Listed], size: int) -> list[Sequence[_Listed]]:
    return [listed[start : start + size] for start in range(0, len(listed), size)]


def holds_texts(store: Store) -> bool:
    """Whether the rows are texts. A library has rows of one kind, so the first block tells."""
    for block in store.scan(["source"]):
        if block["source"]:
            return any(source.startswith(MARK) for source in block["source"])
    return False


@dataclass(frozen=True, slots=True)
class _Known:
    """What the library remembers of a text's row."""

    id: str
    path: str
    source: str
    content: str
    digest: str
    batch: str | None


def _known(store: Store, part: Part) -> list[_Known]:
    """All rows, lines of a file in their order. Raises LibraryError when there are pictures."""
    found: list[_Known] = []
    columns = ["id", "path", "source", "content", "digest", "batch"]
    for block in store.scan(columns, part):
        found += [_Known(*values) for values in zip(*(block[name] for name in columns), strict=True)]
    for one in found:
        if not one.source.startswith(MARK):
            raise LibraryError(
                f"the library holds pictures ({one.path}), found texts to put in; make a library of its own for them, "
                "or search the pictures by words"
            )
    return sorted(found, key=lambda one: (len(one.path), one.path))


def _matched(listed: Iterable[_Listed], known: list[_Known]) -> dict[str, _Known]:
    """Path of a listed text -> the row that it already has.

    A row is the text's by what it says, whatever its place: rows put in above it do not move what a user said of it
    to another text. Only a text that is nowhere else takes the row of its place, as an edited one.
    """
    by_path = {one.path: one for one in known}
    matched: dict[str, _Known] = {}
    left: list[_Listed] = []
    for one in listed:
        own = by_path.get(one.path)
        if own is not None and own.content == one.content:
            matched[one.path] = own
        else:
            left.append(one)
    used = {one.id for one in matched.values()}
    free: dict[tuple[str, str], list[_Known]] = {}
    for row in known:
        if row.id not in used:
            free.setdefault((row.source, row.content), []).append(row)
    for one in left:
        rows = free.get((one.source, one.content), [])
        if rows:
            record = one.path.rpartition("#")[0]
            place = next((at for at, row in enumerate(rows) if row.path.rpartition("#")[0] == record), 0)
            matched[one.path] = rows.pop(place)
    used = {one.id for one in matched.values()}
    for one in left:
        own = by_path.get(one.path)
        if one.path not in matched and own is not None and own.id not in used:
            matched[one.path] = own
    return matched


def _row(one: _Listed, vector: Any, identifier: str) -> Row:
    return Row(
        id=identifier,
        path=one.path,
        source=one.source,
        content=one.content,
        bytes=len(one.encoded),
        modified_ns=one.modified_ns,
        width=SIZE,
        height=SIZE,
        vector=np.asarray(vector, dtype=np.float32),
        texts=(one.text.value,),
        split=one.pair.split,
        group=one.pair.group,
        meta=one.meta,
    )


def lettered(text: str) -> bytes:
    """The text on a card, as a JPEG: what stands for it where pictures are shown."""
    from PIL import Image, ImageDraw

    card = Image.new("RGB", (SIZE, SIZE), _PAPER)
    text = text if len(text) <= _MOST_LETTERED else text[:_MOST_LETTERED] + " …"
    font = font_for(text, _FONT)
    margin, line_height = 18, _FONT + 8
    rows = wrapped(text, font, SIZE - 2 * margin, _LINES)
    draw = ImageDraw.Draw(card)
    top = (SIZE - line_height * len(rows)) // 2
    for number, line in enumerate(rows):
        draw.text((margin, top + number * line_height), line, fill=_INK, font=font)
    data = io.BytesIO()
    card.save(data, "JPEG", quality=88)
    return data.getvalue()


def _survey(
    paths: Iterable[Path | str], options: SourceOptions, skipped: list[Skipped], notes: Notes
) -> Iterator[_Listed]:
    named = [Path(os.path.abspath(os.fsdecode(given))) for given in paths]  # noqa: PTH100 - keep symlinks as named
    for root in dict.fromkeys(named):
        names = DistinctNames()
        shown = escape(str(root))
        try:
            modified = root.stat().st_mtime_ns
        except OSError as error:
            raise DataError(f"cannot look at {shown}: {error.strerror}", Reason.MISSING) from error
        job = Reading(root, options, skipped, notes)
        is_plain = root.suffix.lower() == ".txt" and options.format is None
        for pair in _lines(job) if is_plain else _pairs(job):
            record = f"{shown}::{escape(names.give(pair.id))}"
            for place, text in enumerate(pair.texts):
                path = f"{record}#{place}"
                yield _Listed(path, f"{MARK}{shown}", modified, text, pair)


def _pairs(job: Reading) -> Iterator[Pair]:
    source = open_source(job.path, job.options)
    yield from source
    job.skipped.extend(source.skipped)
    job.notes.extend(source.notes)


def _lines(job: Reading) -> Iterator[Pair]:
    """Each line of a plain text file as a record of its own, by its number."""
    for where, line in lines(job, job.path):
        texts = tuple(job.texts(where, [line]))
        if texts:
            yield Pair(where.removeprefix(f"{job.path.name} "), (), texts)
