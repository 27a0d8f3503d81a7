"""`diptych library export`, `import`, `backup`, `restore`, `reembed`."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

from diptych.core.file_names import escape
from diptych.library import Library, card

from .outputs import JSON, check_file, check_folder
from .shared import Common

COMMON = Common()


def export(library: Path, target: Path, /, *, common: Common = COMMON) -> None:
    """Write a library to one portable folder, or to one file when the name ends in .tar.

    JSON lines, safetensors vectors, thumbnails and uploaded pictures, with a hash of each file. Pictures that were
    indexed where they lie are named, not copied. It can be made while the library is searched and written.

    For example:

        diptych library export ~/pictures.library pictures-export

        diptych library export ~/pictures.library pictures.tar

    Args:
        library: Folder of the library.
        target: What to make; it appears when it is whole.
    """
    if target.suffix != ".tar":
        check_folder(target, "TARGET")
    report = Library.open(library).export(target, progress=common.progress())
    text = f"{report.target}: {report.images} pictures, {report.trashed} in the trash, {report.bytes / 1e6:.1f} MB"
    common.show(asdict(report), text)


def import_(
    source: Path,
    library: Path,
    /,
    *,
    store: str = card.LANCE,
    model: str | None = None,
    common: Common = COMMON,
) -> None:
    """Make a library of an export, here or on another machine, in any kind of store.

    Every hash is checked before anything is made. Ids, trash and undo stay as they were.

    For example:

        diptych library import pictures.tar ~/pictures.library

        diptych library import pictures.tar team.library --store milvus://localhost:19530/pictures

    Args:
        source: What diptych library export, or backup, made.
        library: Folder of the new library.
        store: Where its rows go: lance (in the folder), or milvus://HOST:PORT/COLLECTION.
        model: Name or folder to load the model by here, when it is another than on the old machine.
    """
    from diptych.library.maintenance import restore as restore_export

    check_folder(library, "LIBRARY")
    report = restore_export(source, library, store=store, model=model, progress=common.progress())
    text = f"{report.target}: {report.images} pictures, {report.trashed} in the trash"
    common.show(asdict(report), text)


def backup(library: Path, folder: Path, /, *, common: Common = COMMON) -> None:
    """Export a library to a dated .tar in a folder, then read it again and check every hash.

    For example:

        diptych library backup ~/pictures.library /mnt/backups

    Args:
        library: Folder of the library.
        folder: Where backups are kept; made when it is not there.
    """
    from diptych.library.maintenance import check_export

    check_folder(folder, "FOLDER")
    name = escape(Path(os.path.abspath(library)).name).removesuffix(".library")  # noqa: PTH100
    target = folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.tar"
    Library.open(library).export(target, progress=common.progress())
    report = check_export(target, common.progress())
    text = f"{target}: {report.images} pictures, {report.bytes / 1e6:.1f} MB, read again and whole"
    common.show(asdict(report), text)


def restore(
    backup: Path, library: Path, /, *, store: str = card.LANCE, model: str | None = None, common: Common = COMMON
) -> None:
    """Make a library of a backup; the same as import.

    For example:

        diptych library restore /mnt/backups/pictures-20260501-030000.tar ~/pictures.library

    Args:
        backup: What diptych library backup made.
        library: Folder of the new library.
        store: Where its rows go: lance (in the folder), or milvus://HOST:PORT/COLLECTION.
        model: Name or folder to load the model by here, when it is another than on the old machine.
    """
    import_(backup, library, store=store, model=model, common=common)


def reembed(
    library: Path, *, model: str, thumbnails: bool = False, missing: Path | None = None, common: Common = COMMON
) -> None:
    """Give all pictures vectors of another model while the old ones serve, then switch in one step.

    Interrupted or killed, the same command goes on. Programs that have the library open keep to the old model until
    they open it again, which diptych serve does by itself; diptych library compact drops its vectors. Pictures whose
    files are gone or changed are listed, and nothing is switched, unless their thumbnails are allowed.

    For example:

        diptych library reembed ~/pictures.library --model runs/mine/model

        diptych library reembed ~/pictures.library --model runs/mine/model --thumbnails --missing missing.json

    Args:
        library: Folder of the library.
        model: A shipped model's name, or a model folder.
        thumbnails: Embed pictures whose files are gone or changed from their thumbnails (256 pixels).
        missing: Write the paths of all such pictures to this file, as a JSON list.
    """
    check_file(missing, "--missing", JSON)
    from diptych.core.files import write_bytes
    from diptych.library.maintenance import MissingImagesError

    try:
        report = Library.open(library).reembed(model, thumbnails=thumbnails, progress=common.progress())
    except MissingImagesError as error:
        if missing is not None:
            write_bytes(missing, (json.dumps(error.paths, indent=1) + "\n").encode())
        raise
    if missing is not None:
        write_bytes(missing, (json.dumps(report.from_thumbnails, indent=1) + "\n").encode())
    text = f"{library}: {report.images} pictures have vectors of {report.model} now ({report.embedded} embedded)"
    if report.from_thumbnails:
        text += f"; {len(report.from_thumbnails)} of them from thumbnails: {', '.join(report.from_thumbnails[:5])}"
    common.show(asdict(report), text)
