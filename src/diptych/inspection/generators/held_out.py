"""Which pairs of a source a generator is measured on, where nobody names a split or the source has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from diptych.core.types import Pair
from diptych.data.readers import Source, SourceOptions, open_source
from diptych.data.readers.options import normalise_split

_HELD_OUT = ("val", "test")  # in this order, where no split is named


@dataclass(frozen=True)
class Chosen:
    """The pairs to measure on, those that the generator learnt from, and what was chosen without being asked."""

    source: Source
    split: str  # "" for the whole source
    pairs: Sequence[Pair]
    training: Sequence[Pair]
    remarks: tuple[str, ...]


def choose_splits(spec: str, options: SourceOptions, train_split: str) -> Chosen:
    """Read a source and take its split to measure on: the one that is named, else val, else test, else everything.

    `train_split` is what the generator learnt from; "" for none. Raises DataError for a named split that is not there.
    """
    if options.split is not None:
        source = open_source(spec, options)
        pairs, split = list(source), normalise_split(options.split) or ""
        everything = pairs if not train_split else list(open_source(spec, replace(options, split=None)))
    else:
        source = open_source(spec, options)
        everything = list(source)
        there = {pair.split for pair in everything}
        split = next((one for one in _HELD_OUT if one in there), "")
        pairs = [pair for pair in everything if pair.split == split] if split else everything
    wanted = normalise_split(train_split)
    training = [pair for pair in everything if wanted is not None and pair.split == wanted]
    remarks = []
    if options.split is None and split != "val":
        chosen = (
            f"its split {split}" if split else f"all {len(pairs):,} pairs, which the generator may have learnt from"
        )
        remarks.append(f"{source.name} has no split val, and none was named: measured on {chosen}")
    if wanted is not None and not training:
        remarks.append(f"{source.name} has no split {wanted}: nothing is said about copies of training pictures")
    if training and (wanted == split or not split):
        remarks.append(f"the pairs of the split {wanted} are among those measured: they are no held-out pairs")
    return Chosen(source, split, pairs, training, tuple(remarks))
