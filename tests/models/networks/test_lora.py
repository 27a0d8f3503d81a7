"""LoRA on the attention of PyTorch."""

import pytest

torch = pytest.importorskip("torch", reason="networks need the [train] extra")

from diptych.core.errors import ConfigError  # noqa: E402
from diptych.models.networks.lora import LoraAttention, add_lora, merged  # noqa: E402


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("mask", ["none", "causal", "bool"])
def test_with_its_products_it_is_the_attention_with_their_sum(batch_first: bool, mask: str) -> None:
    torch.manual_seed(0)
    plain = torch.nn.MultiheadAttention(8, 2, batch_first=batch_first).double()
    made = LoraAttention(plain, rank=3, alpha=6, dropout=0.0).double().eval()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    masks = {
        "none": None,
        "causal": torch.full((5, 5), -torch.inf, dtype=torch.float64).triu(1),
        "bool": torch.ones(5, 5, dtype=torch.bool).triu(1),
    }
    # of 2 rows of 5 tokens, or of 5 rows of 2
    given = masks[mask] if batch_first or masks[mask] is None else masks[mask][:2, :2]
    torch.testing.assert_close(made(x, x, x, attn_mask=given)[0], plain(x, x, x, attn_mask=given)[0])
    with torch.no_grad():
        made.lora_b.normal_()
    found = made(x, x, x, attn_mask=given)[0]
    before = plain.in_proj_weight.detach().clone()
    whole = merged(torch.nn.ModuleDict({"attention": made}))["attention"]
    torch.testing.assert_close(whole(x, x, x, attn_mask=given)[0], found)
    torch.testing.assert_close(plain.in_proj_weight, before, rtol=0, atol=0)
    # alpha / rank = 2 times B A, on the query and on the value alone
    torch.testing.assert_close(whole.in_proj_weight[:8], before[:8] + 2 * made.lora_b[0] @ made.lora_a[0])
    torch.testing.assert_close(whole.in_proj_weight[8:16], before[8:16])
    torch.testing.assert_close(whole.in_proj_weight[16:], before[16:] + 2 * made.lora_b[1] @ made.lora_a[1])


def test_attention_across_two_sequences_is_refused() -> None:
    made = LoraAttention(torch.nn.MultiheadAttention(8, 2, batch_first=True), 2, 4, 0.0)
    with pytest.raises(ConfigError, match="within one sequence alone"):
        made(*torch.zeros(3, 1, 4, 8))
    with pytest.raises(ConfigError, match="a width of its own"):
        LoraAttention(torch.nn.MultiheadAttention(8, 2, kdim=4), 2, 4, 0.0)


def test_a_body_without_attention_needs_targets() -> None:
    with pytest.raises(ConfigError, match=r"set lora.targets to some of \['0'\]"):
        add_lora(torch.nn.Sequential(torch.nn.Linear(4, 4)), {})
    body = add_lora(torch.nn.Sequential(torch.nn.Linear(4, 4)), {"targets": ["0"], "rank": 1})
    assert sum(weight.numel() for weight in body.parameters() if weight.requires_grad) == 8
