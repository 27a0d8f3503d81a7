"""Indexing images: hash, recognise, decode, embed, commit; each stage works ahead of the next.

    survey ──→ hash (thread) ──→ known content? ──→ decode (threads) ──→ embed ──→ commit (thread)
                                     └── yes: its vector is reused ───────────────────┘

With an engine (`core/workers.py`) its workers hash, decode and embed, and only what follows is done here.

Only a batch whose rows are durable in the store is acknowledged. After a killed run, the next one
finds the committed rows and goes on. Rows whose images are gone go into the trash, as one deletion.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from diptych.core.errors import Reason
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32
from diptych.core.text import one_line
from diptych.core.threads import map_ahead
from diptych.core.types import ImageRef, Skipped
from diptych.core.workers import Engine
from diptych.data.images import stream
from diptych.data.sounds import FRAMES_A_SECOND
from diptych.data.video import VideoImage
from diptych.library.descriptions import kept
from diptych.library.embedding import embedded
from diptych.library.encoder import Encoder
from diptych.library.image_reading import (
    HASH_AHEAD,
    EmbedImages,
    Read,
    SmallCopy,
    Work,
    read_image,
    sides,
    small_copy,
    unread,
)
from diptych.library.photos import note_left_out
from diptych.library.rendering.thumbnails import Thumbnails
from diptych.library.sources import FoundImage, Survey
from diptych.library.store.protocol import Store
from diptych.library.store.row_codec import column_name, kind_of
from diptych.library.store.rows import Row

from .known_rows import KnownRow
from .options import Acknowledge, IndexOptions
from .plan import ImagePlan, is_described_so
from .report import IndexReport
from .run import IndexRun

_CUT_SOUND = "sounds longer than the {:g} s that the model reads: the rest of each is not searched"
_COMPACT_EVERY = 100  # commits; keeps the number of small files in a long run bounded


@dataclass(frozen=True, slots=True)
class _Reuse:
    """A row whose vector the library has already, under `of`. `former`: the row that the image had before."""

    found: FoundImage
    id: str
    of: str
    content: str
    former: str | None
    photo: Mapping[str, Any] | None  # of the image; None where it was not read


@dataclass(frozen=True, slots=True)
class _Fresh:
    """A row that was embedded. `edited`: in place of a row of the same id."""

    found: FoundImage
    row: Row
    edited: bool


@dataclass(slots=True)
class _Batch:
    """What goes into the next commit."""

    rows: list[_Fresh] = field(default_factory=list)
    thumbs: dict[str, bytes] = field(default_factory=dict)
    reuses: list[_Reuse] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows) + len(self.reuses) + len(self.remove)


class ImageRun(IndexRun):
    """One run over one survey."""

    def __init__(
        self,
        store: Store,
        thumbnails: Thumbnails,
        encoder: Encoder,
        survey: Survey,
        options: IndexOptions,
        progress: Progress = SILENT,
        acknowledge: Acknowledge | None = None,
        engine: Engine | None = None,
    ) -> None:
        super().__init__(store, thumbnails, survey.skipped, survey.notes)
        self._encoder, self._survey, self._options, self._progress = encoder, survey, options, progress
        self._acknowledge, self._engine = acknowledge or (lambda paths: None), engine
        self._plan = ImagePlan(store, survey, prune=options.prune)
        self._batch = _Batch()
        self._committing: Future[list[str]] | None = None
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="diptych-commit")
        self._commits = 0
        self._last_commit = time.monotonic()
        self._in_flight: set[str] = set()  # contents that are being embedded
        self._waiting: list[tuple[FoundImage, Read]] = []  # the same content again, while it is being embedded
        self._to_embed: dict[int, tuple[FoundImage, Read]] = {}  # position in the stream -> what it is
        self._streamed = 0
        self._refused: dict[str, Skipped] = {}  # by content

    def run(self) -> IndexReport:
        """Bring the store up to date with the survey.

        On any exception the batch under way is dropped, a commit under way is finished, and everything
        acknowledged stays. A KeyboardInterrupt becomes an Interrupted that says how much that is.
        """
        with self.interruptible():
            try:
                if self._engine is None:
                    self._embed_all()
                else:
                    self._embed_by(self._engine)
                self._settle_waiting()
                self._remove_gone()
                self._commit()
                self._finish_commit()
                self._note_what_filters_miss()
            except KeyboardInterrupt:
                self._finish_commit()
                raise
            finally:
                self._committer.shutdown(wait=True)
        return self.report(self._plan.kept)

    def _note_what_filters_miss(self) -> None:
        """Metadata that is kept whole, but that `where` cannot ask about as it is."""
        columns = self.store.columns()
        for found in self._survey.found.values():
            for key, value in found.meta.items():
                kind = columns.get(column_name(key))
                if value is None or kind in ("text", kind_of(value)):
                    continue
                if kind is None:
                    detail = f"images whose {key!r} has no column in this library: --where cannot ask for it"
                else:
                    detail = f"images whose {key!r} is no {kind} as that of others: --where takes it for missing"
                self.notes.add("no_column" if kind is None else "other_kind", detail, found.path)

    def _embed_all(self) -> None:
        options, work = self._options, self._work()
        preprocess, encode = sides(self._encoder, has_videos=work.has_videos)
        batches = stream(
            self._unknown(),
            preprocess,
            batch_size=options.batch_size,
            workers=options.workers,
            limits=options.limits,
            also=small_copy,
        )
        try:
            for batch in batches:
                vectors = embedded(batch.pixels, self._encoder, encode)
                for position, vector, copy in zip(batch.indices, vectors, batch.extras, strict=True):
                    found, read = self._to_embed.pop(position)
                    self._in_flight.remove(read.content)
                    self._take(found, read, vector, copy)
                for position, skipped in batch.skipped:
                    found, read = self._to_embed.pop(position)
                    self._in_flight.remove(read.content)
                    self._refused[read.content] = skipped
                    self._refuse(found, skipped)
                self._commit_when_due()
        finally:
            batches.close()  # type: ignore[attr-defined]  # a generator: stops the decoding threads

    def _embed_by(self, engine: Engine) -> None:
        """The same by the workers of an engine. They embed whatever is of no content that is known at the start."""
        survey, work = self._survey, self._work()
        wanted = {path for path, found in survey.found.items() if not self._plan.is_unchanged(found)}
        self.counts["unchanged"] += len(survey.found) - len(wanted)
        images: Iterable[FoundImage] = (found for found in survey.images() if found.path in wanted)
        images, known = self._progress.track(images, "indexing", total=len(wanted)), self._plan.contents()
        while images:
            again: list[FoundImage] = []  # of a content that was known, and that no row has any more
            task = EmbedImages.by(self._encoder, work, known)
            for image, result in engine.run(task, map(unread, images), self.notes):
                found = survey.found[image.path]
                if isinstance(result, Skipped):
                    self._refuse(found, result)
                elif self._is_settled(found, result.read):
                    pass
                elif result.vector is None or result.copy is None:
                    again.append(found)
                else:
                    self._take(found, result.read, result.vector, result.copy)
                self._commit_when_due()
            images, known = again, set()

    def _work(self) -> Work:
        options = self._options
        has_videos = any(isinstance(found.inside, VideoImage) for found in self._survey.found.values())
        return Work(options.batch_size, options.workers, options.limits, has_videos)

    def _unknown(self) -> Iterator[ImageRef]:
        """The images that the model has to embed; everything else is settled on the way."""
        images = self._progress.track(self._survey.images(), "indexing", total=len(self._survey.found))
        reads = map_ahead(self._read, self._not_unchanged(images), workers=1, depth=HASH_AHEAD, name="hash")
        for found, read in reads:
            if isinstance(read, Skipped):
                self._refuse(found, read)
                continue
            if not self._is_settled(found, read):
                self._in_flight.add(read.content)
                self._to_embed[self._streamed] = (found, read)
                self._streamed += 1
                yield found.ref
            self._commit_when_due()

    def _is_settled(self, found: FoundImage, read: Read) -> bool:
        """Whether an image needs no embedding: it is in the trash, or its content is known or being embedded."""
        note_left_out(self.notes, [read.photo])
        if self._plan.is_deleted(found, read.content):
            self.counts["trashed"] += 1
            return True
        if read.content in self._in_flight:
            self._waiting.append((found, read))
            return True
        return self._recognise(found, read)

    def _not_unchanged(self, images: Iterable[FoundImage]) -> Iterator[FoundImage]:
        for found in images:
            if self._plan.is_unchanged(found):
                self.counts["unchanged"] += 1
            else:
                yield found

    def _read(self, found: FoundImage) -> tuple[FoundImage, Read | Skipped]:
        """Runs ahead, in a thread."""
        return found, read_image(unread(found), self._encoder.preprocess, self._options.limits)

    def _recognise(self, found: FoundImage, read: Read) -> bool:
        """Reuse a vector if this content has one already; False when it has none."""
        content = read.content
        known = self._plan.by_path.get(found.path)
        if known is not None and known.content == content:
            same = "moved" if known.id in self._plan.renamed else "unchanged"
            self._reuse(found, read, known, known, same if is_described_so(known, found) else "updated")
            return True
        # An edited file may have taken the content of another; it keeps its id, and nothing has moved.
        if known is None:
            if (back := self._plan.take_returned(found.path, found.source, content, moved=False)) is not None:
                self._reuse(found, read, back, back, "restored")
                return True
            if (moved := self._plan.take_moved(content)) is not None:
                self._reuse(found, read, moved, moved, "moved")
                return True
            if (back := self._plan.take_returned(found.path, found.source, content)) is not None:
                self._reuse(found, read, back, back, "restored")
                return True
        twins = self._plan.by_content[content]
        if not twins:
            return False
        self._reuse(found, read, twins[0], known, "updated" if known else "added")
        return True

    def _reuse(self, found: FoundImage, read: Read, source: KnownRow, former: KnownRow | None, count: str) -> None:
        self.counts[count] += 1
        identifier = self._plan.id_for(found, source.content) if former is None else former.id
        self._batch.reuses.append(
            _Reuse(
                found,
                identifier,
                source.id,
                source.content,
                None if former is None else former.id,
                None if read.photo is None else read.photo.said,
            )
        )
        digest = found.digest if found.described else source.digest
        self._put(found, identifier, source.content, digest)

    def _put(self, found: FoundImage, identifier: str, content: str, digest: str) -> None:
        self._plan.put(KnownRow(identifier, found.path, found.source, content, found.bytes, found.modified_ns, digest))

    def _take(self, found: FoundImage, read: Read, vector: Float32[np.ndarray, d], copy: SmallCopy) -> None:
        """Put an image that was embedded into the next commit."""
        identifier = self._plan.id_for(found, read.content)
        old = self._plan.by_path.get(found.path)
        row = found.row(identifier, read.content, read.header.upright(is_wide=copy.is_wide), vector)
        row = replace(row, photo=None if read.photo is None else read.photo.said)
        self._batch.rows.append(_Fresh(found, row, edited=old is not None))
        self._batch.thumbs[read.content] = copy.jpeg
        preprocess = self._encoder.preprocess
        if preprocess.is_of_sounds and read.header.width > preprocess.size:
            self.notes.add("sound_cut", _CUT_SOUND.format(preprocess.size / FRAMES_A_SECOND), found.path)
        self.counts["updated" if old else "added"] += 1
        self.counts["embedded"] += 1
        self._put(found, identifier, read.content, row.digest)

    def _refuse(self, found: FoundImage, skipped: Skipped) -> None:
        """Leave an image out. A row that this path had goes too, unless the file merely could not be opened."""
        self.skipped.append(replace(skipped, name=found.path, detail=one_line(skipped.detail)))
        known = self._plan.by_path.get(found.path)
        if known is not None and skipped.reason is not Reason.MISSING:
            self._plan.drop(known)
            self._batch.remove.append(known.id)

    def _settle_waiting(self) -> None:
        """Further copies of images that this run was embedding, or refused, when it met them."""
        for found, read in self._waiting:
            if not self._recognise(found, read):
                self._refuse(found, self._refused[read.content])
            self._commit_when_due()

    def _remove_gone(self) -> None:
        for identifier in sorted(self._plan.gone):
            self._batch.remove.append(identifier)
            self._commit_when_due()

    def _commit_when_due(self) -> None:
        if self._committing is not None and self._committing.done():
            self._finish_commit()
        options = self._options
        late = time.monotonic() - self._last_commit >= options.commit_seconds
        if len(self._batch) >= options.commit_rows or (late and len(self._batch)):
            self._commit()

    def _commit(self) -> None:
        """Hand the batch to the commit thread, after the one before is durable."""
        self._finish_commit()
        batch, self._batch = self._batch, _Batch()
        self._last_commit = time.monotonic()
        if len(batch):
            self._committing = self._committer.submit(self._write_batch, batch)

    def _finish_commit(self) -> None:
        if self._committing is not None:
            pending, self._committing = self._committing, None
            self._acknowledge(pending.result())

    def _write_batch(self, batch: _Batch) -> list[str]:
        """Thumbnails first, so that no row is without; then the rows, in one version. Runs in the commit thread."""
        for content, jpeg in batch.thumbs.items():
            self.thumbnails.write(content, jpeg)
        needed = {fresh.row.id for fresh in batch.rows if fresh.edited}
        needed |= {one for reuse in batch.reuses for one in (reuse.of, reuse.former) if one is not None}
        stored = {row.id: row for row in self.store.get(needed, "all")}
        rows: dict[str, Row] = {}
        for fresh in batch.rows:
            former = stored.get(fresh.row.id) if fresh.edited else None
            rows[fresh.row.id] = (
                fresh.row
                if former is None
                else self.in_place_of(former, fresh.row, source_speaks=fresh.found.described)
            )
        for reuse in batch.reuses:
            source = rows.get(reuse.of)
            if source is None or source.content != reuse.content:  # what it was before an edit in this batch
                source = stored[reuse.of]
            rows[reuse.id] = self._again(source, reuse, stored)
        self.write(list(rows.values()), set(batch.remove) - rows.keys())
        self._commits += 1
        if self._commits % _COMPACT_EVERY == 0:
            self.store.compact(keep_seconds=3600)
        return [row.path for row in rows.values()]

    def _again(self, source: Row, reuse: _Reuse, stored: Mapping[str, Row]) -> Row:
        """The row of an image whose vector is known from another row, or from the row that it had before."""
        found = reuse.found
        row = found.row(reuse.id, source.content, (source.width, source.height), source.vector)
        row = replace(row, photo=source.photo if reuse.photo is None else reuse.photo)
        if source.photo and "words" in source.photo:  # of the same bytes
            row = replace(row, photo={**(row.photo or {}), "words": source.photo["words"]})
        if reuse.former is None:  # a copy; it starts with what is known about the other
            return row if found.described else replace(kept(row, source, source_speaks=False), title=None)
        return self.in_place_of(stored.get(reuse.former, source), row, source_speaks=found.described)
