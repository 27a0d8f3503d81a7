"""Any timm model, by name or from a local folder, as a frozen image tower: pooled features, or its feature maps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from diptych.core.checks import at_least
from diptych.core.errors import ConfigError, ModelError
from diptych.core.extras import need
from diptych.core.protocols import Preprocess
from diptych.core.registry import nearest, register
from diptych.encoders.compat import import_torchvision
from diptych.encoders.hub import OTHER_WEIGHTS, SAFE_WEIGHTS, hub_folder, lasting, offline, weights_file
from diptych.encoders.inputs import by_channel
from diptych.encoders.pytorch import TorchImageTower, choose_device, freeze
from diptych.encoders.weights import check_whole

_HUB = ("hf-hub:", "hf_hub:")


@register.image_tower("timm", "any timm model", arguments=("NAME_OR_FOLDER",))
class TimmImageTower(TorchImageTower):
    """Pooled features before the classifier, of a timm model.

    `name_or_folder` is a timm name ("resnet18.a1_in1k") or a hub name ("hf-hub:timm/resnet18.a1_in1k"), where
    "@REVISION" may follow, or a folder with config.json and model.safetensors, as timm's `save_for_hf` writes it.
    `weights` is a file to take the weights from instead; `pretrained=False` leaves them random. Preprocessing follows
    the model's own configuration: size, filter, and the margin that is cut off (`crop_pct`, `crop_mode`).

    Nothing is downloaded. Raises ModelError for models that are not here or do not
    fit their weights.
    """

    def __init__(
        self,
        name_or_folder: str | Path,
        *,
        pretrained: bool = True,
        weights: str | Path | None = None,
        device: str = "auto",
    ) -> None:
        import_torchvision()
        timm = need("timm", "a timm tower")
        import torch

        self._device = choose_device(device)
        self._name = str(name_or_folder)
        with offline():
            model, name = _build(timm, name_or_folder, pretrained, weights)
        self.address = f"timm:{name}"
        model.reset_classifier(0)
        self._module = freeze(model, self._device)
        self._module.to(memory_format=torch.channels_last)
        self.dim = int(getattr(model, "head_hidden_size", model.num_features))
        self.preprocess = preprocess_of(timm, model)

    def unfrozen(self) -> Any:
        """The network itself, ready to be trained, on the CPU; the tower must not be used any more."""
        import torch

        return self._module.to("cpu", memory_format=torch.contiguous_format).train().requires_grad_(True)

    def _features(self, planes: Any) -> Any:
        import torch

        features = self._module(planes.to(memory_format=torch.channels_last))
        if features.ndim != 2:
            raise ModelError(
                f"timm model {self._name!r} gives features of shape {tuple(features.shape)}; expected (b, d)"
            )
        return features


@register.image_tower("timm-maps", "feature maps of any timm model, for cross-encoders", arguments=("NAME_OR_FOLDER",))
class TimmMapTower(TimmImageTower):
    """The feature maps of the last `levels` stages of a timm model, flattened one after the other, finest first.

    Of a ResNet-50 at 224 pixels, three levels are 512 x 28 x 28, 1024 x 14 x 14 and 2048 x 7 x 7: the maps that are
    up-sampled step by step and fused ("Thinking Fast and Slow", section 3.2). Models, weights and preprocessing are
    named as of `timm:`. With `pretrained=False` the weights are random, the same ones each time: for trials.

    Raises ModelError for a model without feature maps, or with fewer levels.
    """

    def __init__(
        self,
        name_or_folder: str | Path,
        *,
        levels: int = 3,
        pretrained: bool = True,
        weights: str | Path | None = None,
        device: str = "auto",
    ) -> None:
        import torch

        at_least("levels", levels, 1)
        self._levels = levels
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            super().__init__(name_or_folder, pretrained=pretrained, weights=weights, device=device)
        self.address = f"timm-maps:{self.address.removeprefix('timm:')}"
        size = self.preprocess.size
        with torch.inference_mode():
            found = self._maps(torch.zeros(1, 3, size, size, device=self._device))
        self.maps = tuple((each.shape[1], each.shape[2], each.shape[3]) for each in found)
        self.dim = sum(math.prod(each) for each in self.maps)
        self._settings = ("maps", str(levels))

    def _features(self, planes: Any) -> Any:
        import torch

        return torch.cat([each.flatten(1) for each in self._maps(planes)], dim=1)

    def _maps(self, planes: Any) -> list[Any]:
        """(b, channels, rows, columns) of each level, finest first."""
        import torch

        if not hasattr(self._module, "forward_intermediates"):
            raise ModelError(f"timm model {self._name!r} gives no feature maps; choose another, such as resnet50")
        planes = planes.to(memory_format=torch.channels_last)
        try:
            found = self._module.forward_intermediates(planes, indices=self._levels, intermediates_only=True)
        except (AssertionError, ValueError, IndexError) as error:  # whatever the model says of a level it lacks
            raise ModelError(
                f"timm model {self._name!r} gives no feature maps of {self._levels} levels; choose fewer levels"
            ) from error
        return list(found)


def _build(timm: Any, name: str | Path, pretrained: bool, weights: str | Path | None) -> tuple[Any, str]:
    """The model with its classifier, so that its weights are checked to fit exactly; and what names it later."""
    if weights is not None:
        _check_weights(Path(weights))
    folder, lasts = _folder(name)
    if folder is not None:
        return _from_folder(timm, folder, pretrained, weights), lasts
    architecture, _, revision = str(name).partition("@")
    if not timm.is_model(architecture.split(".")[0]):
        near = nearest(architecture, timm.list_models())
        raise ModelError(f"{architecture!r} is neither a folder nor a model that timm knows{near}")
    if not pretrained:
        return _create(timm, architecture, pretrained), architecture
    if weights is not None:
        return _create(timm, architecture, pretrained, weights), architecture
    file = _cached_weights(timm, architecture, revision)
    check_whole(file, f"timm:{name}")
    return _create(timm, architecture, pretrained, file), f"{architecture}@{file.parent.name}"


def _folder(name: str | Path) -> tuple[Path | None, str]:
    """The folder that a name means, and what names it later."""
    text = str(name)
    for prefix in _HUB:
        if text.startswith(prefix):
            repository = text.removeprefix(prefix)
            folder = hub_folder(repository, address=f"timm:{text}")
            return folder, f"{prefix}{lasting(repository, folder)}"
    path = Path(text.removeprefix("local-dir:")).expanduser()
    if path.is_dir():
        return path, str(path.resolve())
    if isinstance(name, Path) or "/" in text or text.startswith(("local-dir:", "~")):
        raise ModelError(f"no model folder at {path}; expected config.json and model.safetensors in it")
    return None, text


def _from_folder(timm: Any, folder: Path, pretrained: bool, weights: str | Path | None) -> Any:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json; expected a folder as timm's save_for_hf writes it")
    if weights is None and pretrained and weights_file(folder) is None:
        raise ModelError(f"{folder} has no weights; expected model.safetensors in it")
    return _create(timm, f"local-dir:{folder}", pretrained, weights)


def _create(timm: Any, name: str, pretrained: bool, weights: str | Path | None = None) -> Any:
    """A model of timm; with `weights`, it takes them from that file, whatever its configuration says."""
    options = {} if weights is None else {"pretrained_cfg_overlay": {"file": str(weights), "source": ""}}
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:  # timm raises whatever it meets: RuntimeError, KeyError, safetensors' own
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = "; ".join(lines[:2]) or type(error).__name__
        given = f" with the weights of {weights}; they are of another model, or damaged" if weights is not None else ""
        raise ModelError(f"timm cannot build {name!r}{given}: {reason}") from error


def _cached_weights(timm: Any, name: str, revision: str) -> Path:
    configuration = timm.get_pretrained_cfg(name)
    if configuration is None or not configuration.hf_hub_id:
        raise ModelError(f"the hub has no weights for timm's {name!r}; pass weights=FILE or pretrained=False")
    address = f"timm:{name}@{revision}" if revision else f"timm:{name}"
    folder = hub_folder(configuration.hf_hub_id, revision or None, address=address)
    names = [configuration.hf_hub_filename] if configuration.hf_hub_filename else []
    file = weights_file(folder, *names, "model.safetensors", "pytorch_model.bin")
    if file is None:
        raise ModelError(f"the cached folder {folder} of {name!r} holds no weights; pass weights=FILE")
    return file


def _check_weights(file: Path) -> None:
    if not file.is_file():
        raise ModelError(f"no weights file at {file}")
    if file.suffix not in (*SAFE_WEIGHTS, *OTHER_WEIGHTS):
        raise ModelError(f"{file} is not a known kind of weights; expected .safetensors, .pth, .pt or .bin")


def preprocess_of(timm: Any, model: Any) -> Preprocess:
    """How a model of timm wants its images. Raises ModelError for what `Preprocess` cannot do."""
    found = timm.data.resolve_model_data_config(model)
    channels, height, width = found["input_size"]
    if channels != 3 or height != width:
        raise ModelError(f"this model takes images of {channels} x {height} x {width}; expected 3 channels, square")
    mean, std = by_channel(found["mean"]), by_channel(found["std"])
    resize = math.floor(height / found["crop_pct"])
    red, green, blue = (round(value) for value in mean)
    try:
        return Preprocess(
            int(height),
            {"squash": "squash", "border": "longest"}.get(found["crop_mode"], "shortest"),
            mean,
            std,
            interpolation=found["interpolation"],
            resize=0 if resize == height else resize,
            fill=(red, green, blue) if found["crop_mode"] == "border" else (0, 0, 0),
            exact=True,
        )
    except ConfigError as error:
        raise ModelError(f"this model's images cannot be prepared as timm does it: {error}") from error
