"""The run-time checks of shapes and types are really on."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from diptych.core.cosine import normalise
from diptych.core.protocols import Preprocess
from diptych.core.similarity import cosine


def test_a_wrong_shape_is_caught() -> None:
    with pytest.raises(TypeCheckError, match=r"Actual value: f32\[2,4\]"):
        cosine(np.ones((2, 3), np.float32), np.ones((2, 4), np.float32))


def test_a_wrong_type_is_caught_in_a_dataclass_and_a_function() -> None:
    with pytest.raises(TypeCheckError):
        Preprocess(size="large")  # type: ignore[arg-type]
    with pytest.raises(TypeCheckError):
        normalise([[1.0]])  # type: ignore[arg-type]


@pytest.mark.unchecked
def test_a_test_can_switch_them_off() -> None:
    assert normalise([[2.0]]) == pytest.approx(1.0)  # type: ignore[arg-type]
