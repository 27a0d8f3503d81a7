"""`diptych data`: look at a source of pairs before you train on it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from diptych.data.readers import SourceOptions, open_source

from .emoji import emoji
from .filter import filter_source
from .mine import mine
from .outputs import JSON, JSON_LINES, check_file
from .shared import Common

if TYPE_CHECKING:
    from diptych.data.doctor import Report

ANY_SOURCE = SourceOptions()
COMMON = Common()

HELP = """Look at a source of pairs before you train on it, clean it, or make one.

For example:

    diptych data check flickr8k/

    diptych data filter crawled.csv --out filtered/
"""

app = cyclopts.App(name="data", help=HELP)
app.command(filter_source, name="filter")
app.command(mine)
app.command(emoji)


@app.command
def check(
    source: str,
    /,
    *,
    options: Annotated[SourceOptions, Parameter(name="*")] = SourceOptions(),
    report: Path | None = None,
    near: int = 6,
    workers: int = 2,
    tokens: Annotated[bool, Parameter(negative="--no-tokens")] = True,
    common: Common = Common(),
) -> None:
    """Read a source once and say what is wrong with it; exit code 1 when training on it would mislead.

    Finds unreadable, tiny, huge and blank images, missing texts, texts that the tokenizer will cut,
    and images that come again in the same split or in another one.

    For example:

        diptych data check flickr8k/

        diptych data check pairs.tsv --image-column file --text-columns caption_en --text-columns caption_de

        diptych data check photos/ --report problems.jsonl

        diptych data check shards/ --format webdataset --json

    Args:
        source: File or folder: images, class folders, CSV, JSONL, Parquet, tars, Karpathy, Flickr, ...
        report: Write every problem to this file, one JSON object a line.
        near: Bits of 64 in which the perceptual hashes of near duplicates may differ (0 to 15).
        workers: Threads that read images.
        tokens: Count the texts that the sentence encoder's tokenizer will cut.
    """
    from diptych.data import doctor

    check_file(report, "--report", (*JSON_LINES, *JSON), source)
    tokenizer = _tokenizer() if tokens else {}
    found = doctor.check(
        open_source(source, options), progress=common.progress(), near=near, workers=workers, **tokenizer
    )
    if report is not None:
        _write(report, found)
    common.show(found.to_json(), found.to_text())
    if found.misleading:
        sys.exit(1)


@app.command
def translate(
    source: str,
    /,
    *,
    to: tuple[str, ...],
    back: Annotated[bool, Parameter(negative="")] = False,
    start: Annotated[tuple[str, ...], Parameter(name="--from")] = (),
    engine: str = "apertium",
    out: Path | None = None,
    options: Annotated[SourceOptions, Parameter(name="*")] = ANY_SOURCE,
    common: Common = COMMON,
) -> None:
    """Write translations, and translations back, beside the texts of a source, as JSON lines.

    Every translated text says which text it stands for and which engine made it; the file is a source
    like any other. An interrupted run goes on when the same command is given again: what was
    translated once is kept in the cache folder.

    For example:

        diptych data translate flickr8k/ --lang en --to es --back

        diptych data translate flickr8k/ --split train --to es --to ca --back --out train-es-ca.jsonl

        diptych data translate pairs.csv --to de --engine marian

        diptych data translate pairs.csv --to fr --back --engine nllb:models/nllb-200-distilled-600M

    Args:
        source: File or folder: images, class folders, CSV, JSONL, Parquet, tars, Karpathy, Flickr, ...
        to: Language to translate to (ISO 639-1, such as es); repeat the flag for several.
        back: Also translate the translations back into the language they came from.
        start: Translate only texts of this language; repeat the flag for several.
        engine: apertium, marian, marian:FOLDER, nllb, nllb:FOLDER or ctranslate2:FOLDER; {source} and {target}
            in FOLDER stand for the languages.
        out: File to write; SOURCE.translated.jsonl, beside the source, when left out.
    """
    from diptych.core.files import cache_folder
    from diptych.data.translation import TranslationTask, translate_source
    from diptych.encoders.translation import translator

    check_file(out, "--out", JSON_LINES, source)
    opened = open_source(source, options)
    report = translate_source(
        opened,
        translator(engine, device=common.device),
        TranslationTask(_codes(to), back, _codes(start)),
        out or _beside(opened.path, options.split),
        cache_folder() / "translations",
        progress=common.progress(),
    )
    common.show(report.to_json(), report.to_text(), opened.notes)


def _codes(values: tuple[str, ...]) -> tuple[str, ...]:
    """("es,ca", "FR") -> ("es", "ca", "fr")."""
    return tuple(dict.fromkeys(code.strip().lower() for value in values for code in value.split(",") if code.strip()))


def _beside(source: Path, split: str | None) -> Path:
    """Beside the source, never in its folder, which would then look like a folder of JSON lines."""
    place = source.resolve() if source.exists() else Path(source.name)
    stem = place.name if place.is_dir() else place.stem
    return place.parent / f"{stem}{f'-{split}' if split else ''}.translated.jsonl"


def _tokenizer() -> dict[str, Any]:
    """The default text tower's, loaded only when a text may be too long for it."""
    try:
        from diptych.encoders.text.use import UniversalSentenceEncoder
    except ImportError:
        return {}
    encoder = UniversalSentenceEncoder()
    return {"count_tokens": encoder.count_tokens, "max_tokens": encoder.max_tokens}


def _write(path: Path, found: Report) -> None:
    from diptych.core.files import atomic_write

    with atomic_write(path) as stream:
        for problem in found.problems:
            line = {"kind": problem.kind, "name": problem.name, "detail": problem.detail}
            stream.write((json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
