"""`/v1` and `/v2`: embeddings in OpenAI's shape, rerank in Cohere's, and which models are loaded."""

from __future__ import annotations

import asyncio
import base64
import uuid
from typing import Any

import numpy as np
from fastapi import APIRouter

from diptych.core.cosine import normalise
from diptych.core.notes import Notes
from diptych.core.protocols import CrossEncoder
from diptych.core.shapes import Float32, Float64
from diptych.data.labels import labels_of
from diptych.data.templates import templates_of
from diptych.models import DualEncoder
from diptych.serve.libraries import is_called

from .. import errors, generating
from ..classifying import scored
from ..embedding import Embedder, Vector
from ..errors import ServeError
from ..inputs import checked_text, is_image
from ..schemas import (
    MAX_QUERY,
    ClassifiedImage,
    ClassifyRequest,
    ClassifyResponse,
    Document,
    Embedding,
    EmbeddingRequest,
    EmbeddingResponse,
    LabelScore,
    Model,
    Models,
    RerankRequest,
    RerankResponse,
    RerankResult,
    Usage,
)
from ..service import Service, TheService
from . import RESPONSES

router = APIRouter(responses=RESPONSES)


@router.get("/v1/models", tags=["models"], summary="The loaded models")
async def models(service: TheService) -> Models:
    """In OpenAI's shape, and what each can do."""
    return Models(data=[*(_described(embedder) for embedder in service.libraries.embedders), *_others(service)])


@router.post("/v1/embeddings", tags=["models"], summary="Vectors of texts and images")
async def embeddings(asked: EmbeddingRequest, service: TheService) -> EmbeddingResponse:
    """Unit vectors in the space that images and texts share.

    An input that begins with `data:image/` is an image. With `dimensions`, vectors are cut and
    normalised again, which fits models that were trained for it (Matryoshka).
    """
    values = [asked.input] if isinstance(asked.input, str) else list(asked.input)
    most = service.settings.limits.batch_inputs
    if not 1 <= len(values) <= most:
        raise ServeError(
            422, "over_limit", f"found {len(values)} inputs; expected 1 to {most}", "Send several requests."
        )
    embedder = service.libraries.model(asked.model)
    if asked.dimensions is not None and asked.dimensions > embedder.model.dim:
        raise ServeError(422, "over_limit", f"the model has {embedder.model.dim} dimensions, not {asked.dimensions}")
    vectors = await service.inputs.all(values, embedder, "input")
    count = await embedder.tokens([value for value in values if not is_image(value)])
    data = [
        Embedding(index=index, embedding=_encoded(_cut(vector, asked.dimensions), asked.encoding_format))
        for index, vector in enumerate(vectors)
    ]
    return EmbeddingResponse(data=data, model=embedder.name, usage=Usage(prompt_tokens=count, total_tokens=count))


@router.post("/v1/rerank", tags=["models"], summary="Put documents in order of their nearness to a query")
@router.post("/v2/rerank", tags=["models"], summary="The same, for Cohere's second version")
async def rerank(asked: RerankRequest, service: TheService) -> RerankResponse:
    """By the dual encoder's cosine: texts or images on either side. By the cross-encoder, if `model` names it:
    images for a text, and `relevance_score` is how likely each is the right one of them.
    """
    most = service.settings.limits.documents
    if len(asked.documents) > most:
        raise ServeError(422, "over_limit", f"found {len(asked.documents)} documents; the limit is {most}")
    if (
        asked.model is not None
        and service.cross_encoder is not None
        and is_called(asked.model, service.cross_encoder.model.name)
    ):
        return await _by_cross_encoder(asked, service, service.cross_encoder.model)
    embedder = service.libraries.model(asked.model)
    (query,) = await service.inputs.all([asked.query], embedder, "query", ask=True)
    vectors = await service.inputs.all([_content(one) for one in asked.documents], embedder, "documents")
    scores = np.stack(vectors).astype(np.float64) @ query.astype(np.float64)
    return _ranked(asked, scores, (1 + scores) / 2, embedder.name, "cosine")


@router.post("/v1/classify", tags=["models"], summary="Give images the nearest of some labels, by words alone")
async def classify(asked: ClassifyRequest, service: TheService) -> ClassifyResponse:
    """As `diptych classify`: labels by the average of several sentences, images by the nearest label."""
    limits, notes = service.settings.limits, Notes()
    if len(asked.images) > limits.batch_inputs:
        raise ServeError(422, "over_limit", f"found {len(asked.images)} images; the limit is {limits.batch_inputs}",
                         "Send several requests.")  # fmt: skip
    labels, templates = labels_of(asked.labels, notes), templates_of(asked.templates)
    prompts = [label.texts(templates) for label in labels]
    if (count := sum(map(len, prompts))) > limits.prompts:
        raise ServeError(422, "over_limit", f"{len(labels):,} labels in {len(templates)} templates are {count:,} "
                         f"prompts; the limit is {limits.prompts:,}", "Use fewer templates.")  # fmt: skip
    embedder = service.libraries.model(asked.model)
    vectors = await service.label_vectors.of(prompts, embedder)
    pixels = await service.inputs.all_pixels(asked.images, embedder.model.preprocess, "images")
    images = np.stack(await asyncio.gather(*map(embedder.image, pixels)))
    scores, by = scored(images, labels, vectors, embedder)
    results = []
    for index, row in enumerate(scores):
        best = [LabelScore(label=labels[at].name, score=float(row[at]))
                for at in np.argsort(-row, kind="stable")[: asked.top]]  # fmt: skip
        is_none = asked.least is not None and best[0].score < asked.least
        results.append(ClassifiedImage(index=index, label=None if is_none else best[0].label, scores=best))
    said = [note.to_text() for note in notes]
    return ClassifyResponse(results=results, model=embedder.name, scored_by=by, notes=said)


async def _by_cross_encoder(asked: RerankRequest, service: Service, model: CrossEncoder) -> RerankResponse:
    documents = [_content(one) for one in asked.documents]
    if is_image(asked.query) or not all(map(is_image, documents)):
        raise ServeError(422, "bad_request", f"{model.name} ranks images for a text: the query is a text, "
                         "the documents are data URIs", "Leave model out for texts on both sides.")  # fmt: skip
    reranker = next((one.library.reranker for one in service.libraries if one.is_fitted), None)
    if reranker is None or not reranker.is_calibrated:
        raise errors.no_model("say how likely an image is right")
    text = checked_text(asked.query, MAX_QUERY, "query")
    pixels = await service.inputs.all_pixels(documents, model.preprocess, "documents")

    def work() -> tuple[Any, Any]:
        scores = model.score(np.concatenate([model.encode_pixels(one[None]) for one in pixels]), text)
        return scores, reranker.probabilities(text, scores)

    scores, probabilities = await service.slow_queue.run(work)
    return _ranked(asked, scores, probabilities, model.name, f"{model.name} h")


def _ranked(
    asked: RerankRequest, scores: Float64[np.ndarray, n], shown: Float64[np.ndarray, n], model: str, scored_by: str
) -> RerankResponse:
    order = np.lexsort((np.arange(len(scores)), -scores))[: asked.top_n]
    results = [
        RerankResult(
            index=int(at),
            relevance_score=float(np.clip(shown[at], 0, 1)),
            document=_as_document(asked.documents[at]) if asked.return_documents else None,
        )
        for at in order
    ]
    return RerankResponse(id=uuid.uuid4().hex, results=results, model=model, scored_by=scored_by)


def _described(embedder: Embedder) -> Model:
    model = embedder.model
    relates = ["relate"] if isinstance(model, DualEncoder) else []
    return Model(
        id=embedder.name,
        dim=model.dim,
        fingerprint=model.fingerprint,
        languages=embedder.languages,
        tasks=["embed", "rerank", "classify", *relates, "search", "explain"],
    )


def _others(service: Service) -> list[Model]:
    found = []
    if (cross_encoder := service.cross_encoder) is not None:
        tasks = ["rerank", "relate", *(["caption", "explain"] if cross_encoder.describes else [])]
        found.append(
            Model(id=cross_encoder.model.name, fingerprint=cross_encoder.model.fingerprint, languages=[], tasks=tasks)
        )
    if service.generator is not None:
        name = generating.name_of(service.generator)
        fingerprint = str(getattr(service.generator, "fingerprint", ""))
        found.append(Model(id=name, fingerprint=fingerprint, languages=[], tasks=["generate"]))
    return found


def _cut(vector: Vector, dimensions: int | None) -> Float32[np.ndarray, c]:
    return vector if dimensions is None else normalise(vector[:dimensions])


def _encoded(vector: Float32[np.ndarray, c], form: str) -> list[float] | str:
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    return [float(value) for value in vector]


def _content(document: str | Document) -> str:
    if isinstance(document, str):
        return document
    if (document.text is None) == (document.image is None):
        raise ServeError(422, "bad_request", "a document has either a text or an image")
    return document.text if document.text is not None else str(document.image)


def _as_document(document: str | Document) -> Document:
    if isinstance(document, Document):
        return document
    return Document(image=document) if is_image(document) else Document(text=document)
