"""Weighted sums of losses."""

import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.config import Part, from_dict  # noqa: E402
from diptych.core.errors import ConfigError  # noqa: E402
from diptych.core.registry import build  # noqa: E402
from diptych.losses.adversarial import AdversarialAlignment  # noqa: E402
from diptych.losses.combined import Combined  # noqa: E402
from diptych.losses.instance_discrimination import InstanceDiscrimination  # noqa: E402
from diptych.losses.max_hinge import MaxHinge  # noqa: E402
from diptych.losses.sum_hinge import SumHinge  # noqa: E402

from .batches import gradient_is_right, random_batch  # noqa: E402

PARTS = [
    {"name": "instance_discrimination", "weight": 2.0, "queue": 8},
    {"name": "adversarial", "weight": 0.1, "hidden": 16},
]


def test_the_sum_is_weighted() -> None:
    batch = random_batch(1)
    loss = build("loss", Part("combined", {"parts": [{"name": "sum_hinge", "weight": 0.5}, "max_hinge"]}))
    wanted = 0.5 * SumHinge()(batch) + MaxHinge()(batch)
    assert float(loss(batch)) == pytest.approx(float(wanted))
    report = loss.report()
    assert report["sum_hinge"] == float(SumHinge()(batch))
    assert report["max_hinge"] == float(MaxHinge()(batch))
    assert report["max_hinge.warming_up"] == 0


def test_gradient() -> None:
    parts = [{"name": "sigmoid", "weight": 0.3, "temperature": 0.5, "bias": -1.0}, {"name": "info_nce"}]
    assert gradient_is_right(build("loss", Part("combined", {"parts": parts})), random_batch(3))


def test_width_and_hooks_reach_each_part() -> None:
    loss = build("loss", Part("combined", {"parts": [*PARTS, "max_hinge"]}), dim=4)
    assert isinstance(loss, Combined)
    instance, adversarial, hinge = (part for _, part in loss.losses.items())
    assert isinstance(instance, InstanceDiscrimination)
    assert instance.text.rows.shape == (8, 4)
    assert isinstance(adversarial, AdversarialAlignment)
    loss.start_step(0.0)
    loss.start_epoch(0)
    assert adversarial.strength == 0
    assert hinge.warming_up
    loss.start_step(1.0)
    loss.start_epoch(1)
    assert adversarial.strength == pytest.approx(1, abs=1e-4)
    assert not hinge.warming_up
    loss.double()(random_batch(1))
    assert set(loss.report()) >= {"instance_discrimination.text_queue", "adversarial.modality_accuracy", "max_hinge"}


def test_the_parts_state_is_in_the_checkpoint() -> None:
    loss = build("loss", Part("combined", {"parts": PARTS}), dim=4)
    assert {"losses.instance_discrimination.image.rows", "losses.adversarial.modality.0.weight"} <= set(
        loss.state_dict()
    )


def test_two_of_one_kind() -> None:
    parts = [{"name": "info_nce"}, {"name": "info_nce", "temperature": 0.5}, {"name": "info_nce"}]
    loss = build("loss", Part("combined", {"parts": parts}))
    loss(random_batch(1))
    assert {"info_nce", "info_nce-2", "info_nce-3", "info_nce-2.temperature"} <= set(loss.report())


def test_from_toml() -> None:
    import tomllib
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Config:
        loss: Part

    text = '[loss]\nname = "combined"\nparts = [{name = "sum_hinge", weight = 2}, {name = "adversarial"}]'
    config = from_dict(Config, tomllib.loads(text))
    loss = build("loss", config.loss, dim=4)
    assert isinstance(loss, Combined)
    assert loss.weights == (2, 1.0)


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "loss 'combined' needs parts; it takes parts"),
        ({"parts": []}, "needs at least 1 loss, found none"),
        ({"parts": "info_nce"}, "combined.parts must be a list of losses, found 'info_nce'"),
        ({"parts": [3]}, 'combined.parts must be a name, or a table with name = "...", found 3'),
        ({"parts": [{"weight": 1.0}]}, "combined.parts must be a name"),
        ({"parts": [{"name": "info_nse"}]}, "unknown loss 'info_nse'; .*did you mean 'info_nce'"),
        ({"parts": [{"name": "info_nce", "weigth": 1.0}]}, "loss 'info_nce': unknown option 'weigth'"),
        ({"parts": [{"name": "info_nce", "weight": 0.0}]}, "weight must be above 0, found 0.0"),
        ({"parts": [{"name": "info_nce", "weight": "much"}]}, "weight must be a number, found 'much'"),
        ({"parts": [{"name": "adversarial"}]}, "loss 'adversarial' needs dim, which is not known here"),
    ],
)
def test_what_cannot_be_combined(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("loss", Part("combined", options))


def test_a_weight_for_each() -> None:
    with pytest.raises(ConfigError, match="a weight for each loss, found 1 for 2"):
        Combined({"a": SumHinge(), "b": MaxHinge()}, [1.0])
