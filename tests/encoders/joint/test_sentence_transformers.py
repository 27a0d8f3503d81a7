"""Joint models of sentence-transformers, and text sides that are bound to the images of another."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.hub_cache import COMMIT, put_in_cache, use_cache

import diptych
from diptych import load
from diptych.cli.app import run
from diptych.core.errors import ModelError
from diptych.core.types import Pair, Text
from diptych.encoders import image_tower, text_tower
from diptych.encoders.joint import BoundWarning
from diptych.encoders.pretrained import import_transformers

pytest.importorskip("transformers", reason="needs the [hub] extra")
TEXTS = ["a red circle", "two dogs", "", "ein blauer Kreis " * 20]
MULTILINGUAL = "clip-ViT-B-32-multilingual-v1"


def published(folder: Path, clip: Path) -> Path:
    """A CLIP in the layout of sentence-transformers/clip-ViT-B-32 on the hub."""
    shutil.copytree(clip, folder / "0_CLIPModel")
    module = {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    (folder / "modules.json").write_text(json.dumps([module]))
    return folder


def multilingual(folder: Path, width: int) -> Path:
    """DistilBERT, the mean of its tokens and a dense layer, as clip-ViT-B-32-multilingual-v1 on the hub."""
    import torch
    from safetensors.torch import save_file

    transformers = import_transformers()
    torch.manual_seed(0)
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "two", "dogs", "circle", "ein", "blauer", "Kreis"]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"), do_lower_case=False)
    tokenizer.save_pretrained(folder)
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 64}
    transformers.DistilBertModel(transformers.DistilBertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 32, "do_lower_case": false}')
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "2_Dense").mkdir()
    dense = {"in_features": 16, "out_features": width, "bias": False}
    dense |= {"activation_function": "torch.nn.modules.linear.Identity"}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(dense))
    save_file({"linear.weight": torch.randn(width, 16)}, folder / "2_Dense" / "model.safetensors")
    return folder


@pytest.fixture
def cache(clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with both models of the hub."""
    cache = use_cache(monkeypatch, tmp_path / "cache")
    put_in_cache(cache, "sentence-transformers/clip-ViT-B-32", published(tmp_path / "st", clip_folder))
    put_in_cache(cache, f"sentence-transformers/{MULTILINGUAL}", multilingual(tmp_path / "words", 12))
    return cache


def theirs(folder: Path) -> Any:
    """The model in sentence-transformers."""
    return pytest.importorskip("sentence_transformers").SentenceTransformer(str(folder), device="cpu")


@pytest.mark.usefixtures("cache")
def test_a_name_alone_is_of_sentence_transformers_and_is_pinned(clip_folder: Path, tmp_path: Path) -> None:
    model = load("sentence-transformers:clip-ViT-B-32")
    assert model.address == f"sentence-transformers:clip-ViT-B-32@{COMMIT}"
    assert load(model.address).fingerprint == model.fingerprint
    assert load(f"sentence-transformers:{tmp_path / 'st'}").fingerprint == model.fingerprint
    expected = theirs(tmp_path / "st").encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(model.encode_texts(TEXTS), expected, atol=1e-5)
    assert model.config.logit_scale == load(f"hf:{clip_folder}").config.logit_scale


def test_a_clip_that_the_newest_version_saved(clip_folder: Path, tmp_path: Path) -> None:
    theirs(clip_folder).save(str(tmp_path / "new"))
    model = load(f"sentence-transformers:{tmp_path / 'new'}")
    np.testing.assert_allclose(model.encode_texts(TEXTS), load(f"hf:{clip_folder}").encode_texts(TEXTS), atol=1e-5)
    tower = image_tower(f"sentence-transformers:{tmp_path / 'new'}")
    assert tower.fingerprint == model.image_tower.fingerprint


@pytest.mark.usefixtures("cache")
def test_a_text_side_is_bound_to_the_images_that_its_card_names(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.warns(BoundWarning, match=f"images are embedded by sentence-transformers:clip-ViT-B-32@{COMMIT}"):
        model = load(f"sentence-transformers:{MULTILINGUAL}")
    image = np.full((40, 50, 3), 200, dtype=np.uint8)
    clip = load("sentence-transformers:clip-ViT-B-32")
    np.testing.assert_array_equal(model.encode_images([image]), clip.encode_images([image]))
    expected = theirs(tmp_path / "words").encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(model.encode_texts(TEXTS), expected, atol=1e-5)
    assert model.config.logit_scale == clip.config.logit_scale
    pinned = f"sentence-transformers:clip-ViT-B-32@{COMMIT}+sentence-transformers:{MULTILINGUAL}@{COMMIT}"
    assert model.address == pinned
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(pinned).fingerprint == model.fingerprint


@pytest.mark.usefixtures("cache")
def test_any_texts_are_bound_to_any_images_in_writing(clip_folder: Path, tmp_path: Path) -> None:
    words = tmp_path / "words"
    model = load(f"hf:{clip_folder}+sentence-transformers:{words}")
    assert model.address == f"hf:{clip_folder.resolve()}+sentence-transformers:{words.resolve()}"
    tower = text_tower(f"sentence-transformers:{words}")
    assert model.text_tower.fingerprint == tower.fingerprint
    with pytest.raises(ModelError, match="embeds texts alone, so no texts are bound to its images"):
        load(f"sentence-transformers:{words}+sentence-transformers:{words}")
    with pytest.raises(ModelError, match="embeds texts alone"):
        image_tower(f"sentence-transformers:{words}")
    narrow = multilingual(tmp_path / "narrow", 8)
    with pytest.raises(ModelError, match="gives images 12 features and texts 8"):
        load(f"hf:{clip_folder}+sentence-transformers:{narrow}")


@pytest.mark.usefixtures("cache")
def test_texts_alone_are_a_model_without_an_image_side(tmp_path: Path) -> None:
    words = tmp_path / "words"
    with pytest.warns(BoundWarning, match=r"write IMAGE\+TEXT, such as sentence-transformers:clip-ViT-B-32\+sent"):
        model = load(f"sentence-transformers:{words}")
    expected = theirs(words).encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(model.encode_texts(TEXTS), expected, atol=1e-5)
    assert model.address == f"sentence-transformers:{words.resolve()}"
    with pytest.raises(ModelError, match="the model has no image side"):
        model.encode_images([PIL.Image.new("RGB", (8, 8))])
    pairs = [Pair(str(n), (), (Text(text), Text(f"{text} again"))) for n, text in enumerate(TEXTS)]
    report = diptych.evaluate(model, pairs, resamples=0)
    assert report.metrics("text_to_text")["R@10"] == 1
    with pytest.warns(BoundWarning, match="finds texts by texts"):
        same = load(f"hf:{words}")
    np.testing.assert_array_equal(same.encode_texts(TEXTS[:2]), model.encode_texts(TEXTS[:2]))


@pytest.mark.usefixtures("cache")
@pytest.mark.filterwarnings("ignore::diptych.encoders.joint.BoundWarning")
def test_texts_alone_make_no_library_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    words, library = f"sentence-transformers:{tmp_path / 'words'}", tmp_path / "library"
    assert run(["index", str(tmp_path / "a.png"), "--library", str(library), "--model", words]) == 4
    assert "the model has no image side" in capsys.readouterr().err
    assert not library.exists()
    (tmp_path / "notes.txt").write_text("a red circle\ntwo dogs\n")
    texts = ["index", str(tmp_path / "notes.txt"), "--texts", "--library", str(library)]
    assert run([*texts, "--model", words]) == 0
    assert "2 added" in capsys.readouterr().out


def test_a_folder_may_have_a_plus_in_its_name(clip_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "clip+hf:x")
    assert load(f"hf:{folder}").address == f"hf:{folder.resolve()}"


def test_what_is_not_here_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_cache(monkeypatch, tmp_path / "empty")
    with pytest.raises(ModelError, match=r"diptych models get sentence-transformers:clip-ViT-B-32$"):
        load("sentence-transformers:clip-ViT-B-32")
    with pytest.raises(ModelError, match=r"no modules.json in"):
        load(f"sentence-transformers:{tmp_path}")
