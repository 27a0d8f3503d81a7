"""BLIP from tiny random models made and saved here."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if find_spec("torch") is None or find_spec("transformers") is None:
    pytest.skip("needs the [hub] extra", allow_module_level=True)

import torch

from diptych.core.errors import DataError, ModelError
from diptych.core.protocols import CrossEncoder
from diptych.encoders.inputs import normalise_pixels
from diptych.encoders.pretrained import import_transformers
from diptych.models.cross_encoder import load_cross_encoder
from diptych.models.cross_encoder.blip import BlipCrossEncoder

transformers = import_transformers()
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "red", "blue", "square", "circle", "in", "the"]
WORDS += ["snow", "dog"]
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def saved(folder: Path, kind: str) -> tuple[Path, Any]:
    torch.manual_seed(0)
    text = {**SIZES, "vocab_size": len(WORDS), "encoder_hidden_size": 16, "bos_token_id": 5, "sep_token_id": 3}
    config = transformers.BlipConfig(
        text_config={**text, "pad_token_id": 0, "eos_token_id": 3, "initializer_range": 0.5, "is_decoder": True},
        vision_config={**SIZES, "image_size": 32, "patch_size": 16},
        image_text_hidden_size=8,
    )
    model = getattr(transformers, kind)(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    said = {"image_processor_type": "BlipImageProcessor", "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps({**said, "size": {"height": 32, "width": 32}}))
    return folder, model


@pytest.fixture(scope="module")
def retrieval(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("blip-itm"), "BlipForImageTextRetrieval")


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("blip-cap"), "BlipForConditionalGeneration")


def pixels(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def test_the_matching_score_is_that_of_the_model_itself(retrieval):
    folder, model = retrieval
    cross_encoder = load_cross_encoder(f"blip:{folder}")
    assert isinstance(cross_encoder, CrossEncoder)
    tokens = cross_encoder.encode_pixels(pixels())
    assert tokens.shape == (3, *cross_encoder.token_shape) == (3, 5, 16)
    texts = ["a red square", "the dog in the snow", "blue"]
    found = cross_encoder.score(tokens, texts)
    for row, text in enumerate(texts):
        words = cross_encoder._tokenizer([text], return_tensors="pt")
        planes = torch.from_numpy(normalise_pixels(pixels()[row : row + 1], cross_encoder.preprocess))
        with torch.inference_mode():
            logits = model(
                input_ids=words.input_ids, attention_mask=words.attention_mask, pixel_values=planes
            ).itm_score[0]
        assert found[row] == pytest.approx(float(logits[1] - logits[0]), abs=2e-2)
    assert np.allclose(cross_encoder.score(tokens, texts[0])[0], found[0], atol=1e-4)


def test_the_captioner_sums_over_words_without_padding(captioner):
    folder, model = captioner
    cross_encoder = BlipCrossEncoder(folder)
    assert not cross_encoder.matches
    tokens = cross_encoder.encode_pixels(pixels())
    texts = ["a red square", "the dog in the snow", "blue"]
    together = cross_encoder.score(tokens, texts)
    alone = [float(cross_encoder.score(tokens[row : row + 1], [text])[0]) for row, text in enumerate(texts)]
    assert together == pytest.approx(alone, abs=1e-3)
    words = cross_encoder._tokenizer([texts[0]], return_tensors="pt").input_ids
    words[:, 0] = 5
    with torch.inference_mode():
        shown = torch.from_numpy(tokens[:1].astype(np.float32))
        logits = model.text_decoder(input_ids=words, encoder_hidden_states=shown).logits[0].log_softmax(-1)
    expected = sum(float(logits[place, int(words[0, place + 1])]) for place in range(words.shape[1] - 1))
    assert together[0] == pytest.approx(expected, abs=2e-2)
    assert together.max() < 0


def test_two_kinds_have_two_fingerprints_and_pictures_and_texts_must_be_as_many(retrieval, captioner):
    cross_encoder = BlipCrossEncoder(retrieval[0])
    assert cross_encoder.fingerprint != BlipCrossEncoder(captioner[0]).fingerprint
    assert cross_encoder.fingerprint == BlipCrossEncoder(retrieval[0]).fingerprint
    with pytest.raises(DataError, match="3 images and 1 texts"):
        cross_encoder.score(cross_encoder.encode_pixels(pixels()), ["a"])
    assert cross_encoder.encode_pixels(pixels(0)).shape == (0, 5, 16)


def test_another_model_and_missing_weights_are_refused(retrieval, tmp_path: Path):
    import shutil

    from safetensors.torch import load_file, save_file

    with pytest.raises(ModelError, match="no model folder"):
        load_cross_encoder(f"blip:{tmp_path / 'nothing'}")
    other = transformers.ViTModel(transformers.ViTConfig(**SIZES, image_size=32, patch_size=16))
    other.save_pretrained(tmp_path / "vit")
    with pytest.raises(ModelError, match="expected BlipForImageTextRetrieval"):
        load_cross_encoder(f"blip:{tmp_path / 'vit'}")
    copy = tmp_path / "copy"
    shutil.copytree(retrieval[0], copy)
    weights = load_file(copy / "model.safetensors")
    weights.pop("itm_head.weight")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks weights"):
        load_cross_encoder(f"blip:{copy}")


def test_one_pair_is_judged_by_the_matching_head_itself(retrieval, captioner, tiny_model, shapes, tmp_path: Path):
    from diptych import relate

    folder, model = retrieval
    image, text, dual = shapes.parent / "red-circle-30.png", "a red circle", tiny_model(tmp_path / "tiny")
    (found,) = answer = relate(image, text, model=dual, reranker=f"blip:{folder}")
    cross_encoder = BlipCrossEncoder(folder)
    words = cross_encoder._tokenizer([text], return_tensors="pt")
    tokens = torch.from_numpy(cross_encoder.encode_pixels(read(image, cross_encoder)).astype(np.float32))
    with torch.inference_mode():
        states = model.text_encoder(
            input_ids=words.input_ids, attention_mask=words.attention_mask, encoder_hidden_states=tokens
        ).last_hidden_state
        expected = float(model.itm_head(states[:, 0]).softmax(-1)[0, 1])
    assert found.probability == pytest.approx(expected, abs=2e-3)
    assert found.related is (expected >= 0.5)
    assert answer.measures == ("match", "cosine")
    assert answer.judges["image-text"].origin == f"the own probability of {folder.name} (its matching head)"
    (unknown,) = relate(image, text, model=dual, reranker=f"blip:{captioner[0]}")
    assert (unknown.related, unknown.probability) == (None, None)


def read(image: Path, cross_encoder: BlipCrossEncoder) -> Any:
    from diptych.data.images import stream

    (batch,) = stream([image], cross_encoder.preprocess)
    return batch.pixels
