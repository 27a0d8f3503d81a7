"""MarianMT on models that were trained a moment ago."""

from __future__ import annotations

import json
import shutil

import pytest

from diptych.core.errors import ConfigError, DataError, ModelError
from diptych.data.readers import open_source
from diptych.data.translation import TranslationTask, Translator, translate_source
from diptych.encoders.translation import translator
from diptych.encoders.translation.transformers import MarianTranslator

from .conftest import SENTENCES

ENGLISH, SPANISH = list(SENTENCES), list(SENTENCES.values())


@pytest.fixture(scope="module")
def engine(marian_models):
    return translator(f"marian:{marian_models}/{{source}}-{{target}}", device="cpu")


def test_both_ways_in_any_order_and_batch(engine):
    assert isinstance(engine, Translator)
    assert engine.translate(ENGLISH, "en", "es") == SPANISH
    assert engine.translate(SPANISH[::-1], "es", "en") == ENGLISH[::-1]
    assert engine.translate(ENGLISH * 20, "en", "es") == SPANISH * 20  # more than a batch
    assert engine.translate([], "en", "es") == []


def test_lines_stay_lines(engine):
    text = f"{ENGLISH[3]}\n\n{ENGLISH[1]}"
    assert engine.translate([text, " "], "en", "es") == [f"{SPANISH[3]}\n\n{SPANISH[1]}", ""]


def test_a_line_that_would_be_cut_is_refused(engine):
    with pytest.raises(DataError, match=r"a line of \d+ tokens; the model takes 64"):
        engine.translate(["a dog " * 100], "en", "es")


def test_a_single_model_does_what_its_tokenizer_says(marian_models):
    engine = translator(f"marian:{marian_models}/en-es", device="cpu")
    assert engine.supports("en", "es")
    assert not engine.supports("es", "en")
    assert engine.translate(ENGLISH[:1], "en", "es") == SPANISH[:1]
    with pytest.raises(ConfigError, match="marian does not translate es to en; choose from en-es"):
        engine.translate(SPANISH, "es", "en")


def test_its_fingerprint_is_that_of_the_files(engine, marian_models, tmp_path):
    shutil.copytree(marian_models / "en-es", tmp_path / "en-es")
    other = MarianTranslator(f"{tmp_path}/{{source}}-{{target}}", device="cpu")
    assert other.fingerprint("en", "es") == engine.fingerprint("en", "es") != engine.fingerprint("es", "en")
    weights = bytearray((tmp_path / "en-es/model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "en-es/model.safetensors").write_bytes(weights)
    assert MarianTranslator(str(tmp_path / "en-es")).fingerprint("en", "es") != engine.fingerprint("en", "es")


def test_models_that_are_not_here_or_not_whole(marian_models, tmp_path):
    with pytest.raises(ModelError, match="neither a local folder nor in the Hugging Face cache"):
        translator("marian").fingerprint("en", "xx")
    with pytest.raises(ModelError, match="no model folder at"):
        translator("marian:./nowhere/{source}-{target}").translate(["a"], "en", "es")
    with pytest.raises(ConfigError, match=r"expected both \{source\} and \{target\} in it, or neither"):
        translator("marian:models/{source}")
    broken = shutil.copytree(marian_models / "en-es", tmp_path / "broken")
    (broken / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="transformers cannot load the translation model"):
        translator(f"marian:{broken}", device="cpu").translate(["a"], "en", "es")


def test_through_the_whole_of_data_translate(engine, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"not looked at")
    (tmp_path / "t.jsonl").write_text(json.dumps({"image": "a.jpg", "captions": ENGLISH, "lang": "en"}))
    task = TranslationTask(("es",), back=True)
    report = translate_source(open_source(tmp_path / "t.jsonl"), engine, task, tmp_path / "o.jsonl", tmp_path / "m")
    [pair] = open_source(tmp_path / "o.jsonl")
    assert [text.value for text in pair.texts if text.lang == "es"] == SPANISH
    back = next(way for way in report.ways if way.way == "en-es-en")
    assert (back.written, back.unchanged) == (0, 4)  # a perfect way back teaches nothing
