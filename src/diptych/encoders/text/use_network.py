"""The Universal Sentence Encoder's forward pass, in products of matrices over many texts at once.

A token is embedded, projected and normalised; three branches then look at windows of 2, 3 and 5 tokens, twice; what
they give is normalised, summed over the text, and four dense layers follow. The numbers are those of the package's own
code; what differs is how often they are computed. Up to a branch's first sum over a window everything depends on one
token alone, so it is computed once for each distinct token of a batch. Texts are sorted by length.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from diptych.core.shapes import Float32, Int64, UInt8

DIM = 512
ORDERS = ((2, 0), (3, 1), (5, 2))  # tokens of each branch's window, and how many of them are before its own
_WIDTH = 256  # features of a branch
_CHUNKS = 17  # of the embedding table, each with a scale and an offset of its own
_MOST_BEFORE, _MOST_AFTER = 2, 2
_TILE = 512  # tokens that go through the branches together: what they need fits into a core's cache
_AT_ONCE = 16_384  # tokens whose distinct ones are computed once; 14 kB each
_MANY = 1_024  # tokens from which ONNX Runtime's products are worth starting it (25 ms, once)

Product = Callable[[Any, Any], Any]


@runtime_checkable
class Rows(Protocol):
    """The rows of the embedding table, by number."""

    def __getitem__(self, rows: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 512"]: ...


@dataclass(frozen=True)
class _Tokens:
    """What depends on one token alone, for u distinct tokens."""

    embedding: Float32[np.ndarray, "u 512"]
    total: Float32[np.ndarray, " u"]  # of the embedding's features
    squares: Float32[np.ndarray, " u"]
    inputs: list[Float32[np.ndarray, "u 256"]]  # of each branch
    parts: list[
        Float32[np.ndarray, "_ _ 256"]
    ]  # (n, u + 1, 256) of each branch's sum, by place in its window; the last row is 0


class UseNetwork:
    """Token ids to features of unit length.

    Args:
        arrays: the package's weights by their names, the embedding table left out.
        table: that table, 8 bits a number.
        threads: of ONNX Runtime; None leaves the number to it.
        limit: a context manager for the length of a forward pass, which limits NumPy's threads.
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        table: Rows,
        *,
        threads: int | None = 1,
        limit: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        def of_branches(name: str) -> list[np.ndarray]:
            return [arrays[f"{name}{order}"] for order, _ in ORDERS]

        self._arrays, self._table, self._threads, self._limit = arrays, table, threads, limit
        self._eps = float(arrays["eps"])
        self._project, self._project_bias = of_branches("proj"), of_branches("proj_b")
        self._scales, self._shifts = np.concatenate(of_branches("ln_g")), np.concatenate(of_branches("ln_b"))
        self._first, self._first_bias = of_branches("w1_"), of_branches("b1_")
        self._second, self._second_bias = of_branches("w2_"), of_branches("b2_")

    def __call__(self, texts: Sequence[Sequence[int]]) -> Float32[np.ndarray, "n 512"]:
        """Features of texts of at least one token each; one text's do not depend on the others (beyond 1e-6)."""
        features = np.empty((len(texts), DIM), dtype=np.float32)
        order = np.array(sorted(range(len(texts)), key=lambda number: len(texts[number])), dtype=np.int64)
        lengths = np.array([len(texts[number]) for number in order], dtype=np.int64)
        with self._limit():
            for first, last in _runs(lengths, _AT_ONCE):
                chosen = order[first:last]
                features[chosen] = self._features([texts[number] for number in chosen], lengths[first:last])
        return features

    def _features(
        self, texts: Sequence[Sequence[int]], lengths: Int64[np.ndarray, " n"]
    ) -> Float32[np.ndarray, "n 512"]:
        """Features of texts that are sorted by their length."""
        count = int(lengths.sum())
        product = self._fast_product if count >= _MANY and _X86 else np.matmul
        ids = np.fromiter(chain.from_iterable(texts), np.int64, count)
        used, numbers = np.unique(ids, return_inverse=True)
        tokens = self._tokens(used, product)
        sums = np.empty((len(texts), DIM + len(ORDERS) * _WIDTH), dtype=np.float32)
        place = 0
        for first, last in _runs(lengths, _TILE):
            of_these = lengths[first:last]
            here = numbers[place : place + int(of_these.sum())]
            self._sum(tokens, here, of_these, product, out=sums[first:last])
            place += len(here)
        return self._dense(sums, lengths.astype(np.float32)[:, np.newaxis], product)

    def _tokens(self, ids: Int64[np.ndarray, " u"], product: Product) -> _Tokens:
        embedding = self._table[ids].astype(np.float32)
        chunk = ids % _CHUNKS
        embedding *= self._arrays["scale"][chunk, np.newaxis]
        embedding += self._arrays["lo"][chunk, np.newaxis]
        projected = np.concatenate(
            [product(embedding, weight) + bias for weight, bias in zip(self._project, self._project_bias, strict=True)],
            axis=1,
        )
        projected -= projected.mean(axis=1, keepdims=True)
        projected *= 1 / np.sqrt(_squares(projected) / projected.shape[1] + self._eps)[:, np.newaxis]
        projected *= self._scales
        projected += self._shifts
        inputs = [np.ascontiguousarray(each) for each in np.split(projected, len(ORDERS), axis=1)]
        parts = []
        for (order, before), each, weight, bias in zip(ORDERS, inputs, self._first, self._first_bias, strict=True):
            part = np.zeros((order, len(ids) + 1, _WIDTH), dtype=np.float32)
            for place in range(order):
                part[place, :-1] = product(each, weight[place * _WIDTH : (place + 1) * _WIDTH])
            part[before, :-1] += bias
            parts.append(part)
        return _Tokens(embedding, embedding.sum(axis=1), _squares(embedding), inputs, parts)

    def _sum(
        self,
        tokens: _Tokens,
        numbers: Int64[np.ndarray, " m"],
        lengths: Int64[np.ndarray, " n"],
        product: Product,
        *,
        out: Float32[np.ndarray, "n 1280"],
    ) -> None:
        """The normalised features of each text's tokens, summed, into `out`."""
        places = _windows(lengths)
        around = np.append(numbers, len(tokens.embedding))[places]
        blocks = [tokens.embedding[numbers]]
        total, squares, one = tokens.total[numbers], tokens.squares[numbers], np.ones(_WIDTH, dtype=np.float32)
        for branch, (order, before) in enumerate(ORDERS):
            window = slice(_MOST_BEFORE - before, _MOST_BEFORE - before + order)
            rows = np.zeros((len(numbers) + 1, _WIDTH), dtype=np.float32)  # the last stands for what is outside a text
            inner = rows[:-1]
            for part, which in zip(tokens.parts[branch], around[:, window].T, strict=True):
                inner += part[which]
            _rectify(inner)
            inner += tokens.inputs[branch][numbers]
            block = product(rows[places[:, window]].reshape(len(numbers), -1), self._second[branch])
            block += self._second_bias[branch]
            _rectify(block)
            block += inner
            total += block @ one
            squares += _squares(block)
            blocks.append(block)
        mean = total / out.shape[1]
        weight = 1 / np.sqrt(squares / out.shape[1] - mean * mean + self._eps)
        mean *= weight
        text = token = 0
        for length, count in zip(*np.unique(lengths, return_counts=True), strict=True):
            these, those = slice(text, text + count), slice(token, token + count * length)
            weights, column = weight[those].reshape(count, 1, length), 0
            for block in blocks:
                width = block.shape[1]
                found = np.matmul(weights, block[those].reshape(count, length, width))
                out[these, column : column + width] = found[:, 0]
                column += width
            out[these] -= mean[those].reshape(count, length).sum(axis=1, keepdims=True)
            text, token = these.stop, those.stop

    def _dense(
        self, sums: Float32[np.ndarray, "n 1280"], lengths: Float32[np.ndarray, "n 1"], product: Product
    ) -> Float32[np.ndarray, "n 512"]:
        of = self._arrays
        sums *= of["ln_g"]
        sums += lengths * of["ln_b"]
        text = product(sums, of["cnn_W"])
        text += lengths * of["cnn_b"]
        text *= 1 / np.sqrt(lengths)
        first = _rectify(product(text, of["d0"]))
        second = _rectify(product(text, of["p1"]) + product(first, of["d1"]))
        third = _rectify(product(second, of["d2"]))
        features: Float32[np.ndarray, "n 512"] = np.tanh(product(second, of["p3"]) + product(third, of["d3"]))
        features *= 1 / np.sqrt(np.maximum(_squares(features), self._eps))[:, np.newaxis]
        return features

    @cached_property
    def _fast_product(self) -> Product:
        """ONNX Runtime's product of two matrices: it knows AVX-512 on processors where NumPy's OpenBLAS does not."""
        from diptych.encoders.onnx_session import start_session

        session = start_session(
            Path(__file__).with_name("product.onnx"), threads=self._threads, spinning=False, device="cpu"
        )

        def product(left: np.ndarray, right: np.ndarray) -> Any:
            return session.run(["product"], {"left": left, "right": right})[0]

        return product


_X86 = platform.machine().lower() in ("x86_64", "amd64")  # elsewhere NumPy's own product may be the faster


def _runs(lengths: Int64[np.ndarray, " n"], most: int) -> list[tuple[int, int]]:
    """Successive ranges of texts that have at most so many tokens together, or that are one text."""
    ends = np.cumsum(lengths)
    ranges, first = [], 0
    while first < len(lengths):
        before = ends[first] - lengths[first]
        last = max(first + 1, int(np.searchsorted(ends, before + most, side="right")))
        ranges.append((first, last))
        first = last
    return ranges


def _windows(lengths: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, "m 5"]:
    """For each token of texts in a row, where it and its neighbours are; the number of tokens for what is outside."""
    count = int(lengths.sum())
    gaps = (_MOST_BEFORE + _MOST_AFTER) * np.repeat(np.arange(len(lengths)), lengths)
    places = _MOST_BEFORE + np.arange(count) + gaps
    spread = np.full(count + (_MOST_BEFORE + _MOST_AFTER) * len(lengths), count)
    spread[places] = np.arange(count)
    found: Int64[np.ndarray, "m 5"] = spread[places[:, np.newaxis] + np.arange(-_MOST_BEFORE, _MOST_AFTER + 1)]
    return found


def _rectify(rows: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    """max(x, 0) in place; with both bounds NumPy is three times as fast as with one."""
    return np.clip(rows, np.float32(0), np.float32(np.inf), out=rows)


def _squares(rows: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, " n"]:
    found: Float32[np.ndarray, " n"] = np.einsum("ij,ij->i", rows, rows)
    return found
