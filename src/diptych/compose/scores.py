"""Retrieval scores of two modules on cached rows: what decides which epoch is the best."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from diptych.data.features import FeaturePairs, Rows
from diptych.evaluation import Embedded, evaluate

_ROWS = 256  # embedded at once


def retrieval_scores(image: nn.Module, text: nn.Module, pairs: FeaturePairs, device: torch.device) -> dict[str, float]:
    """R@1, R@5 and R@10 both ways in percent, and their sum as "score".

    One picture a record is used; its further pictures are left out.
    """
    first = np.searchsorted(pairs.image_owner, np.arange(pairs.records))
    collection = Embedded(
        _embed(image, pairs.images[0], first, device),
        _embed(text, pairs.texts, np.arange(len(pairs.texts)), device),
        pairs.text_owner,
    )
    found = evaluate(collection, resamples=0, cuts=(1, 5, 10)).scores
    result = {}
    for name, direction in (("i2t", found.image_to_text), ("t2i", found.text_to_image)):
        for metric in ("R@1", "R@5", "R@10"):
            result[f"{name} {metric}"] = round(100 * direction.metrics[metric].value, 2)
    return {"score": round(sum(result.values()), 2), **result}


def _embed(side: nn.Module, rows: Rows, which: np.ndarray, device: torch.device) -> Float32[np.ndarray, "n d"]:
    parts = [
        side(torch.from_numpy(rows[which[start : start + _ROWS]]).to(device)).float().cpu().numpy()
        for start in range(0, len(which), _ROWS)
    ]
    return np.concatenate(parts)
