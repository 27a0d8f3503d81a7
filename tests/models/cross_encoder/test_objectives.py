from __future__ import annotations

import math

import pytest
import torch

from diptych.core.errors import ConfigError
from diptych.models.cross_encoder.network import CrossNetwork
from diptych.models.cross_encoder.objectives import (
    captioning_loss,
    contrastive_loss,
    hardest,
    itm_loss,
    matching_loss,
    matching_matrix,
    partners_loss,
    vse_loss,
)
from diptych.models.cross_encoder.settings import NetworkSettings, ObjectiveSettings
from diptych.models.cross_encoder.vocabulary import both_directions

SCORES = torch.tensor([[2.0, 0.5, -1.0], [1.0, 3.0, 2.5], [0.0, -2.0, 1.0]])


def test_the_hardest_wrong_partners_by_hand():
    texts, pictures = hardest(SCORES)
    assert texts.tolist() == [1, 2, 0]
    assert pictures.tolist() == [1, 0, 1]


def test_itm_by_hand():
    def soft(x):
        return math.log1p(math.exp(x))

    right = (soft(-2.0) + soft(-3.0) + soft(-1.0)) / 3
    wrong = (soft(0.5) + soft(2.5) + soft(0.0) + soft(1.0) + soft(0.5) + soft(2.5)) / 6
    assert float(itm_loss(SCORES)) == pytest.approx(right + wrong, rel=1e-5)


def test_vse_by_hand():
    by_picture = [max(0, 0.2 + 0.5 - 2), max(0, 0.2 + 2.5 - 3), max(0, 0.2 + 0 - 1)]
    by_text = [max(0, 0.2 + 1 - 2), max(0, 0.2 + 0.5 - 3), max(0, 0.2 + 2.5 - 1)]
    assert float(vse_loss(SCORES, 0.2)) == pytest.approx(sum(by_picture + by_text) / 3, rel=1e-5)


def test_all_wrong_partners_by_hand():
    wrong = [0.5, -1.0, 1.0, 2.5, 0.0, -2.0]  # every score off the diagonal counts for its picture and for its text
    right = [2.0, 3.0, 1.0]
    soft = sum(math.log1p(math.exp(x)) for x in wrong) / 6 + sum(math.log1p(math.exp(-x)) for x in right) / 3
    assert float(itm_loss(SCORES, hardest_alone=False)) == pytest.approx(soft, rel=1e-5)
    by_picture = [max(0, 0.2 + w - right[n // 2]) for n, w in enumerate(wrong)]
    by_text = [max(0, 0.2 + w - right[n]) for n, w in zip((1, 2, 0, 2, 0, 1), wrong, strict=True)]
    assert float(vse_loss(SCORES, 0.2, hardest_alone=False)) == pytest.approx(sum(by_picture + by_text) / 6, rel=1e-5)


def sequences(words, texts):
    """Inputs and targets (b, 2, t): each picture one text, forwards and backwards."""
    pair = both_directions(words.encode(texts, 20))
    return tuple(torch.from_numpy(one).unflatten(0, (2, -1)).transpose(0, 1) for one in pair)


def test_the_matrix_holds_every_picture_with_every_text(network, words, regions):
    inputs, _ = sequences(words, ["a blue square", "a red circle on white", "circle, yellow"])
    found = matching_matrix(network, regions[:3], inputs)
    for picture in range(3):
        for text in range(3):
            keys_values = network.decoder.keys_values(regions[picture : picture + 1])
            alone = network.matching(inputs[text : text + 1], keys_values).sum()
            assert float(found[picture, text]) == pytest.approx(float(alone), abs=1e-4)


@pytest.mark.parametrize("name", ["captioning", "itm", "vse"])
def test_every_objective_teaches_which_text_belongs_to_which_picture(network, words, name):
    torch.manual_seed(0)
    texts = ["a blue square", "a red circle on white", "circle, yellow", "the green stripe runs across the picture"]
    inputs, targets = sequences(words, texts)
    flat = torch.randn(4, 128)
    settings = ObjectiveSettings(name, label_smoothing=0.0, group=4)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(60):
        regions = network.fusion(flat)
        if name == "captioning":
            loss = captioning_loss(network, regions, torch.zeros(4, dtype=torch.bool), inputs, targets, settings)
        else:
            loss = matching_loss(network, regions, inputs, settings)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.inference_mode():
        regions = network.fusion(flat)
        if name == "captioning":
            every = [one.flatten(0, 1).expand(4, -1, -1) for one in (inputs, targets)]
            scores = network.log_likelihood(*every, network.decoder.keys_values(regions))
            scores = scores.unflatten(1, (4, 2)).sum(-1)
        else:
            scores = matching_matrix(network, regions, inputs)
    assert scores.argmax(1).tolist() == [0, 1, 2, 3]
    assert scores.argmax(0).tolist() == [0, 1, 2, 3]


def test_groups_do_not_meet(network, words, regions):
    inputs, _ = sequences(words, ["a blue square", "a red circle on white", "circle, yellow", "a blue square"])
    settings = ObjectiveSettings("vse", group=2)
    whole = matching_loss(network, regions, inputs, settings)
    parts = [matching_loss(network, regions[at], inputs[at], settings) for at in (slice(0, 2), slice(2, 4))]
    assert float(whole) == pytest.approx(float(sum(parts)) / 2, rel=1e-5)


def test_pairs_beyond_the_last_whole_group_wait_and_a_small_batch_is_one_group(network, words, regions):
    texts = ["a blue square", "a red circle on white", "circle, yellow"]
    inputs, _ = sequences(words, texts)
    pairs = ObjectiveSettings("vse", group=2)
    assert float(matching_loss(network, regions[:3], inputs, pairs)) == pytest.approx(
        float(matching_loss(network, regions[:2], inputs[:2], pairs)), rel=1e-5
    )
    several = [ObjectiveSettings("vse", group=size) for size in (3, 8)]
    of_three, of_eight = (float(matching_loss(network, regions[:3], inputs, each)) for each in several)
    assert of_three == pytest.approx(of_eight, rel=1e-6)


def test_the_choice_of_the_right_image_by_hand():
    texts = [[2.0, 1.0, 0.0], [0.5, 3.0, -2.0], [-1.0, 2.5, 1.0]]  # of each text its scores with the three images
    wanted = sum(math.log(sum(math.exp(x / 2) for x in row)) - row[n] / 2 for n, row in enumerate(texts)) / 3
    assert float(contrastive_loss(SCORES, 2.0)) == pytest.approx(wanted, rel=1e-5)


def test_the_text_of_an_empty_image_is_a_wrong_partner_of_it():
    def soft(x):
        return math.log1p(math.exp(x))

    empty = torch.tensor([False, True, False])
    right = (soft(-2.0) + soft(-1.0)) / 2
    wrong = (soft(0.5) + soft(2.5) + soft(0.0) + soft(1.0) + soft(0.5) + soft(2.5) + soft(3.0)) / 7
    assert float(itm_loss(SCORES, True, empty)) == pytest.approx(right + wrong, rel=1e-5)
    assert float(itm_loss(SCORES, True, torch.ones(3, dtype=torch.bool))) > 0  # no right pair is left


def test_partners_are_those_of_the_group_and_an_empty_image_is_not_chosen(network, words, regions):
    texts = ["a blue square", "a red circle on white", "circle, yellow", "two dogs play"]
    inputs, targets = sequences(words, texts)
    settings = ObjectiveSettings(
        group=2, matching=0.5, contrastive=2.0, contrastive_texts=0.7, temperature=3.0, hardest=False
    )
    empty = torch.tensor([False, False, True, False])
    keys_values = network.keys_values(regions)
    found = partners_loss(network, keys_values, empty, inputs, targets, settings)
    wanted = 0.0
    for at in (slice(0, 2), slice(2, 4)):
        here = network.keys_values(regions[at])
        every = [one[at].flatten(0, 1).expand(2, -1, -1) for one in (inputs, targets)]
        h = network.log_likelihood(*every, here).reshape(2, 2, 2).sum(-1)
        wanted += 0.5 * float(itm_loss(matching_matrix(network, regions[at], inputs[at]), False, empty[at]))
        if at.start == 0:  # of the other one image is left
            nothing = network.keys_values(network.empty())
            prior = [
                float(network.log_likelihood(inputs[n : n + 1], targets[n : n + 1], nothing).sum()) for n in (0, 1)
            ]
            right = [float(torch.log_softmax((h[n] - torch.tensor(prior)) / 3.0, 0)[n]) for n in (0, 1)]
            wanted += 2.0 * float(contrastive_loss(h, 3.0)) - 0.7 * sum(right) / 2
    assert float(found) == pytest.approx(wanted / 2, rel=1e-4)
    whole = captioning_loss(network, regions, empty, inputs, targets, settings)
    words_alone = captioning_loss(network, regions, empty, inputs, targets, ObjectiveSettings())
    assert float(whole) == pytest.approx(float(words_alone + found), rel=1e-4)
    three, first = (
        partners_loss(network, network.keys_values(regions[:n]), empty[:n], inputs[:n], targets[:n], settings)
        for n in (3, 2)
    )
    assert float(three) == pytest.approx(float(first), rel=1e-5)  # the third waits


@pytest.mark.parametrize("decoders", ["shared", "separate"])
def test_both_scores_come_from_the_same_states_and_teach(words, regions, decoders):
    torch.manual_seed(1)
    settings = NetworkSettings(width=16, layers=1, heads=2, max_tokens=20, decoders=decoders)
    network = CrossNetwork(((6, 4, 4), (8, 2, 2)), len(words), settings).eval()
    inputs, targets = sequences(words, ["a blue square", "a red circle on white", "circle, yellow", "two dogs play"])
    keys_values = network.keys_values(regions)
    likelihood, matched = network.pair_scores(inputs, targets, keys_values)
    assert torch.allclose(matched, network.matching(inputs, keys_values), atol=1e-5)
    alone = network.log_likelihood(inputs, targets, keys_values)
    assert torch.allclose(likelihood, alone, atol=1e-4)
    network.adds_matching = True
    assert torch.allclose(network.log_likelihood(inputs, targets, keys_values), alone + matched, atol=1e-4)
    # the gradients of log-likelihoods are those of the captioning loss, which computes them in another way
    wanted = network.word_loss(inputs, targets, keys_values, 0.0) * int((targets != 0).sum())
    weights = [network.decoder.words.weight, network.decoder.layers[0].mlp_in.weight]
    for one, other in zip(
        torch.autograd.grad(-likelihood.sum(), weights, retain_graph=True),
        torch.autograd.grad(wanted, weights),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "itm", "matching": 0.5}, "stand beside captioning, and the objective is 'itm'"),
        ({"mined": 30}, "captioning alone has no wrong partners"),
        ({"contrastive": 1.0, "mined": 3}, "mined must be at least the 7 partners of a group, found 3"),
        ({"name": "vse", "contrastive_texts": 0.5}, "stand beside captioning, and the objective is 'vse'"),
        ({"contrastive": -1.0}, "objective.contrastive must be at least 0"),
        ({"contrastive": 1.0, "temperature": 0.0}, "objective.temperature must be above 0"),
    ],
)
def test_objectives_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        ObjectiveSettings(**options)
