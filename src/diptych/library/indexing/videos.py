"""Videos in a library: each moment is a row of its own, found by words as a picture is.

    /clips/beach.mp4::12.500-17.500      path of a moment: the file, and its part in seconds

A video is one write: whole or absent. Unchanged files are not decoded again; those gone from the folders
named now go into the trash, unless all of their folder is away. What was said about a moment stays with it.
"""

from __future__ import annotations

import os
import stat
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import DataError, Interrupted, Reason
from diptych.core.file_names import escape, unescape
from diptych.core.notes import Notes
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32
from diptych.core.text import one_line
from diptych.core.types import Skipped
from diptych.data.images import thumbnail
from diptych.data.video import SUFFIXES, Moment, MomentPlan, VideoLimits, probe, read_moments
from diptych.library.rendering.thumbnails import SIZE, Thumbs
from diptych.library.store.protocol import Part, Store
from diptych.library.store.rows import BROUGHT_BACK, Row, new_id
from diptych.library.store.trash import Batch, is_of_gone

from . import descriptions
from .absent import UNDONE, Absences, Kept, away, exists
from .report import IndexReport

Embed = Callable[[Sequence[list[np.ndarray]]], Float32[np.ndarray, "b d"]]
_AT_ONCE = 8  # moments embedded together


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    source: str
    bytes: int
    modified_ns: int

    @property
    def written(self) -> str:
        return escape(str(self.path))


def index_videos(
    store: Store,
    thumbs: Thumbs,
    embed: Embed,
    paths: Iterable[Path | str],
    *,
    plan: MomentPlan,
    limits: VideoLimits,
    progress: Progress = SILENT,
) -> IndexReport:
    """Bring the store up to date with the videos at these paths; counts are moments. The caller holds the lock.

    A video that cannot be read is skipped and named. Raises DataError when no path leads to a video.
    """
    started = time.monotonic()
    known = _Known(store)
    files, without = _survey(paths, known)
    if not files and not without:
        listed = ", ".join(sorted(SUFFIXES))
        raise DataError(f"found no video; expected files ending in {listed} (the library is unchanged)")
    run = _Run(store, thumbs, known)
    kept = run.look_for_missed(files, without)
    try:
        for file in progress.track(files, "videos", total=len(files)):
            run.take(file, embed, plan, limits)
    except KeyboardInterrupt as stop:
        raise Interrupted(f"{run.durable} moments of this run are in the library and stay there") from stop
    run.remove_missed()
    return IndexReport(
        **run.counts,
        skipped=tuple(run.skipped),
        seconds=time.monotonic() - started,
        notes=tuple(run.notes),
        kept=kept,
        batch=run.gone.name if run.counts["removed"] else None,
    )


@dataclass(frozen=True, slots=True)
class _Moment:
    """What the library remembers of a moment."""

    id: str
    path: str
    source: str
    content: str
    bytes: int
    modified_ns: int
    batch: str | None

    @property
    def video(self) -> str:
        return self.path.rpartition("::")[0]

    def is_of(self, file: _File) -> bool:
        """Whether size and time say that the file was not touched since."""
        return (self.bytes, self.modified_ns) == (file.bytes, file.modified_ns)


class _Known:
    """The moments of a library, by video, and those in its trash."""

    def __init__(self, store: Store) -> None:
        self.ids = {one for block in store.scan(["id"], "all") for one in block["id"]}
        self.live: defaultdict[str, list[_Moment]] = defaultdict(list)
        self.deleted: defaultdict[str, list[_Moment]] = defaultdict(list)  # what somebody put into the trash
        self.returning: dict[str, _Moment] = {}  # by content: what indexing put there
        for moment in _moments(store, "live"):
            self.live[moment.video].append(moment)
        for moment in _moments(store, "trash"):
            if is_of_gone(moment.batch):
                self.returning[moment.content] = moment
            else:
                self.deleted[moment.video].append(moment)

    def below(self, root: str) -> bool:
        """Whether there are moments of a video at or below a path, or of this source."""
        return any(
            moment.source == root or moment.video == root or moment.video.startswith(root.rstrip("/") + "/")
            for moments in self.live.values()
            for moment in moments
        )


def _moments(store: Store, part: Part) -> Iterator[_Moment]:
    columns = ["id", "path", "source", "content", "bytes", "modified_ns", "batch"]
    for block in store.scan(columns, part):
        for values in zip(*(block[name] for name in columns), strict=True):
            moment = _Moment(*values)
            if os.path.splitext(unescape(moment.video))[1].lower() in SUFFIXES:  # noqa: PTH122
                yield moment


class _Run:
    """One run over all videos that were found."""

    def __init__(self, store: Store, thumbs: Thumbs, known: _Known) -> None:
        self._store, self._thumbs, self._known = store, thumbs, known
        self._missed: dict[str, _Moment] = {}  # by content; where none has it any more they go into the trash
        self.gone = Batch.of_gone()
        names = ("added", "updated", "moved", "unchanged", "removed", "embedded", "trashed", "restored")
        self.counts: Counter[str] = Counter(dict.fromkeys(names, 0))
        self.skipped: list[Skipped] = []
        self.notes = Notes()
        self.durable = 0
        self._replaced: set[str] = set()  # contents that moments had before the run

    def look_for_missed(self, files: Sequence[_File], without: Mapping[str, str]) -> tuple[Kept, ...]:
        """Note the moments whose videos are gone; of what is away as a whole they are kept, and given back."""
        there = {file.written for file in files}
        sources = {file.source for file in files} | without.keys()
        absences = Absences()
        kept: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for video, moments in self._known.live.items():
            if video in there or exists(video):
                continue
            for moment in moments:
                roots = [root for root in without if video == root or video.startswith(root.rstrip("/") + "/")]
                if moment.source not in sources and not roots:
                    continue
                why = (roots[0], without[roots[0]]) if roots else absences.of(video)
                if why is None and moment.batch == BROUGHT_BACK:
                    why = (video, UNDONE)
                if why is None:
                    self._missed[moment.content] = moment
                else:
                    kept[why].append(moment.path)
        return tuple(Kept(folder, reason, tuple(sorted(paths))) for (folder, reason), paths in sorted(kept.items()))

    def take(self, file: _File, embed: Embed, plan: MomentPlan, limits: VideoLimits) -> None:
        """Bring the store up to date with one video, in one write."""
        before = self._known.live.get(file.written, [])
        deleted = self._known.deleted.get(file.written, [])
        if (before or deleted) and all(moment.is_of(file) for moment in [*before, *deleted]):
            self.counts["unchanged"] += len(before)
            self.counts["trashed"] += len(deleted)
            return
        try:
            rows = _rows(file, self._thumbs, embed, plan, limits)
        except DataError as error:
            self.skipped.append(Skipped(file.written, error.reason, one_line(str(error))))
            if error.reason is not Reason.MISSING:
                self._write([], before)
            return
        self.counts["embedded"] += len(rows)
        stay_away = {(moment.path, moment.content) for moment in deleted}
        wanted = [row for row in rows if (row.path, row.content) not in stay_away]
        self.counts["trashed"] += len(rows) - len(wanted)
        by_path = {moment.path: moment for moment in before}
        former = {row.path: self._former(row, by_path) for row in wanted}
        ids = [moment.id for moment in former.values() if moment is not None]
        stored = {row.id: row for row in self._store.get(ids, "all")}
        told = [self._told(row, former[row.path], stored) for row in wanted]
        still = {row.id for row in told}
        self._write(told, [moment for moment in before if moment.id not in still])

    def remove_missed(self) -> None:
        """What no video had any more."""
        self._write([], list(self._missed.values()))
        self._thumbs.forget(self._replaced, self._store)

    def _former(self, row: Row, before: Mapping[str, _Moment]) -> _Moment | None:
        """What the library has of a moment: at its path, or of the same content where it is gone."""
        if row.path in before:
            self.counts["updated"] += 1
            return before[row.path]
        for waiting, count in ((self._known.returning, "restored"), (self._missed, "moved")):
            if row.content in waiting:
                self.counts[count] += 1
                return waiting.pop(row.content)
        self.counts["added"] += 1
        return None

    def _told(self, row: Row, former: _Moment | None, stored: Mapping[str, Row]) -> Row:
        """A row with the id and all that people said about the same moment before."""
        if former is None:
            identifier = new_id(row.path, row.content, self._known.ids)
            self._known.ids.add(identifier)
            return replace(row, id=identifier)
        old = stored[former.id]
        title = row.title if old.title == _title(old.path) else old.title
        if old.content != row.content:
            self._replaced.add(old.content)
            if old.said is not None or title != row.title:
                self.notes.add(descriptions.KEPT_DESCRIPTION, descriptions.KEPT_DETAIL, row.path)
        return replace(descriptions.kept(row, old, source_speaks=True), id=old.id, title=title)

    def _write(self, rows: Sequence[Row], remove: Sequence[_Moment]) -> None:
        gone = self._store.get([moment.id for moment in remove])
        self._store.write([*rows, *self.gone.put_on(gone)])
        self.durable += len(rows)
        self.counts["removed"] += len(gone)


def _rows(file: _File, thumbs: Thumbs, embed: Embed, plan: MomentPlan, limits: VideoLimits) -> list[Row]:
    """A row for each moment of a video, without its id."""
    about = probe(file.path, limits)
    content = fingerprint.of_file(file.path)
    rows: list[Row] = []
    waiting: list[Moment] = []

    def flush() -> None:
        for moment, vector in zip(waiting, embed([moment.frames for moment in waiting]), strict=True):
            rows.append(_row(file, content, moment, vector, about.seconds, thumbs))
        waiting.clear()

    for moment in read_moments(file.path, plan, limits):
        waiting.append(moment)
        if len(waiting) == _AT_ONCE:
            flush()
    if waiting:
        flush()
    return rows


def _row(file: _File, content: str, moment: Moment, vector: Any, seconds: float, thumbs: Thumbs) -> Row:
    path = escape(moment.video.name)
    own = fingerprint.combined([content, path.rpartition("::")[2]])
    middle = moment.frames[len(moment.frames) // 2]
    thumbs.write(own, thumbnail(middle, SIZE))
    meta = {
        "video": file.written,
        "start": round(moment.video.start, 3),
        "end": round(moment.video.end or seconds, 3),
        "seconds": round(seconds, 3),
    }
    return Row(
        id="",
        path=path,
        source=file.source,
        content=own,
        bytes=file.bytes,
        modified_ns=file.modified_ns,
        width=middle.shape[1],
        height=middle.shape[0],
        vector=np.asarray(vector, dtype=np.float32),
        meta=meta,
        title=_title(path),
    )


def _title(path: str) -> str:
    """What a moment is called, unless somebody gave it another name."""
    video, _, part = path.rpartition("::")
    start, _, end = part.partition("-")
    return f"{os.path.basename(video)} {float(start):.1f}-{float(end):.1f} s"  # noqa: PTH119 - a written name


def _survey(paths: Iterable[Path | str], known: _Known) -> tuple[list[_File], dict[str, str]]:
    """The videos at these paths; and the paths without any of which the library has some, with the reason."""
    found: dict[str, _File] = {}
    without: dict[str, str] = {}
    for given in paths:
        root = Path(os.path.abspath(os.fsdecode(given)))  # noqa: PTH100 - keep symlinks as named
        shown = escape(str(root))
        try:
            files = list(_files(root))
        except OSError as error:
            if not known.below(shown):
                raise DataError(f"cannot look at {shown}: {error.strerror}", Reason.MISSING) from error
            files = []
        found |= {file.written: found.get(file.written, file) for file in files}
        if not files and known.below(shown):
            without[shown] = away(root) or "it has no videos"
    return list(found.values()), without


def _files(root: Path) -> Iterator[_File]:
    is_folder = stat.S_ISDIR(root.stat().st_mode)
    for path in sorted(root.rglob("*")) if is_folder else [root]:
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if not hidden and path.suffix.lower() in SUFFIXES:
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                yield _File(path, escape(str(root)), status.st_size, status.st_mtime_ns)
