"""What is wrong with a built site: links and anchors that lead nowhere, what comes from elsewhere, heavy pages."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

MOST = 300_000  # bytes of a page, and of all that a first visit to it moves, compressed as servers do
_FETCHED = {"img": "src", "script": "src", "source": "src", "iframe": "src", "video": "src", "audio": "src"}
_FETCHED_LINKS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload", "manifest"}


class Page(HTMLParser):
    """The anchors of a page, where it leads to, and what a browser fetches to show it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one element names."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given and (name == "id" or tag == "a")}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and _FETCHED_LINKS & set(given.get("rel", "").split()):
            self.fetched.append(given["href"])
        elif given.get(_FETCHED.get(tag, "")):
            self.fetched.append(given[_FETCHED[tag]])


def problems(site: Path) -> Iterator[str]:
    """What is wrong, a line each."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        name = path.relative_to(site)
        for target in {*page.links, *page.fetched}:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if target in page.fetched and parts.scheme != "data":
                    yield f"{name} fetches {target} from elsewhere"
                continue
            found = _found(path, parts.path, site)
            if not found.is_file():
                yield f"{name} leads to {target}, which is not there"
            elif parts.fragment and found in pages and unquote(parts.fragment) not in pages[found].anchors:
                yield f"{name} leads to {target}, which has no such anchor"
        if (size := path.stat().st_size) > MOST:
            yield f"{name} has {size:,} bytes; expected at most {MOST:,}"
        if (size := first_visit(path, page, site)) > MOST:
            yield f"a first visit to {name} moves {size:,} bytes; expected at most {MOST:,}"


def first_visit(path: Path, page: Page, site: Path) -> int:
    """Bytes that a browser gets for a page with an empty cache: text compressed, images as they are."""
    files = {path, *(_found(path, urlsplit(target).path, site) for target in page.fetched if "://" not in target)}
    return sum(_moved(file) for file in files if file.is_file())


def _moved(file: Path) -> int:
    return (
        len(gzip.compress(file.read_bytes()))
        if file.suffix in (".html", ".css", ".js", ".svg")
        else file.stat().st_size
    )


def _found(page: Path, target: str, site: Path) -> Path:
    """The file that a link names: relative to its page, or to the site where it begins with /."""
    if not target:
        return page
    found = site / unquote(target).lstrip("/") if target.startswith("/") else page.parent / unquote(target)
    found = found.resolve()
    return found / "index.html" if found.is_dir() else found
