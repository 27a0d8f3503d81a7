"""`diptych rerank prepare`."""

from __future__ import annotations

from diptych.cli.shared import Common, LibraryFolder, RerankerAddress, shortened
from diptych.core.text import one_line
from diptych.library.bucket import shown


def prepare(*, library: LibraryFolder, reranker: RerankerAddress, common: Common = Common()) -> None:
    """Store the re-ranker's tokens of every image and moment of a library, so that search --rerank encodes none again.

    Only images without tokens are read. When it is interrupted, the same command continues.

    Examples:
        diptych rerank prepare --library ~/pictures.library --reranker runs/cross-encoder/model
    """
    from diptych.library import Library, tokens
    from diptych.models.cross_encoder import load_cross_encoder

    report = Library.open(library).add_tokens(
        load_cross_encoder(reranker, device=common.device), progress=common.progress()
    )
    tokens.remember(library, reranker)
    lines = [f"{shown(library)}: {report.to_text()}"]
    lines += shortened([one_line(f"  {one.reason.value}: {one.name}: {one.detail}") for one in report.skipped])
    common.show(report.to_json(), "\n".join(lines))
