"""Training and validation pairs, whether the source names splits or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from diptych.core import fingerprint
from diptych.core.errors import DataError, Reason
from diptych.core.types import Pair


def held_out(identity: str, share: float) -> bool:
    """Whether a record belongs to the held-out share: a function of its identity alone, so it never moves."""
    return int(fingerprint.of_bytes(identity.encode("utf-8", "surrogatepass"))[:8], 16) < share * 2**32


def divide(pairs: Sequence[Pair], train: str, val: str, share: float) -> dict[str, list[Pair]]:
    """{"train": ..., "val": ...}: by the source's splits, or by a hash of the identity where it has none.

    A source that names only the training split gets its validation pairs out of that.
    Raises DataError when either would be empty.
    """
    names = Counter(pair.split for pair in pairs)
    if val in names:
        chosen = {
            "train": [pair for pair in pairs if pair.split == train],
            "val": [pair for pair in pairs if pair.split == val],
        }
    else:
        pool = [pair for pair in pairs if pair.split in (None, train)]
        chosen = {
            "train": [pair for pair in pool if not held_out(pair.identity, share)],
            "val": [pair for pair in pool if held_out(pair.identity, share)],
        }
    for name, wanted in (("train", train), ("val", val)):
        if not chosen[name]:
            listed = ", ".join(f"{split or 'no split'} ({count})" for split, count in names.items()) or "none"
            raise DataError(
                f"no {name} pairs: looked for split {wanted!r}, found {listed}; "
                f"set data.{name} in the config to one of these, or add pairs",
                Reason.BAD_ROW,
            )
    return chosen
