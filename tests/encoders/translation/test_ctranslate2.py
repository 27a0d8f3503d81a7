"""CTranslate2 on the same models, converted on the spot."""

from __future__ import annotations

import pytest

from diptych.core.errors import ConfigError, DataError, ModelError
from diptych.data.translation import Translator
from diptych.encoders.translation import translator

from .conftest import SENTENCES

ENGLISH, SPANISH = list(SENTENCES), list(SENTENCES.values())


@pytest.fixture(scope="module")
def converted(marian_models, tmp_path_factory):
    ctranslate2 = pytest.importorskip("ctranslate2", reason="needs ctranslate2, of the [translate] extra")
    folder = tmp_path_factory.mktemp("ctranslate2")
    for way in ("en-es", "es-en"):
        files = ["source.spm", "target.spm"]
        converter = ctranslate2.converters.TransformersConverter(str(marian_models / way), copy_files=files)
        converter.convert(str(folder / way))
    return folder


@pytest.fixture(scope="module")
def engine(converted):
    return translator(f"ctranslate2:{converted}/{{source}}-{{target}}", device="cpu")


def test_it_says_what_the_original_model_says(engine):
    assert isinstance(engine, Translator)
    assert engine.translate(ENGLISH, "en", "es") == SPANISH
    assert engine.translate(SPANISH * 30, "es", "en") == ENGLISH * 30
    assert engine.translate([f"{ENGLISH[0]}\n{ENGLISH[3]}", ""], "en", "es") == [f"{SPANISH[0]}\n{SPANISH[3]}", ""]
    assert engine.fingerprint("en", "es") != engine.fingerprint("es", "en")


def test_a_line_that_would_be_cut_is_refused(engine):
    with pytest.raises(DataError, match="the model takes 512"):
        engine.translate(["dog " * 3000], "en", "es")


def test_folders_that_will_not_do(engine, converted, tmp_path):
    with pytest.raises(ConfigError, match=r"expected ctranslate2:FOLDER"):
        translator("ctranslate2")
    with pytest.raises(ConfigError, match=r"expected a folder with \{source\} and \{target\} in its name"):
        translator(f"ctranslate2:{converted}/en-es")
    (tmp_path / "en-es").mkdir()
    with pytest.raises(ModelError, match=r"has no model\.bin; expected a converted Marian model"):
        translator(f"ctranslate2:{tmp_path}/{{source}}-{{target}}").translate(["a"], "en", "es")
    for name in ("model.bin", "source.spm", "target.spm"):
        (tmp_path / "en-es" / name).write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="ctranslate2 cannot load"):
        translator(f"ctranslate2:{tmp_path}/{{source}}-{{target}}", device="cpu").translate(["a"], "en", "es")
