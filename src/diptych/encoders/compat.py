"""A repair that lets PyPI's torchvision be imported with a CPU build of PyTorch.

The wheel's compiled operators are built for CUDA and do not load there, so importing torchvision
stops at `operator torchvision::nms does not exist`. Declaring the two operators it registers fakes
for is enough for transforms, models, timm and open_clip; `ops.nms` and `io.decode_jpeg` do not work.
"""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType
from typing import Any

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
