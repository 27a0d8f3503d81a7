"""Other people's clients, as their packages are, against a real server on loopback."""

from __future__ import annotations

import base64

import httpx
import numpy as np
import pytest

from diptych.serve.settings import Pressure, new_token

from .conftest import encoded

openai = pytest.importorskip("openai", reason="needs the [dev] extra")
cohere = pytest.importorskip("cohere", reason="needs the [dev] extra")

TOKEN = new_token()


def uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.fixture
def url(serve, site) -> str:
    site.encoder.name = "diptych-mosaic"
    return serve(token=TOKEN).url


@pytest.mark.parametrize("name", ["mosaic", "diptych-mosaic"])
@pytest.mark.parametrize("form", ["float", "base64", None])
def test_openais_client_embeds_texts_and_images(url, site, name, form) -> None:
    options = {} if form is None else {"encoding_format": form}
    with openai.OpenAI(base_url=f"{url}/v1", api_key=TOKEN) as client:
        answer = client.embeddings.create(model=name, input=["red", uri(encoded("red"))], **options)
        short = client.embeddings.create(model=name, input="red", dimensions=4)
        listed = [model.id for model in client.models.list()]
    texts = site.encoder.encode_texts(["red"])[0]
    found = [one.embedding for one in answer.data]
    if form == "base64":
        found = [np.frombuffer(base64.b64decode(one), dtype="<f4") for one in found]
    assert np.allclose(found[0], texts, atol=1e-6)
    assert np.dot(found[0], found[1]) > 0.9
    assert len(short.data[0].embedding) == 4
    assert (answer.model, answer.usage.prompt_tokens, listed) == ("diptych-mosaic", 1, ["diptych-mosaic"])


def test_openais_client_shows_our_errors(url, serve) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=TOKEN, max_retries=0) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            client.embeddings.create(model="gpt", input="red")
        assert missing.value.code == "no_such_model"
        assert missing.value.body["message"].startswith("no model 'gpt' is loaded. GET /v1/models")
        with pytest.raises(openai.UnprocessableEntityError, match=r"input\[1\]: the text is empty"):
            client.embeddings.create(model="mosaic", input=["red", " "])
        with pytest.raises(openai.NotFoundError, match="there is nothing at /v1/chat/completions"):
            client.chat.completions.create(model="mosaic", messages=[{"role": "user", "content": "red"}])
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError, match="this server needs its token") as refused,
    ):
        client.models.list()
    assert refused.value.type == "invalid_request_error"
    full = serve(pressure=Pressure(in_flight=0, decoders=1)).url
    with (
        openai.OpenAI(base_url=f"{full}/v1", api_key="x", max_retries=0) as client,
        pytest.raises(openai.InternalServerError, match="no room for more requests"),
    ):
        client.embeddings.create(model="mosaic", input="red")


@pytest.mark.parametrize("version", ["Client", "ClientV2"])
@pytest.mark.parametrize("name", ["mosaic", "diptych-mosaic"])
def test_both_of_coheres_clients_rerank_texts_and_images(url, version, name) -> None:
    documents = ["blue", uri(encoded("red")), "yellow"]
    with httpx.Client() as sender:
        client = getattr(cohere, version)(api_key=TOKEN, base_url=url, httpx_client=sender)
        answer = client.rerank(model=name, query="red", documents=documents, top_n=2)
    assert answer.results[0].index == 1
    assert len(answer.results) == 2
    assert answer.results[0].relevance_score == pytest.approx(1, abs=1e-3)
    assert answer.results[0].relevance_score > answer.results[1].relevance_score


@pytest.mark.parametrize("version", ["Client", "ClientV2"])
def test_coheres_clients_show_our_errors(url, version) -> None:
    with httpx.Client() as sender:
        client = getattr(cohere, version)(api_key=TOKEN, base_url=url, httpx_client=sender)
        with pytest.raises(cohere.NotFoundError) as missing:
            client.rerank(model="rerank-v3.5", query="red", documents=["blue"])
        assert missing.value.body["message"] == "no model 'rerank-v3.5' is loaded"
        with pytest.raises(cohere.UnprocessableEntityError) as refused:
            client.rerank(model="mosaic", query="red", documents=["blue", ""])
        body = refused.value.body
        assert (body if isinstance(body, dict) else body.dict())["code"] == "empty_text"
        wrong = getattr(cohere, version)(api_key="wrong", base_url=url, httpx_client=sender)
        with pytest.raises(cohere.UnauthorizedError):
            wrong.rerank(model="mosaic", query="red", documents=["blue"])


def test_two_models_of_one_name_are_told_apart_by_fingerprint(site, tmp_path, client_of) -> None:
    import asyncio

    from diptych.library import Library
    from diptych.serve.app import create_app
    from diptych.serve.settings import ServeSettings

    from .conftest import MOSAIC

    other = MOSAIC.MosaicEncoder("mosaic", seed=1)
    Library.create(tmp_path / "other", other)
    settings = ServeSettings(pressure=Pressure(decoders=1))
    folders = {"colours": site.folder, "other": tmp_path / "other"}
    app = create_app(settings, folders, [site.encoder, other])

    async def scenario() -> list[httpx.Response]:
        async with client_of(app) as client:
            names = ["mosaic", other.fingerprint, site.encoder.fingerprint]
            return [await client.post("/v1/embeddings", json={"input": "red", "model": name}) for name in names]

    unclear, second, first = asyncio.run(scenario())
    assert unclear.status_code == 422
    assert "2 models are called 'mosaic'" in unclear.json()["message"]
    for answer, model in ((first, site.encoder), (second, other)):
        assert np.allclose(answer.json()["data"][0]["embedding"], model.encode_texts(["red"])[0], atol=1e-6)
