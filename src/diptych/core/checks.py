"""Checks of numbers in settings and arguments: the same words for the same mistake. Each gives the value back."""

from __future__ import annotations

import math
from typing import TypeVar

from diptych.core.errors import ConfigError

N = TypeVar("N", bound=float)


def at_least(name: str, value: N, low: float) -> N:
    """`value` if it is finite and not below `low`. Raises ConfigError for the option called `name` otherwise."""
    if not low <= value < math.inf:
        raise ConfigError(f"{name} must be at least {low}, found {value}")
    return value


def positive(name: str, value: N) -> N:
    """`value` if it is above 0 and finite. Raises ConfigError for the option called `name` otherwise."""
    if not 0 < value < math.inf:
        raise ConfigError(f"{name} must be above 0, found {value}")
    return value


def share(name: str, value: N) -> N:
    """`value` if it is a share below the whole. Raises ConfigError for the option called `name` otherwise."""
    if not 0 <= value < 1:
        raise ConfigError(f"{name} must be at least 0 and below 1, found {value}")
    return value
