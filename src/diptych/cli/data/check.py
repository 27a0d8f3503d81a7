"""`diptych data check`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from diptych.cli.outputs import JSON, JSON_LINES, check_file
from diptych.cli.shared import Common
from diptych.cli.sources import Reading
from diptych.data.readers import SourceOptions, open_source

if TYPE_CHECKING:
    from diptych.data.doctor import SourceReport


def check(
    source: str,
    /,
    *,
    options: Reading = SourceOptions(),
    report: Path | None = None,
    near: int = 6,
    workers: int = 2,
    tokens: Annotated[bool, Parameter(negative="--no-tokens")] = True,
    common: Common = Common(),
) -> None:
    """Read a source once and say what is wrong with it; exit code 1 when training on it would mislead.

    Finds unreadable, tiny, huge and blank images, missing texts, texts that the tokenizer will cut,
    and images that come again in the same split or in another one.

    Examples:
        diptych data check flickr8k/
        diptych data check pairs.tsv --image-column file --text-columns caption_en --text-columns caption_de
        diptych data check photos/ --report problems.jsonl
        diptych data check shards/ --format webdataset --json
        diptych data check sentences.csv --query-column first --document-column second --label-scale 1:5

    Args:
        source: File or folder: images, class folders, CSV, JSONL, Parquet, tars, Karpathy, Flickr, BEIR, STS, ...
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


def _tokenizer() -> dict[str, Any]:
    """The default text tower's, loaded only when a text may be too long for it."""
    try:
        from diptych.encoders.text.use import UniversalSentenceEncoder
    except ImportError:
        return {}
    encoder = UniversalSentenceEncoder()
    return {"count_tokens": encoder.count_tokens, "max_tokens": encoder.max_tokens}


def _write(path: Path, found: SourceReport) -> None:
    from diptych.core.files import atomic_write

    with atomic_write(path) as stream:
        for problem in found.problems:
            line = {"kind": problem.kind, "name": problem.name, "detail": problem.detail}
            stream.write((json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
