"""Indexing videos: each moment is a row of its own, found by words as an image is.

    /clips/beach.mp4::12.500-17.500      path of a moment: the file, and its part in seconds

A video is one write. Unchanged files are not decoded again. Files gone from the folders named now go into the trash,
unless all of their folder is away. A moment keeps its description when its video is edited or moved.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.batched import batched
from diptych.core.errors import DataError, Reason
from diptych.core.file_names import escape
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32
from diptych.core.text import one_line
from diptych.core.types import Skipped
from diptych.data.images import thumbnail
from diptych.data.video import SUFFIXES, Moment, MomentPlan, VideoLimits, probe, read_moments
from diptych.library.kinds import content_of_moment, video_of
from diptych.library.rendering.thumbnails import SIZE, Thumbnails
from diptych.library.sources import FoundItem, away
from diptych.library.store.protocol import Store
from diptych.library.store.rows import BROUGHT_BACK, Row, is_below

from .absent import Absences, exists
from .known_rows import KnownRow, KnownRows
from .report import UNDONE, IndexReport, Kept, kept_by_folder
from .run import IndexRun

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


class VideoRun(IndexRun):
    """One run over the videos at some paths; its counts are moments."""

    unit = "moments"

    def __init__(
        self, store: Store, thumbnails: Thumbnails, embed: Embed, plan: MomentPlan, limits: VideoLimits
    ) -> None:
        super().__init__(store, thumbnails)
        self._embed, self._moments, self._limits = embed, plan, limits
        self._known = KnownRows(store, lambda row: video_of(row.path) is not None)
        self._live, self._deleted = _by_video(self._known.live), _by_video(self._known.deleted)
        self._missed: dict[str, KnownRow] = {}  # by content; where none has it any more they go into the trash

    def run(self, paths: Iterable[Path | str], progress: Progress = SILENT) -> IndexReport:
        """Bring the store up to date. A video that cannot be read is skipped and named.

        Raises DataError when no path leads to a video.
        """
        files, without = _survey(paths, self._has_below)
        if not files and not without:
            listed = ", ".join(sorted(SUFFIXES))
            raise DataError(f"found no video; expected files ending in {listed} (the library is unchanged)")
        kept = self._look_for_missed(files, without)
        with self.interruptible():
            for file in progress.track(files, "videos", total=len(files)):
                self._take(file)
            self.write([], [row.id for row in self._missed.values()])
        return self.report(kept)

    def _has_below(self, root: str) -> bool:
        """Whether there are moments of a video at or below a path, or of this source."""
        return any(row.source == root or is_below(video, root) for video, rows in self._live.items() for row in rows)

    def _look_for_missed(self, files: Sequence[_File], without: Mapping[str, str]) -> tuple[Kept, ...]:
        """Note the moments whose videos are gone. Those of a folder that is away are kept, and given back."""
        there = {file.written for file in files}
        sources = {file.source for file in files} | without.keys()
        absences = Absences()
        kept: list[tuple[str, tuple[str, str]]] = []
        for video, rows in self._live.items():
            if video in there or exists(video):
                continue
            for row in rows:
                roots = [root for root in without if is_below(video, root)]
                if row.source not in sources and not roots:
                    continue
                why = (roots[0], without[roots[0]]) if roots else absences.of(video)
                if why is None and row.batch == BROUGHT_BACK:
                    why = (video, UNDONE)
                if why is None:
                    self._missed[row.content] = row
                else:
                    kept.append((row.path, why))
        return kept_by_folder(kept)

    def _take(self, file: _File) -> None:
        """Bring the store up to date with one video, in one write."""
        before, deleted = self._live.get(file.written, []), self._deleted.get(file.written, [])
        if (before or deleted) and all(row.is_untouched(file.bytes, file.modified_ns) for row in [*before, *deleted]):
            self.counts["unchanged"] += len(before)
            self.counts["trashed"] += len(deleted)
            return
        try:
            rows = self._rows(file)
        except DataError as error:
            self.skipped.append(Skipped(file.written, error.reason, one_line(str(error))))
            if error.reason is not Reason.MISSING:
                self.write([], [row.id for row in before])
            return
        self.counts["embedded"] += len(rows)
        stay_away = {(row.path, row.content) for row in deleted}
        wanted = [row for row in rows if (row.path, row.content) not in stay_away]
        self.counts["trashed"] += len(rows) - len(wanted)
        by_path = {row.path: row for row in before}
        former = {row.path: self._former(row, by_path) for row in wanted}
        ids = [known.id for known in former.values() if known is not None]
        stored = {row.id: row for row in self.store.get(ids, "all")}
        settled = [self._settled(row, former[row.path], stored) for row in wanted]
        self.write(settled, {row.id for row in before} - {row.id for row in settled})

    def _former(self, row: Row, before: Mapping[str, KnownRow]) -> KnownRow | None:
        """The row that a moment had: at its path, or of the same content where that is gone."""
        if row.path in before:
            self.counts["updated"] += 1
            return before[row.path]
        if (back := self._known.take_returned(row.path, row.source, row.content)) is not None:
            self.counts["restored"] += 1
            return back
        moved = self._missed.pop(row.content, None)
        self.counts["added" if moved is None else "moved"] += 1
        return moved

    def _settled(self, row: Row, former: KnownRow | None, stored: Mapping[str, Row]) -> Row:
        """A row with the id, description and name that the same moment had before."""
        if former is None:
            return replace(row, id=self._known.given_id(row.path, row.content))
        old = stored[former.id]
        if old.title == _title(old.path):  # nobody gave it another name
            old = replace(old, title=None)
        return replace(self.in_place_of(old, row), id=old.id, title=old.title or row.title)

    def _rows(self, file: _File) -> list[Row]:
        """A row for each moment of a video, without its id."""
        about = probe(file.path, self._limits)
        content = fingerprint.of_file(file.path)
        return [
            self._row(file, content, moment, vector, about.seconds)
            for moments in batched(read_moments(file.path, self._moments, self._limits), _AT_ONCE)
            for moment, vector in zip(moments, self._embed([one.frames for one in moments]), strict=True)
        ]

    def _row(self, file: _File, content: str, moment: Moment, vector: Any, seconds: float) -> Row:
        path = escape(moment.video.name)
        own = content_of_moment(content, moment.video)
        middle = moment.frames[len(moment.frames) // 2]
        self.thumbnails.write(own, thumbnail(middle, SIZE))
        times = {"start": moment.video.start, "end": moment.video.end or seconds, "seconds": seconds}
        found = FoundItem(
            path=path,
            source=file.source,
            bytes=file.bytes,
            modified_ns=file.modified_ns,
            meta={"video": file.written, **{name: round(value, 3) for name, value in times.items()}},
        )
        row = found.row("", own, (middle.shape[1], middle.shape[0]), np.asarray(vector, dtype=np.float32))
        return replace(row, title=_title(path))


def _by_video(rows: Iterable[KnownRow]) -> dict[str, list[KnownRow]]:
    found: defaultdict[str, list[KnownRow]] = defaultdict(list)
    for row in rows:
        found[video_of(row.path) or ""].append(row)
    return found


def _title(path: str) -> str:
    """What a moment is called, unless somebody gave it another name."""
    video, _, part = path.rpartition("::")
    start, _, end = part.partition("-")
    return f"{os.path.basename(video)} {float(start):.1f}-{float(end):.1f} s"  # noqa: PTH119 - a written name


def _survey(paths: Iterable[Path | str], has_below: Callable[[str], bool]) -> tuple[list[_File], dict[str, str]]:
    """The videos at these paths; and the paths without any of which the library has some, with the reason."""
    found: dict[str, _File] = {}
    without: dict[str, str] = {}
    for given in paths:
        root = Path(os.path.abspath(os.fsdecode(given)))  # noqa: PTH100 - keep symlinks as named
        shown = escape(str(root))
        try:
            files = list(_files(root))
        except OSError as error:
            if not has_below(shown):
                raise DataError(f"cannot read {shown}: {error.strerror}", Reason.MISSING) from error
            files = []
        found |= {file.written: found.get(file.written, file) for file in files}
        if not files and has_below(shown):
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
