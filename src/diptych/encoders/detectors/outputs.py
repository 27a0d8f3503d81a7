"""What detectors give for one image, in the layouts that are in use, as the best score of each class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from diptych.core.errors import ModelError
from diptych.core.shapes import Float32

_ROW = 6  # x1, y1, x2, y2, score, class
LAYOUTS = (
    "scores and labels (or detection_scores and detection_classes); rows (1, k, 6) of x1, y1, x2, y2, score, class; "
    "(1, 4 + classes, k) or (1, k, 5 + classes), as of YOLO; logits (1, k, classes) beside pred_boxes, as of DETR"
)


def best_scores(outputs: Mapping[str, np.ndarray], classes: int) -> Float32[np.ndarray, " c"]:
    """The best score of each class over all boxes; 0 where there is none.

    Raises ModelError for outputs of another layout, and for a class beyond the list.
    """
    named = {name.rpartition("/")[2].casefold().removeprefix("detection_"): value for name, value in outputs.items()}
    labels = next((named[key] for key in ("labels", "classes") if key in named), None)
    if labels is not None and "scores" in named:
        return _by_label(named["scores"].ravel(), labels.ravel(), classes)
    if "logits" in named and "pred_boxes" in named:
        return _of_logits(named["logits"][0], classes)
    for value in outputs.values():
        shape = value.shape[1:] if value.ndim == 3 and len(value) == 1 else value.shape
        if len(shape) != 2:
            continue
        rows = value.reshape(shape)
        if shape[1] == _ROW:
            return _by_label(rows[:, 4], rows[:, 5], classes)
        if shape[0] == 4 + classes:
            return _best(rows[4:].T)
        if shape[1] == 5 + classes:
            return _best(rows[:, 5:] * rows[:, 4:5])
    found = ", ".join(f"{name} {value.shape}" for name, value in outputs.items())
    raise ModelError(f"the detector gives {found} for {classes} classes; expected one of: {LAYOUTS}")


def _by_label(scores: np.ndarray, labels: np.ndarray, classes: int) -> Float32[np.ndarray, " c"]:
    best = np.zeros(classes, dtype=np.float32)
    real = scores > 0
    numbers = labels[real].astype(np.int64)
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < classes:
        raise ModelError(
            f"the detector found class number {int(numbers.max())}, but its list names {classes}, from number 0; "
            "list a class for every number, the background too where it has one"
        )
    np.maximum.at(best, numbers, scores[real].astype(np.float32))
    return best


def _of_logits(logits: np.ndarray, classes: int) -> Float32[np.ndarray, " c"]:
    """Softmax where a further column means "no object", else a sigmoid of each class."""
    if logits.shape[1] == classes + 1:
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return _best((raised / raised.sum(axis=1, keepdims=True))[:, :classes])
    if logits.shape[1] == classes:
        return _best(1 / (1 + np.exp(-logits)))
    raise ModelError(f"the detector gives logits of {logits.shape[1]} classes, but its list names {classes}")


def _best(scores: np.ndarray) -> Float32[np.ndarray, " c"]:
    return np.asarray(scores.max(axis=0, initial=0), dtype=np.float32)
