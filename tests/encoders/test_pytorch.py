"""Devices, fingerprints of weights, and sharing."""

import gc
from collections.abc import Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import pytest

from diptych.core.errors import ConfigError

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.encoders.pytorch import (  # noqa: E402
    TorchTextTower,
    choose_device,
    freeze,
    shared_model,
    state_fingerprint,
)


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigError, match="choose from auto, cpu"):
        choose_device("toaster")
    with pytest.raises(ConfigError, match="not here"):
        choose_device("cuda:99")


def test_a_fingerprint_follows_values_names_and_shapes() -> None:
    def layer(rows: int = 2, fill: float = 1.0) -> torch.nn.Module:
        module = torch.nn.Linear(3, rows)
        torch.nn.init.constant_(module.weight, fill)
        torch.nn.init.zeros_(module.bias)
        return module

    same = state_fingerprint(layer())
    assert same == state_fingerprint(layer())
    others = [layer(fill=1.0000001), layer(rows=3), torch.nn.Sequential(layer()), layer().to(torch.bfloat16)]
    assert len({same, *map(state_fingerprint, others)}) == 5


def test_a_frozen_module_is_single_precision_and_still() -> None:
    module = freeze(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout()).half(), torch.device("cpu"))
    assert not module.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in module.parameters())


def test_shared_lives_as_long_as_someone_uses_it() -> None:
    made: list[int] = []

    def make() -> torch.nn.Module:
        made.append(1)
        return torch.nn.Identity()

    first = shared_model("test-key", make)
    assert shared_model("test-key", make) is first
    assert len(made) == 1
    del first
    gc.collect()
    shared_model("test-key", make)
    assert len(made) == 2


def test_both_towers_of_a_model_hash_its_weights_once(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diptych import load
    from diptych.encoders import pytorch

    hashed = []
    monkeypatch.setattr(pytorch, "_fingerprints", WeakKeyDictionary())
    monkeypatch.setattr(pytorch, "state_fingerprint", lambda module: hashed.append(module) or "0")
    assert load(f"hf:{clip_folder}").image_tower._module is hashed[0]
    assert len(hashed) == 1


def test_texts_of_about_one_length_go_through_together_and_come_back_in_their_order() -> None:
    class Lengths(TorchTextTower):
        _module = torch.nn.Linear(1, 1)
        padded = 0

        def _features(self, texts: Sequence[str]) -> torch.Tensor:
            self.padded += len(texts) * max(map(len, texts))
            return torch.tensor([[float(len(text)), float(ord(text[0]))] for text in texts])

    lengths = np.random.default_rng(0).permutation(200) % 50 + 1
    texts = ["ab"[number % 2] * length for number, length in enumerate(lengths)]
    tower = Lengths()
    expected = [[len(text), ord(text[0])] for text in texts]
    assert tower.embed(texts).tolist() == expected
    assert tower.padded < 1.2 * lengths.sum()  # 2.0 in batches of 32 as they come
