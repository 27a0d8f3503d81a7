"""`diptych library info`, `verify`, `repair`, `reread`, `compact`."""

from dataclasses import asdict
from pathlib import Path
from shlex import quote

from diptych.cli.shared import Common, LibraryFolder, shortened
from diptych.core.text import number, one_line
from diptych.library import Library, card
from diptych.library.bucket import address_of, shown
from diptych.library.maintenance import Problem


def info(*, library: LibraryFolder, common: Common = Common()) -> None:
    """What a library holds, and what --where can ask about.

    Examples:
        diptych library info --library ~/pictures.library
        diptych library info --library ~/pictures.library --json
    """
    found = Library.open(library).info()
    lines = [
        f"{found.folder}: {number(found.images, 'image')}, {found.bytes_on_disk / 1e6:.1f} MB",
        f"model {found.model} (fingerprint {found.fingerprint}, {found.dim} dimensions), made {found.created}",
        f"rows: {_place(found.store, library)}",
        *(
            []
            if found.with_words is None
            else [f"words: read in {number(found.with_words, 'image')}, for search --ocr"]
        ),
        *([] if found.index is None else [f"index: {found.index}, chosen for this library"]),
        "columns: " + ", ".join(f"{name} ({kind})" for name, kind in found.columns.items()),
    ]
    common.show(asdict(found), "\n".join(lines))


def _place(store: str, library: Path) -> str:
    if store != card.LANCE:
        return store
    return "in the folder" if address_of(library) is None else "on object storage"


def verify(*, library: LibraryFolder, common: Common = Common()) -> None:
    """Check that rows, vectors, files and thumbnails fit together; exit code 1 when they do not.

    Nothing is changed. Each problem names what repairs it.

    Examples:
        diptych library verify --library ~/pictures.library
        diptych library verify --library ~/pictures.library --json | jq .kinds
    """
    verdict = Library.open(library).verify()
    found = number(len(verdict.problems), "problem") if verdict.problems else "no problems"
    lines = [f"{number(verdict.images, 'image')}, {found}"]
    lines += shortened([_described(problem, library) for problem in verdict.problems])
    common.show({**asdict(verdict), "kinds": verdict.kinds}, "\n".join(lines))
    if verdict.problems:
        raise SystemExit(1)


def repair(*, library: LibraryFolder, vectors: bool = False, common: Common = Common()) -> None:
    """Put right what verify names, as far as that is possible; exit code 1 when something is left.

    Thumbnails and snapshots are made again, left-overs of killed processes go, of two rows for one path one goes
    into the trash, uploaded files of no image move to the folder lost. What is left says what to do about it.

    Examples:
        diptych library repair --library ~/pictures.library
        diptych library repair --library ~/pictures.library --vectors

    Args:
        vectors: Also compute damaged vectors again from their images, which loads the library's model.
    """
    opened = Library.open(library, device=common.device)
    if vectors:
        opened.required_model()
    found = opened.repair()
    done = ", ".join(f"{count} {kind}" for kind, count in found.repaired.items())
    lines = [f"{shown(library)}: repaired {done or 'nothing'}, {len(found.left) or 'no'} problems left"]
    lines += shortened([_described(problem, library) for problem in found.left])
    common.show(asdict(found), "\n".join(lines))
    if found.left:
        raise SystemExit(1)


def reread(*, library: LibraryFolder, common: Common = Common()) -> None:
    """Read from the files what photos say about themselves, for a library that an earlier version made.

    Indexing does it by itself since. Nothing is embedded, and images that were asked before are not read. When it is
    interrupted, the same command continues.

    Examples:
        diptych library reread --library ~/pictures.library
    """
    found = Library.open(library).reread(progress=common.progress())
    text = f"{shown(library)}: {number(found.read, 'image')} read again, {found.known:,} had been read before"
    if found.missing:
        text += f"\ngone or changed since they were indexed: {number(len(found.missing), 'image')}; index again"
        text += "".join(f"\n{line}" for line in shortened([one_line(f"  {path}") for path in found.missing]))
    common.show(asdict(found), text, found.notes)


def compact(*, library: LibraryFolder, common: Common = Common()) -> None:
    """Free disk space: old versions and left-overs go, missing thumbnails are made again.

    Examples:
        diptych library compact --library ~/pictures.library
    """
    collection = Library.open(library)
    before = collection.info().bytes_on_disk
    collection.compact()
    after = collection.info().bytes_on_disk
    text = f"{shown(library)}: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now"
    common.show({"bytes_before": before, "bytes_after": after}, text)


def _described(problem: Problem, library: Path) -> str:
    """A problem on one line, with the command that repairs it."""
    command = "diptych library repair"
    remedy = problem.remedy.replace(command, f"{command} --library {quote(shown(library))}")
    return one_line(f"  {problem.kind}: {problem.name}: {problem.detail}; to repair: {remedy}")
