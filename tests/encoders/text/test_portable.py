"""Token ids without PyTorch: those of the pretrained model's own library, also after saving."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="needs the [hub] extra")

from diptych.core.errors import ConfigError, ModelError
from diptych.encoders import text_tower
from diptych.encoders.fake import FakeTextTower
from diptych.encoders.inputs import without_surrogates
from diptych.encoders.pretrained import import_transformers
from diptych.encoders.text.portable import from_open_clip, from_transformers, portable_tokens
from diptych.encoders.text.rules import TextRules
from diptych.encoders.text.tokens import TokenTower, read_tokens

from ...strange_texts import TEXTS

SAFE = [without_surrogates(text) for text in TEXTS]  # the libraries stop at lone surrogates


def of_transformers(folder: Path, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask of `AutoTokenizer`, padded to one length."""
    tokenizer = import_transformers().AutoTokenizer.from_pretrained(folder)
    found = tokenizer(SAFE, padding="max_length", truncation=True, return_tensors="np", **options)
    ids = found["input_ids"]
    return ids, found.get("attention_mask", np.ones_like(ids))


def test_clip_of_transformers(clip_folder: Path) -> None:
    tokens = text_tower(f"tokens:hf:{clip_folder}")
    ids, mask = of_transformers(clip_folder)
    np.testing.assert_array_equal(tokens.embed(TEXTS), np.where(mask == 1, ids, -1))
    assert tokens.max_tokens == ids.shape[1] == 24


def test_clip_of_open_clip(open_clip_folder: Path) -> None:
    import open_clip

    tokens = text_tower(f"tokens:open_clip:{open_clip_folder}")
    theirs = open_clip.get_tokenizer(f"local-dir:{open_clip_folder}")
    ids = theirs(TEXTS).numpy()
    rows = tokens.embed(TEXTS)
    np.testing.assert_array_equal(np.where(rows < 0, tokens.pad, rows), ids)
    assert tokens.count_tokens(TEXTS) == [len(theirs.encode(text)) + 2 for text in SAFE]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This sequence already has")
@pytest.mark.parametrize("seed", range(3))
def test_2000_texts_of_any_characters(seed: int, tmp_path: Path) -> None:
    import_transformers()  # with torchvision repaired, which open_clip imports
    import open_clip

    from ...joint_tokenizers import save_gemma, save_sentencepiece, save_unigram, save_wordpiece

    drawn = random.Random(seed)
    letters = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    usual = "abc def's <>/&;#\n\t éüΣ狗▁ſ"
    texts = ["".join(drawn.choice(drawn.choice((letters, usual))) for _ in range(30)) for _ in range(2000)]
    simple = open_clip.get_tokenizer("ViT-B-32")
    made, rules = from_open_clip(simple, reads_padding=True)
    np.testing.assert_array_equal(TokenTower(made, 77, rules=rules).embed(texts), simple(texts).numpy())
    for save in (save_gemma, save_sentencepiece, save_unigram, save_wordpiece):
        theirs = save(tmp_path / save.__name__, 64)
        made, rules = from_transformers(
            theirs, TextRules(cleaning=(), full_length="attention_mask" not in theirs.model_input_names)
        )
        ids = theirs(texts, padding="max_length", truncation=True, max_length=64, return_tensors="np")["input_ids"]
        rows = TokenTower(made, 64, rules=rules).embed(texts)
        np.testing.assert_array_equal(np.where(rows < 0, rules.pad, rows), ids)


def test_a_saved_tower_gives_the_same_ids_without_torch(open_clip_folder: Path, tmp_path: Path) -> None:
    tokens = text_tower(f"tokens:open_clip:{open_clip_folder}", max_tokens=12)
    tokens.save(tmp_path)
    assert read_tokens(tmp_path).fingerprint == tokens.fingerprint
    code = (
        "import sys, json; from pathlib import Path; from diptych.encoders.text.tokens import TokenTower, read_tokens\n"
        f"rows = read_tokens(Path({str(tmp_path)!r})).embed(json.loads(sys.stdin.read()))\n"
        "print(json.dumps([rows.tolist(), sorted({'torch', 'transformers', 'open_clip'} & set(sys.modules))]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(TEXTS), capture_output=True, text=True, check=True
    )
    rows, heavy = json.loads(done.stdout)
    assert heavy == []
    np.testing.assert_array_equal(rows, tokens.embed(TEXTS))


def test_what_cannot_be_carried_over(clip_folder: Path, tmp_path: Path) -> None:
    from ...joint_tokenizers import save_sentencepiece

    masked = save_sentencepiece(tmp_path, masks=True)
    with pytest.raises(ModelError, match="pads texts to their full length and masks the padding too"):
        from_transformers(masked, TextRules(full_length=True))
    masked.truncation_side = "left"
    with pytest.raises(ModelError, match="cuts texts at their start"):
        from_transformers(masked, TextRules())
    with pytest.raises(ModelError, match="FakeTextTower has no tokenizer that runs without its library"):
        portable_tokens(FakeTextTower())
    with pytest.raises(ConfigError, match="found max_tokens = 99; this model reads at most 24"):
        text_tower(f"tokens:hf:{clip_folder}", max_tokens=99)


@pytest.mark.filterwarnings("ignore:This sequence already has")  # a text that ends with the closing token
def test_siglip_without_sentencepiece(tmp_path: Path) -> None:
    from ...joint_tokenizers import save_sentencepiece

    theirs = save_sentencepiece(tmp_path)
    made, rules = from_transformers(theirs, TextRules(cleaning=(), full_length=True))
    tokens = TokenTower(made, 64, rules=rules)
    ids = theirs(SAFE, padding="max_length", truncation=True, max_length=64)["input_ids"]
    np.testing.assert_array_equal(tokens.embed(TEXTS), ids)
    assert tokens.count_tokens(TEXTS) == [len(each) for each in theirs(SAFE)["input_ids"]]
    parts = tokens.embed([unicodedata.normalize("NFD", "trên bãi biển")])
    np.testing.assert_array_equal(parts, tokens.embed(["trên bãi biển"]))
    assert rules.special == ("</s>", "<unk>")
