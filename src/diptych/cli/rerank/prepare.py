"""`diptych rerank prepare`."""

from __future__ import annotations

from diptych.cli.engines import WORKERS, EngineAddress, EngineName, Workers, check_engine, opened_engine
from diptych.cli.shared import Common, LibraryFolder, RerankerAddress, shortened
from diptych.core.text import one_line
from diptych.library.bucket import shown


def prepare(
    *,
    library: LibraryFolder,
    reranker: RerankerAddress,
    engine: EngineName = "local",
    address: EngineAddress = None,
    workers: Workers = WORKERS,
    common: Common = Common(),
) -> None:
    """Store the re-ranker's tokens of every image and moment of a library, so that search --rerank encodes none again.

    Only images without tokens are read. When it is interrupted, the same command continues.

    Examples:
        diptych rerank prepare --library ~/pictures.library --reranker runs/cross-encoder/model
        diptych rerank prepare --library /shared/photos.library --reranker base --engine ray --address head.example:6379
    """
    check_engine(engine, address, "diptych rerank prepare")
    from diptych.library import Library, tokens
    from diptych.models.cross_encoder import load_cross_encoder

    opened, cross_encoder = Library.open(library), load_cross_encoder(reranker, device=common.device)
    with opened_engine(engine, address, common.device) as elsewhere:
        report = opened.add_tokens(cross_encoder, progress=common.progress(), engine=elsewhere, workers=workers)
    tokens.remember(library, reranker)
    lines = [f"{shown(library)}: {report.to_text()}"]
    lines += shortened([one_line(f"  {one.reason.value}: {one.name}: {one.detail}") for one in report.skipped])
    common.show(report.to_json(), "\n".join(lines), report.notes)
