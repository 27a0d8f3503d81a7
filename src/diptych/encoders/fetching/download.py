"""Downloading what a plan lists: resumed, checked, remembered."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from diptych.core.errors import DataError, ModelError
from diptych.core.files import locked, write_bytes, write_json
from diptych.core.protocols import SILENT, Progress
from diptych.core.text import in_bytes
from diptych.encoders.cached import sha256_of, url_record
from diptych.encoders.hub import cached_repository, record_file

from .planning import Part, Plan, RemoteFile
from .remote import Remote, quiet

_MIB = 1 << 20


def fetch(plan: Plan, *, progress: Progress = SILENT) -> None:
    """Download the files of a plan that are not here, check all of them, and write down their hashes.

    A file that was cut off goes on where it stopped, after an interruption too. A branch or tag points to the new
    files only when all of them are here and whole, so an older snapshot can be read until then.

    Raises ModelError for a model that may not be read, a lost connection, or a file that is not the one that the hub
    describes; DataError when the disk is too small.
    """
    remote = Remote()
    _check_room(plan)
    total = -(-plan.missing // _MIB)
    steps = progress.track(itertools.repeat(None, max(total, 1)), "MiB", total=max(total, 1))
    meter = _Meter(steps)
    try:
        for part in plan.parts:
            for file in part.missing():
                with remote.failures(part.name), quiet():
                    _download(part, file, meter, progress)
    finally:
        steps.close()  # type: ignore[attr-defined]
    for part in plan.parts:
        for file in progress.track(part.files, "files checked", len(part.files)):
            _check(part, file)
        _remember(plan.address, part)


def _check_room(plan: Plan) -> None:
    for part in plan.parts:
        existing = next(folder for folder in (part.folder, *part.folder.parents) if folder.exists())
        free, wanted = shutil.disk_usage(existing).free, part.missing_bytes
        if wanted > free:
            raise DataError(
                f"{plan.address} needs {in_bytes(wanted)} at {existing}, where {in_bytes(free)} are free; make room, "
                "or set HF_HOME to a folder on another disk"
            )


def _download(part: Part, file: RemoteFile, meter: _Meter, progress: Progress) -> None:
    """One file, into its place in the hub's cache, or beside other weights of open_clip."""
    import huggingface_hub as hub

    if not part.commit:
        _resumed(part.name, file, part.folder / file.name, meter, progress)
        return
    (part.folder / file.name).unlink(missing_ok=True)  # one of another size; its content is in `blobs`
    if file.sha256:
        blob = cached_repository(part.name) / "blobs" / file.sha256
        if blob.is_file() and blob.stat().st_size != file.size:
            blob.unlink()
        if not blob.is_file():
            _resumed(hub.hf_hub_url(part.name, file.name, revision=part.commit), file, blob, meter, progress)
    hub.hf_hub_download(part.name, file.name, revision=part.commit)
    if not file.sha256:
        meter.add(file.size)


def _resumed(url: str, file: RemoteFile, target: Path, meter: _Meter, progress: Progress) -> None:
    """Download a file whole or not at all; what came of it before is kept aside and completed."""
    from huggingface_hub import constants, file_download, get_hf_file_metadata
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    unfinished = target.with_name(f"{target.name}.incomplete")
    lock = Path(constants.HF_HUB_CACHE) / ".locks" / target.parts[-3] / f"{target.name}.lock"  # the client's own
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(lock, lambda: progress.say(f"{file.name} is being fetched by another process; waiting for it")):
        if target.is_file():  # the other process
            meter.add(file.size)
            return
        begun = unfinished.stat().st_size if unfinished.is_file() else 0
        if begun > file.size:
            unfinished.unlink()
            begun = 0
        if begun:
            progress.say(f"{file.name}: going on at {in_bytes(begun)} of {in_bytes(file.size)}")
            meter.add(begun)
        place = urlsplit(constants.ENDPOINT).netloc  # the token is for the hub alone
        found = get_hf_file_metadata(url, token=None if urlsplit(url).netloc == place else False)
        token = None if urlsplit(found.location).netloc == place else False
        headers = build_hf_headers(library_name="diptych", token=token)
        with unfinished.open("ab") as stream:
            counted: Any = _Counted(stream, meter)
            file_download.http_get(found.location, counted, resume_size=begun, headers=headers, expected_size=file.size)
            stream.flush()
            os.fsync(stream.fileno())
        if file.sha256 and not (found_hash := sha256_of(unfinished)).startswith(file.sha256):
            unfinished.unlink()
            raise ModelError(
                f"{file.name} of {url} came damaged: its SHA-256 is {found_hash}, expected {file.sha256}; it was "
                "deleted, run the same command again"
            )
        os.replace(unfinished, target)


class _Meter:
    """Counts bytes, and steps once each MiB."""

    def __init__(self, steps: Iterator[None]) -> None:
        self._steps, self._bytes, self._told = steps, 0, 0

    def add(self, size: int) -> None:
        self._bytes += size
        while self._told < self._bytes // _MIB:
            self._told += 1
            next(self._steps, None)


class _Counted:
    """A file that tells a meter how much was written to it."""

    def __init__(self, stream: io.BufferedWriter, meter: _Meter) -> None:
        self._stream, self._meter = stream, meter

    def write(self, data: bytes) -> int:
        self._meter.add(len(data))
        return self._stream.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _check(part: Part, file: RemoteFile) -> None:
    """Raise ModelError unless the file is what the hub describes; what is wrong is deleted, to be fetched again."""
    path = part.folder / file.name
    wanted = file.sha256 or file.git
    found = _git_id(path) if file.git and not file.sha256 else sha256_of(path)
    if path.stat().st_size != file.size or not found.startswith(wanted):
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise ModelError(
            f"{path} is damaged: found {path.name} with the hash {found}, expected {wanted}; it was deleted, run the "
            "same command again"
        )


def _remember(address: str, part: Part) -> None:
    """Write the record beside the snapshot, and let the branch or tag point to it."""
    if not part.commit:
        for file in part.files:
            path = part.folder / file.name
            write_json(url_record(path), {"address": address, "url": part.name, "sha256": sha256_of(path)})
        return
    files = {
        file.name: {"size": file.size, "sha256": file.sha256 or sha256_of(part.folder / file.name)}
        for file in part.files
    }
    fetched = datetime.now(UTC).isoformat(timespec="seconds")
    stated = {"address": address, "repository": part.name, "revision": part.commit, "licence": part.licence}
    write_json(record_file(part.folder), {**stated, "fetched": fetched, "files": files})
    if part.reference != part.commit:
        write_bytes(cached_repository(part.name) / "refs" / part.reference, part.commit.encode())


def _git_id(path: Path) -> str:
    """The id that git gives a file's content."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
