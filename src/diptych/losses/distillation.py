"""Distillation: the student's scores of a text's candidate images should have the teacher's distribution.

"Thinking Fast and Slow" (arXiv 2103.16553), section 3.2: B_i = {(x_i, y_i)} and {(x, y_i): x != x_i}: one text,
several images; p = softmax(h / tau) over B_i, q = softmax(f . g) over B_i; the loss is H(p, q).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from diptych.core.shapes import Float


def distillation_loss(
    student: Float[Tensor, "b c"],
    teacher: Float[Tensor, "b c"],
    *,
    temperature: float,
    student_temperature: float,
) -> Float[Tensor, ""]:
    """Cross-entropy H(p, q) of the teacher's and the student's distributions over each text's candidates.

    Args:
        student: cosines of a text with its candidates.
        teacher: the teacher's log-likelihoods of the same pairs; they are compared within a row only.
        temperature: of the teacher; the larger, the more its lesser candidates count.
        student_temperature: of the student.
    """
    wanted = functional.softmax(teacher.float() / temperature, dim=1)
    given = functional.log_softmax(student.float() / student_temperature, dim=1)
    return -(wanted * given).sum(1).mean()
