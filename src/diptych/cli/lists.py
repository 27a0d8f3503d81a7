"""Flags that take several values after one another: `--text-columns title body`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

FLAGS = frozenset(["--text-columns", "--text-parts", "--origins"])
_FILE = re.compile(r".*\.[A-Za-z][A-Za-z0-9]{1,6}")


def spread(arguments: Sequence[str]) -> list[str]:
    """The arguments with the flag before every value: ["--text-columns", "a", "--text-columns", "b"].

    The values end at the next flag, and at what names a file or folder: that is what the command works on.
    """
    spread_out: list[str] = []
    flag, is_first = "", False
    for number, argument in enumerate(arguments):
        if argument == "--":
            return [*spread_out, *arguments[number:]]
        if argument.startswith("-"):
            flag, is_first = (argument, True) if argument in FLAGS else ("", False)
            spread_out.append(argument)
            continue
        if flag and not is_first:
            if _names_file(argument):
                flag = ""
            else:
                spread_out.append(flag)
        is_first = False
        spread_out.append(argument)
    return spread_out


def _names_file(argument: str) -> bool:
    return "/" in argument or _FILE.fullmatch(argument) is not None or Path(argument).exists()
