"""What was translated once is kept: an append-only file for each engine and direction."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path

from diptych.core import fingerprint


class TranslationMemory:
    """Translations of one engine in one direction, keyed by the content of the text.

    One JSON line each. A batch is on the disk when `add` returns; what a crash leaves of a half-written
    line is cut off by the next `add`. Several processes may share the file.

    Args:
        root: folder of all such files.
        engine: the engine's name and `way` ("en-es"), for people who look at the folder.
        version: the engine's fingerprint; another one is another file.
    """

    def __init__(self, root: Path, engine: str, way: str, version: str) -> None:
        safe = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in f"{engine}-{way}")
        short = fingerprint.of_bytes(version.encode())[:16]
        self.path = root / f"{safe[:80]}-{short}.jsonl"
        self._known: dict[str, str] = {}
        self._whole = 0  # bytes of whole lines read so far
        self._read()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, text: str) -> str | None:
        """The translation of `text`, if there is one."""
        return self._known.get(_key(text))

    def add(self, translations: Mapping[str, str]) -> None:
        """Keep text -> translation, durably."""
        if not translations:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            self._read()  # another process may have written meanwhile
            fresh = {_key(text): done for text, done in translations.items() if _key(text) not in self._known}
            stream.truncate(self._whole)
            data = "".join(_line(key, done) for key, done in fresh.items()).encode()
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            self._whole += len(data)
            self._known |= fresh

    def _read(self) -> None:
        """Take in the whole lines that were written since the last reading; a damaged one counts as unknown."""
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            stream.seek(self._whole)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                self._whole += len(line)
                try:
                    entry = json.loads(line)
                    self._known[str(entry["of"])] = str(entry["is"])
                except (ValueError, KeyError, TypeError):
                    continue


def _key(text: str) -> str:
    return fingerprint.of_bytes(text.encode("utf-8", "surrogatepass"))


def _line(key: str, translation: str) -> str:
    return json.dumps({"of": key, "is": translation}) + "\n"
