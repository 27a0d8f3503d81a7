"""Checks of settings and arguments: the same words for the same mistake. Each gives the value back."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from diptych.core.errors import ConfigError

N = TypeVar("N", bound=float)
T = TypeVar("T")
PATH = (str, Path, os.PathLike)
_SHOWN = (str, bytes, int, float, type(None))  # the values that a message repeats; of others it names the type


def kind_of(value: Any) -> str:
    """How a message names a value of the wrong kind: the value where it is short, else its type."""
    return f"{value!r}"[:40] if isinstance(value, _SHOWN) else type(value).__name__


def of_type(value: T, types: Any, expected: str) -> T:
    """`value` if it is of one of the types. Raises ConfigError, with what was `expected`, otherwise."""
    if not isinstance(value, types):
        raise ConfigError(f"found {kind_of(value)}; expected {expected}")
    return value


def whole(name: str, value: Any) -> int:
    """`value` if it is a whole number. Raises ConfigError for the argument called `name` otherwise."""
    return int(of_type(value, Integral, f"a whole number as {name}"))


def several(values: Any, types: Any, expected: str) -> list[Any]:
    """A list of what was given alone, or as several. Raises ConfigError where one is not of the types."""
    if isinstance(values, types):
        return [values]
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        of_type(values, types, expected)
    return [of_type(value, types, expected) for value in values]


def paths(values: Any) -> list[Any]:
    """A list of one path or several. Raises ConfigError for anything else."""
    return several(values, PATH, "a path, or several")


def number(name: str, value: Any) -> Any:
    """`value` if it is a number. Raises ConfigError for the option called `name` otherwise."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(f"{name} must be a number, found {kind_of(value)}")
    return value


def at_least(name: str, value: N, low: float) -> N:
    """`value` if it is finite and not below `low`. Raises ConfigError for the option called `name` otherwise."""
    if not low <= number(name, value) < math.inf:
        raise ConfigError(f"{name} must be at least {low}, found {value}")
    return value


def positive(name: str, value: N) -> N:
    """`value` if it is above 0 and finite. Raises ConfigError for the option called `name` otherwise."""
    if not 0 < number(name, value) < math.inf:
        raise ConfigError(f"{name} must be above 0, found {value}")
    return value


def share(name: str, value: N) -> N:
    """`value` if it is a share below the whole. Raises ConfigError for the option called `name` otherwise."""
    if not 0 <= number(name, value) < 1:
        raise ConfigError(f"{name} must be at least 0 and below 1, found {value}")
    return value
