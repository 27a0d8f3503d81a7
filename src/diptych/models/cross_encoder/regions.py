"""Region tokens: maps of several depths, up-sampled step by step and fused into the finest one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.errors import ModelError
from diptych.core.shapes import Float
from diptych.models.heads import Standardise

from .settings import token_grid


class RegionFusion(nn.Module):
    """Flattened maps of an image tower to one token a region of the finest map ("Thinking Fast and Slow", 3.2).

    From the coarsest map on: up-sample to the next finer grid, add that map's projection, smooth with
    a small convolution. Each region then gets its place added. Of a video the tokens of all frames follow one another,
    each with the place of its frame added.

    Args:
        maps: (channels, rows, columns) of each map of a frame, finest first.
        width: width of a token.
        frames: of a video; 1 for images.
        tokens: of an image or a frame; the fused map is averaged over a grid of so many cells. 0: one for each region.
    """

    pool_rows: Tensor
    pool_columns: Tensor

    def __init__(self, maps: Sequence[tuple[int, int, int]], width: int, frames: int = 1, tokens: int = 0) -> None:
        super().__init__()
        self.maps = tuple((channels, rows, columns) for channels, rows, columns in maps)
        self.standardise = nn.ModuleList([Standardise(channels) for channels, _, _ in maps])
        self.project = nn.ModuleList([nn.Linear(channels, width) for channels, _, _ in maps])
        self.smooth = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in maps])
        self.mix = nn.ModuleList([nn.Linear(width, width) for _ in maps])
        self.grid = token_grid(self.maps[0], tokens)  # rows and columns of the tokens of an image or a frame
        self.place = nn.Parameter(torch.randn(math.prod(self.grid), width) * 0.02)
        self._is_pooled = self.grid != self.maps[0][1:]
        if self._is_pooled:
            self.register_buffer("pool_rows", _averaging(self.maps[0][1], self.grid[0]))
            self.register_buffer("pool_columns", _averaging(self.maps[0][2], self.grid[1]).T.contiguous())
        self.norm = nn.LayerNorm(width)
        self.frames = frames
        # Tokens have a deviation of 1 here: starting as small as `place`, the order of frames is hardly learnt.
        self.frame_place = nn.Parameter(torch.randn(frames, 1, width) * 0.5) if frames > 1 else None

    @property
    def count(self) -> int:
        """Regions an image, or of all frames of a video."""
        return len(self.place) * self.frames

    @property
    def features(self) -> int:
        """Numbers that the image tower gives for an image, or for all frames of a video."""
        return self.frames * sum(math.prod(one) for one in self.maps)

    def fit_statistics(self, sample: Float[Tensor, "n f"]) -> None:
        """Take mean and standard deviation of every channel from a sample of training features."""
        frames = sample.reshape(len(sample) * self.frames, -1)
        for part, standardise in zip(self._split(frames), self.standardise, strict=True):
            standardise.fit(part.flatten(0, 1))  # type: ignore[operator]

    # Sizes are read from `shape`, which stays open while the network is traced for export; `len` would not.
    def forward(self, flat: Float[Tensor, "b f"]) -> Float[Tensor, "b r w"]:
        """One token a region, row by row, frame after frame."""
        if self.frame_place is None:
            return self._of_frames(flat)
        tokens = self._of_frames(flat.reshape(flat.shape[0] * self.frames, -1))
        by_frame = tokens.reshape(flat.shape[0], self.frames, -1, tokens.shape[-1])
        placed: Tensor = by_frame + self.frame_place
        return placed.flatten(1, 2)

    def _of_frames(self, flat: Float[Tensor, "n f"]) -> Float[Tensor, "n r w"]:
        fused: Tensor | None = None
        for level in reversed(range(len(self.maps))):
            _, rows, columns = self.maps[level]
            part = self.project[level](self.standardise[level](self._split(flat)[level]))
            here: Tensor = part.transpose(1, 2).reshape(flat.shape[0], -1, rows, columns)
            if fused is not None:
                here = here + functional.interpolate(fused, size=(rows, columns), mode="bilinear", align_corners=False)
            smoothed = functional.gelu(self.smooth[level](here)).flatten(2).transpose(1, 2)
            fused = here + self.mix[level](smoothed).transpose(1, 2).reshape(here.shape)
        if fused is None:
            raise ModelError("the image tower gives no feature map; expected at least one")
        if self._is_pooled:
            fused = self.pool_rows @ fused @ self.pool_columns
        tokens: Tensor = self.norm(fused.flatten(2).transpose(1, 2) + self.place)
        return tokens

    def _split(self, flat: Float[Tensor, "b f"]) -> list[Float[Tensor, "b p c"]]:
        sizes = [math.prod(one) for one in self.maps]
        if flat.shape[1] != sum(sizes):
            raise ModelError(f"found {flat.shape[1]} features an image, expected {sum(sizes)}: maps {self.maps}")
        parts = torch.split(flat, sizes, dim=1)
        return [
            part.reshape(flat.shape[0], channels, -1).transpose(1, 2)
            for part, (channels, _, _) in zip(parts, self.maps, strict=True)
        ]


def _averaging(size: int, cells: int) -> Float[Tensor, "c s"]:
    """The matrix that averages places over cells as `adaptive_avg_pool1d` does, which ONNX has not for any sizes."""
    found: Tensor = functional.adaptive_avg_pool1d(torch.eye(size), cells)
    return found.T.contiguous()
