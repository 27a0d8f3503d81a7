"""The sides of a pretrained joint model (CLIP, SigLIP, ...), fine-tuned: whole, or through LoRA."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from diptych.core.errors import ConfigError
from diptych.core.registry import register
from diptych.core.shapes import Float, Int, Shaped
from diptych.encoders.inputs import grey_pixels, normalise_pixels
from diptych.encoders.joint import JointModel, joint_model
from diptych.models.networks.base import set_pace, trim_padding
from diptych.models.networks.lora import Adaptable, check_lora


class JointSide(Adaptable):
    """One side of a joint model with the weights of its address: features before they are brought to unit length.

    The other side's weights are dropped, and so are the temperature and the bias, which belong to the loss. Batch norms
    keep their pretrained statistics.

    Args:
        model: the address, such as "hf:google/siglip2-base-patch16-224"; in a config, that of `init` when left out.
        rate: learning rate as a share of training.learning_rate.
        frozen_epochs: epochs in which it does not learn yet.
        lora: empty for fine-tuning all weights, else see `diptych.models.networks.lora`.
    """

    pretrained = True

    def __init__(
        self, model: str, rate: float, frozen_epochs: int, lora: Mapping[str, Any] | None, of: str, found: int
    ) -> None:
        super().__init__()
        if not model:
            raise ConfigError('this network is a side of a joint model; set init = "hf:NAME", or its own option model')
        joint = joint_model(model, device="cpu")
        width, self.dim = self._take(joint)
        if found != width:
            raise ConfigError(
                f"{model} takes rows of {width} {of}, found a tower with {found}; leave out tower, "
                "which is then that of init"
            )
        self._lora = None if lora is None else check_lora(lora)
        set_pace(self, rate, frozen_epochs)

    def _take(self, joint: JointModel) -> tuple[int, int]:
        """Take this side's network; the width of a row, and of the features."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> JointSide:
        """As usual, but batch norms stay in evaluation mode."""
        super().train(mode)
        for part in self.body.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
        return self


@register.network("joint_image")
class JointImage(JointSide):
    """The image side of a joint model, over rows of the tower "pixels" that are prepared as that model wants them."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        features: int,
        *,
        model: str = "",
        rate: float = 1.0,
        frozen_epochs: int = 0,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(model, rate, frozen_epochs, lora, "bytes of an image", features)

    def _take(self, joint: JointModel) -> tuple[int, int]:
        tower: Any = joint.image
        prepared = tower.preprocess
        self.shape = prepared.shape
        self.register_buffer("mean", torch.tensor(prepared.mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(prepared.std).reshape(1, 3, 1, 1))
        grey = torch.from_numpy(normalise_pixels(grey_pixels(prepared), prepared))
        self.body = own_side(tower.torch_module(), grey)
        return math.prod(self.shape), joint.image.dim

    def forward(self, rows: Shaped[Tensor, "b n"]) -> Float[Tensor, "b f"]:
        """Features of rows of bytes (or of the same values as floats)."""
        pixels = rows.reshape(-1, *self.shape).permute(0, 3, 1, 2).float()
        features: Tensor = self.body((pixels - self.mean) / self.std)
        return features


@register.network("joint_text")
class JointText(JointSide):
    """The text side of a joint model, over rows of the tower "tokens:ADDRESS" of that model."""

    def __init__(
        self,
        length: int,
        vocabulary: int,
        *,
        model: str = "",
        rate: float = 1.0,
        frozen_epochs: int = 0,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        self._length = length
        super().__init__(model, rate, frozen_epochs, lora, "token ids", length)

    def _take(self, joint: JointModel) -> tuple[int, int]:
        tower: Any = joint.text
        self.body = own_side(tower.torch_module(), torch.zeros(1, self._length, dtype=torch.int64))
        return self._length, joint.text.dim

    def forward(self, rows: Int[Tensor, "b l"]) -> Float[Tensor, "b f"]:
        """Features of rows of token ids (-1 where the model sees none)."""
        features: Tensor = self.body(trim_padding(rows))
        return features


def own_side(module: Any, example: Tensor) -> Any:
    """The module (a tower's `torch_module`) without what `example` does not go through: the model's other side.

    What it does go through requires gradients.
    """
    called: set[nn.Module] = set()
    hooks = [part.register_forward_pre_hook(lambda part, _: called.add(part)) for part in module.modules()]
    module.eval().requires_grad_(True)
    named = dict(module.named_parameters())
    found = torch.autograd.grad(module(example).float().sum(), list(named.values()), allow_unused=True)
    for hook in hooks:
        hook.remove()
    used = {weight for weight, gradient in zip(named.values(), found, strict=True) if gradient is not None}
    for weight in named.values():
        weight.requires_grad_(weight in used)
    whole = module.network
    for name, part in list(whole.named_children()):
        if not called.intersection(part.modules()) and not used.intersection(part.parameters()):
            setattr(whole, name, None)
    for name, weight in list(whole.named_parameters(recurse=False)):
        if weight not in used:
            setattr(whole, name, None)
    return module
