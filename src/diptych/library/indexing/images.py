"""Indexing images: hash, recognise, decode, embed, commit; each stage works ahead of the next.

    survey ──→ hash (thread) ──→ known content? ──→ decode (threads) ──→ embed ──→ commit (thread)
                                     └── yes: its vector is reused ───────────────────┘

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

from diptych.core.errors import DataError, Reason
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32, UInt8
from diptych.core.text import one_line
from diptych.core.threads import map_ahead
from diptych.core.types import BytesImage, ImageRef, Skipped
from diptych.data.images import Header, Photo, header_for, read_photo, stream, thumbnail
from diptych.data.sounds import FRAMES_A_SECOND
from diptych.data.video import VideoImage, probe
from diptych.encoders.video import MeanPooledVideo
from diptych.library.descriptions import kept
from diptych.library.embedding import embedded
from diptych.library.encoder import Encoder
from diptych.library.kinds import content_of_ref
from diptych.library.photos import note_left_out
from diptych.library.rendering.thumbnails import SIZE as THUMB_SIZE
from diptych.library.rendering.thumbnails import Thumbnails
from diptych.library.sources import FoundImage, Survey
from diptych.library.store.protocol import Store
from diptych.library.store.row_codec import column_name, kind_of
from diptych.library.store.rows import Row, content_of

from .known_rows import KnownRow
from .options import Acknowledge, IndexOptions
from .plan import ImagePlan, is_described_so
from .report import IndexReport
from .run import IndexRun

_HASH_AHEAD = 64  # images
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
    ) -> None:
        super().__init__(store, thumbnails, survey.skipped, survey.notes)
        self._encoder, self._survey, self._options, self._progress = encoder, survey, options, progress
        self._acknowledge = acknowledge or (lambda paths: None)
        self._plan = ImagePlan(store, survey, prune=options.prune)
        self._batch = _Batch()
        self._committing: Future[list[str]] | None = None
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="diptych-commit")
        self._commits = 0
        self._last_commit = time.monotonic()
        self._in_flight: dict[str, str] = {}  # content -> id of the image being embedded
        self._waiting: list[tuple[FoundImage, _Read]] = []  # the same content again, while it is being embedded
        self._to_embed: dict[int, tuple[FoundImage, _Read]] = {}  # position in the stream -> what it is
        self._streamed = 0
        self._refused: dict[str, Skipped] = {}  # by content

    def run(self) -> IndexReport:
        """Bring the store up to date with the survey.

        On any exception the batch under way is dropped, a commit under way is finished, and everything
        acknowledged stays. A KeyboardInterrupt becomes an Interrupted that says how much that is.
        """
        with self.interruptible():
            try:
                self._embed_all()
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
        options, preprocess, encode = self._options, self._encoder.preprocess, self._encoder.encode_pixels
        if any(isinstance(found.ref, VideoImage) for found in self._survey.found.values()):
            pooled = MeanPooledVideo(encode, preprocess)
            preprocess, encode = pooled.preprocess, pooled.encode_pixels
        batches = stream(
            self._unknown(),
            preprocess,
            batch_size=options.batch_size,
            workers=options.workers,
            limits=options.limits,
            also=_small_copy,
        )
        try:
            for batch in batches:
                self._take(batch.indices, embedded(batch.pixels, self._encoder, encode), batch.extras)
                for position, skipped in batch.skipped:
                    found, read = self._to_embed.pop(position)
                    del self._in_flight[read.content]
                    self._refused[read.content] = skipped
                    self._refuse(found, skipped)
                self._commit_when_due()
        finally:
            batches.close()  # type: ignore[attr-defined]  # a generator: stops the decoding threads

    def _unknown(self) -> Iterator[ImageRef]:
        """The images that the model has to embed; everything else is settled on the way."""
        images = self._progress.track(self._survey.images(), "indexing", total=len(self._survey.found))
        reads = map_ahead(self._read, self._not_unchanged(images), workers=1, depth=_HASH_AHEAD, name="hash")
        for found, read in reads:
            if isinstance(read, Skipped):
                self._refuse(found, read)
                continue
            note_left_out(self.notes, [read.photo])
            if self._plan.is_deleted(found, read.content):
                self.counts["trashed"] += 1
            elif read.content in self._in_flight:
                self._waiting.append((found, read))
            elif not self._recognise(found, read):
                self._in_flight[read.content] = self._plan.id_for(found, read.content)
                self._to_embed[self._streamed] = (found, read)
                self._streamed += 1
                yield found.ref
            self._commit_when_due()

    def _not_unchanged(self, images: Iterable[FoundImage]) -> Iterator[FoundImage]:
        for found in images:
            if self._plan.is_unchanged(found):
                self.counts["unchanged"] += 1
            else:
                yield found

    def _read(self, found: FoundImage) -> tuple[FoundImage, _Read | Skipped]:
        """The fingerprint of the encoded bytes and the size in their header. Runs ahead, in a thread."""
        limits = self._options.limits
        try:
            if isinstance(found.ref, VideoImage):
                about = probe(found.ref.path)
                return found, _Read(content_of_ref(found.ref), Header(about.width, about.height, turned=False))
            limits.check_bytes(found.bytes, found.path)
            with found.ref.open() as opened:
                data = opened.read(limits.max_bytes + 1)
            limits.check_bytes(len(data), found.path)
            image = BytesImage(data, found.path)
            header = header_for(image, self._encoder.preprocess, limits)
            photo = None if self._encoder.preprocess.is_of_sounds else read_photo(image, limits)
        except DataError as error:
            return found, Skipped(found.path, error.reason, str(error))
        except OSError as error:
            return found, Skipped(found.path, Reason.MISSING, f"cannot read it: {error.strerror}")
        return found, _Read(content_of(data), header, photo)

    def _recognise(self, found: FoundImage, read: _Read) -> bool:
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

    def _reuse(self, found: FoundImage, read: _Read, source: KnownRow, former: KnownRow | None, count: str) -> None:
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

    def _take(self, positions: list[int], vectors: Float32[np.ndarray, "b d"], copies: list[_SmallCopy]) -> None:
        for position, vector, copy in zip(positions, vectors, copies, strict=True):
            found, read = self._to_embed.pop(position)
            identifier = self._in_flight.pop(read.content)
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
        if reuse.former is None:  # a copy; it starts with what is known about the other
            return row if found.described else replace(kept(row, source, source_speaks=False), title=None)
        return self.in_place_of(stored.get(reuse.former, source), row, source_speaks=found.described)


@dataclass(frozen=True, slots=True)
class _Read:
    """What the encoded bytes of an image say before they are decoded."""

    content: str
    header: Header
    photo: Photo | None = None


@dataclass(frozen=True, slots=True)
class _SmallCopy:
    """What a decoding thread keeps of an image, besides the model's pixels."""

    is_wide: bool
    jpeg: bytes


def _small_copy(pixels: UInt8[np.ndarray, "*f h w 3"]) -> _SmallCopy:
    if pixels.ndim == 4:
        pixels = pixels[len(pixels) // 2]
    return _SmallCopy(pixels.shape[1] > pixels.shape[0], thumbnail(pixels, THUMB_SIZE))
