from __future__ import annotations

import numpy as np
import pytest
import torch

from diptych.core.errors import ConfigError, ModelError
from diptych.models.cross_encoder.decoder import Layout
from diptych.models.cross_encoder.likelihood import log_probabilities, word_loss
from diptych.models.cross_encoder.network import CrossNetwork
from diptych.models.cross_encoder.regions import RegionFusion
from diptych.models.cross_encoder.settings import NetworkSettings, token_grid
from diptych.models.cross_encoder.vocabulary import both_directions

MAPS = ((6, 4, 4), (8, 2, 2))


def tensors(words, texts):
    return tuple(torch.from_numpy(one) for one in both_directions(words.encode(texts, 20)))


def slow_likelihood(network, regions, inputs, targets):
    """One text, one picture, one word at a time, by the plain softmax of the full logits."""
    keys_values = network.decoder.keys_values(regions[None])
    total = 0.0
    for place in range(int((inputs != 0).sum())):
        so_far = inputs[None, None, : place + 1]
        states, _ = network.states(so_far, keys_values)
        total += float(network.decoder.logits(states[-1:]).log_softmax(-1)[0, targets[place]])
    return total


def test_the_likelihood_is_the_sum_over_words_one_at_a_time(network, words, regions):
    inputs, targets = tensors(words, ["a red circle on white", "a blue square"])
    with torch.inference_mode():
        found = network.log_likelihood(
            inputs.expand(2, -1, -1), targets.expand(2, -1, -1), network.decoder.keys_values(regions[:2])
        )
        for picture in range(2):
            for text in range(4):
                expected = slow_likelihood(network, regions[picture], inputs[text], targets[text])
                assert float(found[picture, text]) == pytest.approx(expected, abs=1e-4)


def test_padding_changes_nothing(network, words, regions):
    short = tensors(words, ["a blue square"])
    long = tensors(words, ["a blue square", "two dogs play with a small ball in the deep snow"])
    with torch.inference_mode():
        keys_values = network.decoder.keys_values(regions[:1])
        alone = network.log_likelihood(short[0][None], short[1][None], keys_values)
        beside = network.log_likelihood(long[0][None], long[1][None], keys_values)
        matched = network.matching(short[0][None], keys_values), network.matching(long[0][None], keys_values)
    assert torch.allclose(alone[0], beside[0, [0, 2]], atol=1e-4)
    assert torch.allclose(matched[0][0], matched[1][0, [0, 2]], atol=1e-5)


def test_the_picture_and_the_direction_matter(network, words, regions):
    inputs, targets = tensors(words, ["a red circle on white"])
    with torch.inference_mode():
        found = network.log_likelihood(
            inputs.expand(4, -1, -1), targets.expand(4, -1, -1), network.decoder.keys_values(regions)
        )
    assert len(np.unique(found.numpy().round(4))) == 8


def test_an_empty_sequence_has_likelihood_zero_and_costs_no_state(network, words, regions):
    inputs, targets = tensors(words, ["a blue square"])
    inputs[1], targets[1] = 0, 0
    with torch.inference_mode():
        keys_values = network.decoder.keys_values(regions[:1])
        found = network.log_likelihood(inputs[None], targets[None], keys_values)
        states, _ = network.states(inputs[None], keys_values)
    assert float(found[0, 1]) == 0.0
    assert len(states) == int((inputs[0] != 0).sum())


def test_layout_spreads_and_packs():
    real = torch.tensor([[[True, True, False], [True, False, False]]])
    layout = Layout.of(real)
    packed = torch.arange(3.0)[:, None]
    spread = layout.spread(packed)
    assert spread.squeeze(1).tolist() == [0, 1, 0, 2, 0, 0]
    assert torch.equal(layout.pack(spread), packed)
    assert layout.sequence.tolist() == [0, 0, 1]
    assert layout.position.tolist() == [0, 1, 0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [7, 1100])
def test_word_loss_is_cross_entropy_with_its_gradients(smoothing, rows):
    generator = torch.Generator().manual_seed(1)
    parts = [torch.randn(size, generator=generator) for size in ((rows, 8), (50, 8), (50,))]
    targets = torch.randint(0, 50, (rows,), generator=generator)
    ours = [part.clone().requires_grad_() for part in parts]
    theirs = [part.clone().requires_grad_() for part in parts]
    loss = word_loss(*ours, targets, smoothing)
    expected = torch.nn.functional.cross_entropy(
        torch.nn.functional.linear(*theirs), targets, label_smoothing=smoothing
    )
    (3 * loss).backward()
    (3 * expected).backward()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-5)


def test_log_probabilities_are_those_of_the_softmax():
    generator = torch.Generator().manual_seed(1)
    states, weight, bias = (torch.randn(size, generator=generator) for size in ((700, 8), (50, 8), (50,)))
    targets = torch.randint(0, 50, (700,), generator=generator)
    expected = torch.nn.functional.linear(states, weight, bias).log_softmax(-1)[torch.arange(700), targets]
    assert torch.allclose(log_probabilities(states, weight, bias, targets), expected, atol=1e-5)


def test_fusion_sees_both_maps_and_every_region_its_own_place():
    torch.manual_seed(0)
    fusion = RegionFusion(MAPS, 16)
    flat = torch.randn(2, 6 * 16 + 8 * 4)
    base = fusion(flat)
    assert base.shape == (2, 16, 16)
    fine, coarse = flat.clone(), flat.clone()
    fine[:, 0] += 3  # channel 0, row 0, column 0 of the fine map
    coarse[:, 96] += 3
    changed_fine = (fusion(fine) - base).abs().amax(-1)[0] > 1e-6
    changed_coarse = (fusion(coarse) - base).abs().amax(-1)[0] > 1e-6
    assert changed_fine.tolist() == [row < 2 and column < 2 for row in range(4) for column in range(4)]
    assert changed_coarse.sum() > changed_fine.sum()  # a coarse cell covers more of the fine grid


def test_fusion_refuses_features_of_another_tower():
    with pytest.raises(ModelError, match="expected 128"):
        RegionFusion(MAPS, 16)(torch.zeros(1, 100))


def test_statistics_are_those_of_the_channels():
    fusion = RegionFusion(MAPS, 16)
    flat = torch.randn(50, 128) * 4 + 2
    fusion.fit_statistics(flat)
    assert torch.allclose(fusion.standardise[0].mean, flat[:, :96].reshape(50, 6, 16).mean((0, 2)), atol=1e-5)


def test_training_drops_regions_and_empties_pictures():
    network = CrossNetwork(MAPS, 40, NetworkSettings(width=16, layers=1, heads=2, region_keep=0.5, blank=0.5)).train()
    torch.manual_seed(0)
    found, empty = network.training_regions(torch.randn(64, 128))
    assert found.shape == (64, 8, 16)
    assert torch.equal((found == network.empty_image_token).all(-1).all(-1), empty)
    assert 0.3 < float(empty.float().mean()) < 0.7


def test_a_text_of_the_most_tokens_is_read_to_its_end(words):
    settings = NetworkSettings(width=16, layers=1, heads=2, max_tokens=5)
    network = CrossNetwork(MAPS, len(words), settings).eval()
    (pieces,) = words.encode(["two dogs play with a small ball"], 5)
    assert len(pieces) == 5
    inputs, targets = (torch.from_numpy(one)[None] for one in both_directions([pieces]))
    with torch.inference_mode():
        found = network.word_likelihoods(inputs, targets, network.decoder.keys_values(torch.randn(1, 16, 16)))
    assert found.shape == (1, 2, 6)  # five pieces and the end
    assert bool((found < 0).all())


def test_hidden_words_are_never_the_first_sign_which_tells_the_direction(words):
    settings = NetworkSettings(width=16, layers=1, heads=2, word_dropout=0.999, dropout=0.0)
    network = CrossNetwork(MAPS, len(words), settings).train()
    (forwards, backwards), _ = both_directions(words.encode(["a blue square"], 20))
    torch.manual_seed(0)
    regions = network.decoder.keys_values(torch.randn(1, 16, 16))
    states, _ = network.states(torch.from_numpy(np.stack([forwards, backwards]))[None], regions)
    first, second = states.unflatten(0, (2, -1))
    assert not torch.allclose(first[0], second[0], atol=1e-3)  # were it hidden, both would be the same sign


@pytest.fixture
def separate(words):
    """A network with a decoder for each direction."""
    torch.manual_seed(3)
    settings = NetworkSettings(
        width=16, layers=2, heads=2, max_tokens=20, dropout=0.0, word_dropout=0.0, decoders="separate"
    )
    return CrossNetwork(MAPS, len(words), settings).eval()


def as_two_networks(network, words):
    """The same weights as two networks of one decoder: the first reads forwards, the second backwards."""
    settings = NetworkSettings(width=16, layers=2, heads=2, max_tokens=20, dropout=0.0, word_dropout=0.0)
    found = []
    for decoder in (network.decoder, network.backward_decoder):
        alone = CrossNetwork(MAPS, len(words), settings).eval()
        alone.decoder.load_state_dict(decoder.state_dict())
        alone.match.load_state_dict(network.match.state_dict())
        found.append(alone)
    return found


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 2, 1, 3], [3, 0, 2, 1]])
def test_separate_decoders_read_one_direction_each(separate, words, regions, order):
    inputs, targets = (one[order].expand(4, -1, -1) for one in tensors(words, ["a red circle", "two dogs play"]))
    forwards, backwards = as_two_networks(separate, words)
    is_backward = torch.tensor([row >= 2 for row in order])
    with torch.inference_mode():
        for name, given in (
            ("log_likelihood", (inputs, targets)),
            ("word_likelihoods", (inputs, targets)),
            ("matching", (inputs,)),
            ("attention", (inputs,)),
        ):
            found = getattr(separate, name)(*given, separate.keys_values(regions))
            one, other = (getattr(each, name)(*given, each.keys_values(regions)) for each in (forwards, backwards))
            at = is_backward.reshape(1, -1, *[1] * (found.ndim - 2))
            assert torch.allclose(found, torch.where(at, other, one), atol=1e-5), name


def test_the_loss_of_separate_decoders_is_the_mean_over_the_words_of_both(separate, words, regions):
    inputs, targets = (one.expand(4, -1, -1) for one in tensors(words, ["a red circle", "two dogs play"]))
    with torch.inference_mode():
        loss = separate.word_loss(inputs, targets, separate.keys_values(regions), 0.0)
        sums = separate.log_likelihood(inputs, targets, separate.keys_values(regions))
    assert float(loss) == pytest.approx(float(-sums.sum() / (inputs != 0).sum()), rel=1e-5)


def test_a_decoder_of_a_direction_that_no_text_is_read_in_gets_no_gradient(separate, words, regions):
    inputs, targets = (one[:1][None] for one in tensors(words, ["a red circle"]))
    separate.word_loss(inputs, targets, separate.keys_values(regions[:1]), 0.0).backward()
    assert separate.decoder.words.weight.grad.abs().sum() > 0
    assert separate.backward_decoder.words.weight.grad is None


def test_a_way_of_reading_that_there_is_not():
    with pytest.raises(ConfigError, match="choose from separate, shared"):
        NetworkSettings(decoders="both")


def test_fewer_tokens_are_the_fused_map_averaged_over_a_coarser_grid():
    torch.manual_seed(0)
    small = RegionFusion(MAPS, 16, tokens=9)  # of a map of 4 x 4: cells of two places that overlap
    whole = RegionFusion(MAPS, 16)
    parts = {name: value for name, value in small.state_dict().items() if not name.startswith("pool")}
    whole.load_state_dict(parts | {"place": torch.zeros(16, 16)})
    whole.norm = small.norm = torch.nn.Identity()
    flat = torch.randn(2, whole.features)
    fused = whole(flat).transpose(1, 2).reshape(2, 16, 4, 4)
    wanted = torch.nn.functional.adaptive_avg_pool2d(fused, 3).flatten(2).transpose(1, 2) + small.place
    assert torch.allclose(small(flat), wanted, atol=1e-6)
    assert (small.count, small.grid) == (9, (3, 3))


@pytest.mark.parametrize(
    ("tokens", "grid"), [(0, (14, 14)), (49, (7, 7)), (64, (8, 8)), (56, (8, 7)), (50, None), (400, None)]
)
def test_a_number_of_tokens_makes_a_grid_of_the_shape_of_the_map(tokens, grid):
    if grid is not None:
        assert token_grid((112, 14, 14), tokens) in (grid, grid[::-1])
        return
    with pytest.raises(ConfigError, match=r"no grid of the shape of the map, 14 x 14; choose such as 16, 25, 36, 49"):
        token_grid((112, 14, 14), tokens)
