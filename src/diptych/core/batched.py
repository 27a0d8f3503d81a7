"""Items in lists of a size, as `itertools.batched` of Python 3.12 gives them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last perhaps shorter."""
    rest = iter(items)
    while batch := list(itertools.islice(rest, size)):
        yield batch
