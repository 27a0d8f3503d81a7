"""Apertium (https://apertium.org): rule-based translation by a program of the system, no weights, no network.

On Debian and Ubuntu: apt-get install -y apertium apertium-eng-spa apertium-eng-cat
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path

from diptych.core import fingerprint
from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.registry import register
from diptych.data.language import THREE_LETTERS, TWO_LETTERS

from .engine import by_lines, require_direction

INSTALL = "apt-get install -y apertium apertium-eng-spa apertium-eng-cat"

_RESERVED = re.compile(r"([\\^$/<>@\[\]{}])")  # the characters of Apertium's stream format
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ENDED = re.compile(r"[.!?…:;]\W*$")
_NOTHING = "[]"  # an empty "superblank": passes through the pipe and marks the end of a line
_SECONDS = 120.0  # for a batch, beside those for its lines
_SECONDS_A_LINE = 0.2  # about 100 times what a caption takes


@register.translator("apertium", "rules, a program of the system")
class Apertium:
    """The `apertium` program, with whatever language pairs are installed.

    Every line goes through the pipe as a sentence of its own, ended by a zero byte, so no line can run
    into the next; characters that mean something to Apertium are escaped. Words it does not know stay
    as they are.
    """

    name = "apertium"

    def __init__(self, program: str = "apertium") -> None:
        self._program = program

    @cached_property
    def modes(self) -> dict[tuple[str, str], str]:
        """(source, target) -> the name of the installed mode. Raises ConfigError when Apertium is not installed."""
        listed = self._run(["-l"], b"", 30.0).decode("utf-8", "replace").split()
        found: dict[tuple[str, str], str] = {}
        for mode in listed:
            parts = mode.split("-")
            if len(parts) == 2 and all(part in TWO_LETTERS or part in THREE_LETTERS for part in parts):
                source, target = (TWO_LETTERS.get(part, part) for part in parts)
                found.setdefault((source, target), mode)
        return found

    def supports(self, source: str, target: str) -> bool:
        """Whether the language pair is installed."""
        return (source, target) in self.modes

    def fingerprint(self, source: str, target: str) -> str:
        """Hash of the mode's pipeline and of every dictionary and rule file in it."""
        self._require(source, target)
        return _mode_fingerprint(self._run(["-V"], b"", 30.0), self.modes[source, target])

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """A translation of each text. Raises as `Translator.translate`."""
        self._require(source, target)
        return by_lines(texts, lambda lines: self._translate_lines(lines, self.modes[source, target]))

    def _require(self, source: str, target: str) -> None:
        choices = ", ".join(f"{one}-{other}" for one, other in sorted(self.modes)) or "none: no language pair is here"
        require_direction(self, source, target, f"{choices} (more: apt-cache search ^apertium-)")

    def _translate_lines(self, lines: Sequence[str], mode: str) -> list[str]:
        if not lines:
            return []
        stream = "".join(_into_stream(line) + "\0" for line in lines).encode("utf-8", "replace")
        output = self._run(["-u", "-f", "none", "-z", mode], stream, _SECONDS + _SECONDS_A_LINE * len(lines))
        parts = output.decode("utf-8", "replace").split("\0")
        found = parts[: len(lines)]  # at the end of the input, each stage of the pipe writes one zero more
        if len(found) < len(lines) or not all(part.endswith(_NOTHING) for part in found) or any(parts[len(lines) :]):
            answered = sum(part.endswith(_NOTHING) for part in found)
            raise DataError(f"apertium {mode} stopped early: {answered} answers for {len(lines)} lines")
        return [_out_of_stream(part, line) for part, line in zip(found, lines, strict=True)]

    def _run(self, arguments: Sequence[str], stream: bytes, seconds: float) -> bytes:
        """What the program prints. It is a pipe of a dozen processes: an interrupt ends all of them."""
        if shutil.which(self._program) is None:
            raise ConfigError(f"the program {self._program!r} is not installed; on Debian: {INSTALL}")
        process = subprocess.Popen(
            [self._program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(stream, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise DataError(f"{self._program} gave no answer within {seconds:.0f} s", Reason.MALFORMED) from error
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        if process.returncode != 0:
            detail = " ".join(errors.decode("utf-8", "replace").split())[:200]
            raise DataError(f"{self._program} stopped with exit code {process.returncode}: {detail or 'no message'}")
        return output


def _into_stream(line: str) -> str:
    """In Apertium's stream format, ended by a full stop, without which the tagger reads a caption less well."""
    return _RESERVED.sub(r"\\\1", line) + ("" if _ENDED.search(line) else ".") + _NOTHING


def _out_of_stream(part: str, line: str) -> str:
    text = _ESCAPED.sub(r"\1", part.removesuffix(_NOTHING))
    return " ".join((text if _ENDED.search(line) else text.removesuffix(".")).split())


@cache
def _mode_fingerprint(version: bytes, mode: str) -> str:
    path = next((folder / f"{mode}.mode" for folder in _mode_folders() if (folder / f"{mode}.mode").is_file()), None)
    if path is None:  # an installation in a place of its own: its version must do
        return fingerprint.combined([version.decode("utf-8", "replace"), mode])
    pipeline = path.read_text(encoding="utf-8", errors="replace")
    files = [Path(word.strip("'\"")) for word in pipeline.split() if word.strip("'\"").startswith("/")]
    hashes = [fingerprint.of_file(file) for file in files if file.is_file()]
    return fingerprint.combined([version.decode("utf-8", "replace"), pipeline, *hashes])


def _mode_folders() -> Iterator[Path]:
    if chosen := os.environ.get("APERTIUM_DATADIR"):
        yield Path(chosen) / "modes"
    yield from (Path("/usr/share/apertium/modes"), Path("/usr/local/share/apertium/modes"))
