"""Two things that are done with other models from Python: `rerank` with a cross-encoder, `generate` images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diptych.core.checks import of_type, several, whole
from diptych.core.errors import ConfigError, DataError
from diptych.core.protocols import SILENT, CrossEncoder, Progress
from diptych.core.shapes import UInt8
from diptych.core.types import FileImage, Hit, Skipped
from diptych.data.images import stream
from diptych.library import query as queries
from diptych.library.reranker import plain_words
from diptych.models import DualEncoder, as_model
from diptych.synthesis import SavedGenerator, load

from .reranking import reranker as fitted_reranker


def rerank(
    query: str,
    candidates: Sequence[Hit | str | Path],
    reranker: CrossEncoder | str | Path,
    *,
    model: DualEncoder | str | Path = "base",
    k: int | None = None,
    beta: float | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> list[Hit]:
    """Put the candidates of a text in a better order, by a cross-encoder, which looks at image and text together.

        hits = library.search("a dog catches a frisbee", k=50)
        hits = diptych.rerank("a dog catches a frisbee", hits, "runs/diptych-cross-encoder/model")

    Args:
        query: plain words.
        candidates: hits of a search, best first; or image files, which `model` puts in a first order.
        reranker: a cross-encoder, its folder, or "blip:NAME_OR_FOLDER". `diptych rerank fit` fits it to the model.
        model: the dual encoder that the hits come from.
        k: how many of the first to re-rank; None is what was fitted.
        beta: weight of the cosine beside the cross-encoder's score; None is what was fitted.
        device: of the cross-encoder.
        progress: told about the images.

    Returns all hits: the re-ranked ones first; behind them, as they were, the others and those whose image cannot be
    read. Of image files, those that cannot be read are left out. Raises ModelError when nothing was fitted and no
    `beta` is given, DataError for hits without images, or where no image file can be read.
    """
    from diptych.models.cross_encoder import load_cross_encoder

    words = plain_words(queries.check_text(query))
    dual_encoder = as_model(model)
    cross_encoder = load_cross_encoder(reranker, device=device) if isinstance(reranker, str | Path) else reranker
    of_type(cross_encoder, CrossEncoder, "a cross-encoder, or its folder, as reranker")
    ranker = fitted_reranker(dual_encoder, cross_encoder, beta=beta, k=k)
    hits = _as_hits(dual_encoder, words, candidates, progress)
    if missing := [hit.id for hit in hits if hit.path is None]:
        raise DataError(f"the hit {missing[0]} has no image file, so it cannot be re-ranked; re-rank hits of images")
    tokens, readable = [], []
    first = hits[: ranker.k]
    images = [FileImage(Path(hit.path or "")) for hit in first]
    for batch in stream(images, cross_encoder.preprocess):
        if batch.indices:
            tokens.append(cross_encoder.encode_pixels(batch.pixels))
            readable += batch.indices
    kept = [first[place] for place in readable]
    others = [hit for place, hit in enumerate(hits) if place >= len(first) or place not in set(readable)]
    if not kept:
        return hits
    return ranker.hits(words, [*kept, *others], np.concatenate(tokens))


def generate(
    texts: str | Sequence[str], generator: SavedGenerator | str | Path = "emoji", *, seed: int = 0, lang: str = ""
) -> UInt8[np.ndarray, "n h w 3"]:
    """Small images from words, one for each text, as an array of RGB values.

        PIL.Image.fromarray(diptych.generate("a red apple")[0]).save("apple.png")

    Args:
        texts: what the images should show.
        generator: a shipped generator by name, a folder that `diptych train` wrote, or one that is loaded already.
        seed: of the noise; equal seeds give equal images.
        lang: language of the texts (ISO 639-1), to be warned if the text tower does not know it.

    Raises DataError for an empty text, LimitError for one that the text tower would cut.
    """
    if seed is not None and whole("seed", seed) < 0:
        raise ConfigError(f"seed must be at least 0, found {seed}")
    made = generator if isinstance(generator, SavedGenerator) else load(generator)
    return made.generate(several(texts, str, "a text, or a list of texts"), seed=seed, lang=lang)


def _as_hits(model: DualEncoder, words: str, candidates: Sequence[Hit | str | Path], progress: Progress) -> list[Hit]:
    """Hits as they are; image files as hits in the order of their cosines."""
    candidates = several(candidates, (Hit, str, Path), "hits of a search, or image files")
    hits = [each for each in candidates if isinstance(each, Hit)]
    paths = [str(each) for each in candidates if not isinstance(each, Hit)]
    if not paths:
        return hits
    if hits:
        raise DataError("found hits beside image files; give one or the other")
    skipped: list[Skipped] = []
    vectors = model.encode_images(paths, progress=progress, skipped=skipped)
    if len(skipped) == len(paths):
        raise skipped[0].error()
    unreadable = {skip.name for skip in skipped}
    paths = [path for path in paths if path not in unreadable]
    scores = model.similarity(images=vectors, texts=model.encode_texts(words))[:, 0]
    order = np.argsort(-scores, kind="stable")
    return [Hit(rank, paths[place], float(scores[place]), paths[place]) for rank, place in enumerate(order)]
