"""Hard wrong partners: the nearest records that hold neither the same image nor the same text."""

import numpy as np
import pytest

from diptych.core.errors import DataError
from diptych.training import nearest


def test_the_nearest_records_are_those_of_a_slow_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "ROWS", 5)  # more than one chunk
    draw = np.random.default_rng(0)
    images, texts = (draw.normal(size=(12, 4)).astype(np.float32) for _ in range(2))
    held = [[f"image {record}", record // 2] for record in range(12)]  # records 2 n and 2 n + 1 have a text in common
    found = nearest.nearest_records(images, texts, held, 3)
    for record in range(12):
        scores = [images[record] @ texts[other] + texts[record] @ images[other] for other in range(12)]
        wrong = [other for other in np.argsort(scores)[::-1] if other // 2 != record // 2]
        assert found[record].tolist() == wrong[:3]


def test_fewer_are_repeated_and_none_is_an_error() -> None:
    rows = np.eye(3, dtype=np.float32)
    found = nearest.nearest_records(rows, rows, [["a"], ["b"], ["c"]], 5)
    assert set(found[0]) == {1, 2}
    assert found.shape == (3, 5)
    with pytest.raises(DataError, match="all others hold the same"):
        nearest.nearest_records(rows, rows, [["a"], ["a"], ["a"]], 2)
