"""Heads: what they compute, and how a config names them."""

import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from torch.nn import functional  # noqa: E402

from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError  # noqa: E402
from diptych.core.registry import build  # noqa: E402
from diptych.models.heads import (  # noqa: E402
    EnsembleHead,
    LinearHead,
    MLPHead,
    SharedLayerHead,
    Standardise,
    ensemble_of,
    share_layers,
)

X = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1


def test_standardised_features_have_mean_0_and_deviation_1() -> None:
    layer = Standardise(6)
    constant = X.clone()
    constant[:, 2] = 7.0
    layer.fit(constant)
    found = layer(constant)
    assert found.mean(0).abs().max() < 1e-5
    kept = [0, 1, 3, 4, 5]
    assert found.std(0, unbiased=False)[kept] == pytest.approx(torch.ones(5), abs=1e-5)
    assert (found[:, 2] == 0).all()  # a constant feature is not blown up


@pytest.mark.parametrize("part", [Part("linear"), Part("mlp"), ensemble_of(Part("mlp", {"hidden": 9}), 2)])
def test_embeddings_have_unit_length(part: Part) -> None:
    head = build("head", part, features=6, dim=4)
    head.fit_statistics(X)
    for mode in (True, False):
        assert head.train(mode)(X).detach().norm(dim=1) == pytest.approx(torch.ones(50), abs=1e-5)


def test_the_linear_head_by_hand() -> None:
    head = LinearHead(6, 4).eval()
    head.fit_statistics(X)
    z = (X - X.mean(0)) / X.std(0, unbiased=False)
    wanted = functional.normalize(z @ head.linear.weight.T + head.linear.bias, dim=1)
    assert torch.allclose(head(X), wanted, atol=1e-5)


def test_the_mlp_head_by_hand() -> None:
    head = MLPHead(6, 4, hidden=5).eval()
    head.fit_statistics(X)
    z = (X - X.mean(0)) / X.std(0, unbiased=False)
    z = (z - z.mean(1, keepdim=True)) / (z.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    h = z @ head.hidden.weight.T + head.hidden.bias
    h = h * 0.5 * (1 + torch.erf(h / 2**0.5))
    wanted = z @ head.linear.weight.T + head.linear.bias + h @ head.output.weight.T + head.output.bias
    assert torch.allclose(head(X), functional.normalize(wanted, dim=1), atol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    head = build("head", Part("mlp"), features=6, dim=4)
    assert not torch.equal(head.train()(X), head(X))
    assert torch.equal(head.eval()(X), head(X))


def test_the_cosine_of_an_ensemble_is_the_mean_of_its_members() -> None:
    torch.manual_seed(1)
    images = [build("head", Part("mlp"), features=6, dim=4).eval() for _ in range(3)]
    texts = [build("head", Part("linear"), features=6, dim=4).eval() for _ in range(3)]
    joined = EnsembleHead(images)(X) @ EnsembleHead(texts)(X).T
    each = torch.stack([image(X) @ text(X).T for image, text in zip(images, texts, strict=True)])
    assert torch.allclose(joined, each.mean(0), atol=1e-6)


def test_a_config_of_an_ensemble_builds_it_again() -> None:
    part = ensemble_of(Part("mlp", {"hidden": 7}), 3)
    head = build("head", part, features=6, dim=12)
    assert isinstance(head, EnsembleHead)
    assert [member.hidden.out_features for member in head.heads] == [7, 7, 7]
    assert head.eval()(X).shape == (50, 12)
    assert ensemble_of(Part("mlp"), 1) == Part("mlp")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            Part("mpl"),
            "unknown head 'mpl'; choose from adapter, ensemble, identity, linear, mlp, nearest_texts, shared_layer",
        ),
        (Part("mlp", {"hiden": 3}), "head 'mlp': unknown option 'hiden'; it takes .*did you mean 'hidden'"),
        (Part("linear", {"features": 3}), "unknown option 'features'"),
        (Part("mlp", {"dropout": 1.5}), "head 'mlp' cannot take .*dropout"),
        (Part("mlp", {"hidden": -1}), "head 'mlp' cannot take .*-1"),
        (Part("ensemble"), "an ensemble of 0 heads"),
        (ensemble_of(Part("mlp"), 3), "an ensemble of 3 heads cannot share 16 dimensions evenly"),
    ],
)
def test_heads_that_cannot_be_built(part: Part, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("head", part, features=6, dim=16)


@pytest.mark.unchecked
def test_an_option_of_another_type_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"head 'mlp': hidden must be a whole number, found 'many'"):
        build("head", Part("mlp", {"hidden": "many"}), features=6, dim=16)


def test_an_ensemble_of_nothing() -> None:
    with pytest.raises(ConfigError, match="at least one head"):
        EnsembleHead([])


# the shared layer of X-MRS


def shared_pair(dim: int = 6) -> tuple[SharedLayerHead, SharedLayerHead]:
    torch.manual_seed(0)
    image, text = SharedLayerHead(5, dim), SharedLayerHead(9, dim)
    share_layers(image, text)
    return image, text


def test_both_modalities_go_through_one_layer_and_their_own_norms() -> None:
    image, text = shared_pair()
    assert text.shared is image.shared
    assert text.norm_shared is not image.norm_shared
    pair = torch.nn.ModuleList([image, text])
    names = [name for name, _ in pair.named_parameters() if "shared." in name and "norm" not in name]
    assert names == ["0.shared.weight", "0.shared.bias"]  # one layer, stepped once
    (image(torch.randn(8, 5)) * torch.randn(8, 6)).sum().backward()
    assert image.shared.weight.grad is not None


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_shared_head_is_its_formula(layers: int) -> None:
    torch.manual_seed(0)
    head = SharedLayerHead(5, 6, layers=layers)
    rows = torch.randn(8, 5)
    norm = torch.nn.functional.batch_norm
    x = torch.tanh(head.linear(norm(rows, None, None, training=True)))
    assert len(head.further) == layers - 1
    for layer in head.further:
        x = torch.tanh(layer(x))
    x = torch.tanh(norm(head.shared(x), None, None, training=True))
    wanted = torch.nn.functional.normalize(x, dim=-1)
    assert torch.allclose(head.train()(rows), wanted, atol=1e-5)


def test_the_members_of_two_ensembles_share_each_with_its_like() -> None:
    part = ensemble_of(Part("shared_layer"), 2)
    image, text = build("head", part, features=5, dim=12), build("head", part, features=9, dim=12)
    share_layers(image, text)
    assert isinstance(image, EnsembleHead)
    assert isinstance(text, EnsembleHead)
    assert [one.shared is other.shared for one, other in zip(image.heads, text.heads, strict=True)] == [True, True]
    assert image.heads[0].shared is not image.heads[1].shared
    with pytest.raises(ConfigError, match="as many members on both sides, found 2 for images and 3 for texts"):
        share_layers(image, build("head", ensemble_of(Part("shared_layer"), 3), features=9, dim=12))
    with pytest.raises(ConfigError, match="give it to both image and text"):
        share_layers(image, build("head", ensemble_of(Part("linear"), 2), features=9, dim=12))
    with pytest.raises(ConfigError, match="give it to both image and text"):
        share_layers(image, build("head", Part("linear"), features=9, dim=12))


def test_a_layer_can_only_be_shared_with_another_of_its_kind() -> None:
    with pytest.raises(ConfigError, match="give it to both image and text"):
        share_layers(SharedLayerHead(5, 6), LinearHead(5, 6))
    with pytest.raises(ConfigError, match="need the same hidden"):
        share_layers(SharedLayerHead(5, 6), SharedLayerHead(5, 6, hidden=7))
    share_layers(LinearHead(5, 6), LinearHead(5, 6))
