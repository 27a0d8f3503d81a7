"""The scorer against one picture and one text at a time, and the corrections by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diptych.models.cross_encoder import scorer as module
from diptych.models.cross_encoder.scorer import Scorer
from diptych.models.cross_encoder.settings import IMAGE_TO_TEXT, TEXT_TO_IMAGE, ScoringSettings
from diptych.models.cross_encoder.torch_backend import TorchBackend
from diptych.models.cross_encoder.vocabulary import both_directions

TEXTS = ["a blue square", "a red circle on white", "two dogs play with a small ball in the deep snow", "circle, yellow"]


def made(network, words, *, captioner: bool = True, **scoring: float) -> Scorer:
    return Scorer(TorchBackend(network), words, ScoringSettings(**scoring), captioner=captioner)


def one_at_a_time(network, words, picture, text) -> float:
    """h: both directions of one text with one picture."""
    inputs, targets = (torch.from_numpy(one)[None] for one in both_directions(words.encode([text], 20)))
    with torch.inference_mode():
        keys_values = network.decoder.keys_values(picture[None])
        return float(network.log_likelihood(inputs, targets, keys_values).sum())


def matched(network, words, picture, text) -> float:
    inputs, _ = both_directions(words.encode([text], 20))
    with torch.inference_mode():
        return float(network.matching(torch.from_numpy(inputs)[None], network.decoder.keys_values(picture[None])).sum())


def pieces(words, text: str) -> int:
    return len(words.encode([text], 20)[0])


@pytest.mark.parametrize(("at_once", "places"), [(64, 16_384), (3, 60), (1, 1)])
def test_matrix_and_pairs_are_the_likelihoods_one_at_a_time_and_steps_are_bounded(
    network, words, regions, monkeypatch, at_once, places
):
    monkeypatch.setattr(module, "_IMAGES_AT_ONCE", at_once)
    monkeypatch.setattr(TorchBackend, "words_at_once", places)
    wanted = np.array([[one_at_a_time(network, words, picture, text) for picture in regions] for text in TEXTS])
    steps = []
    real = network.word_likelihoods

    def watched(inputs, targets, keys_values):
        steps.append(inputs.shape)
        return real(inputs, targets, keys_values)

    monkeypatch.setattr(network, "word_likelihoods", watched)
    scorer = made(network, words)
    assert scorer.matrix(regions.numpy(), TEXTS) == pytest.approx(wanted, abs=1e-3)
    assert max(pictures for pictures, _, _ in steps) == min(at_once, 4)
    assert all(np.prod(step) <= places or step[1] == 2 for step in steps)  # or a single text
    assert scorer.pairs(regions.numpy(), TEXTS) == pytest.approx(np.diag(wanted), abs=1e-3)


def test_a_text_counts_its_pieces_and_the_end(network, words):
    scorer = made(network, words)
    assert scorer.lengths(TEXTS).tolist() == [pieces(words, text) + 1 for text in TEXTS]
    longest = " ".join(TEXTS * 3)
    assert scorer.lengths([longest]).tolist() == [20 + 1]  # cut at the most that the network reads


@pytest.mark.parametrize("length", [0.5, 1.0])
def test_image_to_text_is_the_likelihood_without_the_prior_by_length(network, words, regions, length):
    prior = [one_at_a_time(network, words, network.empty()[0].detach(), text) for text in TEXTS]
    wanted = np.array(
        [
            [
                (one_at_a_time(network, words, picture, text) - 0.75 * own) / (pieces(words, text) + 1) ** length
                for picture in regions
            ]
            for text, own in zip(TEXTS, prior, strict=True)
        ]
    )
    scorer = made(network, words, prior=0.75, length=length)
    assert scorer.prior(TEXTS) == pytest.approx(prior, abs=1e-3)
    assert scorer.matrix(regions.numpy(), TEXTS, IMAGE_TO_TEXT) == pytest.approx(wanted, abs=1e-3)
    assert scorer.pairs(regions.numpy(), TEXTS, IMAGE_TO_TEXT) == pytest.approx(np.diag(wanted), abs=1e-3)
    raw = scorer.matrix(regions.numpy(), TEXTS, TEXT_TO_IMAGE)
    assert scorer.corrected(raw, TEXTS) == pytest.approx(wanted, abs=1e-3)


def test_matching_scores_are_never_corrected(network, words, regions):
    scorer = made(network, words, captioner=False, prior=0.75, length=1.0)
    wanted = np.array([[matched(network, words, picture, text) for picture in regions] for text in TEXTS])
    for direction in (TEXT_TO_IMAGE, IMAGE_TO_TEXT):
        assert scorer.matrix(regions.numpy(), TEXTS, direction) == pytest.approx(wanted, abs=1e-3)
        assert scorer.pairs(regions.numpy(), TEXTS, direction) == pytest.approx(np.diag(wanted), abs=1e-3)


def test_a_step_holds_as_many_texts_as_fit_and_no_more(network, words, monkeypatch):
    scorer = made(network, words)
    lengths = np.array([3, 3, 3, 5, 9])
    order = np.arange(5)
    # a text of n pieces takes n + 1 places in each direction and for each picture: 3 texts of 3 take 3 * 2 * 4 = 24
    for places, wanted in ((24, [3, 1, 1]), (23, [2, 1, 1, 1]), (36, [3, 1, 1]), (48, [4, 1]), (100, [5])):
        monkeypatch.setattr(TorchBackend, "words_at_once", places)
        steps = scorer._steps(order, lengths, images=1)
        assert [len(step) for step in steps] == wanted, places
        assert np.concatenate(steps).tolist() == order.tolist()
