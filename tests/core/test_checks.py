"""Numbers out of range."""

from __future__ import annotations

from typing import Any

import pytest

from diptych.core.checks import at_least, number, positive, share
from diptych.core.errors import ConfigError


def test_numbers_in_range_come_back() -> None:
    assert (at_least("k", 1, 1), positive("margin", 0.2), share("dropout", 0)) == (1, 0.2, 0)


@pytest.mark.parametrize("value", [0, float("nan"), float("inf")])
def test_numbers_below_the_lowest(value: float) -> None:
    with pytest.raises(ConfigError, match=f"k must be at least 1, found {value}"):
        at_least("k", value, 1)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_numbers_that_are_not_positive(value: float) -> None:
    with pytest.raises(ConfigError, match=f"margin must be above 0, found {value}"):
        positive("margin", value)


@pytest.mark.parametrize("value", [1, -0.1, float("nan")])
def test_numbers_that_are_no_share(value: float) -> None:
    with pytest.raises(ConfigError, match=f"dropout must be at least 0 and below 1, found {value}"):
        share("dropout", value)


@pytest.mark.parametrize("value", ["0.5", None, True, [1]])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(ConfigError, match="epochs must be a number, found"):
        number("epochs", value)
