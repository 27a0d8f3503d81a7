"""A repair that lets PyPI's torchvision be imported with a CPU build of PyTorch.

The wheel's compiled operators are built for CUDA and do not load there, so importing torchvision
stops at `operator torchvision::nms does not exist`. Declaring the two operators it registers fakes
for is enough for transforms, models, timm and open_clip. Detectors also need `ops.nms`, which `import_detection`
supplies; `io.decode_jpeg` does not work.
"""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType
from typing import Any

import numpy as np

from diptych.core.extras import need

_BROKEN = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_lock = threading.Lock()
_declared: list[Any] = []  # the declarations live as long as the library object does


def import_torchvision() -> ModuleType:
    """Import torchvision; a working one is left alone.

    Raises MissingExtraError when it is not installed; any other failure to import comes through as it is.
    """
    with _lock:
        try:
            found: ModuleType = need("torchvision", "this tower")
            return found
        except RuntimeError as error:
            if str(error) != _BROKEN or _declared:
                raise
        _declare_operators()
        _drop_half_imported()
        return importlib.import_module("torchvision")


def import_detection() -> ModuleType:
    """As `import_torchvision`, for detectors: `ops.nms` is done here where torchvision's own does not load."""
    found = import_torchvision()
    if _declared:
        found.ops.boxes.nms = nms
    return found


def nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    """Non-maximum suppression as torchvision's `ops.nms`: the places of the boxes that are kept, best first."""
    import torch

    corners = boxes.detach().double().cpu().numpy()
    areas = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    waiting, kept = scores.argsort(descending=True, stable=True).cpu().numpy(), []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        upper = np.maximum(corners[best, :2], corners[waiting, :2])
        lower = np.minimum(corners[best, 2:], corners[waiting, 2:])
        shared = np.clip(lower - upper, 0, None).prod(axis=1)
        waiting = waiting[shared <= iou_threshold * (areas[best] + areas[waiting] - shared)]
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device)


def _declare_operators() -> None:
    import torch

    library: Any = torch.library
    fragment = library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        fragment.define(schema)
    _declared.append(fragment)


def _drop_half_imported() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
