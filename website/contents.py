"""The order of the pages, as docs/index.md lists them: a heading a section, a row of a table a page."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

_HEADING = re.compile(r"(#{2,3}) (.+)")
_ROW = re.compile(r"\| \[([^]]+)\]\(([\w/-]+\.md)\)")


@dataclass
class Section:
    """A heading of the navigation, and what stands below it: (title, page), or a section of its own."""

    title: str
    entries: list[tuple[str, str] | Section] = field(default_factory=list)

    def pages(self) -> list[str]:
        """Every page below it."""
        return [page for one in self.entries for page in (one.pages() if isinstance(one, Section) else [one[1]])]


def sections(index: str) -> list[Section]:
    """The sections of an index in Markdown, in its order; a heading of the third level is a section within one."""
    found: list[Section] = []
    current: Section | None = None
    for line in index.splitlines():
        if heading := _HEADING.match(line):
            current = Section(heading[2])
            (found if heading[1] == "##" else found[-1].entries).append(current)
        elif (row := _ROW.match(line)) and current is not None:
            current.entries.append((row[1], row[2]))
    return [section for section in found if section.pages()]


def toml(entries: list[tuple[str, str] | Section]) -> str:
    """The navigation as Zensical's `nav` takes it."""
    return "[" + ", ".join(map(_entry, entries)) + "]"


def _entry(entry: tuple[str, str] | Section) -> str:
    title, value = (
        (entry.title, toml(entry.entries)) if isinstance(entry, Section) else (entry[0], json.dumps(entry[1]))
    )
    return f"{{ {json.dumps(title, ensure_ascii=False)} = {value} }}"
