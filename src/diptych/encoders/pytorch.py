"""What the PyTorch towers share: device, frozen module, fingerprint, one copy a model, input to features."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from diptych.core import fingerprint
from diptych.core.batched import batched
from diptych.core.devices import PACKAGES, check_device
from diptych.core.errors import ConfigError
from diptych.core.extras import need
from diptych.core.protocols import Preprocess
from diptych.core.shapes import Float32, UInt8
from diptych.encoders.inputs import grey_pixels, normalise_pixels

if TYPE_CHECKING:
    import torch

_TEXTS_ON_CPU, _TEXTS_ON_GPU = 32, 256  # that go through a network together, padded to the longest of them
_live: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
_fingerprints: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
_lock = threading.RLock()
# Around the calls of a tokenizer of transformers, each of which sets its cut and padding anew. One for all towers: the
# networks that are trained hold copies of their tower, and a lock cannot be copied.
tokenising = threading.Lock()
_COMPUTING = ("hidden_act", "num_attention_heads", "layer_norm_eps", "eos_token_id")


def choose_device(device: str) -> torch.device:
    """A PyTorch device by name; "auto" is CUDA when there is one. Raises ConfigError for one that is not there."""
    need("torch", "this tower")
    import torch

    if check_device(device) in PACKAGES:
        raise ConfigError(
            f"the device {device!r} is ONNX Runtime's, and this runs on PyTorch, which takes auto, cpu, cuda and "
            "cuda:N; a model that `diptych models export` wrote runs on ONNX Runtime"
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(device)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {device!r} is not here: found {torch.cuda.device_count()} CUDA devices; choose cpu")
    return chosen


def freeze(module: Any, device: torch.device) -> Any:
    """Float32, evaluation mode, no gradients, on `device`."""
    return module.float().eval().requires_grad_(False).to(device)


def state_fingerprint(module: torch.nn.Module) -> str:
    """Fingerprint of every parameter and buffer: names, types, shapes and values."""
    import torch

    parts = []
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        parts += [name, str(tensor.dtype), str(tuple(tensor.shape)), fingerprint.of_bytes(values.tobytes())]
    return fingerprint.combined(parts)


def frozen_fingerprint(module: torch.nn.Module) -> str:
    """As `state_fingerprint`, taken once of a module that is never changed: both towers of a model ask for it."""
    if module not in _fingerprints:
        _fingerprints[module] = state_fingerprint(module)
    return _fingerprints[module]


def computed_by(module: torch.nn.Module) -> list[Any]:
    """What changes the features of a joint model and no weight tells: activations, numbers of heads, and the like.

    ViT-B-32 and ViT-B-32-quickgelu of open_clip have the same weights, and give other features. Models of transformers
    state it in their configuration; of the others it is asked of the layers.
    """
    config = getattr(module, "config", None)
    if config is not None:
        sides = [getattr(config, name) for name in ("text_config", "vision_config") if hasattr(config, name)]
        return [{name: getattr(side, name, None) for name in _COMPUTING} for side in sides or [config]]
    layers = list(module.modules())
    kinds = {type(layer).__name__ for layer in layers if not list(layer.children()) and not layer.state_dict()}
    kinds = {kind for kind in kinds if not kind.startswith(("Drop", "PatchDrop", "Identity"))}
    heads = {found for layer in layers if isinstance(found := getattr(layer, "num_heads", None), int)}
    return [sorted(kinds), sorted(heads), sorted({layer.eps for layer in layers if hasattr(layer, "eps")})]


def shared_model(key: Hashable, make: Callable[[], Any]) -> Any:
    """One live object per key, so that the two towers of a CLIP model hold its weights once.

    It is freed with the last tower that uses it.
    """
    with _lock:
        found = _live.get(key)
        if found is None:
            found = _live[key] = make()
        return found


class TorchImageTower:
    """Base of the image towers that run a frozen PyTorch module; `_features` is what a subclass adds."""

    preprocess: Preprocess
    _module: Any
    _device: Any
    _settings: tuple[str, ...] = ()  # what changes the features besides weights and preprocessing

    @cached_property
    def dim(self) -> int:
        """Features an image, asked of the model with a grey one."""
        return int(self.embed(grey_pixels(self.preprocess)).shape[1])

    @property
    def computing(self) -> list[Any]:
        """See `computed_by`."""
        return computed_by(self._module)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights, the settings and the preprocessing."""
        return fingerprint.combined([frozen_fingerprint(self._module), *self._settings, repr(self.preprocess)])

    def embed(self, pixels: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b d"]:
        """Features of resized RGB images, not normalised."""
        if len(pixels) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)
        import torch

        planes = torch.from_numpy(normalise_pixels(pixels, self.preprocess))
        with torch.inference_mode():
            return _array(self._features(planes.to(self._device)))

    def torch_module(self, *, copied: bool = True) -> torch.nn.Module:
        """The network, or a copy of it: normalised pixels (b, 3, h, w) to features."""
        own = copy.copy(self)
        if copied:
            own._module = copy.deepcopy(self._module)
        return as_module(own._features, own._module)

    def _features(self, planes: torch.Tensor) -> torch.Tensor:
        """(b, 3, h, w) normalised pixels to (b, d)."""
        raise NotImplementedError


class TorchTextTower:
    """Base of the text towers that run a frozen PyTorch module; `_features` and `_of_ids` are what a subclass adds."""

    _module: Any

    @property
    def computing(self) -> list[Any]:
        """See `computed_by`."""
        return computed_by(self._module)

    @cached_property
    def dim(self) -> int:
        """Features a text, asked of the model with a short one."""
        return int(self.embed(["a"]).shape[1])

    def embed(self, texts: Sequence[str]) -> Float32[np.ndarray, "b d"]:
        """Features of texts, each cleaned and cut at `max_tokens`; texts of about one length go through together."""
        if len(texts) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)
        import torch

        found: Any = None
        for chosen in self._batches(texts):
            with torch.inference_mode():
                rows = _array(self._features([texts[number] for number in chosen]))
            if found is None:
                found = np.empty((len(texts), rows.shape[1]), dtype=np.float32)
            found[chosen] = rows
        return np.asarray(found)

    def _batches(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """The places of texts of about one length."""
        size = _TEXTS_ON_CPU if next(self._module.parameters()).device.type == "cpu" else _TEXTS_ON_GPU
        return batched(sorted(range(len(texts)), key=lambda number: len(texts[number])), size)

    @property
    def any_length(self) -> bool:
        """Whether the network reads rows that are shorter than `max_tokens`, where what is left out is masked."""
        return True

    def torch_module(self, *, copied: bool = True) -> torch.nn.Module:
        """The network, or a copy of it: token ids (b, l), -1 in places that are masked, to features."""
        own = copy.copy(self)
        if copied:
            own._module = copy.deepcopy(self._module)
        return as_module(own._of_ids, own._module)

    def _features(self, texts: Sequence[str]) -> torch.Tensor:
        """Texts to (b, d)."""
        raise NotImplementedError

    def _of_ids(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids (b, l), -1 where masked, to (b, d)."""
        raise NotImplementedError


def as_module(forward: Callable[..., Any], *parts: Any) -> torch.nn.Module:
    """`forward` of an object that holds the `parts`, as a module that owns them."""
    from torch import nn

    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network, *more = parts
            if more:
                self.more = nn.ModuleList(more)
            self.forward = forward

    return Features()


def _array(features: torch.Tensor) -> Float32[np.ndarray, "b d"]:
    return np.asarray(features.float().cpu().numpy(), dtype=np.float32)
