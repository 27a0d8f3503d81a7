"""Networks over token ids: their formulae, no part for padding, and the same numbers once exported."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need the [train] extra")

from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError  # noqa: E402
from diptych.encoders.export import GraphSpec, write_graphs  # noqa: E402
from diptych.models.dual import OnnxHead  # noqa: E402
from diptych.models.heads import LinearHead  # noqa: E402
from diptych.models.networks import build_network  # noqa: E402
from diptych.models.networks.base import by_length  # noqa: E402
from diptych.models.networks.recurrent import GRUText, reverse  # noqa: E402
from diptych.models.side import Side  # noqa: E402

PARTS = [
    Part("bag", {"width": 6}),
    Part("gru", {"embedding": 5, "hidden": 6}),
    Part("gru", {"embedding": 5, "hidden": 6, "bidirectional": True}),
    Part("transformer", {"width": 8, "layers": 2, "heads": 2}),
    Part("gru", {"embedding": 5, "hidden": 6, "layers": 2}),
    Part("gru", {"embedding": 5, "hidden": 6, "layers": 2, "bidirectional": True}),
    Part("transformer", {"width": 8, "layers": 2, "heads": 2, "pool": "mean"}),
]
every = pytest.mark.parametrize(
    "part", PARTS, ids=["bag", "gru", "bigru", "transformer", "two-layers", "bigru-two-layers", "mean"]
)


def built(part: Part, tokens: Any) -> Any:
    torch.manual_seed(0)
    return build_network(part, tokens).eval()


@every
def test_padding_has_no_part_in_it(part: Part, tokens: Any, ids: torch.Tensor) -> None:
    network = built(part, tokens)
    together = network(ids)
    assert together.shape == (4, network.dim)
    for row, length, found in zip(ids, (4, 1, 7, 2), together, strict=True):
        assert torch.allclose(network(row[None, :length])[0], found, atol=1e-6)


@every
def test_every_weight_learns(part: Part, tokens: Any, ids: torch.Tensor) -> None:
    network = built(part, tokens).train()
    network(ids).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())


@every
def test_the_exported_graph_computes_the_same(part: Part, tokens: Any, ids: torch.Tensor, tmp_path: Path) -> None:
    side = Side(built(part, tokens), LinearHead(built(part, tokens).dim, 4)).eval()
    write_graphs(tmp_path, {"text_head": GraphSpec(side.for_export(), torch.zeros(2, 7, dtype=torch.int64))})
    graph = OnnxHead(tmp_path / "text_head.onnx", 1)
    with torch.no_grad():
        wanted = side(ids).numpy()
    assert graph(ids.numpy().astype(np.int32)) == pytest.approx(wanted, abs=2e-3)  # weights in half precision
    assert graph(ids.numpy()[:1]) == pytest.approx(wanted[:1], abs=2e-3)


def test_a_bag_is_the_mean_of_its_words(tokens: Any) -> None:
    network = built(PARTS[0], tokens)
    words = network.words.weight.detach()
    found = network(torch.tensor([[3, 3, 5, -1]]))[0]
    assert torch.allclose(found, (2 * words[3] + words[5]) / 3, atol=1e-6)
    assert words.abs().max() <= 0.1


def test_a_transformer_takes_the_first_state_or_the_mean_of_all(tokens: Any, ids: torch.Tensor) -> None:
    first, mean = built(PARTS[3], tokens), built(PARTS[6], tokens)
    with torch.no_grad():
        x, kept = first._states(ids[:1])
        for block in first.blocks:
            x = block(x, kept)
        states = first.norm(x)[0, :4]  # the first text has four tokens
        assert torch.allclose(first(ids)[0], states[0], atol=1e-6)
        assert torch.allclose(mean(ids)[0], states.mean(0), atol=1e-6)
        assert mean.attention(ids).sum(1) == pytest.approx(np.ones(4), abs=1e-6)
    with pytest.raises(ConfigError, match="pool = 'last': expected one of 'first', 'mean'"):
        built(Part("transformer", {"width": 8, "heads": 2, "pool": "last"}), tokens)


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_rows_by_length_are_the_rows_together(ids: torch.Tensor, at_once: int) -> None:
    widths: list[int] = []

    def network(rows: torch.Tensor) -> torch.Tensor:
        widths.append(rows.shape[1])
        return rows.clamp(min=0).sum(1, keepdim=True).float()

    assert by_length(ids, network, at_once).tolist() == ids.clamp(min=0).sum(1, keepdim=True).tolist()
    assert widths == {1: [1, 2, 4, 7], 3: [4, 7], 100: [7]}[at_once]


def test_a_transformer_says_how_its_first_token_attends_in_the_last_block(tokens: Any, ids: torch.Tensor) -> None:
    network = built(PARTS[3], tokens)
    with torch.no_grad():
        shares = network.attention(ids)
        x, kept = network._states(ids[:1])
        first, last = network.blocks
        x = last.norm_attention(first(x, kept))[0, :4]  # the first text has four tokens
        query, key, _ = last.projections(x).chunk(3, dim=1)
        wanted = torch.zeros(4)
        for head in (slice(0, 4), slice(4, 8)):
            scores = [float(query[0, head] @ key[place, head]) / 4**0.5 for place in range(4)]
            wanted += torch.tensor(scores).softmax(0) / 2
    assert torch.allclose(shares[0, :4], wanted, atol=1e-6)
    assert torch.equal(shares[0, 4:], torch.zeros(3))  # padding
    assert torch.allclose(shares.sum(1), torch.ones(4), atol=1e-6)


def test_a_gru_is_its_equations(tokens: Any) -> None:
    """One step after the other, gates written out, both ways read at their own end."""
    network = built(PARTS[2], tokens)
    assert isinstance(network, GRUText)

    def walk(gru: torch.nn.GRU, order: list[int]) -> torch.Tensor:
        state = torch.zeros(6)
        for word in order:
            from_input = gru.weight_ih_l0 @ network.words.weight[word] + gru.bias_ih_l0
            from_state = gru.weight_hh_l0 @ state + gru.bias_hh_l0
            (ri, zi, ni), (rh, zh, nh) = from_input.chunk(3), from_state.chunk(3)
            reset, update = torch.sigmoid(ri + rh), torch.sigmoid(zi + zh)
            state = (1 - update) * torch.tanh(ni + reset * nh) + update * state
        return state

    both = torch.cat([walk(network.forwards, [4, 2, 9]), walk(network.backwards, [9, 2, 4])])
    wanted = network.join.weight @ both + network.join.bias
    assert torch.allclose(network(torch.tensor([[4, 2, 9, -1, -1]]))[0], wanted, atol=1e-5)


def test_a_second_layer_reads_the_states_of_the_first(tokens: Any) -> None:
    network = built(PARTS[4], tokens)
    one, two = torch.nn.GRU(5, 6, batch_first=True), torch.nn.GRU(6, 6, batch_first=True)
    for number, layer in enumerate((one, two)):
        layer.load_state_dict({key: getattr(network.forwards, f"{key[:-1]}{number}") for key in layer.state_dict()})
    states = two(one(network.words.weight[[4, 2, 9]][None])[0])[0]
    assert torch.allclose(network(torch.tensor([[4, 2, 9, -1]]))[0], states[0, -1], atol=1e-6)


def test_reversing_stops_at_the_length() -> None:
    rows = torch.tensor([[1, 2, 3, -1], [4, -1, -1, -1]])
    found = reverse(rows, torch.tensor([3, 1]))
    assert found[0, :3].tolist() == [3, 2, 1]
    assert found[1, 0].item() == 4


def test_a_transformer_minds_the_order_and_a_bag_does_not(tokens: Any) -> None:
    rows, turned = torch.tensor([[1, 2, 3]]), torch.tensor([[1, 3, 2]])
    bag, transformer = built(PARTS[0], tokens), built(PARTS[3], tokens)
    assert torch.allclose(bag(rows), bag(turned))
    assert not torch.allclose(transformer(rows), transformer(turned), atol=1e-4)


def test_the_default_sizes_are_those_of_x_mrs(tokens: Any) -> None:
    network = build_network(Part("transformer"), tokens)
    assert network.dim == 768
    assert [block.heads for block in network.blocks] == [2, 2]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Part("grru"), "unknown network 'grru'.*did you mean 'gru'"),
        (Part("gru", {"hiden": 3}), "unknown option 'hiden'.*did you mean 'hidden'"),
        (Part("gru", {"vocabulary": 3}), "unknown option 'vocabulary'"),
        (Part("transformer", {"width": 8, "heads": 3}), "width 8 must be a multiple of heads 3"),
        (Part("gru", {"layers": 0}), "layers must be at least 1"),
        (Part("transformer", {"layers": 0}), "layers must be at least 1"),
        (Part("hf"), "needs model"),
        (Part("backbone", {"model": "resnet18"}), "found a tower of token ids"),
    ],
)
def test_networks_that_cannot_be_built(tokens: Any, part: Part, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_network(part, tokens)


def test_a_text_network_on_features_is_refused() -> None:
    from diptych.encoders.fake import FakeTextTower

    with pytest.raises(ConfigError, match="reads token ids; set tower"):
        build_network(Part("gru"), FakeTextTower())
