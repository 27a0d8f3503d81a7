"""`diptych data translate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from diptych.cli.outputs import JSON_LINES, check_file
from diptych.cli.shared import Common
from diptych.cli.sources import Reading
from diptych.data.readers import SourceOptions, open_source


def translate(
    source: str,
    /,
    *,
    to: tuple[str, ...],
    back: bool = False,
    start: Annotated[tuple[str, ...], Parameter(name="--from")] = (),
    engine: str = "apertium",
    out: Path | None = None,
    options: Reading = SourceOptions(),
    common: Common = Common(),
) -> None:
    """Write translations, and translations back, beside the texts of a source, as JSON lines.

    Every translated text says which text it stands for and which engine made it; the file is a source
    like any other. An interrupted run goes on when the same command is given again: what was
    translated once is kept in the cache folder.

    Examples:
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
