"""What `rerank fit` leaves in a cross-encoder's folder."""

import json
from pathlib import Path

import pytest

from diptych.core.errors import ModelError
from diptych.models.cross_encoder.pair import PairSettings, read_pair, write_pair


def test_what_was_fitted_is_read_for_its_two_models_only(tmp_path: Path) -> None:
    pair = PairSettings(dual_encoder="d" * 32, cross_encoder="c" * 32, dual_encoder_name="base", beta=2.0, k=50)
    write_pair(tmp_path, pair)
    assert read_pair(tmp_path, "d" * 32, "c" * 32, "base") == pair
    with pytest.raises(ModelError, match="fit the pair again"):
        read_pair(tmp_path, "d" * 32, "x" * 32, "base")
    with pytest.raises(ModelError, match="was not fitted to this dual encoder"):
        read_pair(tmp_path, "e" * 32, "c" * 32, "base")


def test_a_file_with_the_older_keys_is_read(tmp_path: Path) -> None:
    older = {"fast": "d" * 32, "slow": "c" * 32, "fast_name": "base", "beta": 2.0, "k": 50}
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / f"{'d' * 32}.json").write_text(json.dumps(older), encoding="utf-8")
    assert read_pair(tmp_path, "d" * 32, "c" * 32, "base").dual_encoder_name == "base"
