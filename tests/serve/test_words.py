"""Words inside images, over HTTP."""

from __future__ import annotations

from typing import Any

from diptych.library import Library

S = "/libraries/colours/search"
ASKED = {"text": "gate 42", "k": 3, "ocr": True}


def test_hits_by_words_say_them(ask, site) -> None:
    async def scenario(client: Any) -> Any:
        return await client.post(S, json=ASKED), await client.post(S, json={"terms": [{"text": "a"}], "ocr": True})

    refused, no_words = ask(scenario)
    assert (refused.status_code, refused.json()["code"]) == (422, "no_words")
    assert (no_words.status_code, no_words.json()["code"]) == (422, "bad_request")

    library = Library.open(site.folder, site.encoder)
    library.read_words(lambda image: "EXIT Gate 42" if image.name.endswith("blue.png") else "")
    found, _ = ask(scenario)
    first, *others = found.json()["hits"]
    assert (first["name"], first["words"]) == ("blue.png", "EXIT Gate 42")
    assert first["scored_by"] == "rank fusion of cosine and words in images"
    assert all(one["words"] is None and one["cosine"] is not None for one in others)
    assert "words_in_image" not in first["meta"]
