"""Indexing texts: each is a row, found by words of similar meaning, or by an image that it describes.

    /notes/captions.csv::1003.jpg#0      path of a text: the file that lists it, its record, its place there

A library holds images or texts, not both: a text is always nearer to a text than any image is.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from diptych.core.batched import batched
from diptych.core.cosine import normalise
from diptych.core.errors import DataError, LibraryError, Reason
from diptych.core.file_names import DistinctNames, escape
from diptych.core.protocols import SILENT, Progress
from diptych.core.types import Pair, Text
from diptych.data.readers import Reading, SourceOptions, lines, open_source
from diptych.library.encoder import Encoder
from diptych.library.kinds import TEXT_SOURCE
from diptych.library.query import cut_note
from diptych.library.rendering.text_thumbnails import text_thumbnail
from diptych.library.rendering.thumbnails import SIZE, Thumbnails
from diptych.library.sources import FoundItem, away
from diptych.library.store.protocol import Store
from diptych.library.store.rows import BROUGHT_BACK, TEXT_KIND, Row, content_of

from .known_rows import KnownRow, KnownRows
from .report import UNDONE, IndexReport, Kept
from .run import IndexRun

_AT_ONCE = 256  # texts embedded together
_COMMIT = 2048  # rows that become durable together
_CARD = (SIZE, SIZE)  # pixels of a text's thumbnail


class TextRun(IndexRun):
    """One run over the texts of some sources; its counts are texts."""

    unit = "texts"

    def __init__(self, store: Store, thumbnails: Thumbnails, model: Encoder) -> None:
        """Raises LibraryError for a library of images."""
        super().__init__(store, thumbnails)
        self._model = model
        self._known = KnownRows(store, _is_text)

    def run(self, paths: Iterable[Path | str], options: SourceOptions, progress: Progress = SILENT) -> IndexReport:
        """Bring the store up to date.

        Unchanged texts are not embedded again. Those that a source named now no longer lists go into the trash. Those
        of a source that is away, or lists nothing any more, are kept. Descriptions changed here stay.

        Raises DataError for a source that cannot be read or has no text, before anything is changed.
        """
        listed: dict[str, FoundItem] = {}
        sources: set[str] = set()
        stays: list[Kept] = []
        for root in dict.fromkeys(os.path.abspath(os.fsdecode(given)) for given in paths):  # noqa: PTH100 - keep links
            shown = escape(root)
            source = f"{TEXT_SOURCE}{shown}"
            try:
                found = {
                    one.path: one for one in _listed(Reading(Path(root), options, self.skipped, self.notes), source)
                }
                if not found:
                    raise DataError(f"found no text in {shown} (the library is unchanged)", Reason.EMPTY_TEXT)
            except DataError as error:
                stay = tuple(sorted(one.path for one in self._known.live if one.source == source))
                if not stay:
                    raise
                stays.append(Kept(shown, away(Path(root)) or str(error).partition(";")[0], stay))
            else:
                listed |= found
                sources.add(source)
        if not listed and not stays:
            raise DataError("no source was named; expected files or folders that hold texts")
        with self.interruptible():
            stays += self._update(list(listed.values()), sources, progress)
        return self.report(stays)

    def _update(self, listed: Sequence[FoundItem], sources: Collection[str], progress: Progress) -> list[Kept]:
        """Rows for all that is listed; what these sources list no more goes into the trash, or stays (given back)."""
        matched = _matched(listed, self._known.live)
        new: list[FoundItem] = []
        described: list[FoundItem] = []  # known texts of which the source now says something else
        for one in listed:
            before = matched.get(one.path)
            if before is None and {(one.path, one.content), (one.source, one.content)} & self._known.deleted_at:
                self.counts["trashed"] += 1
                continue
            if before is None:
                before = self._known.take_returned(one.path, one.source, one.content)
                matched |= {} if before is None else {one.path: before}
            if before is None or before.content != one.content:
                new.append(one)
            elif (before.path, before.digest, before.batch) == (one.path, one.digest, None):
                self.counts["unchanged"] += 1
            else:
                described.append(one)
        self.notes.extend(cut_note([one.texts[0] for one in new], self._model, "texts"))
        for chunk in batched(described, _COMMIT):
            self.write(self._described(chunk, matched))
        rows: list[Row] = []
        for chunk in progress.track(batched(new, _AT_ONCE), "batches of texts", total=-(-len(new) // _AT_ONCE)):
            rows += self._embedded(chunk, matched)
            if len(rows) >= _COMMIT:
                self.write(rows)
                rows = []
        found = {one.id for one in matched.values()}
        missed = [one for one in self._known.live if one.source in sources and one.id not in found]
        self.write(rows, [one.id for one in missed if one.batch != BROUGHT_BACK])
        return [Kept(one.path, UNDONE, (one.path,)) for one in missed if one.batch == BROUGHT_BACK]

    def _described(self, chunk: Sequence[FoundItem], matched: Mapping[str, KnownRow]) -> list[Row]:
        stored = {row.id: row for row in self.store.get([matched[one.path].id for one in chunk], "all")}
        rows = []
        for one in chunk:
            old = stored[matched[one.path].id]
            row = self.in_place_of(old, one.row(old.id, one.content, _CARD, old.vector))
            if old.deleted_at is not None:
                self.counts["restored"] += 1
            elif row.path != old.path:
                self.counts["moved"] += 1
            else:
                self.counts["updated" if row.digest != old.digest else "unchanged"] += 1
            rows.append(row)
        return rows

    def _embedded(self, chunk: Sequence[FoundItem], matched: Mapping[str, KnownRow]) -> list[Row]:
        vectors = normalise(self._model.encode_texts([one.texts[0] for one in chunk]))
        stored = {row.id: row for row in self.store.get([matched[one.path].id for one in chunk if one.path in matched])}
        self.counts["embedded"] += len(chunk)
        rows = []
        for one, vector in zip(chunk, vectors, strict=True):
            self.thumbnails.write(one.content, text_thumbnail(one.texts[0]))
            if before := matched.get(one.path):
                self.counts["updated"] += 1
                rows.append(self.in_place_of(stored[before.id], one.row(before.id, one.content, _CARD, vector)))
            else:
                self.counts["added"] += 1
                rows.append(one.row(self._known.given_id(one.path, one.content), one.content, _CARD, vector))
        return rows


def _is_text(row: KnownRow) -> bool:
    """True. Raises LibraryError for an image."""
    if not row.source.startswith(TEXT_SOURCE):
        raise LibraryError(
            f"the library holds images ({row.path}), found texts to put in; make a library of its own for them, "
            "or search the images by words"
        )
    return True


def _matched(listed: Iterable[FoundItem], live: Iterable[KnownRow]) -> dict[str, KnownRow]:
    """Path of a listed text -> the row that it already has.

    A row belongs to the listed text of the same words, wherever that is now in its file. So lines put in above a text
    do not move its description to another text. Only a text whose words no row has takes the row at its place: it was
    edited.
    """
    known = sorted(live, key=lambda one: (len(one.path), one.path))  # lines of a file in their order
    by_path = {one.path: one for one in known}
    matched: dict[str, KnownRow] = {}
    left: list[FoundItem] = []
    for one in listed:
        own = by_path.get(one.path)
        if own is not None and own.content == one.content:
            matched[one.path] = own
        else:
            left.append(one)
    used = {one.id for one in matched.values()}
    free: dict[tuple[str, str], list[KnownRow]] = {}
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


def _listed(reading: Reading, source: str) -> Iterator[FoundItem]:
    """The texts of a source of pairs, or the lines of a .txt file. Of queries and documents only these, each once."""
    root, names = reading.path, DistinctNames()
    shown = escape(str(root))
    try:
        modified = root.stat().st_mtime_ns
    except OSError as error:
        raise DataError(f"cannot read {shown}: {error.strerror}", Reason.MISSING) from error
    is_plain = root.suffix.lower() == ".txt" and reading.options.format is None
    known: set[tuple[bool, str]] = set()
    for pair in _lines(reading) if is_plain else _pairs(reading):
        if pair.queries:
            reading.notes.add("queries", "queries of the source, not indexed", count=len(pair.queries))
        if pair.documents:
            fresh = {text.item_key: text for text in pair.documents if text.item_key not in known}
            known |= fresh.keys()
            pair = replace(pair, texts=tuple(fresh.values()))
        record = f"{shown}::{escape(names.give(pair.id))}" if any(text.item is None for text in pair.texts) else ""
        for place, text in enumerate(pair.texts):
            path = f"{record}#{place}" if text.item is None else f"{shown}::{escape(names.give(text.item))}#0"
            yield _found(path, source, modified, text, pair)


def _found(path: str, source: str, modified_ns: int, text: Text, pair: Pair) -> FoundItem:
    encoded = text.value.encode("utf-8", "surrogatepass")
    record = text.item or pair.id
    about = {"kind": TEXT_KIND, "record": record, "lang": text.lang, "field": text.field}
    return FoundItem(
        path=path,
        source=source,
        bytes=len(encoded),
        modified_ns=modified_ns,
        described=True,
        texts=(text.value,),
        split=pair.split if text.item is None else None,  # a document with an id is one of every split
        group=pair.group,
        meta={**pair.meta, **{name: value for name, value in about.items() if value}},
        content=content_of(encoded),
    )


def _pairs(reading: Reading) -> Iterator[Pair]:
    source = open_source(reading.path, reading.options)
    yield from source
    reading.skipped.extend(source.skipped)
    reading.notes.extend(source.notes)


def _lines(reading: Reading) -> Iterator[Pair]:
    """Each line of a plain text file as a record of its own, by its number."""
    for where, line in lines(reading, reading.path):
        texts = tuple(reading.texts(where, [line]))
        if texts:
            yield Pair(where.removeprefix(f"{reading.path.name} "), (), texts)
