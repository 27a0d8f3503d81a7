from __future__ import annotations

import numpy as np
import pytest
import torch

from diptych.core.errors import ConfigError
from diptych.models.cross_encoder.captions import DecodingSettings, describe, nucleus
from diptych.models.cross_encoder.scorer import Scorer
from diptych.models.cross_encoder.settings import ScoringSettings
from diptych.models.cross_encoder.torch_backend import TorchBackend
from diptych.models.cross_encoder.vocabulary import END, FORWARD


@pytest.fixture
def scorer(network, words):
    return Scorer(TorchBackend(network), words, ScoringSettings(), captioner=True)


def likelihood(network, regions, pieces):
    """log p of a sentence and its end, read forwards."""
    inputs = torch.tensor([[[FORWARD, *pieces]]])
    targets = torch.tensor([[[*pieces, END]]])
    with torch.inference_mode():
        return float(network.log_likelihood(inputs, targets, network.decoder.keys_values(regions)))


def test_the_beam_finds_the_best_sentence_where_all_can_be_tried(network, words, regions):
    scorer = Scorer(TorchBackend(network), words, ScoringSettings(), captioner=True)
    pictures = regions[:2]
    every = range(5, len(words))
    best = []
    for picture in pictures:
        options = [[], *([one] for one in every)]
        best.append(max(likelihood(network, picture[None], pieces) for pieces in options))
    # with room for one word and a beam as wide as the vocabulary nothing can be missed
    found = describe(scorer, pictures.numpy(), DecodingSettings("beam", beams=len(words), length=0.0, most=2))
    assert [one.log_likelihood for one in found] == pytest.approx(best, abs=1e-4)


def test_greedy_takes_the_likeliest_word_each_time(scorer, network, words, regions):
    (found,) = describe(scorer, regions[:1].numpy(), DecodingSettings("greedy", most=6))
    keys_values = network.decoder.keys_values(regions[:1])
    so_far = [FORWARD]
    with torch.inference_mode():
        while len(so_far) < 6:
            states, _ = network.states(torch.tensor([[so_far]]), keys_values)
            logits = network.decoder.logits(states[-1])
            logits[:4] = -torch.inf
            word = int(logits.argmax())
            if word == END:
                break
            so_far.append(word)
    assert found.text == words.decode(so_far[1:])


def test_a_wider_beam_is_never_less_likely_than_greedy(scorer, regions):
    narrow = describe(scorer, regions.numpy(), DecodingSettings("greedy", length=0.0, most=6))
    wide = describe(scorer, regions.numpy(), DecodingSettings("beam", beams=30, length=0.0, most=6))
    assert all(w.log_likelihood >= n.log_likelihood - 1e-4 for w, n in zip(wide, narrow, strict=True))


def test_nucleus_by_hand():
    odds = np.array([[0.1, 0.5, 0.25, 0.15]])
    assert nucleus(odds, 0.6).tolist() == [[0.0, 0.5, 0.25, 0.0]]
    assert nucleus(odds, 0.01).tolist() == [[0.0, 0.5, 0.0, 0.0]]
    assert np.allclose(nucleus(odds, 1.0), odds)


def test_seeds_differ_and_repeat(scorer, regions):
    def drawn(seed):
        settings = DecodingSettings("nucleus", top=1.0, most=8, seed=seed)
        return [one.text for one in describe(scorer, regions.numpy(), settings)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_settings_are_checked():
    for wrong in ({"name": "magic"}, {"beams": 0}, {"top": 0.0}, {"temperature": 0.0}):
        with pytest.raises(ConfigError):
            DecodingSettings(**wrong)
