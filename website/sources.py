"""The pages of docs/ as the site shows them, with each file elsewhere in the repository that they link to.

On a forge such a link opens the file beside docs/. The site has no forge to point at, so it shows a copy: a file of
text or code as a page, a notebook as its prose and cells, a folder as a page that lists its files, an image as it is.
Links in a copy are followed too.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path

FILES = "files"  # the folder of the copies
_FENCED = re.compile(r"(^ *(`{3,}).*?^ *\2`*$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".conf": "nginx", ".service": "ini", ".md": "markdown"}
_IMAGES = {".png", ".svg", ".jpg", ".webp"}
_MARKDOWN = "# %% [markdown]\n"  # begins a cell of prose in a notebook that is kept as a script
_HIDDEN = "---\nsearch:\n  exclude: true\n---\n"  # of the site's own search, where the page that links to it is found


class LinkError(ValueError):
    """A page links to what is not there."""


def publish(root: Path, out: Path) -> list[str]:
    """Write the pages of `root`/docs, and the copies of what they link to, below `out`; return the pages.

    Raises LinkError for a link to what is not there or not part of the repository.
    """
    kept = _kept(root)
    docs = root / "docs"
    queue = deque(sorted(path for path in kept if path.is_relative_to(docs)))
    seen = set(queue)
    pages = []

    while queue:
        source = queue.popleft()
        place = _place(source, root)

        def link(target: str, source: Path = source, place: Path = place) -> str:
            """The link that leads from this page to the copy of what the source links to."""
            path, hash_, anchor = target.partition("#")
            if "://" in target or target.startswith("mailto:") or not path:
                return target
            found = Path(os.path.normpath((source if source.is_dir() else source.parent) / path))
            if not any(each == found or found in each.parents for each in kept):
                raise LinkError(f"{source.relative_to(root)} links to {target}, which is no file of the repository")
            if found not in seen:
                seen.add(found)
                queue.append(found)
            return Path(os.path.relpath(_place(found, root), place.parent)).as_posix() + hash_ + anchor

        (out / place).parent.mkdir(parents=True, exist_ok=True)
        if source.suffix in _IMAGES:
            (out / place).write_bytes(source.read_bytes())
            continue
        (out / place).write_text(_page(source, root, kept, link), encoding="utf-8")
        pages.append(place.as_posix())
    return pages


def _kept(root: Path) -> set[Path]:
    """The files of the repository, also those not yet committed; of a folder without git, all but hidden ones."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True
    )
    if listed.returncode == 0:
        return {root / name for name in listed.stdout.decode().split("\0") if name and (root / name).is_file()}
    return {path for path in root.rglob("*") if path.is_file() and "/." not in path.relative_to(root).as_posix()}


def _place(source: Path, root: Path) -> Path:
    """Where the copy of a file or folder is, below the site's sources."""
    if source.is_relative_to(root / "docs"):
        return source.relative_to(root / "docs")
    copy = FILES / source.relative_to(root)
    if source.is_dir():
        return copy / "index.md"
    return copy if source.suffix in _IMAGES else copy.with_name(copy.name + ".md")


def _page(source: Path, root: Path, kept: set[Path], link: Callable[[str], str]) -> str:
    name = source.relative_to(root).as_posix()
    if source.is_dir():
        return _HIDDEN + _folder(source, name, kept, link)
    text = source.read_text(encoding="utf-8")
    if text.startswith(_MARKDOWN):
        return notebook(text)
    if source.suffix != ".md":
        fence = "`" * max(4, 1 + max(map(len, re.findall(r"`+", text)), default=0))
        return f"{_HIDDEN}# {name}\n\n{fence}{_LANGUAGES.get(source.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"
    front = "" if source.is_relative_to(root / "docs") else _HIDDEN
    return front + outside_code(text, lambda prose: _LINK.sub(lambda found: link(found[1]), _separated(prose)))


def notebook(script: str) -> str:
    """The page of a notebook kept as a script: cells of prose are commented, those of code follow `# %%`."""
    cells = [_MARKDOWN + cell for cell in script.split(_MARKDOWN)[1:]]
    parts = []
    for cell in cells:
        prose, *code = cell.split("# %%\n")
        parts.append("\n".join(line.removeprefix("#").removeprefix(" ") for line in prose.splitlines()[1:]).strip())
        parts += [f"```python\n{one.strip()}\n```" for one in code]
    return "\n\n".join(parts) + "\n"


def _folder(source: Path, name: str, kept: set[Path], link: Callable[[str], str]) -> str:
    below = sorted({source / path.relative_to(source).parts[0] for path in kept if path.is_relative_to(source)})
    rows = [f"| [{path.name}]({link(path.name)}) | {_head(path)} |" for path in below]
    return f"# {name}/\n\n| file | its first line |\n|---|---|\n" + "\n".join(rows) + "\n"


def _head(path: Path) -> str:
    """What the first line of a file says of it."""
    if path.is_dir():
        return ""
    first = path.read_text(encoding="utf-8").lstrip().removeprefix(_MARKDOWN).partition("\n")[0]
    return first.strip('#" ').replace("|", "\\|")


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text with each part changed that is no fenced block of code."""
    parts = _FENCED.split(text)
    return "".join(change(part) if place % 3 == 0 else part for place, part in enumerate(parts) if place % 3 != 2)


def _separated(prose: str) -> str:
    """With the empty line before a list that the site's Markdown needs and a forge's does not."""
    return re.sub(r"^(?![-*] |\d+\. |\s)(.+)\n(?=(?:[-*]|\d+\.) )", r"\1\n\n", prose, flags=re.MULTILINE)
