"""The class-aware triplet loss against its formula."""

import dataclasses
import math

import pytest
from hypothesis import given, settings

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.errors import DataError  # noqa: E402
from diptych.losses import Embedded  # noqa: E402
from diptych.losses.class_aware_triplet import ClassAwareTriplet  # noqa: E402

from .batches import IMAGE, TEXT, batches, cosines_of_all, gradient_is_right, random_batch, same_class, three, unit  # noqa: E402


def by_loops(scores: list[list[float]], rows: int, margin: float, same) -> float:
    total = 0.0
    for anchor in range(2 * rows):
        partner = (anchor + rows) % (2 * rows)
        negatives = [n for n in range(2 * rows) if not same(anchor % rows, n % rows)]
        if negatives:
            nearest = min(1 - scores[anchor][n] for n in negatives)
            total += max(0.0, (1 - scores[anchor][partner]) - nearest + margin)
    return total / (2 * rows)


def test_three_records_by_hand() -> None:
    # Angles: images 0, 50, 120; texts 10, 90, 200; classes a, a, b. Hardest of the other class, by angle:
    # image 0 (partner 10 away): image 2 at 120, text 2 at 160 -> 120      text 0 (10): image 2 -> 110
    # image 1 (40): image 2 -> 70                                         text 1 (40): image 2 -> 30
    # image 2 (80): text 1 -> 30                                          text 2 (80): text 1 -> 110
    def cos(degrees: float) -> float:
        return math.cos(math.radians(degrees))

    angles = [(10, 120), (40, 70), (80, 30), (10, 110), (40, 30), (80, 110)]
    wanted = sum(max(0.0, 0.3 - cos(partner) + cos(hardest)) for partner, hardest in angles) / 6
    assert float(ClassAwareTriplet()(three(0, 1, 2, group=(4, 4, 5)))) == pytest.approx(wanted)


def test_same_modality_negatives_count() -> None:
    # Two photos 10 degrees apart, their captions 60 off on either side: the harder negative is always the
    # other one of the same modality or, for the photos, each other at 10 degrees.
    found = ClassAwareTriplet()(Embedded(unit(0, 10), unit(-60, 70), torch.arange(2), torch.tensor([0, 1])))

    def cos(degrees: float) -> float:
        return math.cos(math.radians(degrees))

    photos = 2 * (0.3 - cos(60) + cos(10))  # captions of the other are 70 away
    captions = 2 * max(0.0, 0.3 - cos(60) + cos(70))  # the other caption is 130 away, its photo 70
    assert float(found) == pytest.approx((photos + captions) / 4)


def test_siblings_are_no_negatives_even_without_a_class() -> None:
    wanted = by_loops(cosines_of_all(), 3, 0.5, lambda i, j: i == j or {i, j} == {0, 1})
    assert float(ClassAwareTriplet(0.5)(three(7, 7, 9, group=(-1, -1, -1)))) == pytest.approx(wanted)


def test_records_without_a_class_are_negatives_of_each_other() -> None:
    unlabelled = ClassAwareTriplet()(three(0, 1, 2, group=(-1, -1, -1)))
    assert float(unlabelled) == float(ClassAwareTriplet()(three(0, 1, 2, group=(0, 1, 2))))


@settings(deadline=None, max_examples=50)
@given(batches)
def test_slow_twin(batch: Embedded) -> None:
    both = torch.cat([batch.image, batch.text])
    scores, rows = (both @ both.T).tolist(), len(batch.owner)
    wanted = by_loops(scores, rows, 0.3, lambda i, j: same_class(batch, i, j))
    assert float(ClassAwareTriplet()(batch)) == pytest.approx(wanted, abs=1e-9)


def test_gradient() -> None:
    assert gradient_is_right(ClassAwareTriplet(0.9), random_batch(4))


def test_a_batch_of_one_class_teaches_nothing_and_says_so() -> None:
    loss = ClassAwareTriplet()
    assert loss.report() == {}
    image = IMAGE.clone().requires_grad_()
    value = loss(Embedded(image, TEXT, torch.arange(3), torch.zeros(3, dtype=torch.int64)))
    assert float(value.detach()) == 0
    assert torch.equal(torch.autograd.grad(value, image)[0], torch.zeros_like(IMAGE))
    assert loss.report() == {"without_negative": 1.0}
    loss(three(0, 1, 2, group=(0, 0, 1)))
    assert loss.report() == {"without_negative": 0.0}


def test_data_without_classes_is_refused() -> None:
    with pytest.raises(DataError, match="needs the class of each record, but the data has none; give the records"):
        ClassAwareTriplet()(three(0, 1, 2))


def test_without_classes_each_record_may_be_its_own() -> None:
    batch = random_batch(6, 4)
    numbered = dataclasses.replace(batch, group=batch.owner)
    bare = dataclasses.replace(batch, group=None)
    assert ClassAwareTriplet(need_classes=False)(bare) == ClassAwareTriplet()(numbered)
