"""NLLB: one model that was trained a moment ago, told its languages by tokens."""

from __future__ import annotations

import pytest

from diptych.core.errors import ConfigError, ModelError
from diptych.encoders.translation import translator
from diptych.encoders.translation.transformers import CODES

from .conftest import SENTENCES, learn, small

ENGLISH, SPANISH = list(SENTENCES), list(SENTENCES.values())
NLLB_STEPS = 250


@pytest.fixture(scope="module")
def nllb_model(tmp_path_factory):
    """An M2M-100 model with NLLB's tokenizer, for English and Spanish, both ways."""
    torch = pytest.importorskip("torch", reason="needs torch, of the [hub] extra")
    pytest.importorskip("transformers", reason="needs transformers, of the [hub] extra")
    from diptych.encoders.pretrained import import_transformers

    transformers = import_transformers()
    folder = tmp_path_factory.mktemp("nllb")
    letters = sorted({letter for text in [*ENGLISH, *SPANISH] for letter in text.replace(" ", "▁")} | {"▁"})
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    for letter in letters:
        vocabulary[letter] = len(vocabulary)
    tokenizer = transformers.NllbTokenizer(vocab=vocabulary, merges=[], src_lang="eng_Latn", tgt_lang="spa_Latn")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.M2M100Config(
        **small(len(tokenizer)), pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2
    )
    model = transformers.M2M100ForConditionalGeneration(config)
    sources, targets = [], []
    for one, other, starts, ends in (("eng", "spa", ENGLISH, SPANISH), ("spa", "eng", SPANISH, ENGLISH)):
        tokenizer.src_lang, tokenizer.tgt_lang = f"{one}_Latn", f"{other}_Latn"
        sources += tokenizer(starts)["input_ids"]
        targets += tokenizer(text_target=ends)["input_ids"]
    padded = tokenizer.pad({"input_ids": sources}, return_tensors="pt")
    labels = tokenizer.pad({"input_ids": targets}, return_tensors="pt")["input_ids"]
    examples = {**padded, "labels": labels.masked_fill(labels == 1, -100)}
    assert learn(model, examples, NLLB_STEPS) < 0.05
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def engine(nllb_model):
    return translator(f"nllb:{nllb_model}", device="cpu")


def test_one_model_both_ways(engine):
    assert engine.translate(ENGLISH, "en", "es") == SPANISH
    assert engine.translate(SPANISH, "es", "en") == ENGLISH
    assert engine.translate([f"{ENGLISH[3]}\n{ENGLISH[1]}"], "en", "es") == [f"{SPANISH[3]}\n{SPANISH[1]}"]
    assert engine.fingerprint("en", "es")


def test_languages_go_by_nllbs_names():
    assert [CODES[lang] for lang in ("en", "de", "zh", "ru", "ar", "ja", "lv", "fa")] == [
        "eng_Latn", "deu_Latn", "zho_Hans", "rus_Cyrl", "arb_Arab", "jpn_Jpan", "lvs_Latn", "pes_Arab",
    ]  # fmt: skip


def test_other_languages_and_other_models_are_refused(engine, marian_models):
    assert not engine.supports("en", "en")
    with pytest.raises(ConfigError, match="nllb does not translate en to tlh; choose from"):
        engine.translate(["a"], "en", "tlh")
    with pytest.raises(ModelError, match="has no token eng_Latn; expected a model of NLLB-200"):
        translator(f"nllb:{marian_models}/en-es", device="cpu").translate(["a"], "en", "es")
