import numpy as np
import pytest

from diptych.core.errors import DataError
from diptych.evaluation import Positives, group_labels


def test_labels_of_owners_give_each_image_its_own_texts():
    owner = np.array([1, 0, 1, 2])

    to_texts = Positives.from_labels(np.arange(3), owner)
    to_images = Positives.from_labels(owner, np.arange(3))

    assert to_texts.offsets.tolist() == [0, 1, 3, 4]
    assert to_texts.items.tolist() == [1, 0, 2, 3]
    assert to_texts.gallery == 4
    assert to_images.items.tolist() == [1, 0, 1, 2]
    assert to_images.counts.tolist() == [1, 1, 1, 1]


def test_labels_of_classes_give_every_item_of_the_class():
    positives = Positives.from_labels(np.array([7, 3]), np.array([3, 7, 7, 5, 3]))

    assert positives.items.tolist() == [1, 2, 0, 4]
    assert positives.counts.tolist() == [2, 2]


def test_a_label_without_items_has_none():
    assert Positives.from_labels(np.array([4, 9]), np.array([4, 4])).counts.tolist() == [2, 0]


def test_gains_keep_grades_and_drop_zeros():
    positives = Positives.from_gains([{2: 3.0, 0: 0.0}, {1: 1.0, 0: 2.0}], gallery=3)

    assert positives.items.tolist() == [2, 1, 0]
    assert positives.gains.tolist() == [3.0, 1.0, 2.0]
    assert positives.counts.tolist() == [1, 2]


@pytest.mark.parametrize("gains", [{3: 1.0}, {-1: 1.0}, {0: -1.0}, {0: float("nan")}, {0: float("inf")}])
def test_gains_that_make_no_sense_are_refused(gains):
    with pytest.raises(DataError):
        Positives.from_gains([gains], gallery=3)


def test_group_labels_number_the_groups_and_leave_the_rest_alone():
    assert group_labels(["soup", None, "cake", "soup", None]).tolist() == [0, 1, 2, 0, 3]


@pytest.mark.parametrize("groups", [[], [None, None]])
def test_no_groups_at_all_are_refused(groups):
    with pytest.raises(DataError, match="no pair names a group"):
        group_labels(groups)
