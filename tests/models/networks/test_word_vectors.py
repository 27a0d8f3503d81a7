"""Word vectors of a file: which words get them, what is said of the others, and files that are none."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need the [train] extra")

from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError, DataError  # noqa: E402
from diptych.models.networks import build_network  # noqa: E402
from diptych.models.networks.bag import BagOfWords  # noqa: E402
from diptych.models.networks.recurrent import GRUText  # noqa: E402
from diptych.models.networks.word_vectors import read_vectors, width_of  # noqa: E402

GLOVE = "the 1 2 3\nDog 4 5 6\n. . . 7 7 7\ndog 0.5 -1e-1 0\ndog 9 9 9\nCAT 1 1 1\n2 3 3 3\n"
IDS = {"the": 1, "dog": 2, "cat": 3, "2": 4, "bird": 5}
WANTED = {1: [1, 2, 3], 2: [0.5, -0.1, 0], 3: [1, 1, 1], 4: [3, 3, 3]}  # as written before in lower case, and the first


@pytest.mark.parametrize("head", ["", "7 3\n"], ids=["glove", "word2vec"])
@pytest.mark.parametrize("name", ["vectors.txt", "vectors.vec.gz"])
def test_words_get_their_vectors(head: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    text = (head + GLOVE).encode()
    path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert width_of(path) == 3
    rows, vectors = read_vectors(path, IDS)
    assert dict(zip(rows.tolist(), vectors.tolist(), strict=True)) == {
        row: pytest.approx(values) for row, values in WANTED.items()
    }


@pytest.mark.parametrize("kind", [BagOfWords, GRUText])
def test_a_network_begins_with_them(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text(GLOVE)
    width = "width" if kind is BagOfWords else "embedding"
    torch.manual_seed(4)
    network = kind(6, **{width: 3}, vectors=str(path))
    before = network.words.weight.detach().clone()
    found = network.begin_words(IDS)
    for row, values in WANTED.items():
        assert network.words.weight[row].tolist() == pytest.approx(values)
    for row in (0, 5):  # unknown ones stay as they were drawn
        assert torch.equal(network.words.weight[row], before[row])
    assert network.words.weight.requires_grad
    assert found.to_text() == "glove.txt has vectors of 4 of 5 words; the others begin at random"
    assert [(note.count, note.examples) for note in found.notes] == [(1, ("bird",))]
    assert kind(6, **{width: 3}).begin_words(IDS) is None
    part = Part("any", {width: 3, "vectors": str(path)})
    assert kind.saved(part) == Part("any", {width: 3})


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, DataError, "cannot open .*gone.txt: No such file"),
        (b"", DataError, "it is empty"),
        (b"once upon a time\nthere was 1 dog\n", DataError, "it begins with 'once upon a time'"),
        (b"2 3\n\x00\xff\xfe\x80", DataError, "binary files must be converted"),
        (b"a 1 2 3\ndog 1 2\n", ConfigError, "has 2 numbers a word, and the network 3; set its width"),
        (b"a 1 2 3\nthe 1 2 3\ndog 1 2\n", DataError, "line 3 has 2 numbers, others 3"),
        (b"a 1 2 3\nb 1 2 3\ndog 1 nan 2\n", DataError, "line 3 holds something else than finite numbers"),
        (b"a 1 2 3\nb 1 2 3\n", DataError, "it has none of the 5 words of the training texts"),
    ],
)
def test_files_that_are_none(content: bytes | None, error: type, message: str, tmp_path: Path, tokens: Any) -> None:
    path = tmp_path / "gone.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message):
        build_network(Part("bag", {"width": 3, "vectors": str(path)}), tokens).begin_words(IDS)


def test_a_large_file_is_read_line_by_line(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "large.txt"
    row = " ".join(["0.125"] * 100)
    path.write_text("".join(f"w{number} {row}\n" for number in range(2_000)))
    tracemalloc.start()
    rows, vectors = read_vectors(path, {"w7": 0, "w1999": 1})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows.tolist() == [0, 1]
    assert np.array_equal(vectors, np.full((2, 100), 0.125, dtype=np.float32))
    assert peak < 300_000  # of 1.2 MB
