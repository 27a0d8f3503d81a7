"""`diptych index`."""

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

from cyclopts import Parameter, validators

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.extras import need
from diptych.core.protocols import CrossEncoder
from diptych.core.text import one_line
from diptych.library import Library, card
from diptych.library.bucket import shown
from diptych.library.indexing import UNDONE, IndexReport

from .engines import WORKERS, EngineAddress, EngineName, Workers, check_engine, opened_engine
from .outputs import check_folder
from .shared import Common, LibraryFolder, ModelAddress, RerankerAddress, shortened

_MODEL = """Dual encoder of a new library: a shipped model's name, a model folder, or the address of a pretrained model
(hf:ORG/NAME, open_clip:ARCHITECTURE/TAG, sentence-transformers:NAME); base when left out. A library keeps to the model
it was made with."""
_RERANKER = """Also store this cross-encoder's tokens of each image or moment, as diptych rerank prepare does: its model
folder, or blip:NAME_OR_FOLDER."""


def index(
    *paths: Path,
    library: Annotated[LibraryFolder, Parameter(help="Folder of the library; made when it is not there.")],
    model: Annotated[ModelAddress | None, Parameter(help=_MODEL)] = None,
    format: str | None = None,
    encoding: str | None = None,
    text_columns: tuple[str, ...] = (),
    workers: Workers = WORKERS,
    batch_size: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 32,
    max_megapixels: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 50.0,
    max_megabytes: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 20.0,
    store: str | None = None,
    engine: EngineName = "local",
    address: EngineAddress = None,
    reranker: Annotated[RerankerAddress | None, Parameter(help=_RERANKER)] = None,
    ocr: Annotated[bool, Parameter(negative=())] = False,
    ocr_seconds: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 30.0,
    prune: bool = False,
    videos: bool = False,
    texts: bool = False,
    moment_seconds: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 5.0,
    moment_frames: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=64))] = 4,
    common: Common = Common(),
) -> None:
    """Put images into a library, or bring it up to date.

    Only what is new or edited is embedded; moved files and copies keep their vectors; files that are gone from
    the folders named now go into the trash. Nothing is removed for a folder that is missing or entirely
    empty, as when a drive is not mounted; it is named. After an interruption the same command continues. Files of other
    kinds, hidden files and links to files that are indexed anyway are left out and counted. Files that list images
    (CSV, JSONL, Parquet, tar, ...) bring their texts and metadata along, for --where.

    Examples:
        diptych index ~/Pictures --library ~/pictures.library
        diptych index holiday/ scans/ one.jpg --library all.library
        diptych index recipes.jsonl --library recipes.library
        diptych index flickr8k/ --format flickr --library flickr.library --json
        diptych index ~/Pictures --library team.library --store milvus://localhost:19530/pictures
        diptych index ~/Pictures --library s3://photos/holidays
        diptych index /shared/photos --library /shared/photos.library --engine ray --address head.example:6379
        diptych index ~/Screenshots --library ~/screenshots.library --ocr
        diptych index clips/ --videos --library clips.library
        diptych index clips/ --videos --library clips.library --reranker runs/cross-encoder-video/model
        diptych index captions.csv --texts --library captions.library
        diptych index scifact/ --texts --library scifact.library
        diptych index ~/Pictures --library ~/pictures.library --reranker runs/cross-encoder/model

    Args:
        paths: Folders, images, or files that list images.
        format: Read every path as this kind of source of pairs, folders too, such as flickr or csv.
        encoding: Encoding of text files, such as windows-1252 or gb18030; detected when left out.
        text_columns: Columns that hold the texts: a,b or a b, or repeat the flag.
        batch_size: Images that are embedded at once.
        max_megapixels: Larger images are skipped, before they are decoded.
        max_megabytes: Larger files are skipped, unread.
        store: Where the rows of a new library go: lance (in its folder, the default), or on a Milvus server,
            milvus://HOST:PORT/COLLECTION; credentials go into DIPTYCH_MILVUS_TOKEN. docs/library.md says what may
            stand behind a ? of it: index, replicas and consistency.
        videos: Index the videos at these paths instead: every moment is found on its own.
        texts: Index the texts of these sources (or the lines of .txt files) instead, to be found by words that mean
            the same, or by images. Of queries and documents the documents are indexed, each once. A library holds
            images or texts, not both.
        moment_seconds: Length of a moment in seconds; longer where a video would have more than 240 moments.
        moment_frames: Frames that stand for a moment; a model trained on frames reads as many as it was trained on.
        ocr: Also read the words inside all images of the library that were not read yet, so that search --ocr finds
            images by them; it takes seconds an image. After an interruption the same command continues.
        ocr_seconds: Images whose words take longer to read are left without, and counted.
        prune: Also put into the trash what is not found because its whole folder is missing or empty.
    """
    given = dict(locals())
    if not ocr and ocr_seconds != signature(index).parameters["ocr_seconds"].default:
        raise ConfigError("--ocr-seconds is the time for an image of --ocr; add --ocr, or leave it out")
    if ocr:
        from diptych.data.words import WordReader

        words = WordReader(ocr_seconds)  # before anything is read
    if videos:
        need("av", "diptych index --videos")
    check_engine(engine, address, "diptych index")
    from diptych.data.images import ImageLimits
    from diptych.data.readers import SourceOptions
    from diptych.library import IndexOptions
    from diptych.library.sources import survey

    _check_flags("--texts" if texts else "--videos" if videos else "", given)
    cross_encoder: CrossEncoder | None = None
    if reranker is not None:
        from diptych.models.cross_encoder import load_cross_encoder

        cross_encoder = load_cross_encoder(reranker, device=common.device)  # before anything is read
    source = SourceOptions(format=format, encoding=encoding, text_columns=text_columns)
    progress = common.progress()
    if texts or videos:
        opened = _opened(library, model, store, common.device, images=videos)
        if texts:
            made = opened.index_texts(paths, source=source, progress=progress)
        else:
            from diptych.data.video import MomentPlan

            made = opened.index_videos(paths, plan=MomentPlan(moment_seconds, moment_frames), progress=progress)
        value, text = made.to_json(), _described(made, library)
        if cross_encoder is not None:
            text = f"{text}\n{_add_tokens(opened, library, cross_encoder, value, common)}"
        common.show(value, text, made.notes)
        _check_any(made, "texts" if texts else "videos")
        return
    with opened_engine(engine, address, common.device) as workers_elsewhere:
        if card.exists(library):
            collection = _opened(library, model, store, common.device)
            sounds = collection.required_model().preprocess.is_of_sounds
            found = survey(paths, options=source, is_known=collection.knows, sounds=sounds)
        else:  # the other way round, so that a wrong name makes no library
            found = survey(paths, options=source, sounds=_reads_sounds(model, common.device))
            collection = _opened(library, model, store, common.device)
        if ocr:
            collection.opened.store().check_words()
        limits = ImageLimits(max_bytes=int(max_megabytes * 1e6), max_pixels=int(max_megapixels * 1e6))
        options = IndexOptions(batch_size=batch_size, workers=workers, limits=limits, prune=prune)
        report = collection.index(found, options=options, progress=progress, engine=workers_elsewhere)
    value, text = report.to_json(), _described(report, library)
    if cross_encoder is not None:
        text = f"{text}\n{_add_tokens(collection, library, cross_encoder, value, common)}"
    if ocr:
        with words:
            read = collection.read_words(words, progress=common.progress())
        value["words"] = read.to_json()
        text = "\n".join(
            [text, read.to_text(), *shortened([f"  {_brief(one.name, one.detail)}" for one in read.skipped])]
        )
    common.show(value, text, [*report.notes, *collection.unfamiliar()])
    _check_any(report, "images")


def _add_tokens(
    collection: Library, library: Path, cross_encoder: CrossEncoder, value: dict[str, Any], common: Common
) -> str:
    """Store the re-ranker's tokens of what is in the library; the report goes into `value` and comes back as a line."""
    from diptych.library.tokens import address_of, remember

    added = collection.add_tokens(cross_encoder, progress=common.progress())
    remember(library, address_of(cross_encoder))
    value["tokens"] = added.to_json()
    return added.to_text()


def _reads_sounds(model: str | None, device: str) -> bool:
    """Whether a model takes sounds in place of images."""
    from diptych.models import load

    return model is not None and load(model, device=device).preprocess.is_of_sounds


def _check_any(report: IndexReport, what: str) -> None:
    """Raise DataError when nothing of what was named is in the library now."""
    if report.found or report.trashed or report.removed:
        return
    if report.kept:
        raise DataError("nothing of what was named is there; what the library has of it is kept", Reason.MISSING)
    raise DataError(f"none of the {len(report.skipped)} {what} could be read; {_reasons(report)}")


def _check_flags(mode: str, given: Mapping[str, Any]) -> None:
    """Raise ConfigError for flags that were `given` and would do nothing beside --texts, --videos or neither."""
    moments = {"moment_seconds", "moment_frames"}
    kept = {"--texts": {"texts", "format", "encoding", "text_columns"}, "--videos": {"videos", "reranker", *moments}}
    used = kept[mode] | {"paths", "library", "model", "store", "common"} if mode else given.keys() - moments
    idle = [
        f"--{name.replace('_', '-')}"
        for name, parameter in signature(index).parameters.items()
        if name not in used and given[name] != parameter.default
    ]
    if idle:
        raise ConfigError(
            f"{' and '.join(idle)} would do nothing {f'beside {mode}' if mode else 'without --videos'}; leave it out"
            + ("; texts cannot be re-ranked" if "--reranker" in idle else "")
        )


def _opened(folder: Path, model: str | None, store: str | None, device: str, *, images: bool = True) -> Library:
    """The library, or a new one, with its model. A new one of `images` needs a model that has an image side."""
    from diptych.library.encoder import with_images
    from diptych.models import load

    if card.exists(folder):
        about = card.read(folder)
        if store not in (None, about.store):
            raise ConfigError(
                f"the library {shown(folder)} keeps its rows in {about.store}, found --store {store}; leave "
                f"--store out, or move it: diptych library export, then diptych library import --store"
            )
        found = Library.open(folder, model, device=device)
        found.required_model()  # before anything is read
        return found
    check_folder(folder, "--library")
    encoder = load(model or "base", device=device)
    return Library.create(folder, with_images(encoder) if images else encoder, store=store or card.LANCE)


def _described(report: IndexReport, library: Path) -> str:
    counts = ", ".join(
        f"{count} {word}"
        for word, count in (
            ("added", report.added),
            ("updated", report.updated),
            ("moved", report.moved),
            ("unchanged", report.unchanged),
            ("back from the trash", report.restored),
            ("removed", report.removed),
            ("kept although not found", sum(len(kept.paths) for kept in report.kept)),
            ("in the trash", report.trashed),
            ("skipped", len(report.skipped)),
        )
        if count
    )
    lines = [f"{shown(library)}: {counts or 'nothing to do'} in {report.seconds:.1f} s"]
    if report.batch is not None:
        lines.append(
            f"removed: to bring them back: diptych library undo {report.batch} --library {quote(shown(library))}"
        )
    for kept in report.kept:
        named = ", ".join(kept.paths[:3]) + (", ..." if len(kept.paths) > 3 else "")
        lines.append(one_line(f"kept: {len(kept.paths)} of {kept.folder}, because {kept.reason}: {named}"))
    if away := [kept.folder for kept in report.kept if kept.reason != UNDONE]:
        folder = quote(away[0])
        lines.append(
            f"  is a drive not mounted? To put them into the trash nevertheless: diptych library rm {folder} "
            f"--library {quote(shown(library))}"
        )
    if report.skipped:
        lines.append(f"skipped: {_reasons(report)}")
        lines += shortened([f"  {one.reason.value}: {_brief(one.name, one.detail)}" for one in report.skipped])
    return "\n".join(lines)


def _brief(name: str, detail: str) -> str:
    """Name and detail on one line, the name once."""
    return one_line(detail if name in detail else f"{name}: {detail}")


def _reasons(report: IndexReport) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(report.reasons.items()))
