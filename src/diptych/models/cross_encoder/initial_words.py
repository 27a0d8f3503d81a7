"""Word vectors that a decoder begins with: those that a text tower or a file of word vectors has for its pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from diptych.core.errors import DataError, Reason
from diptych.core.notes import EXAMPLES, Note
from diptych.core.shapes import Float, Float64, Int
from diptych.encoders.text.word_pieces import CONTINUES
from diptych.models.networks.word_vectors import RANDOM_WORDS

from .decoder import Decoder
from .vocabulary import Vocabulary

# the places of those words that have a vector, and the vectors, (k,) and (k, d)
Lookup = Callable[[Sequence[str]], tuple[Int[np.ndarray, " k"], Float[np.ndarray, "k d"]]]


@dataclass(frozen=True)
class Begun:
    """How the pieces of a vocabulary began."""

    source: str
    own: int  # by their own vector
    within: int  # by the mean of the words that they are within
    random: tuple[str, ...]
    rank: int  # numbers of a vector that are not random
    width: int

    def to_text(self) -> str:
        """`use: 3,312 word pieces begin with their vectors, 655 with the mean of the words that hold them, 28 ...`."""
        said = (
            f"{self.source}: {self.own:,} word pieces begin with their vectors, {self.within:,} with the mean of the "
            f"words that hold them, {len(self.random):,} at random"
        )
        left = self.width - self.rank
        return f"{said}; of each vector {left} of {self.width} numbers are random" if left else said

    @property
    def notes(self) -> tuple[Note, ...]:
        """A note on the pieces that begin at random, where there are any."""
        detail = f"word pieces for which {self.source} has no vector, which begin at random"
        return (Note(RANDOM_WORDS, len(self.random), detail, self.random[:EXAMPLES]),) if self.random else ()


def begin_words(decoders: Sequence[Decoder], words: Vocabulary, lookup: Lookup, source: str) -> Begun:
    """Set the word vectors of decoders, all alike, and say how.

    The vectors are projected to the decoders' width by their principal axes, and scaled as a whole to the spread of the
    random ones. A piece that continues a word ("##board") gets the mean of the vocabulary's whole words that hold it
    behind their first letter. The others stay at random, and so do the numbers beyond the rank of the vectors.

    Raises DataError where no word has a vector.
    """
    pieces = words.pieces
    whole = [place for place in range(words.specials, len(pieces)) if not pieces[place].startswith(CONTINUES)]
    found, vectors = lookup([pieces[place] for place in whole])
    if not len(found):
        raise DataError(f"{source} has none of the {len(whole):,} words of the training texts", Reason.EMPTY_TEXT)
    weights = [decoder.words.weight.detach() for decoder in decoders]
    reduced = principal(vectors, weights[0].shape[1])
    spread = float(np.sqrt((reduced**2).mean()))
    reduced *= float(weights[0].std()) / spread if spread else 0.0
    owned = [whole[place] for place in found.tolist()]
    rows = dict(zip(owned, reduced, strict=True))
    for place in range(words.specials, len(pieces)):
        if pieces[place].startswith(CONTINUES):
            part = pieces[place].removeprefix(CONTINUES)
            held = [row for row in owned if part in pieces[row][1:]]
            if held:
                rows[place] = np.mean([rows[row] for row in held], axis=0)
    values = torch.from_numpy(np.stack(list(rows.values())).astype(np.float32))
    for weight in weights:
        weight[list(rows), : values.shape[1]] = values.to(weight)
    random = tuple(pieces[place] for place in range(words.specials, len(pieces)) if place not in rows)
    return Begun(source, len(owned), len(rows) - len(owned), random, values.shape[1], weights[0].shape[1])


def principal(vectors: Float[np.ndarray, "k d"], most: int) -> Float64[np.ndarray, "k r"]:
    """The vectors without their mean, along their first principal axes: r = min(k, d, `most`).

    Each axis points where its largest number is positive, so that the result does not depend on the solver.
    """
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:most]
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
    return np.asarray(centred @ axes.T)
