import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.notes import Notes
from diptych.core.types import BytesImage, FileImage
from diptych.data.cache import image_key
from diptych.data.repeats import Contents, joined_labels, note_shared, note_shared_by_splits, shared


def test_keys_are_those_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    refs = [FileImage(tmp_path / "a"), BytesImage(b"one", "x"), BytesImage(b"two"), FileImage(tmp_path / "gone")]
    first, same, other, none = map(image_key, refs)
    assert first == same != other
    assert none is None


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 3)), max_size=12))
def test_shared_is_what_another_owner_has_too(items):
    keys, owners = [key for key, _ in items], [owner for _, owner in items]
    slow = [
        place
        for place, (key, owner) in enumerate(items)
        if key is not None and any(other == key and whose != owner for other, whose in items)
    ]
    assert shared(keys, owners) == slow


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), max_size=12))
def test_labels_are_joined_over_common_images(items):
    labels = np.array([0, 1, 2, 3, 4, 0])
    keys, owners = [key for key, _ in items], np.array([owner for _, owner in items], dtype=np.int64)
    found = joined_labels(labels, keys, owners)
    near = np.eye(6, dtype=bool) | (labels[:, None] == labels)
    for key, owner in items:
        for other, whose in items:
            near[owner, whose] |= key == other
    for _ in range(6):
        near = (near.astype(int) @ near.astype(int)) > 0
    assert np.array_equal(found[:, None] == found, near)


def test_what_is_shared_is_counted_and_named():
    notes = Notes()
    note_shared(notes, Contents([b"1", b"1", b"2"], [0, 1, 1], ["a", "b", "c"], ["x", "x", "y"], [0, 0, 1]))
    assert [note.to_text() for note in notes] == [
        "images that several records have: a right answer will count as wrong: 2 (a, b)"
    ]
    nothing = Contents((), (), (), (), ())
    notes = Notes()
    note_shared_by_splits(notes, Contents([b"1", None], [0, 1], ["a", "b"], ["x", "x"], [0, 1]), nothing)
    note_shared_by_splits(notes, nothing, Contents([b"1", None], [0, 1], ["a", "b"], (), ()))
    both = Contents([b"1"], [0], ["v"], (), ()), Contents([b"1", None], [0, 1], ["a", "b"], (), ())
    note_shared_by_splits(notes, *both)
    assert [(note.kind, note.count) for note in notes] == [("shared_text", 2), ("leaked_image", 1)]
