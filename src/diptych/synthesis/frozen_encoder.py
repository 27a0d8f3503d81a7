"""A saved dual encoder's image side in PyTorch, so that gradients reach the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.errors import ConfigError
from diptych.core.shapes import Float
from diptych.models.dual import DualEncoder


class FrozenImageEncoder(nn.Module):
    """Images in [-1, 1] to the embeddings that `encode_images` would give them, frozen and differentiable.

    Images are scaled by bilinear interpolation, and cut as the encoder cuts its images.

    Args:
        encoder: any whose image side runs in PyTorch: a tower of timm, transformers, open_clip or EfficientNet-Lite
            with a head, a network that was trained here, or a pretrained joint model.
        size: pixels; 0 is the encoder's own. Half of it costs a quarter, and is seen a little differently; a network
            that takes one size alone refuses another.

    Raises ConfigError for a tower without PyTorch, for images in patches, and for a size that the network refuses.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: DualEncoder, size: int = 0) -> None:
        super().__init__()
        name, preprocess = f"the encoder {encoder.name!r}", encoder.preprocess
        if preprocess.mode == "patches":
            raise ConfigError(
                f"{name} takes images as patches of any proportion (NaFlex), and a generator makes squares; choose a "
                "model of one size"
            )
        self.size = size or preprocess.size
        self.scaled = size or preprocess.resize or preprocess.size  # of which the central square is cut
        for key, values in (("mean", preprocess.mean), ("std", preprocess.std)):
            self.register_buffer(key, torch.tensor(values).reshape(1, 3, 1, 1), persistent=False)
        module = encoder.torch()
        if "image" in module.frozen:
            source = encoder.config.image.source or encoder.config.image.tower
            raise ConfigError(
                f"{name} cannot judge images: its image tower {source!r} has no PyTorch network here that gradients "
                "go through; name one over efficientnet-lite0 as x_mrs.encoder, or train one: diptych train "
                "configs/methods/info_nce.toml SOURCE"
            )
        self.tower, self.side = module.image_tower, module.image
        self.eval().requires_grad_(False)
        images = torch.zeros(1, 3, self.size, self.size, requires_grad=True)
        try:
            embedded = self(images)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"{name} sees images of {preprocess.size} pixels alone; leave out x_mrs.encoder_size"
            ) from error
        if not embedded.requires_grad:
            raise ConfigError(
                f"{name} cannot judge images: no gradient goes through its head {encoder.config.image.head.name!r}; "
                "choose another, such as base"
            )

    def train(self, mode: bool = True) -> FrozenImageEncoder:
        """Always in evaluation mode."""
        del mode
        return super().train(False)

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        """Embeddings of length one."""
        pixels = self._cut((images.float() + 1) * 127.5)
        if self.tower is None:  # the side reads rows of pixels, and normalises them itself
            embedded: Tensor = self.side(pixels.permute(0, 2, 3, 1).flatten(1))
        else:
            embedded = self.side(self.tower((pixels - self.mean) / self.std))
        return embedded

    def _cut(self, pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 t t"]:
        """Scaled, and the central square of `size` cut out."""
        if pixels.shape[-1] != self.scaled:
            pixels = functional.interpolate(
                pixels, size=(self.scaled, self.scaled), mode="bilinear", align_corners=False
            )
        margin = (self.scaled - self.size) // 2
        return pixels[..., margin : margin + self.size, margin : margin + self.size]
