"""DiffAugment: the same random colour, shift and hole for what the discriminator sees, real or generated.

Zhao et al. 2020 (arXiv 2006.10738). Without it a discriminator memorises a small data set.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from diptych.core.shapes import Float
from diptych.synthesis.settings import check_augmentations

_SHIFT = 1 / 8  # of the side
_HOLE = 1 / 2  # of the side


@dataclass(frozen=True)
class Augmentation:
    """What happens to each of b images; `apply` does it, with gradients."""

    colour: Float[Tensor, "b 3"] | None  # brightness, saturation, contrast; each in [0, 1)
    shift: Float[Tensor, "b 2"] | None  # down and right, as shares of the side
    hole: Float[Tensor, "b 2"] | None  # its centre, as shares of the side

    @classmethod
    def draw(cls, names: tuple[str, ...], count: int, device: torch.device) -> Augmentation:
        """From PyTorch's own generator. Raises ConfigError for an unknown name."""
        check_augmentations(names)
        colour = torch.rand(count, 3, device=device) if "colour" in names else None
        shift = (torch.rand(count, 2, device=device) * 2 - 1) * _SHIFT if "translation" in names else None
        hole = torch.rand(count, 2, device=device) if "cutout" in names else None
        return cls(colour, shift, hole)

    def apply(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
        """The images, in [-1, 1] or a little beyond, with their own changes."""
        x = images
        if self.colour is not None:
            brightness, saturation, contrast = self.colour.to(x.dtype)[:, :, None, None, None].unbind(1)
            x = x + (brightness - 0.5)
            grey = x.mean(1, keepdim=True)
            x = (x - grey) * (saturation * 2) + grey
            middle = x.mean((1, 2, 3), keepdim=True)
            x = (x - middle) * (contrast + 0.5) + middle
        side = x.shape[-1]
        if self.shift is not None:
            most = round(side * _SHIFT)
            down, right = (torch.round(self.shift * side).long() + most).unbind(1)
            padded = functional.pad(x, [most] * 4)  # with grey, as the hole
            rows = torch.arange(side, device=x.device) + down[:, None]
            columns = torch.arange(side, device=x.device) + right[:, None]
            batch = torch.arange(len(x), device=x.device)[:, None, None]
            moved = padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
            x = moved.permute(0, 3, 1, 2)
        if self.hole is not None:
            centre = torch.floor(self.hole * side)
            places = torch.arange(side, device=x.device, dtype=torch.float32)
            half = side * _HOLE / 2
            down, right = ((places - middle[:, None]).abs() < half for middle in centre.unbind(1))
            x = x * (~(down[:, :, None] & right[:, None, :]))[:, None].to(x.dtype)
        return x
