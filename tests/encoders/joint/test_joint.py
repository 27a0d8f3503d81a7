"""Pretrained joint models as dual encoders: the space, the temperature and the address of each library's model."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych import load
from diptych.core.errors import ConfigError, ModelError
from diptych.encoders.joint import is_joint
from diptych.encoders.pretrained import import_transformers

TEXTS = ["a red circle", "two dogs", ""]


def test_an_address_names_a_library() -> None:
    assert is_joint("hf:google/siglip2-base-patch16-224")
    assert is_joint("open_clip:ViT-B-32/openai")
    assert not is_joint("base")
    assert not is_joint("/a:b/model")


def test_clip_of_transformers_is_a_dual_encoder(clip_folder: Path) -> None:
    import torch

    transformers = import_transformers()
    model = load(f"hf:{clip_folder}")
    module = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip_folder)
    with torch.no_grad():
        inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
        theirs = module.get_text_features(**inputs)
        theirs = getattr(theirs, "pooler_output", theirs)
    theirs = torch.nn.functional.normalize(theirs, dim=-1).numpy()
    np.testing.assert_allclose(model.encode_texts(TEXTS), theirs, atol=1e-5)
    assert model.dim == 12
    assert model.config.logit_scale == pytest.approx(float(module.logit_scale.detach().exp()))

    images = model.encode_images([np.full((50, 40, 3), shade, dtype=np.uint8) for shade in (0, 200)])
    found = model.probability(images, theirs)
    logits = model.config.logit_scale * images @ theirs.T
    by_hand = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, by_hand, rtol=1e-4)


def test_clip_of_open_clip_is_a_dual_encoder(open_clip_folder: Path) -> None:
    model = load(f"open_clip:{open_clip_folder}")
    assert model.encode_texts(TEXTS).shape == (3, 12)
    assert model.fingerprint == load(f"open_clip:{open_clip_folder}").fingerprint
    assert model.address == f"open_clip:{open_clip_folder.resolve()}"


def test_a_model_without_a_temperature_gives_no_probabilities(tiny_model: Any, tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "tiny"))
    with pytest.raises(ConfigError, match="keeps no temperature"):
        model.probability(np.eye(2, model.dim), np.eye(2, model.dim))


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither a local folder nor in the Hugging Face cache"):
        load("hf:nobody/nothing")


@pytest.mark.parametrize("family", ["clip", "open_clip:siglip"])
def test_texts_are_counted_in_one_thread_while_another_embeds(
    family: str, family_folder: Callable[[str], Path]
) -> None:
    library, _, _ = family.rpartition(":")
    model = load(f"{library or 'hf'}:{family_folder(family)}", device="cpu")
    texts = ["two dogs on a red sofa " * 20, "a cat"]
    tower = model.text_tower
    vectors, counts = model.encode_texts(texts), tower.count_tokens(texts)
    assert counts[0] > (tower.max_tokens or 0)
    with ThreadPoolExecutor(3) as pool:
        work = [(pool.submit(model.encode_texts, texts), pool.submit(tower.count_tokens, texts)) for _ in range(400)]
    for embedded, counted in work:
        np.testing.assert_allclose(embedded.result(), vectors, atol=1e-5)
        assert counted.result() == counts
