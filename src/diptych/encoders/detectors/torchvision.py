"""torchvision's detectors by name, with weights that are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import ConfigError, ModelError, first_line
from diptych.core.extras import need
from diptych.core.registry import nearest, register
from diptych.core.shapes import Bool, Float32, UInt8
from diptych.encoders.compat import import_detection
from diptych.encoders.pytorch import choose_device, freeze
from diptych.encoders.weights import check_whole

from .facts import DetectorFacts, beside, check_threshold, facts_beside
from .outputs import best_scores


@register.detector("torchvision", "a torchvision detector", arguments=("NAME[:WEIGHTS]",))
class TorchvisionDetector:
    """A detector of `torchvision.models.detection`, such as "ssdlite320_mobilenet_v3_large".

    WEIGHTS is a file (.pth or .safetensors); left out, it is torchvision's own, looked for where torch.hub keeps its
    files. Classes are COCO's as torchvision numbers them, or those of WEIGHTS.detector.json. Nothing is downloaded.
    Raises ConfigError for an unknown name, ModelError for weights that are not here or do not fit.
    """

    def __init__(self, name: str, *, threshold: float | None = None, device: str = "auto") -> None:
        torchvision = import_detection()
        name, _, file = name.partition(":")
        known = torchvision.models.list_models(module=torchvision.models.detection)
        if name not in known:
            raise ConfigError(
                f"unknown torchvision detector {name!r}; choose from {', '.join(known)}{nearest(name, known)}"
            )
        published = torchvision.models.get_model_weights(name).DEFAULT
        weights = Path(file) if file else _cached(published.url)
        facts = facts_beside(weights) or DetectorFacts(tuple(published.meta["categories"]))
        self.classes = facts.classes
        self.threshold = facts.threshold if threshold is None else check_threshold(threshold)
        self._module = _build(torchvision, name, weights, len(self.classes), choose_device(device))
        self.name = f"torchvision's {name}, {weights.name}, from a score of {self.threshold:g}"

    def scores(self, images: UInt8[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n c"]:
        """The best score of each class in each image."""
        import torch

        found = np.zeros((len(images), len(self.classes)), dtype=np.float32)
        device = next(self._module.parameters()).device
        with torch.inference_mode():
            for row, image in enumerate(images):
                planes = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1) / 255
                boxes = self._module([planes])[0]
                outputs = {key: boxes[key].float().cpu().numpy() for key in ("scores", "labels")}
                found[row] = best_scores(outputs, len(self.classes))
        return found

    def detect(self, images: UInt8[np.ndarray, "n h w 3"]) -> Bool[np.ndarray, "n c"]:
        """Which of `classes` each image shows."""
        return self.scores(images) >= self.threshold


def _cached(url: str) -> Path:
    """Where torch.hub keeps the file of a URL. Raises ModelError where it is not there."""
    import torch

    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.is_file():
        raise ModelError(f"no weights at {file}; fetch {url} to there, or name a file as torchvision:NAME:FILE")
    return file


def _build(torchvision: Any, name: str, weights: Path, classes: int, device: Any) -> Any:
    import torch

    if not weights.is_file():
        raise ModelError(f"no weights at {weights}; expected a .pth or .safetensors file")
    check_whole(weights)
    try:
        if weights.suffix == ".safetensors":
            state = need("safetensors.torch", "a .safetensors file").load_file(weights)
        else:
            state = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds
        raise ModelError(f"{weights} cannot be read as weights: {first_line(error)}") from error
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{weights} does not fit {name} with {classes} classes: {first_line(error)}; for weights with other "
            f"classes list them in {beside(weights).name} beside it, the background first"
        ) from error
    return freeze(model, device)
