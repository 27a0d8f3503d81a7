"""Adversarial modality alignment: the towers learn to hide which modality an embedding came from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.checks import at_least, positive
from diptych.core.errors import ConfigError, DataError
from diptych.core.registry import register
from diptych.core.shapes import Float
from diptych.losses.base import Embedded, Loss, widened


@register.loss("adversarial")
class AdversarialAlignment(Loss):
    """A modality classifier behind gradient reversal, and optionally a label classifier before it.

    With D the modality classifier, C the label classifier, x the 2B embeddings, m(x) their modality and
    y(x) their class,

        L = 1/2B * sum_x BCE(D(R(x)), m(x))
          + label_weight * 1/2B' * sum_x' CE(C(x'), y(x'))
          + gradient_penalty * 1/2B * sum_x || dD(x)/dx ||^2

    where D gives a logit, x' are the embeddings that have a class, and the last term trains D only. R is the
    identity forwards and multiplies the gradient by -lambda backwards: the same step makes D better and the
    towers harder to tell apart. Over the progress p of training, lambda = 2 / (1 + exp(-10 p)) - 1 rises from
    0 to 1. Source: gradient reversal and lambda, Ganin and Lempitsky 2015 (arXiv 1409.7495), equations 11 to
    14; the two classifiers on a common subspace, ACMR (Wang et al. 2017, "Adversarial Cross-Modal
    Retrieval"). The penalty is not theirs: without it, towers and classifier oscillate and the modalities
    stay apart (Mescheder et al. 2018, arXiv 1801.04406, whose R1 it is, on both sides).

    Alone it is minimal where all embeddings are one point: combine it with a loss that keeps
    pairs apart (`combined`).

    Args:
        dim: width of the embeddings.
        hidden: width of the hidden layer of each classifier.
        label_weight: weight of the label classifier; 0 is none.
        gradient_penalty: weight of the penalty on a steep modality classifier; 0 is none. It also limits
            the gradient that reaches the towers; beside a strong loss, give this loss a weight of 10 or more.
        classes: how many classes the labels have; needed for the label classifier only.
    """

    needs_modalities = True

    def __init__(
        self,
        dim: int,
        hidden: int = 128,
        label_weight: float = 0.0,
        gradient_penalty: float = 0.1,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        at_least("hidden", hidden, 1)
        if label_weight > 0 and (classes is None or classes < 2):
            raise ConfigError(
                f"label_weight = {label_weight} needs data with at least 2 classes, found {classes or 'none'}; "
                "give the records a group, or set label_weight = 0"
            )
        self.modality = _classifier(dim, hidden, 1)
        self.label = _classifier(dim, hidden, classes) if label_weight > 0 and classes else None
        self.label_weight = at_least("label_weight", label_weight, 0)
        self.gradient_penalty = at_least("gradient_penalty", gradient_penalty, 0)
        self.strength = 1.0  # lambda; at full strength unless `start_step` was called
        self._accuracy: Tensor | None = None

    def start_step(self, progress: float) -> None:
        """Set lambda for this share of training done."""
        self.strength = reversal_strength(progress)

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The classifiers' loss on the batch.

        Raises DataError when labels are to be classified and the data has none, or more than `classes`.
        """
        both = torch.cat([embedded.image, embedded.text])
        is_text = (torch.arange(len(both), device=both.device) >= len(embedded.owner)).to(both.dtype)
        reversing = _Reversed.apply(both, self.strength)  # type: ignore[no-untyped-call]
        logits = widened(self.modality(_unit_sized(reversing)).squeeze(1))
        self._accuracy = ((logits.detach() > 0) == (is_text > 0)).float().mean()
        loss = functional.binary_cross_entropy_with_logits(logits, is_text.to(logits.dtype))
        if self.label is not None:
            loss = loss + self.label_weight * self._label_loss(self.label, both, embedded.classes().repeat(2))
        if self.gradient_penalty > 0 and torch.is_grad_enabled():
            loss = loss + self.gradient_penalty * self._steepness(both)
        return loss

    def report(self) -> Mapping[str, float]:
        """The reversal's lambda, and how often the last batch's modality was guessed right (0.5 is chance)."""
        guessed = {} if self._accuracy is None else {"modality_accuracy": float(self._accuracy)}
        return {"reversal": self.strength, **guessed}

    def _steepness(self, both: Tensor) -> Tensor:
        rows = both.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.modality(_unit_sized(rows)).sum(), rows, create_graph=True)
        return slope.square().sum(1).mean()

    def _label_loss(self, classifier: nn.Sequential, both: Tensor, group: Tensor) -> Tensor:
        logits = widened(classifier(_unit_sized(both)))
        classes = logits.shape[1]
        if bool((group >= classes).any()):
            raise DataError(f"found class {int(group.max())} in data said to have {classes}, numbered from 0")
        labelled = (group >= 0).sum().clamp(min=1)  # a batch may have no labels at all
        return functional.cross_entropy(logits, group.long(), ignore_index=-1, reduction="sum") / labelled


def reversal_strength(progress: float) -> float:
    """lambda = 2 / (1 + exp(-10 p)) - 1 for the share p of training done, kept within 0 and 1."""
    return 2 / (1 + math.exp(-10 * min(1.0, max(0.0, progress)))) - 1


class _Reversed(torch.autograd.Function):
    """The identity forwards; multiplies the gradient by -strength backwards."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


def _classifier(dim: int, hidden: int, outputs: int) -> nn.Sequential:
    positive("dim", dim)
    return nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def _unit_sized(rows: Tensor) -> Tensor:
    """Unit rows have elements of about 1/sqrt(d); a classifier learns faster from elements of about 1."""
    return rows * math.sqrt(rows.shape[1])
