"""Fingerprints: short, stable names for content, so that artefacts know what made them."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LENGTH = 32  # hex digits kept of a BLAKE2b digest: 128 bits
_digest = functools.partial(hashlib.blake2b, digest_size=LENGTH // 2)


def of_bytes(*parts: bytes | memoryview) -> str:
    """Fingerprint of byte strings; the lengths are hashed too, so ("ab", "c") differs from ("a", "bc")."""
    digest = _digest()
    for part in parts:
        digest.update(memoryview(part).nbytes.to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def of_json(value: Any) -> str:
    """Fingerprint of a JSON-ready value, independent of key order."""
    return of_bytes(_encoded(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))))


def of_file(path: Path) -> str:
    """Fingerprint of a file's content, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, _digest).hexdigest()


def combined(parts: Iterable[str]) -> str:
    """One fingerprint out of several strings, in order."""
    return of_bytes(*(_encoded(part) for part in parts))


def short(*parts: str) -> int:
    """64 bits of several strings' fingerprint, for counting what is too much to hold."""
    return int(combined(parts)[:16], 16)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a file's name need not be UTF-8
