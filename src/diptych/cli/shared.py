"""What every command shares: global flags, the types of arguments, progress bars and printing."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from diptych.core.devices import check_device
from diptych.core.errors import ConfigError
from diptych.core.notes import Note, note_lines, notes_json
from diptych.core.protocols import SILENT, Progress
from diptych.core.text import one_line
from diptych.library.bucket import folder_of

from .pulse import PULSE

T = TypeVar("T")
MOST_LISTED = 20  # lines of a long list in the text output; --json has them all


_NAME_OR_FOLDER = "NAME|FOLDER"
LibraryFolder = Annotated[
    Path,
    Parameter(
        metavar="FOLDER|ADDRESS",
        help="Folder of the library, or its address on object storage, s3://BUCKET/NAME.",
        converter=lambda _, tokens: folder_of(tokens[0].value),
    ),
]
_ADDRESSES = """a shipped model's name, a model folder, or the address of a pretrained one: hf:ORG/NAME,
open_clip:ARCHITECTURE/TAG, sentence-transformers:NAME, or a folder behind such a prefix"""
ModelAddress = Annotated[str, Parameter(metavar=f"{_NAME_OR_FOLDER}|ADDRESS", help=f"Dual encoder: {_ADDRESSES}.")]
RerankerAddress = Annotated[
    str,
    Parameter(
        metavar=_NAME_OR_FOLDER,
        help="Cross-encoder: base, which ships and is fitted to the dual encoder base; a model folder; or "
        "blip:NAME_OR_FOLDER for a BLIP model.",
    ),
]
GeneratorAddress = Annotated[
    str, Parameter(metavar=_NAME_OR_FOLDER, help="Generator: a shipped generator's name, or a model folder.")
]
Settings = Annotated[
    tuple[str, ...],
    Parameter(name="--set", metavar="KEY=VALUE", help="Override a setting, as section.key=value; repeat for several."),
]
Also = Annotated[
    tuple[str, ...],
    Parameter(
        metavar="SOURCE",
        help="Further source to measure the model on, before and after (its test split, or all records); repeat for "
        "several.",
    ),
]
With = Annotated[
    tuple[str, ...],
    Parameter(
        name="--with",
        metavar="SOURCE[:WEIGHT]",
        help="Further source to learn from, every record once an epoch; with :0.3 behind it, 30 % of each epoch is of "
        "it. Repeat for several.",
    ),
]
Fresh = Annotated[bool, Parameter(help="Forget an earlier run in the same folder.")]


@Parameter(name="*", group="Options of every command")
@dataclass(frozen=True)
class Common:
    """Flags that every command takes."""

    json: bool = False
    """Print one JSON document on stdout, for scripts."""
    quiet: bool = False
    """Print no progress on stderr."""
    debug: bool = False
    """Show tracebacks."""
    device: str = "auto"
    """Where models run: auto (CUDA where there is one, else the CPU), cpu, cuda, cuda:N, or, on ONNX Runtime alone,
    openvino, coreml, directml."""
    seed: int | None = None
    """Seed of everything random; 0, or the config's, when left out."""

    def __post_init__(self) -> None:
        if self.seed is not None and self.seed < 0:
            raise ConfigError(f"--seed must be 0 or more, found {self.seed}")
        check_device(self.device)

    def progress(self) -> Progress:
        """Bars on stderr, or nothing with --quiet; where that is no terminal, a line every half a minute or sooner."""
        if self.quiet:
            return SILENT
        if not sys.stderr.isatty():
            PULSE.start()
        return RichProgress()

    def show(self, value: Any, text: str, notes: Iterable[Note] = ()) -> None:
        """The result on stdout: `value` as JSON with --json, else `text`; with the notes on what was read, if any.

        What the terminal's encoding has no place for, such as half a character in a file's name, is escaped, and so
        are control characters.
        """
        notes = tuple(notes)
        if notes and isinstance(value, dict):
            value = {**value, "notes": notes_json(notes)}
        lines = (one_line(line) for line in [*text.split("\n"), *note_lines(notes)])
        shown = json.dumps(value, ensure_ascii=False, indent=2) if self.json else "\n".join(lines)
        encoding = sys.stdout.encoding or "utf-8"
        print(shown.encode(encoding, "backslashreplace").decode(encoding))


class RichProgress:
    """Progress on stderr: a bar on a terminal, plain lines elsewhere."""

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Yield the items behind a bar with the rate and the time left; without a terminal, `Pulse` counts them."""
        if total is None:
            total = len(items) if isinstance(items, Sized) else None
        if not sys.stderr.isatty():
            yield from PULSE.track(items, label, total)
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import (
            Progress as Bar,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=Console(stderr=True)) as bar:
            yield from bar.track(items, total=total, description=label)

    def say(self, message: str) -> None:
        """One line on stderr."""
        PULSE.say(one_line(message))


def shortened(lines: Sequence[str]) -> list[str]:
    """The first lines of a long list, and how many more --json has."""
    more = len(lines) - MOST_LISTED
    return [*lines[:MOST_LISTED], *([f"  and {more} more (all with --json)"] if more > 0 else [])]


def check_unused(command: Callable[..., Any], given: Mapping[str, Any], task: str) -> None:
    """Raise ConfigError for a flag of another task that is not at the command's default."""
    defaults = signature(command).parameters
    for name, value in given.items():
        if value != defaults[name].default:
            raise ConfigError(f"--{name.replace('_', '-')} does nothing with --task {task}; leave it out")


def as_flags(options: Any) -> list[str]:
    """The flags that say what these options say: those that differ from their defaults, quoted for a shell."""
    flags = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value != field.default:
            name = f"--{field.name.replace('_', '-')}"
            if value is True:
                flags.append(name)
                continue
            for each in value if isinstance(value, tuple) else (value,):
                flags += [name, quote(str(each))]
    return flags
