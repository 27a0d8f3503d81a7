from __future__ import annotations

import numpy as np
import pytest
import torch

from diptych.losses.distillation import distillation_loss


def softmax(row):
    powers = np.exp(row - row.max())
    return powers / powers.sum()


def test_by_hand():
    student = torch.tensor([[0.9, 0.1, 0.3], [0.2, 0.4, 0.0]])
    teacher = torch.tensor([[-30.0, -34.0, -32.0], [-50.0, -48.0, -60.0]])
    found = distillation_loss(student, teacher, temperature=2.0, student_temperature=0.1)
    expected = -np.mean(
        [(softmax(teacher[row].numpy() / 2.0) * np.log(softmax(student[row].numpy() / 0.1))).sum() for row in range(2)]
    )
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_it_is_least_where_the_student_agrees_and_a_shift_of_the_teacher_changes_nothing():
    teacher = torch.tensor([[-30.0, -34.0, -32.0]])
    agrees = teacher * 0.05 / 2.0
    least = distillation_loss(agrees, teacher, temperature=2.0, student_temperature=0.05)
    for other in (torch.zeros(1, 3), agrees.flip(1)):
        assert distillation_loss(other, teacher, temperature=2.0, student_temperature=0.05) > least
    shifted = distillation_loss(agrees, teacher - 100, temperature=2.0, student_temperature=0.05)
    assert float(shifted) == pytest.approx(float(least), rel=1e-4)


def test_only_the_student_is_taught():
    student = torch.zeros(2, 3, requires_grad=True)
    teacher = torch.tensor([[0.0, -2.0, -4.0]] * 2)
    distillation_loss(student, teacher, temperature=1.0, student_temperature=1.0).backward()
    expected = (softmax(np.zeros(3)) - softmax(np.array([0.0, -2, -4]))) / 2
    assert np.allclose(student.grad[0].numpy(), expected, atol=1e-6)
