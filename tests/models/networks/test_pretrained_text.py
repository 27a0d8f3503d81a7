"""A transformers encoder made on the spot: fine-tuned whole, through LoRA, and merged for export."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="networks need the [train] extra")
if find_spec("transformers") is None:
    pytest.skip("needs the [hub] extra", allow_module_level=True)

from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError, ModelError  # noqa: E402
from diptych.encoders.export import GraphSpec, write_graphs  # noqa: E402
from diptych.encoders.pretrained import import_transformers  # noqa: E402
from diptych.models.dual import OnnxHead  # noqa: E402
from diptych.models.heads import LinearHead  # noqa: E402
from diptych.models.networks import build_network  # noqa: E402
from diptych.models.side import Side  # noqa: E402

transformers = import_transformers()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12
    )
    made = tmp_path_factory.mktemp("bert")
    transformers.BertModel(config).save_pretrained(made)
    return made


def built(folder: Path, tokens: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    network = build_network(Part("hf", {"model": str(folder), **options}), tokens)
    network.start()
    return network


def test_it_is_the_model_of_the_folder(folder: Path, tokens: Any, ids: torch.Tensor) -> None:
    network = built(folder, tokens).eval()
    body = transformers.BertModel.from_pretrained(folder).eval()
    states = body(input_ids=ids[2:3]).last_hidden_state
    assert torch.allclose(network(ids)[2], states.mean(1)[0], atol=1e-5)
    assert torch.allclose(built(folder, tokens, pooling="cls").eval()(ids)[2], states[0, 0], atol=1e-5)
    short = body(input_ids=ids[3:4, :2]).last_hidden_state
    assert torch.allclose(network(ids)[3], short.mean(1)[0], atol=1e-5)  # padding is not seen


def test_it_says_what_it_attends_to(folder: Path, tokens: Any, ids: torch.Tensor) -> None:
    body = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        mean, first = (built(folder, tokens, pooling=pooling).eval().attention(ids) for pooling in ("mean", "cls"))
        wanted = body(input_ids=ids[3:4, :2], output_attentions=True).attentions[-1][0].mean(0)  # of two tokens
    assert torch.allclose(first[3, :2], wanted[0], atol=1e-5)
    assert torch.allclose(mean[3, :2], wanted.mean(0), atol=1e-5)
    assert torch.allclose(mean.sum(1), torch.ones(4), atol=1e-5)
    assert torch.equal(mean[3, 2:], torch.zeros(5))


def trainable(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def test_all_of_it_learns_or_only_the_narrow_matrices(folder: Path, tokens: Any, ids: torch.Tensor) -> None:
    whole, narrow = built(folder, tokens), built(folder, tokens, lora={"rank": 2})
    # query and value of two layers, 8 x 2 and 2 x 8 each
    assert trainable(narrow) == 2 * 2 * (8 * 2 + 2 * 8) < trainable(whole)
    narrow(ids).square().sum().backward()
    learnt = {name for name, weight in narrow.named_parameters() if weight.grad is not None}
    assert learnt
    assert all("lora_" in name for name in learnt)


def test_a_fresh_lora_changes_nothing_and_two_networks_share_no_weights(
    folder: Path, tokens: Any, ids: torch.Tensor
) -> None:
    whole, narrow = built(folder, tokens).eval(), built(folder, tokens, lora={}).eval()
    before = whole(ids)
    assert torch.allclose(before, narrow(ids), atol=1e-6)
    with torch.no_grad():
        for name, weight in narrow.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.5)
    assert not torch.allclose(narrow(ids), before, atol=1e-3)
    assert torch.equal(whole(ids), before)


@pytest.mark.parametrize("lora", [None, {"rank": 2, "targets": ["query", "dense"]}], ids=["whole", "lora"])
def test_the_exported_graph_has_it_merged(
    folder: Path, tokens: Any, ids: torch.Tensor, tmp_path: Path, lora: dict[str, Any] | None
) -> None:
    side = Side(built(folder, tokens, lora=lora), LinearHead(8, 4)).eval()
    with torch.no_grad():
        for name, weight in side.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.3)
        wanted = side(ids).numpy()
    exported = side.for_export()
    assert not any("lora" in name for name in exported.state_dict())
    write_graphs(tmp_path, {"text_head": GraphSpec(exported, torch.zeros(2, 7, dtype=torch.int64))})
    assert OnnxHead(tmp_path / "text_head.onnx", 1)(ids.numpy()) == pytest.approx(wanted, abs=2e-3)
    assert lora is None or any("lora" in name for name in side.state_dict())  # the one in training is untouched


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "unknown pooling 'max'"),
        ({"rate": 0.0}, "rate is a share of the head's learning rate"),
        ({"frozen_epochs": -1}, "frozen_epochs must be at least 0"),
        ({"lora": {"rnak": 2}}, "lora: unknown option 'rnak'.*did you mean 'rank'"),
        ({"lora": {"rank": 0}}, "lora.rank must be a whole number"),
        ({"lora": {"targets": ["nowhere"]}}, "lora cannot be put on this model"),
    ],
)
def test_options_that_do_not_fit(folder: Path, tokens: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built(folder, tokens, **options)


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    class Larger:
        dim, vocabulary = 7, 12

    with pytest.raises(ConfigError, match=r"12 token ids, the model .* only 11"):
        built(folder, Larger())


def test_a_model_that_is_not_here(tokens: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        built(tmp_path / "none", tokens)
