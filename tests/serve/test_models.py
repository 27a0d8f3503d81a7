"""`/v1` in the shapes that existing clients expect; health and metrics."""

from __future__ import annotations

import asyncio
import base64

import numpy as np
import pytest


def uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


BAD = "data:image/png;base64,AAAA"


def test_images_are_classified_by_words(ask, site, image) -> None:
    body = {"images": [uri(image("red")), uri(image("blue"))], "labels": {"warm": ["red", "orange"], "blue": "blue"}}

    async def scenario(client):
        first = await client.post("/v1/classify", json={**body, "templates": ["a {} wall", "{}"]})
        least = await client.post("/v1/classify", json={**body, "least": 2.0, "top": 1, "templates": "plain"})
        return first.json(), least.json()

    answer, none = ask(scenario)
    assert [one["label"] for one in answer["results"]] == ["warm", "blue"]
    assert (answer["model"], answer["scored_by"], answer["notes"]) == ("mosaic", "cosine", [])
    prompts = site.encoder.encode_texts(["a red wall", "a orange wall", "red", "orange"])
    mean = prompts.mean(axis=0) / np.linalg.norm(prompts.mean(axis=0))
    red = site.encoder.encode_images([image("red")])[0]
    assert answer["results"][0]["scores"][0]["score"] == pytest.approx(float(red @ mean), abs=1e-5)
    assert [(one["label"], len(one["scores"])) for one in none["results"]] == [(None, 1), (None, 1)]


def test_embeddings_have_openais_shape(ask, site, image) -> None:
    body = {"input": ["red", uri(image("red"))], "model": "mosaic"}

    async def scenario(client):
        return (
            (await client.post("/v1/embeddings", json=body)).json(),
            (await client.post("/v1/embeddings", json={**body, "encoding_format": "base64"})).json(),
            (await client.post("/v1/embeddings", json={"input": "red", "dimensions": 4})).json(),
        )

    plain, packed, short = ask(scenario)
    assert (plain["object"], plain["model"]) == ("list", "mosaic")
    assert [(one["object"], one["index"]) for one in plain["data"]] == [("embedding", 0), ("embedding", 1)]
    assert plain["usage"] == {"prompt_tokens": 1, "total_tokens": 1}
    expected = site.encoder.encode_texts(["red"])[0]
    assert np.allclose(plain["data"][0]["embedding"], expected, atol=1e-6)
    assert np.allclose(np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4"), expected, atol=1e-6)
    assert np.allclose(short["data"][0]["embedding"], expected[:4] / np.linalg.norm(expected[:4]), atol=1e-5)


def test_rerank_has_coheres_shape(ask, image) -> None:
    body = {"query": "red", "documents": ["blue", {"image": uri(image("red"))}, {"text": "yellow"}], "top_n": 2}

    async def scenario(client):
        return (await client.post("/v1/rerank", json={**body, "return_documents": True})).json()

    answer = ask(scenario)
    assert answer["results"][0]["index"] == 1
    assert len(answer["results"]) == 2
    scores = [one["relevance_score"] for one in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(1, abs=1e-3)
    assert answer["results"][0]["document"]["image"].startswith("data:image/png")


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "told"),
    [
        ("/v1/embeddings", {"input": "x", "model": "gpt"}, 404, "no_such_model", "gpt"),
        ("/v1/embeddings", {"input": []}, 422, "over_limit", "0 inputs"),
        ("/v1/embeddings", {"input": ["x"] * 129}, 422, "over_limit", "129"),
        ("/v1/embeddings", {"input": ["red", " "]}, 422, "empty_text", "input[1]"),
        ("/v1/embeddings", {"input": ["red", "\u200b"]}, 422, "empty_text", "input[1]"),
        ("/v1/embeddings", {"input": ["red", "data:image/png;base64,AAAA"]}, 415, "not_an_image", "input[1]"),
        ("/v1/embeddings", {"input": "x", "dimensions": 17}, 422, "over_limit", "16"),
        ("/v1/rerank", {"query": "x", "documents": ["a", ""]}, 422, "empty_text", "documents[1]"),
        ("/v1/rerank", {"query": "x", "documents": ["a"] * 257}, 422, "over_limit", "257"),
        ("/v1/rerank", {"query": "x", "documents": [{}]}, 422, "bad_request", "document"),
        ("/v1/classify", {"images": [BAD], "labels": []}, 422, "bad_request", "labels"),
        ("/v1/classify", {"images": [BAD], "labels": [" "]}, 422, "bad_row", "nothing can be seen"),
        ("/v1/classify", {"images": [BAD] * 129, "labels": ["a"]}, 422, "over_limit", "129 images"),
        ("/v1/classify", {"images": [BAD], "labels": [str(n) for n in range(201)]}, 422, "over_limit", "1,005 prompts"),
        ("/v1/classify", {"images": [BAD], "labels": ["a"], "templates": ["x"]}, 422, "bad_row", "has no {}"),
        ("/v1/classify", {"images": [BAD, "x"], "labels": ["a"]}, 415, "not_an_image", "images[0]"),
        ("/caption", {"image": {"data": "data:image/png;base64,AAAA"}}, 404, "no_such_model", "describe"),
        ("/generate", {"text": "a dog"}, 404, "no_such_model", "draw"),
    ],
)
def test_what_cannot_be_done_says_which_and_why(ask, path, body, status, code, told) -> None:
    async def scenario(client):
        return await client.post(path, json=body)

    answer = ask(scenario)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert told in answer.json()["message"]


def test_models_say_what_they_can(ask, site) -> None:
    async def scenario(client):
        return (await client.get("/v1/models")).json()

    (model,) = ask(scenario)["data"]
    assert (model["id"], model["dim"], model["fingerprint"]) == ("mosaic", 16, site.encoder.fingerprint)
    assert model["tasks"] == ["embed", "rerank", "classify", "search", "explain"]


def test_health_embeds_for_real(ask, site) -> None:
    async def scenario(client):
        good = await client.get("/health")
        await asyncio.sleep(1.05)  # an answer is good for a second
        site.encoder.encode_texts = lambda texts: 1 / 0
        return good, await client.get("/health")

    good, bad = ask(scenario)
    assert good.json()["status"] == "ok"
    assert good.json()["models"]["mosaic"] >= 0
    assert (bad.status_code, bad.json()["code"]) == (503, "unhealthy")
    assert "ZeroDivision" not in bad.text


def test_metrics_count_requests_by_route_not_by_address(ask) -> None:
    async def scenario(client):
        await client.get("/libraries/colours/items/0123456789abcdef")
        await client.get("/libraries/../etc/passwd")
        return (await client.get("/metrics")).text

    text = ask(scenario)
    assert 'diptych_requests_total{method="GET",route="/libraries/{name}/items/{id}",status="404"} 1.0' in text
    assert 'diptych_items{library="colours"} 6.0' in text
    assert "passwd" not in text


def test_a_defect_of_the_model_is_an_answer_without_a_trace(ask, site) -> None:
    async def scenario(client):
        site.encoder.encode_texts = lambda texts: 1 / 0
        return await client.post("/v1/embeddings", json={"input": "unseen"})

    answer = ask(scenario)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "division" not in answer.text
