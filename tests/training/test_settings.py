"""The learning rate by hand, and the settings' checks."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.errors import ConfigError
from diptych.training.settings import SCHEDULES, TrainingSettings


def test_cosine_with_warm_up_by_hand() -> None:
    settings = TrainingSettings(learning_rate=0.8, warmup=0.2)
    rates = [settings.rate_at(step, 10) for step in range(10)]
    assert rates[:2] == pytest.approx([0.4, 0.8])
    assert rates[2] == pytest.approx(0.8)
    assert rates[4] == pytest.approx(0.4 * (1 + 2**-0.5))  # a quarter of the way: cos 45 degrees
    assert rates[6] == pytest.approx(0.4)
    assert rates[9] == pytest.approx(0.4 * (1 - 0.9238795325112867))  # 7/8 of the way: cos 157.5 degrees
    assert settings.rate_at(10, 10) == pytest.approx(0.0)


def test_constant_and_without_warm_up() -> None:
    constant = TrainingSettings(learning_rate=0.8, warmup=0.5, schedule="constant")
    assert [constant.rate_at(step, 4) for step in range(4)] == pytest.approx([0.4, 0.8, 0.8, 0.8])
    at_once = TrainingSettings(learning_rate=0.8, warmup=0.0)
    assert at_once.rate_at(0, 10) == pytest.approx(0.8)
    assert at_once.rate_at(0, 1) == pytest.approx(0.8)


def test_linear_and_step_by_hand() -> None:
    linear = TrainingSettings(learning_rate=0.8, warmup=0.2, schedule="linear")
    assert [linear.rate_at(step, 10) for step in (0, 1, 2, 6, 9)] == pytest.approx([0.4, 0.8, 0.8, 0.4, 0.1])
    vsepp = TrainingSettings(learning_rate=0.8, warmup=0.0, schedule="step")  # a tenth after half
    assert [vsepp.rate_at(step, 10) for step in (0, 4, 5, 9)] == pytest.approx([0.8, 0.8, 0.08, 0.08])
    recipes = TrainingSettings(learning_rate=0.8, warmup=0.0, schedule="step", step_at=0.2, step_factor=0.5)
    assert [recipes.rate_at(step, 10) for step in (1, 2)] == pytest.approx([0.8, 0.4])


@given(st.integers(1, 50), st.floats(0, 0.99), st.sampled_from(SCHEDULES))
def test_it_rises_once_then_falls_and_stays_in_bounds(steps: int, warmup: float, schedule: str) -> None:
    settings = TrainingSettings(learning_rate=1.0, warmup=warmup, schedule=schedule)
    rates = [settings.rate_at(step, steps) for step in range(steps)]
    top = max(1, round(warmup * steps)) - 1
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, found 0"),
        ({"batch_size": 1}, "batch_size must be at least 2, found 1"),
        ({"patience": -1}, "patience must be at least 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0, found -1"),
        ({"weight_decay": float("nan")}, "weight_decay must be at least 0"),
        ({"clip": -1.0}, "clip must be at least 0"),
        ({"warmup": 1.0}, "warmup must be at least 0 and below 1"),
        ({"schedule": "liner"}, "unknown schedule 'liner'; choose from .*did you mean 'linear'"),
        ({"precision": "8"}, "unknown precision '8'; choose from 16-mixed, 32-true, auto, bf16-mixed"),
        ({"optimiser": "lion"}, "unknown optimiser 'lion'; choose from adam, adamw, sgd"),
        ({"accumulate": 0}, "accumulate must be at least 1, found 0"),
        ({"chunk": -1}, "chunk must be at least 0"),
        ({"ema": 1.0}, "ema must be at least 0 and below 1, found 1.0"),
        ({"momentum": float("nan")}, "momentum must be at least 0 and below 1"),
        ({"step_at": 1.0}, "step_at is a share of all steps, between 0 and 1; found 1.0"),
        ({"step_factor": 0.0}, "step_factor must be above 0"),
        ({"checkpoint_minutes": float("nan")}, "checkpoint_minutes must be at least 0"),
        ({"checkpoint_steps": -1}, "checkpoint_steps must be at least 0"),
        ({"log_steps": -1}, "log_steps must be at least 0"),
        ({"devices": -1}, "devices must be at least 0"),
    ],
)
def test_settings_that_make_no_sense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingSettings(**change)


def test_every_key_is_in_the_docs_with_its_default() -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (table,) = (block for block in text.split("\n\n") if "\n| `epochs` |" in block)
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in row.split("|")[1].replace("`", "").replace(" ", "").split(",")}
    assert documented == {field.name for field in fields(TrainingSettings)}
