"""Whether files of weights are whole."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from diptych.core.errors import ModelError
from diptych.encoders.weights import check_folder, check_whole


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    save_file({"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 3), dtype=np.float16)}, file)
    return file


@pytest.mark.parametrize("left", [0, 5, 8, 60, -1])
def test_a_file_that_was_cut_is_refused_with_the_command(whole: Path, left: int) -> None:
    check_folder(whole.parent)
    whole.write_bytes(whole.read_bytes()[:left])
    with pytest.raises(ModelError, match=r"is not whole .*; fetch it again: diptych models get hf:a/b$"):
        check_whole(whole, "hf:a/b")
    with pytest.raises(ModelError, match=r"copy it again$"):
        check_folder(whole.parent)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ModelError, match="is not whole"):
        check_whole(file)


def test_a_missing_shard_is_named(whole: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (whole.parent / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"lacks 1 of 2 files of weights \(model-00002-of-00002.safetensors\)"):
        check_folder(whole.parent, "hf:a/b")


def test_a_folder_without_weights_says_how_to_get_them(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"has no weights; fetch the rest: diptych models get hf:a/b$"):
        check_folder(tmp_path, "hf:a/b")
