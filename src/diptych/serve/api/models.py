"""`/v1`: embeddings in OpenAI's shape, rerank in Cohere's, and which models are loaded."""

from __future__ import annotations

import base64
import uuid

import numpy as np
from fastapi import APIRouter
from jaxtyping import Float32

from diptych.core.cosine import normalise

from .. import errors
from ..embedding import Embedder, Vector
from ..errors import ServeError
from ..inputs import DATA_URI
from ..schemas import (
    CaptionRequest,
    Document,
    Embedding,
    EmbeddingRequest,
    EmbeddingResponse,
    GenerateRequest,
    Model,
    Models,
    RerankRequest,
    RerankResponse,
    RerankResult,
    Usage,
)
from ..service import TheService
from . import RESPONSES

router = APIRouter(responses=RESPONSES)


@router.get("/v1/models", tags=["models"], summary="The loaded models")
async def models(service: TheService) -> Models:
    """In OpenAI's shape, and what each can do."""
    return Models(data=[_described(embedder) for embedder in service.shelf.embedders])


@router.post("/v1/embeddings", tags=["models"], summary="Vectors of texts and pictures")
async def embeddings(asked: EmbeddingRequest, service: TheService) -> EmbeddingResponse:
    """Unit vectors in the space that pictures and texts share.

    An input that begins with `data:image/` is a picture. With `dimensions`, vectors are cut and
    normalised again, which fits models that were trained for it (Matryoshka).
    """
    values = [asked.input] if isinstance(asked.input, str) else list(asked.input)
    most = service.settings.limits.batch_inputs
    if not 1 <= len(values) <= most:
        raise ServeError(
            422, "over_limit", f"found {len(values)} inputs; expected 1 to {most}", "Send several requests."
        )
    embedder = service.shelf.model(asked.model)
    if asked.dimensions is not None and asked.dimensions > embedder.model.dim:
        raise ServeError(422, "over_limit", f"the model has {embedder.model.dim} dimensions, not {asked.dimensions}")
    vectors = await service.inputs.all(values, embedder, "input")
    count = await embedder.tokens([value for value in values if not value.lower().startswith(DATA_URI)])
    data = [
        Embedding(index=index, embedding=_encoded(_cut(vector, asked.dimensions), asked.encoding_format))
        for index, vector in enumerate(vectors)
    ]
    return EmbeddingResponse(data=data, model=embedder.name, usage=Usage(prompt_tokens=count, total_tokens=count))


@router.post("/v1/rerank", tags=["models"], summary="Put documents in order of their nearness to a query")
async def rerank(asked: RerankRequest, service: TheService) -> RerankResponse:
    """By the dual encoder's cosine: texts or pictures on either side."""
    most = service.settings.limits.documents
    if len(asked.documents) > most:
        raise ServeError(422, "over_limit", f"found {len(asked.documents)} documents; the limit is {most}")
    embedder = service.shelf.model(asked.model)
    (query,) = await service.inputs.all([asked.query], embedder, "query")
    vectors = await service.inputs.all([_content(one) for one in asked.documents], embedder, "documents")
    scores = np.stack(vectors).astype(np.float64) @ query.astype(np.float64)
    order = np.lexsort((np.arange(len(scores)), -scores))[: asked.top_n]
    results = [
        RerankResult(
            index=int(at),
            relevance_score=float(np.clip((1 + scores[at]) / 2, 0, 1)),
            document=_as_document(asked.documents[at]) if asked.return_documents else None,
        )
        for at in order
    ]
    return RerankResponse(id=uuid.uuid4().hex, results=results, model=embedder.name, scored_by="cosine")


@router.post("/caption", tags=["models"], summary="Describe a picture", status_code=404, response_model=None)
async def caption(asked: CaptionRequest) -> None:
    """Answers 404 until a model that can describe pictures is loaded."""
    raise errors.no_model("describe pictures")


@router.post("/generate", tags=["models"], summary="Draw a picture", status_code=404, response_model=None)
async def generate(asked: GenerateRequest) -> None:
    """Answers 404 until a model that can draw pictures is loaded."""
    raise errors.no_model("draw pictures")


def _described(embedder: Embedder) -> Model:
    model = embedder.model
    return Model(
        id=embedder.name,
        dim=model.dim,
        fingerprint=model.fingerprint,
        languages=embedder.languages,
        tasks=["embed", "rerank", "search"],
    )


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
    is_picture = document.lower().startswith(DATA_URI)
    return Document(image=document) if is_picture else Document(text=document)
