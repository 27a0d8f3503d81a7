"""Packed patches as a network of PyTorch takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.core.protocols import Preprocess
from diptych.core.shapes import Float

if TYPE_CHECKING:
    import torch


def patch_inputs(planes: Float[torch.Tensor, "b 3 h w"], preprocess: Preprocess) -> dict[str, torch.Tensor]:
    """What SigLIP 2 NaFlex takes, from packed images that were normalised as they are.

    `pixel_values` (b, n, p * p * 3), zero where there is no patch; `pixel_attention_mask` (b, n), 1 where there is one;
    `spatial_shapes` (b, 2), rows and columns of patches.
    """
    import torch

    size, patch = preprocess.size, preprocess.patch
    most = (size // patch) ** 2
    mean, std = (torch.tensor(values[:2], device=planes.device) for values in (preprocess.mean, preprocess.std))
    stated = (planes[:, :2, -1, :2].transpose(1, 2) * std + mean).round().long()  # (b, rows or columns, two bytes)
    shapes = stated[..., 0] * 256 + stated[..., 1]
    mask = torch.arange(most, device=planes.device) < shapes.prod(dim=1, keepdim=True)
    values = planes[:, :, :size].permute(0, 2, 3, 1).reshape(-1, most, patch * patch * 3)
    return {
        "pixel_values": values * mask.unsqueeze(-1),
        "pixel_attention_mask": mask.to(torch.int32),
        "spatial_shapes": shapes,
    }
