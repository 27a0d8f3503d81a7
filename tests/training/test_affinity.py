"""A dual encoder as the teacher: the loss by hand, and a student that comes nearer to it."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the [train] extra")

from diptych.core.errors import ConfigError  # noqa: E402
from diptych.losses import Embedded, InfoNCE  # noqa: E402
from diptych.training.affinity import TeacherAffinity  # noqa: E402
from diptych.training.distillation import DistillationSettings  # noqa: E402


def unit(rows: int, seed: int) -> Any:
    made = torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32))
    return torch.nn.functional.normalize(made, dim=-1)


def softmax(values: np.ndarray, axis: int) -> np.ndarray:
    shifted = np.exp(values - values.max(axis, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis, keepdims=True))


def test_by_hand() -> None:
    image, text = unit(3, 0), unit(3, 1)
    teacher = torch.from_numpy(np.random.default_rng(2).normal(size=(5, 6)).astype(np.float32)) * 4
    rows = torch.tensor([[0, 2], [3, 1], [4, 5]])
    embedded = Embedded(image, text, torch.arange(3), None, rows)
    wanted = teacher.numpy()[[0, 3, 4]][:, [2, 1, 5]] / 2.0
    given = (image @ text.T).numpy() / 0.1
    both = [-(softmax(wanted, axis) * np.log(softmax(given, axis))).sum(axis).mean() for axis in (1, 0)]
    own = InfoNCE(0.05)
    for alpha in (1.0, 0.3, 0.0):
        settings = DistillationSettings(alpha=alpha, temperature=2.0, student_temperature=0.1)
        found = TeacherAffinity(own, lambda rows: teacher[rows[:, 0]][:, rows[:, 1]], settings)(embedded)
        assert float(found) == pytest.approx(alpha * sum(both) / 2 + (1 - alpha) * float(own(embedded)), rel=1e-5)


def test_embeddings_without_their_pairs_are_refused() -> None:
    loss = TeacherAffinity(InfoNCE(), lambda rows: torch.zeros(3, 3), DistillationSettings())
    with pytest.raises(ConfigError, match="leave out"):
        loss(Embedded(unit(3, 0), unit(3, 1), torch.arange(3)))
