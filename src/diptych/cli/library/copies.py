"""`diptych library export`, `import`, `backup`, `reembed`."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Annotated

from cyclopts import Parameter

from diptych.cli.engines import WORKERS, EngineAddress, EngineName, Workers, check_engine, opened_engine
from diptych.cli.outputs import JSON, check_file, check_folder
from diptych.cli.shared import Common, LibraryFolder, ModelAddress
from diptych.core.text import number
from diptych.library import Library, card
from diptych.library.bucket import shown

_MODEL = "The model's name, folder or address here, when it is another than on the old machine."


def export(target: Path, /, *, library: LibraryFolder, common: Common = Common()) -> None:
    """Write a library to one portable folder, or to one file when the name ends in .tar.

    JSON lines, safetensors vectors, thumbnails and uploaded images, with a hash of each file. Images that were
    indexed where they lie are named, not copied. It can be made while the library is searched and written.

    Examples:
        diptych library export pictures-export --library ~/pictures.library
        diptych library export pictures.tar --library ~/pictures.library

    Args:
        target: What to make; it appears when it is whole.
    """
    if target.suffix != ".tar":
        check_folder(target, "TARGET")
    report = Library.open(library).export(target, progress=common.progress())
    text = (
        f"{report.target}: {number(report.images, 'image')}, {report.trashed} in the trash, {report.bytes / 1e6:.1f} MB"
    )
    common.show(asdict(report), text)


def import_(
    export: Path,
    /,
    *,
    library: LibraryFolder,
    store: str = card.LANCE,
    model: Annotated[ModelAddress | None, Parameter(help=_MODEL)] = None,
    common: Common = Common(),
) -> None:
    """Make a new library of an export or a backup, here or on another machine, in any kind of store.

    Every hash is checked before anything is made. Ids, trash and undo stay as they were.

    Examples:
        diptych library import pictures.tar --library ~/pictures.library
        diptych library import /mnt/backups/pictures-20260501-030000.tar --library ~/pictures.library
        diptych library import pictures.tar --library team.library --store milvus://localhost:19530/pictures
        diptych library import pictures.tar --library s3://photos/holidays

    Args:
        export: What diptych library export, or backup, made.
        store: Where its rows go: lance (in the folder), or milvus://HOST:PORT/COLLECTION.
    """
    from diptych.library.maintenance import restore

    check_folder(library, "--library")
    report = restore(export, library, store=store, model=model, progress=common.progress())
    text = f"{report.target}: {number(report.images, 'image')}, {report.trashed} in the trash"
    common.show(asdict(report), text)


def backup(folder: Path, /, *, library: LibraryFolder, common: Common = Common()) -> None:
    """Export a library to a dated .tar in a folder, then read it again and check every hash.

    Examples:
        diptych library backup /mnt/backups --library ~/pictures.library

    Args:
        folder: Where backups are kept; made when it is not there.
    """
    from diptych.library.maintenance import check_export

    check_folder(folder, "FOLDER")
    name = Path(shown(Path(os.path.abspath(library)))).name.removesuffix(".library")  # noqa: PTH100
    target = folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.tar"
    Library.open(library).export(target, progress=common.progress())
    report = check_export(target, common.progress())
    text = f"{target}: {number(report.images, 'image')}, {report.bytes / 1e6:.1f} MB, read again and whole"
    common.show(asdict(report), text)


def reembed(
    *,
    library: LibraryFolder,
    model: ModelAddress,
    thumbnails: bool = False,
    missing: Path | None = None,
    engine: EngineName = "local",
    address: EngineAddress = None,
    workers: Workers = WORKERS,
    common: Common = Common(),
) -> None:
    """Give all images vectors of another model while the old ones serve, then switch in one step.

    When it is interrupted or killed, the same command continues. Programs that have the library open keep to the old
    model until they open it again, which diptych serve does by itself; diptych library compact drops its vectors.
    Images whose files are gone or changed are listed, and nothing is switched, unless their thumbnails are allowed.

    Examples:
        diptych library reembed --model runs/mine/model --library ~/pictures.library
        diptych library reembed --model runs/mine/model --thumbnails --missing gone.json --library ~/pictures.library
        diptych library reembed --model base --library /shared/photos.library --engine ray --address head.example:6379

    Args:
        thumbnails: Embed images whose files are gone or changed from their thumbnails (256 pixels).
        missing: Write the paths of all such images to this file, as a JSON list.
    """
    check_file(missing, "--missing", JSON)
    check_engine(engine, address, "diptych library reembed")
    from diptych.core.files import write_bytes
    from diptych.library.maintenance import MissingImagesError
    from diptych.models import load

    try:
        opened, encoder = Library.open(library), load(model, device=common.device)
        with opened_engine(engine, address, common.device) as elsewhere:
            report = opened.reembed(
                encoder, thumbnails=thumbnails, progress=common.progress(), engine=elsewhere, workers=workers
            )
    except MissingImagesError as error:
        if missing is not None:
            write_bytes(missing, (json.dumps(error.paths, indent=1) + "\n").encode())
        raise
    if missing is not None:
        write_bytes(missing, (json.dumps(report.from_thumbnails, indent=1) + "\n").encode())
    text = f"{shown(library)}: {report.images} images have vectors of {report.model} now ({report.embedded} embedded)"
    if report.from_thumbnails:
        text += f"; {len(report.from_thumbnails)} of them from thumbnails: {', '.join(report.from_thumbnails[:5])}"
    if report.index is not None:
        text += (
            f"\nits index ({report.index}) was chosen for the vectors of the model before; measure again: "
            f"diptych library tune --library {quote(shown(library))}"
        )
    common.show({**asdict(report), "notes": []}, text, report.notes)
