"""Supervised contrast against its formula."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.errors import DataError  # noqa: E402
from diptych.losses import Embedded  # noqa: E402
from diptych.losses.info_nce import InfoNCE  # noqa: E402
from diptych.losses.supervised_contrast import SupervisedContrast  # noqa: E402

from .batches import batches, cosines_of_all, gradient_is_right, random_batch, same_class, three  # noqa: E402


def by_loops(scores: list[list[float]], rows: int, tau: float, across: bool, same) -> float:
    total = 0.0
    for i in range(2 * rows):
        others = [a for a in range(2 * rows) if a != i and (not across or (a < rows) != (i < rows))]
        positives = [p for p in others if same(i % rows, p % rows)]
        normaliser = sum(math.exp(scores[i][a] / tau) for a in others)
        total += sum(math.log(math.exp(scores[i][p] / tau) / normaliser) for p in positives) / len(positives)
    return -total / (2 * rows)


def test_three_records_by_hand() -> None:
    s, tau = cosines_of_all(), 0.5
    positives = {0: (1, 3, 4), 1: (0, 3, 4), 2: (5,), 3: (0, 1, 4), 4: (0, 1, 3), 5: (2,)}  # classes a, a, b
    total = 0.0
    for i, found in positives.items():
        normaliser = sum(math.exp(s[i][a] / tau) for a in range(6) if a != i)
        total += sum(s[i][p] / tau - math.log(normaliser) for p in found) / len(found)
    assert float(SupervisedContrast(tau)(three(0, 1, 2, group=(3, 3, 8)))) == pytest.approx(-total / 6)


@pytest.mark.parametrize("across", [False, True])
def test_siblings_are_positives_even_without_a_class(across: bool) -> None:
    wanted = by_loops(cosines_of_all(), 3, 0.3, across, lambda i, j: i == j or {i, j} == {0, 1})
    found = SupervisedContrast(0.3, across)(three(7, 7, 9, group=(-1, -1, -1)))
    assert float(found) == pytest.approx(wanted)


def test_across_with_each_record_its_own_class_is_info_nce() -> None:
    batch = three(0, 1, 2, group=(0, 1, 2))
    found = float(SupervisedContrast(0.2, across_only=True)(batch))
    assert found == pytest.approx(float(InfoNCE(0.2)(batch).detach()), rel=1e-6)


@settings(deadline=None, max_examples=50)
@given(batches, st.booleans())
def test_slow_twin(batch: Embedded, across: bool) -> None:
    both = torch.cat([batch.image, batch.text])
    rows = len(batch.owner)
    wanted = by_loops((both @ both.T).tolist(), rows, 0.2, across, lambda i, j: same_class(batch, i, j))
    assert float(SupervisedContrast(0.2, across)(batch)) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("across", [False, True])
def test_gradient(across: bool) -> None:
    assert gradient_is_right(SupervisedContrast(0.5, across), random_batch(8))


def test_data_without_classes_is_refused() -> None:
    with pytest.raises(DataError, match="needs the class of each record"):
        SupervisedContrast()(three(0, 1, 2))
