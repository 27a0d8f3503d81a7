"""`diptych generator rate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

from diptych.cli.outputs import JSON, MARKDOWN, check_file, check_folder, write
from diptych.cli.shared import Common
from diptych.cli.sources import Reading
from diptych.core.errors import ConfigError
from diptych.data.readers import SourceOptions

_LARGE = 200_000_000  # bytes of a page from which on browsers may be slow


def rate(
    *systems: Annotated[str, Parameter(metavar="[NAME=]GENERATOR|FOLDER|images:SOURCE")],
    read: Annotated[tuple[Path, ...], Parameter(consume_multiple=True, metavar="ANSWERS...")] = (),
    source: str = "",
    texts: int = 1000,
    raters: int = 5,
    question: tuple[str, ...] = ("quality", "match"),
    fields: tuple[str, ...] = (),
    size: int = 0,
    out: Path | None = None,
    key: Path | None = None,
    markdown: Path | None = None,
    bootstrap: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 1000,
    options: Reading = SourceOptions(),
    common: Common = Common(),
) -> None:
    """Let people choose the best image that several systems made of a text, blind, and read what they chose.

    Writes a page that needs no network: for each text the images of all systems side by side, in an order drawn anew
    for each text and rater. Raters answer with mouse, touch or keys, can stop and continue, and save their answers to
    a file. The key beside the page says which image is of which system: it stays with you. With --read the files of
    answers become shares of first choices, with intervals, differences and the agreement of the raters (Krippendorff's
    alpha).

    Examples:
        diptych generator rate emoji runs/xmc/model --source seen/ --fields name --raters 5 --texts 1000 --out rating
        diptych generator rate old=drawn-a/ new=drawn-b/ real=images:photos.jsonl --out rating
        diptych generator rate --read rating/answers/ --key rating/key.json --out rated.json --markdown rated.md

    Args:
        systems: What is compared, from 2 to 9: generators, folders of diptych generator draw --folder, or images:SOURCE
            for images of other programs and real ones. NAME=... gives one a name in the results.
        read: Files of answers to read, or folders of them, instead of making a page. The exit code is 1 when a file
            cannot be used.
        source: Source of the texts to show, English ones unless --lang says otherwise. Its split val is taken, else
            test, else all. Without one, the texts that the folders and images: of the systems have in common.
        texts: Texts to show, at most; of a source, every pair once before any comes again.
        raters: People who rate; each has a number and an order of their own.
        question: What is asked about each text: quality, match, or a sentence of your own; repeat for several.
        fields: Only texts of this field of the source, such as name; repeat for several.
        size: Pixels of every image's side on the page; 0 for the smallest of the systems'.
        out: Folder for the page and the key, rating when left out; with --read, write the results here as JSON.
        key: With --read: the key of the page, key.json beside the answers or in the folder above when left out.
        markdown: With --read: write the tables here as Markdown.
        bootstrap: With --read: resamples of the texts behind intervals and tests; 0 for none.
    """
    if read:
        given: dict[str, Any] = {"source": source, "texts": texts, "raters": raters, "question": question}
        _refuse({**given, "fields": fields, "size": size}, "is for making a page; leave it out with --read")
        if systems:
            raise ConfigError(
                f"found {systems[0]} beside --read; files of answers follow --read, systems are in the key"
            )
        _read(read, key, out, markdown, bootstrap, common)
    else:
        if not systems:
            raise ConfigError("name two systems or more to compare, or the files of raters' answers after --read")
        _refuse({"key": key, "markdown": markdown, "bootstrap": bootstrap}, "reads answers; give them with --read")
        if options != SourceOptions() and not source:
            raise ConfigError(
                "flags of how the source is read do nothing without --source; name one, or leave them out"
            )
        if fields and not source:
            raise ConfigError("--fields chooses texts of a source; name one with --source")
        _make(systems, source, (texts, raters, question, size), fields, out or Path("rating"), options, common)


def _refuse(given: dict[str, Any], why: str) -> None:
    """Raise ConfigError for the first flag that is not at its default."""
    from inspect import signature

    defaults = signature(rate).parameters
    for name, value in given.items():
        if value != defaults[name].default:
            raise ConfigError(f"--{name} {why}")


def _make(
    systems: tuple[str, ...],
    source: str,
    numbers: tuple[int, int, tuple[str, ...], int],
    fields: tuple[str, ...],
    folder: Path,
    options: SourceOptions,
    common: Common,
) -> None:
    from diptych.inspection.rating import KEY, PAGE, StudySettings, choose_texts, make_study, open_systems

    texts, raters, question, size = numbers
    seed = common.seed or 0
    settings = StudySettings(texts, raters, question, size, seed)
    check_folder(folder, "--out")
    opened = open_systems(systems, common.device)
    chosen = choose_texts(opened, source, options, fields, seed)
    study = make_study(folder, opened, chosen, settings, progress=common.progress())
    page = folder / PAGE
    count = page.stat().st_size
    remarks = [*study.remarks]
    if count > _LARGE:
        remarks.append("a page of this size may be slow on phones; --texts or --size makes it smaller")
    lines = [
        f"{page} ({count / 1e6:.1f} MB): {len(study.texts):,} texts, {len(opened)} systems, images of {study.size} px; "
        f"{study.steps:,} answers from each of {raters} raters",
        f"Send raters the page alone; {folder / KEY} says which image is of which system and stays with you.",
        *(f"- {remark}" for remark in remarks),
    ]
    told = {"page": str(page), "key": str(folder / KEY), "bytes": count, "study": study.id, "size": study.size}
    told |= {"systems": list(study.systems), "texts": len(study.texts), "raters": raters, "steps": study.steps}
    common.show({**told, "remarks": remarks}, "\n".join(lines), chosen.notes)


def _read(
    files: tuple[Path, ...], key: Path | None, out: Path | None, markdown: Path | None, bootstrap: int, common: Common
) -> None:
    import sys

    from diptych.inspection.rating import KEY, rated, read_key

    check_file(out, "--out", JSON)
    check_file(markdown, "--markdown", MARKDOWN)
    if key is None:
        beside = files[0] if files[0].is_dir() else files[0].parent
        tried = [beside / KEY, beside.absolute().parent / KEY]
        key = next((one for one in tried if one.is_file()), None)
        if key is None:
            raise ConfigError(f"no {KEY} in {beside} or the folder above; give the key of the page with --key")
    found = rated(read_key(key), files, resamples=bootstrap, seed=common.seed or 0)
    write(out, found.to_json())
    write(markdown, f"{found.to_text()}\n")
    common.show(found.to_json(), found.to_text())
    if found.unusable:
        sys.exit(1)
