"""Videos in a library: each moment is a row of its own, found by words as a picture is.

    /clips/beach.mp4::12.500-17.500      path of a moment: the file, and its part in seconds

A video is one write: whole or absent. Unchanged files are not decoded again; those gone from the folders
named now are forgotten.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import DataError, Reason
from diptych.core.lines import one_line
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32
from diptych.core.types import Skipped
from diptych.data.images import thumbnail
from diptych.data.video import SUFFIXES, Moment, MomentPlan, VideoLimits, probe, read_moments

from .names import escape, unescape
from .report import IndexReport
from .rows import Row, new_id
from .store import Store
from .thumbs import SIZE, Thumbs

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
    files = _survey(paths)
    if not files:
        listed = ", ".join(sorted(SUFFIXES))
        raise DataError(f"found no video; expected files ending in {listed} (the library is unchanged)")
    known = _known(store)
    sources = {file.source for file in files}
    taken = {identifier for rows in known.values() for identifier, *_ in rows}
    counts = dict.fromkeys(("added", "updated", "moved", "unchanged", "removed", "embedded"), 0)
    skipped: list[Skipped] = []
    for file in progress.track(files, "videos", total=len(files)):
        before = known.pop(file.written, [])
        if before and all((size, modified) == (file.bytes, file.modified_ns) for _, _, size, modified in before):
            counts["unchanged"] += len(before)
            continue
        old = [identifier for identifier, *_ in before]
        try:
            rows = _rows(file, thumbs, embed, plan, limits, taken)
        except DataError as error:
            skipped.append(Skipped(file.written, error.reason, one_line(str(error))))
            if error.reason is not Reason.MISSING and old:
                store.write([], old)
                counts["removed"] += len(old)
            continue
        store.write(rows, old)
        taken.update(row.id for row in rows)
        counts["updated" if old else "added"] += len(rows)
        counts["embedded"] += len(rows)
    gone = [row[0] for rows in known.values() for row in rows if row[1] in sources and row[1]]
    if gone:
        store.write([], gone)
        counts["removed"] += len(gone)
    return IndexReport(**counts, skipped=tuple(skipped), seconds=time.monotonic() - started, notes=())


def moment_path(video: str, start: float, end: float) -> str:
    """The written path of a moment."""
    return f"{video}::{start:.3f}-{end:.3f}"


def _rows(
    file: _File, thumbs: Thumbs, embed: Embed, plan: MomentPlan, limits: VideoLimits, taken: set[str]
) -> list[Row]:
    about = probe(file.path, limits)
    content = fingerprint.of_file(file.path)
    rows: list[Row] = []
    waiting: list[Moment] = []

    def flush() -> None:
        for moment, vector in zip(waiting, embed([moment.frames for moment in waiting]), strict=True):
            rows.append(_row(file, content, moment, vector, about.seconds, taken, thumbs))
        waiting.clear()

    for moment in read_moments(file.path, plan, limits):
        waiting.append(moment)
        if len(waiting) == _AT_ONCE:
            flush()
    if waiting:
        flush()
    return rows


def _row(
    file: _File, content: str, moment: Moment, vector: Any, seconds: float, taken: set[str], thumbs: Thumbs
) -> Row:
    path = moment_path(file.written, moment.start, moment.end)
    own = fingerprint.combined([content, path.rpartition("::")[2]])
    middle = moment.frames[len(moment.frames) // 2]
    thumbs.write(own, thumbnail(middle, SIZE))
    meta = {
        "video": file.written,
        "start": round(moment.start, 3),
        "end": round(moment.end, 3),
        "seconds": round(seconds, 3),
    }
    return Row(
        id=new_id(path, own, taken),
        path=path,
        source=file.source,
        content=own,
        bytes=file.bytes,
        modified_ns=file.modified_ns,
        width=middle.shape[1],
        height=middle.shape[0],
        vector=np.asarray(vector, dtype=np.float32),
        meta=meta,
        title=f"{escape(file.path.name)} {moment.start:.1f}-{moment.end:.1f} s",
    )


def _known(store: Store) -> dict[str, list[tuple[str, str, int, int]]]:
    """Video -> (id, source, bytes, modified) of each of its moments."""
    found: dict[str, list[tuple[str, str, int, int]]] = {}
    for block in store.scan(["id", "path", "source", "bytes", "modified_ns"]):
        for identifier, path, source, size, modified in zip(*block.values(), strict=True):
            video, colons, _ = path.rpartition("::")
            if colons and os.path.splitext(unescape(video))[1].lower() in SUFFIXES:  # noqa: PTH122
                found.setdefault(video, []).append((identifier, source, size, modified))
    return found


def _survey(paths: Iterable[Path | str]) -> list[_File]:
    found: dict[str, _File] = {}
    for given in paths:
        root = Path(os.path.abspath(os.fsdecode(given)))  # noqa: PTH100 - keep symlinks as named
        try:
            is_folder = stat.S_ISDIR(root.stat().st_mode)
        except OSError as error:
            raise DataError(f"cannot look at {escape(str(root))}: {error.strerror}", Reason.MISSING) from error
        files = sorted(root.rglob("*")) if is_folder else [root]
        for path in files:
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if hidden or path.suffix.lower() not in SUFFIXES:
                continue
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                file = _File(path, escape(str(root)), status.st_size, status.st_mtime_ns)
                found.setdefault(file.written, file)
    return list(found.values())
