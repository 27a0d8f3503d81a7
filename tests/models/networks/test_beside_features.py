"""Features that pass a network by: what is joined, what is left out in training, and what is standardised."""

import pytest

torch = pytest.importorskip("torch", reason="networks need the [train] extra")

from diptych.core.registry import Part  # noqa: E402
from diptych.encoders.fake import FakeTextTower  # noqa: E402
from diptych.encoders.text.features_and_tokens import FeaturesAndTokens  # noqa: E402
from diptych.encoders.text.tokens import TokenTower, train_tokenizer  # noqa: E402
from diptych.models.heads import LinearHead  # noqa: E402
from diptych.models.networks import build_network  # noqa: E402
from diptych.models.networks.beside_features import BesideFeatures  # noqa: E402
from diptych.models.side import Side  # noqa: E402

TOWER = FeaturesAndTokens(FakeTextTower(), TokenTower(train_tokenizer(["a dog ran", "a cat"], "words", min_count=1), 6))
ROWS = torch.from_numpy(TOWER.embed(["a dog", "cat", "a cat ran", "dog"] * 500))


def built(**options: object) -> BesideFeatures:
    torch.manual_seed(0)
    network = build_network(Part("transformer", {"width": 8, "layers": 1, **options}), TOWER)
    assert isinstance(network, BesideFeatures)
    return network


def test_the_output_is_the_standardised_features_and_then_what_the_network_makes_of_the_ids() -> None:
    network = built().eval()
    side = Side(network, LinearHead(network.dim, 4))
    side.fit_statistics(ROWS)
    given = network(ROWS)
    assert given.shape == (2000, 32 + 8)
    features = ROWS[:, :32]
    varies = features.std(0) > 1e-6
    wanted = (features - features.mean(0)) / features.std(0, unbiased=False)
    assert torch.allclose(given[:, :32][:, varies], wanted[:, varies], atol=1e-4)
    assert torch.allclose(given[:, 32:], network.network(ROWS[:, 32:].long()))
    assert torch.equal(side.head.standardise.std, torch.ones(40))  # a network that is not trained yet tells nothing
    attention = network.attention
    assert attention is not None
    assert torch.allclose(attention(ROWS[:4, :35]).sum(1), torch.ones(4))
    bag = build_network(Part("bag", {"width": 8}), TOWER)
    assert bag.attention is None


def test_one_of_the_two_parts_of_a_text_is_left_out_in_training() -> None:
    network = built(drop=0.4, dropout=0.0)
    network.fit_statistics(ROWS)
    given = network.train()(ROWS)
    without_features, without_network = (given[:, :32] == 0).all(1), (given[:, 32:] == 0).all(1)
    assert not (without_features & without_network).any()
    for left_out in (without_features, without_network):
        assert left_out.float().mean() == pytest.approx(0.2, abs=0.04)
    given = network.eval()(ROWS)
    assert not ((given == 0).sum(1) >= 8).any()


def test_tokens_are_left_out_in_training_but_for_the_first() -> None:
    network = built(word_dropout=0.5, dropout=0.0).network.train()
    ids = torch.tensor([[1, 2, 3, -1]]).expand(2000, -1)
    _, kept = network._states(ids)
    assert kept[:, 0].all()
    assert kept[:, 1:3].float().mean() == pytest.approx(0.5, abs=0.05)
    assert kept.shape[1] == 3  # padding is cut off
    assert network.eval()._states(ids)[1].all()
