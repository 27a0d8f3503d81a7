"""Putting right what `verify` names, as far as that is possible without guessing."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from diptych.core.errors import DataError
from diptych.data.images import decode, prepared, thumbnail
from diptych.library.embedding import embedded
from diptych.library.encoder import Encoder
from diptych.library.images import Wanted, read_again
from diptych.library.opened import Opened
from diptych.library.rendering.thumbnails import SIZE, Thumbnails
from diptych.library.store.protocol import Part, Store, cells, values
from diptych.library.store.rows import Row, new_id

from .hashed_texts import HashedTexts
from .problems import Problem
from .verify import leftovers

LOST = "lost"


@dataclass(frozen=True, slots=True)
class Repair:
    """What was put right, by kind, and what is left, each with what to do about it."""

    repaired: dict[str, int]
    left: tuple[Problem, ...]


def difference(before: Iterable[Problem], after: Iterable[Problem]) -> Repair:
    """What went between two checks."""
    left = tuple(after)
    gone = Counter(problem.kind for problem in before) - Counter(problem.kind for problem in left)
    return Repair(dict(sorted(gone.items())), left)


def remove_leftovers(opened: Opened) -> None:
    """Half-written files and thumbnails of no row go; uploaded files of no row move to the folder `lost`."""
    paths, contents = HashedTexts(), HashedTexts()
    for block in opened.store().scan(["path", "content"], "all"):
        paths.add(block["path"])
        contents.add(block["content"])
    opened.thumbnails.remove_orphans(contents)
    for left in leftovers(opened):
        with contextlib.suppress(OSError):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    opened.uploads.set_aside(paths, opened.folder / LOST)


def separate_ids(store: Store) -> None:
    """Give every row an id of its own. At no moment is a row in no version."""
    taken = _hashed(store, "id", "all")
    twice = taken.twice()
    seen = Counter(one for one in values(store, "id", "all") if hash(one) in twice) if twice else Counter[str]()
    for identifier in [one for one, count in seen.items() if count > 1]:
        rows = {(row.path, row.content): row for row in store.get([identifier], "all")}
        copies = []
        for row in rows.values():
            copies.append(replace(row, id=new_id(row.path, row.content, taken)))
            taken.add([copies[-1].id])
        store.write(copies)
        store.write([], [identifier])
        store.write([replace(copies[0], id=identifier)], [copies[0].id])


def doubles(store: Store, folder: Path) -> list[Row]:
    """Of rows that share a path, all but one: the one whose image is there stays, else that of the lowest id."""
    twice = _hashed(store, "path", "live").twice()
    by_path: defaultdict[str, list[Wanted]] = defaultdict(list)
    for identifier, path, content in cells(store, "id", "path", "content") if twice else ():
        if hash(path) in twice:
            by_path[path].append(Wanted(identifier, path, content))
    surplus: list[str] = []
    for ones in by_path.values():
        if len(ones) > 1:
            there = {one.id for one, image in read_again(ones, folder) if image is not None}
            ordered = sorted(ones, key=lambda one: (one.id not in there, one.id))
            surplus += [one.id for one in ordered[1:]]
    return store.get(surplus)


def _hashed(store: Store, column: str, part: Part) -> HashedTexts:
    """The values of a column."""
    found = HashedTexts()
    for block in store.scan([column], part):
        found.add(block[column])
    return found


def remake_vectors(store: Store, problems: Iterable[Problem], encoder: Encoder, folder: Path) -> None:
    """Embed again the images whose vectors cannot be right, where the image is as it was."""
    rows = {row.id: row for row in store.get([one.name for one in problems if one.kind == "bad_vector"])}
    wanted = [Wanted(row.id, row.path, row.content) for row in rows.values()]
    for one, image in read_again(wanted, folder):
        if image is not None:
            with contextlib.suppress(DataError):
                pixels = prepared(image, encoder.preprocess)
                store.write([replace(rows[one.id], vector=embedded(pixels[None], encoder)[0])])


def remake_thumbnails(store: Store, thumbnails: Thumbnails, folder: Path) -> int:
    """Make missing or damaged thumbnails again from the images that are still as they were. Returns how many."""
    made = 0
    wanted = [
        Wanted("", path, content)
        for path, content in cells(store, "path", "content")
        if not thumbnails.is_whole(content)
    ]
    for one, image in read_again(wanted, folder):
        if image is not None:
            with contextlib.suppress(DataError):
                thumbnails.write(one.content, thumbnail(decode(image, at_least=SIZE), SIZE))
                made += 1
    thumbnails.flush()
    return made
