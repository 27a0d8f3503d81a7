"""Words from an image, images from words."""

from __future__ import annotations

import secrets

import PIL.Image
from fastapi import APIRouter

from diptych.library.rendering import png

from .. import errors, explaining
from ..errors import ServeError
from ..generating import name_of, png_uri
from ..inputs import checked_text
from ..libraries import ServedLibrary
from ..schemas import MAX_QUERY, SEEDS, Caption, CaptionRequest, Generated, GeneratedImage, GenerateRequest
from ..service import Service, TheService
from . import RESPONSES

router = APIRouter(responses=RESPONSES, tags=["models"])


@router.post("/caption", summary="Describe an image")
async def caption(asked: CaptionRequest, service: TheService) -> Caption:
    """In words, by the cross-encoder read as a captioner; 404 `no_such_model` without one."""
    cross_encoder = explaining.cross_encoder_of(service, "describe images")
    if asked.image.id is not None and asked.image.data is None and asked.image.url is None:
        tokens = await explaining.tokens_of(service, cross_encoder, _library(asked.library, service), asked.image.id)
    else:
        data = await service.inputs.image_bytes(asked.image)
        pixels = (await service.decoders.decode(data, cross_encoder.model.preprocess)).pixels
        tokens = await service.slow_queue.run(lambda: cross_encoder.tokens(None, None, pixels))
    text, likelihood = await service.slow_queue.run(lambda: cross_encoder.describe(tokens, asked.decode, asked.seed))
    return Caption(text=text, log_likelihood=likelihood, model=cross_encoder.model.name)


@router.post("/generate", summary="Draw images")
async def generate(asked: GenerateRequest, service: TheService) -> Generated:
    """From words; 404 `no_such_model` unless the server was started with a generator."""
    generator = service.generator
    if generator is None:
        raise errors.no_model("draw images")
    text = checked_text(asked.text, MAX_QUERY)
    seed = secrets.randbelow(SEEDS) if asked.seed is None else asked.seed

    def draw() -> list[GeneratedImage]:
        pixels = generator.generate([text] * asked.count, seed=seed, lang=asked.language)
        images = map(PIL.Image.fromarray, pixels)
        return [GeneratedImage(data=png_uri(png(one)), width=one.width, height=one.height) for one in images]

    images = await service.slow_queue.run(draw)
    return Generated(text=text, seed=seed, model=name_of(generator), images=images)


def _library(name: str | None, service: Service) -> ServedLibrary:
    if name is not None:
        return service.libraries.get(name)
    names = [served.name for served in service.libraries]
    if len(names) != 1:
        raise ServeError(422, "bad_request", f"there are {len(names)} libraries; say whose image it is: library")
    return service.libraries.get(names[0])
