"""Texts reach a pretrained joint model as in its own library: the same token ids, the same embeddings."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="needs the [hub] extra")
pytest.importorskip("torch", reason="needs the [train] extra")

import torch

from diptych.encoders.inputs import without_surrogates
from diptych.encoders.joint import joint_model
from diptych.encoders.pretrained import features_of, import_transformers
from diptych.encoders.text.portable import portable_tokens
from diptych.encoders.text.tokens import TokenTower
from diptych.encoders.text.transformers import TransformersTextTower
from diptych.models.networks.base import trim_padding

from ...joint_models import FAMILIES, OPEN_CLIP_FAMILIES, make_chinese_clip, make_sentences
from ...strange_texts import TEXTS

SAFE = [without_surrogates(text) for text in TEXTS]  # the libraries stop at lone surrogates
ALIKE = 0.9999
PADDED = ("siglip", "siglip2", "naflex", "align")  # to the full length, as their documentation says


def centred_cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of unit rows, less their mean over the set: embeddings of texts all point one way at first."""
    one, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other))
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    return (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def of_rows(tower: Any, rows: np.ndarray) -> np.ndarray:
    """Features of token rows by the tower's network, as training and export run it."""
    with torch.inference_mode():
        found: np.ndarray = tower.torch_module()(trim_padding(torch.from_numpy(rows).long())).numpy()
    return found


@pytest.mark.filterwarnings("ignore:This sequence already has")  # a text that ends with SigLIP's closing token
@pytest.mark.parametrize("family", FAMILIES)
def test_families_of_transformers(family_folder: Callable[[str], Path], family: str) -> None:
    transformers = import_transformers()
    folder = family_folder(family)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    module = transformers.AutoModel.from_pretrained(folder).eval()
    padding = "max_length" if family in PADDED else True
    inputs = tokenizer(SAFE, padding=padding, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        theirs = features_of(module.get_text_features(**inputs)).numpy()

    tower: Any = joint_model(f"hf:{folder}", device="cpu").text
    ours = np.concatenate([tower.embed(TEXTS[start : start + 64]) for start in range(0, len(TEXTS), 64)])
    assert centred_cosines(ours, theirs).min() >= ALIKE
    whole = [len(ids) for ids in tokenizer(SAFE, verbose=False)["input_ids"]]
    assert tower.count_tokens(TEXTS) == whole
    assert tower.max_tokens == tokenizer.model_max_length

    tokens = portable_tokens(tower)
    ids = inputs["input_ids"].numpy()
    if "attention_mask" in inputs:
        ids = np.where(inputs["attention_mask"].numpy() == 1, ids, -1)
    rows = tokens.embed(TEXTS)
    np.testing.assert_array_equal(rows[:, : ids.shape[1]], ids)
    assert (rows[:, ids.shape[1] :] == -1).all()
    assert tokens.count_tokens(TEXTS) == whole
    np.testing.assert_allclose(of_rows(tower, rows), theirs, atol=1e-5)


@pytest.mark.parametrize("family", OPEN_CLIP_FAMILIES)
def test_families_of_open_clip(family_folder: Callable[[str], Path], family: str) -> None:
    import open_clip

    folder = family_folder(f"open_clip:{family}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    module = open_clip.create_model(f"local-dir:{folder}").eval()
    ids = tokenizer(TEXTS)
    with torch.inference_mode():
        theirs = module.encode_text(ids).numpy()

    tower: Any = joint_model(f"open_clip:{folder}", device="cpu").text
    assert centred_cosines(tower.embed(TEXTS), theirs).min() >= ALIKE
    tokens = portable_tokens(tower)
    rows = tokens.embed(TEXTS)
    np.testing.assert_array_equal(np.where(rows < 0, tokens.pad, rows), ids)
    assert bool((rows < 0).any()) is (family in ("clip", "xlm"))  # the others read the padding
    assert tokens.count_tokens(TEXTS) == tower.count_tokens(TEXTS)
    np.testing.assert_allclose(of_rows(tower, rows), theirs, atol=1e-5)
    assert (np.array(tower.count_tokens(TEXTS)) > tower.max_tokens).sum() > 10


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("siglip", {"cleaning": ("spaced",)}),
    ("siglip", {"cleaning": ("lower",)}),
    ("siglip", {"prefix": ""}),
    ("siglip", {"full_length": False, "pad": 0}),
    ("siglip2", {"cleaning": ("clean",)}),
    ("siglip2", {"pad_left": True}),
    ("open_clip:clip", {"cleaning": ("joined", "lower")}),
    ("open_clip:clip", {"cleaning": ("repaired", "joined")}),
    ("open_clip:siglip", {"cleaning": ("repaired", "joined", "lower")}),
    ("open_clip:clipa", {"replaced": ()}),
    ("open_clip:clips", {"last": -1}),
]


@pytest.mark.parametrize(("family", "wrong"), WRONG)
def test_a_wrong_step_would_be_noticed(
    family_folder: Callable[[str], Path], family: str, wrong: dict[str, Any]
) -> None:
    folder = family_folder(family)
    tower: Any = joint_model(f"{family.partition(':')[0] if ':' in family else 'hf'}:{folder}", device="cpu").text
    right = portable_tokens(tower).embed(TEXTS)
    made, rules = tower.portable_tokenizer()
    other = TokenTower(made, tower.max_tokens, rules=dataclasses.replace(rules, **wrong)).embed(TEXTS)
    assert (right != other).any()
    assert centred_cosines(of_rows(tower, other), of_rows(tower, right)).min() < ALIKE


@pytest.mark.parametrize(("lower", "prompt"), [(False, ""), (True, ""), (False, "a photo of: ")])
def test_texts_of_sentence_transformers(tmp_path: Path, lower: bool, prompt: str) -> None:
    import_transformers()  # with torchvision repaired, which sentence-transformers imports
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = make_sentences(tmp_path, lower=lower, prompt=prompt)
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    tower = TransformersTextTower(folder, exact=True, device="cpu")
    assert centred_cosines(tower.embed(TEXTS), model.encode(SAFE)).min() >= ALIKE
    assert tower.max_tokens == (16 if lower else 20)

    inputs = model.preprocess([prompt + text for text in SAFE])
    ids = np.where(inputs["attention_mask"].numpy() == 1, inputs["input_ids"].numpy(), -1)
    np.testing.assert_array_equal(portable_tokens(tower).embed(TEXTS)[:, : ids.shape[1]], ids)


def test_limits_come_from_the_tokenizer_the_positions_and_the_family(
    family_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    altclip = tmp_path / "altclip"
    shutil.copytree(family_folder("altclip"), altclip)
    said = json.loads((altclip / "tokenizer_config.json").read_text())
    (altclip / "tokenizer_config.json").write_text(json.dumps({**said, "model_max_length": 10**30}))
    tower = joint_model(f"hf:{altclip}", device="cpu").text
    assert tower.max_tokens == 26  # of 28 positions, which begin after the padding's id 1
    assert np.isfinite(tower.embed(["dog " * 100])).all()
    chinese = make_chinese_clip(tmp_path / "chinese", length=80)
    assert joint_model(f"hf:{chinese}", device="cpu").text.max_tokens == 52
