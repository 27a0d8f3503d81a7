"""Object detectors by name: which classes of everyday things an image shows, for SOA.

A detector is registered by its name (`@register.detector("mine")`), which may take something after a colon:
"onnx:centernet.onnx". It is anything that keeps the protocol `diptych.evaluation.generative.Detector`. Where an object
is makes no difference here, so boxes are not kept: a class has the score of its best box. `tfjs` converts TF.js models
to ONNX.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

from diptych.core.errors import ConfigError
from diptych.core.registry import Part, build, find

__all__ = ["open_detector"]


def open_detector(name: str, threshold: float | None = None, device: str = "auto") -> Any:
    """The detector of that name, such as "imagenet", "onnx:centernet.onnx" or "torchvision:fcos_resnet50_fpn".

    Args:
        name: of a registered detector.
        threshold: the least score that counts as found; None for the detector's own.
        device: as `--device` takes it, for detectors that have a choice.

    Raises ConfigError for unknown names and for a threshold that the detector does not have, MissingExtraError for
    packages that are not installed, ModelError for models that are not here or do not say their classes.
    """
    options = {} if threshold is None else {"threshold": threshold}
    if options and "threshold" not in signature(find("detector", name).part).parameters:
        raise ConfigError(f"the detector {name} has no threshold; leave it out")
    return build("detector", Part(name, options), device=device)
