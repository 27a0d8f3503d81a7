"""The ONNX graphs of a network against the network itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from diptych.core.errors import ModelError
from diptych.models.cross_encoder.captions import DecodingSettings, describe
from diptych.models.cross_encoder.network import CrossNetwork
from diptych.models.cross_encoder.onnx_backend import OnnxBackend
from diptych.models.cross_encoder.saving import write_network
from diptych.models.cross_encoder.scorer import Scorer
from diptych.models.cross_encoder.settings import NetworkSettings, ScoringSettings
from diptych.models.cross_encoder.torch_backend import TorchBackend
from diptych.models.cross_encoder.vocabulary import FORWARD, both_directions

from .conftest import MAPS, TEXTS

SETTINGS = NetworkSettings(width=16, layers=2, heads=2, max_tokens=20)


@pytest.fixture(scope="module")
def written(words, tmp_path_factory):
    """Makes the backends in PyTorch and on ONNX Runtime of a random network with some settings, once."""
    made = {}

    def make(captioner=True, adds_matching=False, **changes):
        key = captioner, adds_matching, *changes.items()
        if key not in made:
            torch.manual_seed(3)
            frames = changes.pop("frames", 1)
            network = CrossNetwork(MAPS, len(words), replace(SETTINGS, **changes), frames).eval().requires_grad_(False)
            network.adds_matching = adds_matching
            for name, value in network.state_dict().items():
                if name.endswith("words.weight"):  # so that words differ clearly before any training
                    value.normal_(std=0.5)
                value.copy_(value.half().float())  # as they are saved
            folder = tmp_path_factory.mktemp("graphs")
            write_network(folder, network, captioner=captioner)
            assert set(load_file(folder / "model.safetensors")) == set(network.state_dict())  # the graphs add nothing
            made[key] = TorchBackend(network), OnnxBackend(folder, 20)
        return made[key]

    return make


@pytest.fixture
def features():
    return np.random.default_rng(5).normal(size=(3, 6 * 16 + 8 * 4)).astype(np.float32)


@pytest.mark.parametrize("changes", [{}, {"decoders": "separate", "adds_matching": True, "tokens": 9}])
def test_every_graph_gives_what_the_network_gives(written, words, features, changes):
    torch_backend, onnx = written(**changes)
    tokens = torch_backend.fuse(features)
    assert onnx.fuse(features) == pytest.approx(tokens, abs=1e-5)
    assert onnx.empty() == pytest.approx(torch_backend.empty(), abs=1e-6)
    inputs, targets = both_directions(words.encode(TEXTS, 20))
    inputs, targets = (np.broadcast_to(one, (3, *one.shape)) for one in (inputs, targets))
    so_far = np.array([[[FORWARD, 7, 8], [FORWARD, 9, 6]]] * 3)
    found = []
    for backend in (torch_backend, onnx):
        known = backend.keys_values(tokens)
        found.append(
            [
                backend.word_likelihoods(inputs, targets, known),
                backend.next_words(so_far, known),
                backend.attention(inputs, known),
                backend.word_likelihoods(inputs[:1], targets[:1], backend.keys_values(backend.empty())),
            ]
        )
    for one, other in zip(*found, strict=True):
        assert other == pytest.approx(one, abs=1e-4)


def test_a_network_of_frames_that_was_trained_to_match_has_its_score_as_a_graph(written, words):
    both = [Scorer(one, words, ScoringSettings(), captioner=False) for one in written(captioner=False, frames=2)]
    features = np.random.default_rng(6).normal(size=(3, 2 * (6 * 16 + 8 * 4))).astype(np.float32)
    tokens = both[1].backend.fuse(features)
    assert tokens.shape == (3, 2 * 16, 16)
    assert tokens == pytest.approx(both[0].backend.fuse(features), abs=1e-5)
    assert both[1].matrix(tokens, TEXTS) == pytest.approx(both[0].matrix(tokens, TEXTS), abs=1e-4)


def test_captions_are_the_same_on_both(written, words, features):
    both = [Scorer(one, words, ScoringSettings(), captioner=True) for one in written()]
    tokens = both[0].backend.fuse(features)
    for name in ("greedy", "beam", "nucleus"):
        one, other = (describe(scorer, tokens, DecodingSettings(name, most=6)) for scorer in both)
        assert [found.text for found in one] == [found.text for found in other]


def test_a_graph_says_what_it_cannot_take(written):
    _, onnx = written()
    with pytest.raises(ModelError, match=r"keys_values\.onnx cannot take tokens \(1, 4, 7\)"):
        onnx.keys_values(np.zeros((1, 4, 7), dtype=np.float32))
