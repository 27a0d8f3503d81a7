"""Rows of token ids, and a tower they could have come from."""

from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch", reason="networks need the [train] extra")


@dataclass(frozen=True)
class Tokens:
    dim: int = 7
    vocabulary: int = 11
    storage: str = "int32"


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def ids() -> "torch.Tensor":
    """Four texts of 4, 1, 7 and 2 tokens."""
    draw = torch.Generator().manual_seed(3)
    rows = torch.randint(0, 11, (4, 7), generator=draw)
    for row, length in zip(rows, (4, 1, 7, 2), strict=True):
        row[length:] = -1
    return rows
