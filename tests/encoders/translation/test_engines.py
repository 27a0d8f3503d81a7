"""Engines by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from diptych.core.errors import ConfigError
from diptych.core.registry import names
from diptych.encoders.translation import translator


@pytest.mark.parametrize("name", names("translator"))
def test_every_engine_can_be_made_without_its_models(name):
    assert translator(f"{name}:m/{{source}}-{{target}}" if name == "ctranslate2" else name).name == name


def test_wrong_names_list_the_choices():
    with pytest.raises(ConfigError, match=r"unknown translation engine 'apertum'; choose from apertium.*did you mean"):
        translator("apertum")
    with pytest.raises(ConfigError, match="found translation engine 'apertium:eng-spa'; expected apertium"):
        translator("apertium:eng-spa")


def test_making_an_engine_imports_neither_torch_nor_ctranslate2():
    code = (
        "import sys; from diptych.encoders.translation import translator; "
        "[translator(n) for n in ('apertium', 'marian', 'nllb', 'ctranslate2:{source}{target}')]; "
        "print([m for m in ('torch', 'transformers', 'ctranslate2') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
