from __future__ import annotations

import math

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import torch

from diptych.synthesis.contrast import (
    centred,
    contrast,
    cosines,
    distance,
    hinge_discriminator,
    word_region_scores,
)


def test_contrast_by_hand():
    scores = torch.tensor([[1.0, 0.0, 2.0], [0.5, 1.5, 0.0], [0.0, 1.0, 3.0]])
    rows = [[1.0, 0.0, 2.0], [0.5, 1.5, 0.0], [0.0, 1.0, 3.0]]
    wanted = 0.0
    for i in range(3):
        wanted += math.log(sum(math.exp(rows[i][j]) for j in range(3))) - rows[i][i]
        wanted += math.log(sum(math.exp(rows[j][i]) for j in range(3))) - rows[i][i]
    assert float(contrast(scores)) == pytest.approx(wanted / 6, rel=1e-6)


def test_siblings_are_no_negatives():
    scores = torch.tensor([[1.0, 9.0, 0.0], [9.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    alone = (2 * math.log(math.e + 1) - 2) / 2  # rows 0 and 1 have one negative each, of score 0
    last = math.log(math.e + 2) - 1
    assert float(contrast(scores, same)) == pytest.approx((2 * alone + last) / 3, rel=1e-5)
    assert float(contrast(scores)) > 5


def test_equal_scores_are_chance():
    assert float(contrast(torch.zeros(7, 7))) == pytest.approx(math.log(7), rel=1e-6)


def slow_score(words, regions, rho_1, rho_2):
    """Word by word, region by region, as the paper writes it."""

    def cosine(one, other):
        return float(one @ other / (one.norm() * other.norm()))

    total = 0.0
    for word in words:
        weights = [math.exp(rho_1 * cosine(word, region)) for region in regions]
        context = sum(w / sum(weights) * (region / region.norm()) for w, region in zip(weights, regions, strict=True))
        total += math.exp(rho_2 * cosine(word, context))
    return math.log(total / len(words)) / rho_2


def test_word_region_scores_against_the_slow_twin():
    draw = torch.Generator().manual_seed(3)
    words, regions = torch.randn(3, 4, 5, generator=draw), torch.randn(2, 6, 5, generator=draw)
    lengths = [4, 1, 2]
    mask = torch.tensor([[place < length for place in range(4)] for length in lengths])
    found = word_region_scores(words, mask, regions, 4.0, 3.0)
    wanted = [[slow_score(words[i, : lengths[i]], regions[j], 4.0, 3.0) for j in range(2)] for i in range(3)]
    assert torch.allclose(found, torch.tensor(wanted), atol=1e-5)


def test_the_sum_over_words_is_the_papers_score():
    """log of the sum of exp(rho_2 cos), over rho_2: the slow twin's mean and log n / rho_2 more."""
    draw = torch.Generator().manual_seed(3)
    words, regions = torch.randn(3, 4, 5, generator=draw), torch.randn(2, 6, 5, generator=draw)
    lengths = [4, 1, 2]
    mask = torch.tensor([[place < length for place in range(4)] for length in lengths])
    found = word_region_scores(words, mask, regions, 4.0, 3.0, mean=False)
    wanted = [
        [slow_score(words[i, : lengths[i]], regions[j], 4.0, 3.0) + math.log(lengths[i]) / 3.0 for j in range(2)]
        for i in range(3)
    ]
    assert torch.allclose(found, torch.tensor(wanted), atol=1e-5)


def test_padding_does_not_count():
    draw = torch.Generator().manual_seed(4)
    words, regions = torch.randn(2, 3, 5, generator=draw), torch.randn(2, 4, 5, generator=draw)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    changed = torch.where(mask[:, :, None], words, torch.full_like(words, 7.0))
    assert torch.allclose(word_region_scores(words, mask, regions), word_region_scores(changed, mask, regions))


def test_hinge_by_hand():
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.25])
    assert float(hinge_discriminator(real, fake)) == pytest.approx((0 + 0.5) / 2 + (0 + 1.25) / 2)


def test_what_all_rows_share_does_not_count():
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(centred(rows), centred(rows + 100.0), atol=1e-4)
    assert float(cosines(rows + 100.0, rows + 100.0).min()) > 0.99
    assert float(cosines(centred(rows + 100.0), centred(rows + 100.0)).min()) < 0
    assert centred(rows.view(2, 3, 4)).flatten(0, 1).mean(0).abs().max() < 1e-6


def test_distance_by_hand():
    """Colours 0.5 apart everywhere; maps at right angles at one of two places (|a - b|^2 is 2), alike at the other."""
    real = torch.zeros(2, 3, 4, 4)
    made = real.clone()
    made[1] += 0.5
    one = torch.tensor([[[[2.0, 3.0]], [[0.0, 0.0]]]]).expand(2, -1, -1, -1)
    other = one.clone()
    other[1, :, 0, 0] = torch.tensor([0.0, 7.0])
    flat = torch.ones(2, 1, 1, 1)
    assert distance(made, real).tolist() == [0.0, 0.5]
    assert distance(made, real, [other], [one]).tolist() == pytest.approx([0.0, 0.5 + 1.0])
    assert distance(made, real, [other, flat], [one, 5 * flat]).tolist() == pytest.approx([0.0, 0.5 + 0.5])
