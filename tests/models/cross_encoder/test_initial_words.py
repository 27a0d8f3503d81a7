"""Word vectors that a decoder begins with."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the cross-encoder needs the [train] extra")

from diptych.core.errors import DataError  # noqa: E402
from diptych.models.cross_encoder.decoder import Decoder  # noqa: E402
from diptych.models.cross_encoder.initial_words import begin_words, principal  # noqa: E402


def decoder(words, width=4) -> Decoder:
    torch.manual_seed(1)
    return Decoder(len(words), width, 1, 2, 8, 0.0)


def lookup_but(missing: str):
    """Vectors of 6 numbers of every word but one, with a large mean that all have in common."""

    def lookup(words):
        places = np.array([place for place, word in enumerate(words) if word != missing], dtype=np.int64)
        return places, np.stack([vector_of(words[place]) for place in places])

    return lookup


def vector_of(word: str) -> np.ndarray:
    return 9 + np.random.default_rng(list(word.encode())).normal(size=6)


def test_pieces_begin_with_their_vectors_and_continuations_with_the_mean_of_their_words(words):
    begun = decoder(words)
    random = begun.words.weight.detach().clone()
    told = begin_words([begun], words, lookup_but("blue"), "mine")
    pieces, weight = words.pieces, begun.words.weight.detach().numpy()
    blue = pieces.index("blue")
    assert np.array_equal(weight[[0, 1, 2, 3, 4, blue]], random[[0, 1, 2, 3, 4, blue]])  # the special ones too
    own = [row for row in range(5, len(pieces)) if not pieces[row].startswith("##") and row != blue]
    expected = principal(np.stack([vector_of(pieces[row]) for row in own]), 4)
    assert np.allclose(weight[own], expected * (weight[own] / expected).mean(), atol=1e-5)
    assert weight[own].std() == pytest.approx(float(random.std()), rel=0.01)
    held = {row: [other for other in own if pieces[row][2:] in pieces[other][1:]] for row in range(5, len(pieces))}
    within = [row for row in held if pieces[row].startswith("##") and held[row]]
    assert within
    for row in within:
        assert np.allclose(weight[row], weight[held[row]].mean(0), atol=1e-6)
    left = [pieces[row] for row in held if row not in own and row not in within]
    assert told.random == tuple(left)
    assert told.to_text() == (
        f"mine: {len(own)} word pieces begin with their vectors, {len(within)} with the mean of the words that hold "
        f"them, {len(left)} at random"
    )
    assert [(note.count, note.examples[0]) for note in told.notes] == [(len(left), left[0])]


def test_fewer_numbers_than_the_width_leave_the_others_at_random_in_all_decoders(words):
    both = [decoder(words, 8), decoder(words, 8)]
    random = both[0].words.weight.detach().clone()
    told = begin_words(both, words, lookup_but(""), "mine")
    assert torch.equal(both[0].words.weight, both[1].words.weight)
    assert torch.equal(both[0].words.weight[:, 6:], random[:, 6:])
    assert not torch.equal(both[0].words.weight[5:, :6], random[5:, :6])
    assert told.to_text().endswith("; of each vector 2 of 8 numbers are random")
    with pytest.raises(DataError, match="mine has none of the"):
        begin_words(both, words, lambda _: (np.zeros(0, dtype=np.int64), np.zeros((0, 6))), "mine")


def test_principal_axes_by_hand():
    found = principal(np.array([[1.0, 5.0], [-1.0, 5.0], [3.0, 5.5], [-3.0, 4.5]]), 1)  # mostly along the first number
    axis = np.array([20.0, 3.0])  # about: the covariance is [[20, 3], [3, 0.5]] / 4
    assert np.allclose(
        found[:, 0], np.array([[1, 0], [-1, 0], [3, 0.5], [-3, -0.5]]) @ axis / np.hypot(*axis), atol=0.01
    )
    assert np.allclose(found, principal(np.array([[5.0, 1.0], [5.0, -1.0], [5.5, 3.0], [4.5, -3.0]]), 1))
