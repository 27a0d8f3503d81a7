"""`diptych library`: look after a library."""

from dataclasses import asdict
from pathlib import Path
from shlex import quote

import cyclopts

from diptych.core.errors import ConfigError
from diptych.core.extras import need
from diptych.core.text import one_line
from diptych.library import Library, card
from diptych.library.maintenance import Problem

from .library_copies import backup, export, import_, reembed, restore
from .library_trash import delete, purge, trash, undo
from .shared import Common

HELP = """Look after a library.

For example:

    diptych library info ~/pictures.library

    diptych library verify ~/pictures.library
"""

app = cyclopts.App(name="library", help=HELP)
app.command(delete)
app.command(undo)
app.command(trash)
app.command(purge)
app.command(export)
app.command(import_, name="import")
app.command(backup)
app.command(restore)
app.command(reembed)
COMMON = Common()
MOST_LISTED = 20


@app.command
def info(library: Path, *, common: Common = COMMON) -> None:
    """What a library holds, and what --where can ask about.

    For example:

        diptych library info ~/pictures.library

        diptych library info ~/pictures.library --json

    Args:
        library: Folder of the library.
    """
    found = Library.open(library).info()
    lines = [
        f"{found.folder}: {found.images} pictures, {found.bytes_on_disk / 1e6:.1f} MB",
        f"model {found.model} (fingerprint {found.fingerprint}, {found.dim} dimensions), made {found.created}",
        f"rows: {'in the folder' if found.store == card.LANCE else found.store}",
        "columns: " + ", ".join(f"{name} ({kind})" for name, kind in found.columns.items()),
    ]
    common.show(asdict(found), "\n".join(lines))


@app.command
def verify(library: Path, *, common: Common = COMMON) -> None:
    """Check that rows, vectors, files and thumbnails fit together; exit code 1 when they do not.

    Nothing is changed. Each problem names what repairs it.

    For example:

        diptych library verify ~/pictures.library

        diptych library verify ~/pictures.library --json | jq .kinds

    Args:
        library: Folder of the library.
    """
    verdict = Library.open(library).verify()
    lines = [f"{verdict.images} pictures, {len(verdict.problems) or 'no'} problems"]
    lines += [_described(problem, library) for problem in verdict.problems[:MOST_LISTED]]
    if len(verdict.problems) > MOST_LISTED:
        lines.append(f"  and {len(verdict.problems) - MOST_LISTED} more (all with --json)")
    common.show({**asdict(verdict), "kinds": verdict.kinds}, "\n".join(lines))
    if verdict.problems:
        raise SystemExit(1)


@app.command
def repair(library: Path, *, model: bool = False, common: Common = COMMON) -> None:
    """Put right what verify names, as far as that is possible; exit code 1 when something is left.

    Thumbnails and snapshots are made again, left-overs of killed processes go, of two rows for one path one goes
    into the trash, uploaded files of no picture move to the folder lost. What is left says what to do about it.

    For example:

        diptych library repair ~/pictures.library

        diptych library repair ~/pictures.library --model

    Args:
        library: Folder of the library.
        model: Load the library's model, to make damaged vectors again from their pictures.
    """
    encoder = None
    if model:
        from diptych.models import load

        encoder = load(card.read(library).model)
    found = Library.open(library, encoder).repair()
    done = ", ".join(f"{count} {kind}" for kind, count in found.repaired.items())
    lines = [f"{library}: repaired {done or 'nothing'}, {len(found.left) or 'no'} problems left"]
    lines += [_described(problem, library) for problem in found.left[:MOST_LISTED]]
    common.show(asdict(found), "\n".join(lines))
    if found.left:
        raise SystemExit(1)


@app.command
def compact(library: Path, *, common: Common = COMMON) -> None:
    """Make a library small again: old versions and left-overs go, missing thumbnails come back.

    For example:

        diptych library compact ~/pictures.library

    Args:
        library: Folder of the library.
    """
    collection = Library.open(library)
    before = collection.info().bytes_on_disk
    collection.compact()
    after = collection.info().bytes_on_disk
    text = f"{library}: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now"
    common.show({"bytes_before": before, "bytes_after": after}, text)


@app.command(name="add-tokens")
def add_tokens(library: Path, *, slow: str, common: Common = COMMON) -> None:
    """Keep a cross-encoder's tokens of every picture, so that search --rerank encodes nothing again.

    Only pictures without tokens are read. Interrupted, the same command goes on.

    For example:

        diptych library add-tokens ~/pictures.library --slow runs/cross-encoder/model

    Args:
        library: Folder of the library.
        slow: The cross-encoder's folder, or blip:NAME_OR_FOLDER for a BLIP model of transformers.
    """
    need("torch", "diptych library add-tokens")
    from diptych.library import tokens
    from diptych.models.cross_encoder import load_cross_encoder

    report = Library.open(library).add_tokens(
        load_cross_encoder(slow, device=common.device), progress=common.progress()
    )
    tokens.remember(library, slow)
    lines = [f"{library}: {report.to_text()}"]
    lines += [one_line(f"  {one.reason.value}: {one.name}: {one.detail}") for one in report.skipped[:MOST_LISTED]]
    common.show(report.to_json(), "\n".join(lines))


@app.command
def remove(library: Path, /, *paths: Path, common: Common = COMMON) -> None:
    """Put pictures at or below these paths into the trash. The files themselves are not touched.

    undo brings them back, and so does indexing the same files again; what was deleted by delete stays away then.

    For example:

        diptych library remove ~/pictures.library ~/Pictures/old

    Args:
        library: Folder of the library.
        paths: Pictures or folders, whether or not they still exist.
    """
    if not paths:
        raise ConfigError("no path was given; expected the pictures or folders to remove")
    removed = Library.open(library).remove(paths)
    text = f"{library}: {len(removed.ids)} pictures removed"
    if removed.ids:
        text += f"; to bring them back: diptych library undo {quote(str(library))} {removed.batch}"
    common.show({"removed": len(removed.ids), "batch": removed.batch}, text)


def _described(problem: Problem, library: Path) -> str:
    """A problem on one line, with the command that repairs it."""
    command = "diptych library repair"
    remedy = problem.remedy.replace(command, f"{command} {quote(str(library))}")
    return one_line(f"  {problem.kind}: {problem.name}: {problem.detail}; to repair: {remedy}")
