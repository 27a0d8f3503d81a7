"""Parts that both designs are made of: norms that a condition modulates, up-blocks and down-blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from diptych.core.shapes import Bool, Float


class ImageLayer(nn.Conv2d):
    """The last map to an image: reach * tanh(convolution).

    A plain tanh reaches white, which is 1, nowhere: on drawings with a white ground it drives the map, and with it
    all colours, into saturation.

    Args:
        channels: of the map.
        reach: 1 is a plain tanh.
    """

    REACH = 1.1

    def __init__(self, channels: int, reach: float = REACH) -> None:
        super().__init__(channels, 3, 3, padding=1)
        self.reach = reach

    @torch.no_grad()
    def start_from_mean_of(self, images: Float[Tensor, "n 3 s s"]) -> None:
        """Make the mean colour of these images the one that is made before anything is learnt."""
        mean = images.float().mean((0, 2, 3)) / self.reach
        bias: Any = self.bias
        bias.copy_(torch.atanh(mean.clamp(-0.9, 0.9)))

    def forward(self, x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b 3 y x"]:
        """Colours in [-1, 1], or a little beyond."""
        return torch.tanh(super().forward(x)) * self.reach


class StandingNorm(nn.Module):
    """Batch normalisation: by the batch in training, by standing statistics afterwards.

    Standing statistics are means over many batches of the final weights (Brock et al. 2018, BigGAN,
    arXiv 1809.11096, section 3), collected within `collecting_statistics`; nothing is averaged while training, so
    averaged weights get statistics of their own.

    Args:
        channels: of the map.
        affine: whether a scale and a shift of each channel are learnt.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, *, affine: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.collected: int | None = None  # batches so far, within `collecting_statistics`

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """(x - mean) / sqrt(variance + 1e-5) of each channel."""
        scale, shift = self.weight, self.bias
        if self.collected is not None:
            self.collected += 1
            share = 1 / self.collected  # makes the moving average a plain mean
            return functional.batch_norm(x, self.mean, self.variance, scale, shift, training=True, momentum=share)
        if self.training:
            return functional.batch_norm(x, None, None, scale, shift, training=True)
        return functional.batch_norm(x, self.mean, self.variance, scale, shift, training=False)


@contextlib.contextmanager
def collecting_statistics(module: nn.Module) -> Iterator[None]:
    """Within this block, each pass of a batch through `module` counts towards its standing statistics."""
    norms = [part for part in module.modules() if isinstance(part, StandingNorm)]
    for norm in norms:
        norm.collected = 0
    try:
        yield
    finally:
        for norm in norms:
            norm.collected = None


class Modulated(nn.Module):
    """A norm whose scale and shift come from a condition, and from a map of its own for each position if there is one.

    h' = (1 + g) * norm(h) + b, with (g, b) = A condition + B context: a linear map of both side by side.

    Args:
        channels: of h.
        condition: numbers of the condition.
        context: channels of the map; 0 is none.
    """

    def __init__(self, channels: int, condition: int, context: int = 0) -> None:
        super().__init__()
        self.norm = StandingNorm(channels)
        self.by_condition = nn.Linear(condition, 2 * channels)
        self.by_context = nn.Conv2d(context, 2 * channels, 1, bias=False) if context else None

    def forward(
        self, h: Float[Tensor, "b c y x"], condition: Float[Tensor, "b d"], context: Tensor | None = None
    ) -> Float[Tensor, "b c y x"]:
        """`context` is of the same or of half the size of h."""
        both: Tensor = self.by_condition(condition)[:, :, None, None]
        if self.by_context is not None and context is not None:
            both = both + self.by_context(context)
            if both.shape[-1] != h.shape[-1]:
                both = functional.interpolate(both, scale_factor=2.0, mode="nearest")
        scale, shift = both.chunk(2, dim=1)
        out: Tensor = self.norm(h) * (1 + scale) + shift
        return out


class WordContext(nn.Module):
    """What each region of a map reads in the words: c_j = sum_i softmax_i(rho_0 cos(w_i, h_j)) w_i.

    Source: XMC-GAN (arXiv 2101.04702), section 4.2.

    Args:
        channels: of the map.
        width: of a word.
        sharpness: rho_0.
    """

    def __init__(self, channels: int, width: int, sharpness: float) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, width, 1)
        self.sharpness = sharpness

    def forward(
        self, h: Float[Tensor, "b c y x"], words: Float[Tensor, "b w d"], mask: Bool[Tensor, "b w"]
    ) -> Float[Tensor, "b d y x"]:
        """A mixture of the words for each position."""
        # positions before channels: that is how the maps lie in memory, so nothing is copied
        regions = functional.normalize(self.query(h).permute(0, 2, 3, 1).flatten(1, 2), dim=2)
        match = torch.bmm(regions, functional.normalize(words, dim=2).transpose(1, 2)).float() * self.sharpness
        share = torch.softmax(match.masked_fill(~mask[:, None, :], -1e4), dim=2)
        context = torch.bmm(share.to(words.dtype), words)
        # by the map's own sides: the length of a batch would be a constant of the exported graph
        context = context.view(-1, *h.shape[2:], words.shape[2])
        return context.permute(0, 3, 1, 2)


class UpBlock(nn.Module):
    """Twice the size: norm, relu, conv, up, norm, relu, conv, beside a straight way. Both norms are modulated.

    The first convolution runs before the map grows, which costs a quarter of doing it after (`up_first`).

    Args:
        channels, out: of the map before and after.
        condition: numbers that modulate.
        word_width: of the words that each region reads; 0 is none.
        sharpness: see `WordContext`.
        up_first: whether the map grows before the first convolution, as in BigGAN and XMC-GAN.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        condition: int,
        word_width: int = 0,
        sharpness: float = 15.0,
        *,
        up_first: bool = False,
    ) -> None:
        super().__init__()
        self.up_first = up_first
        self.context = WordContext(channels, word_width, sharpness) if word_width else None
        self.first = Modulated(channels, condition, word_width)
        self.conv = nn.Conv2d(channels, out, 3, padding=1)
        self.second = Modulated(out, condition, word_width)
        self.conv_fine = nn.Conv2d(out, out, 3, padding=1)
        self.straight = nn.Conv2d(channels, out, 1)

    def forward(
        self,
        x: Float[Tensor, "b c y x"],
        condition: Float[Tensor, "b d"],
        words: Float[Tensor, "b w e"],
        mask: Bool[Tensor, "b w"],
    ) -> Float[Tensor, "b o yy xx"]:
        """yy = 2 y, xx = 2 x."""
        context = self.context(x, words, mask) if self.context is not None else None
        h = functional.relu(self.first(x, condition, context))
        h = self.conv(_doubled(h)) if self.up_first else _doubled(self.conv(h))
        h = self.conv_fine(functional.relu(self.second(h, condition, context)))
        out: Tensor = h + _doubled(self.straight(x))
        return out


def _doubled(x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c yy xx"]:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class DownBlock(nn.Module):
    """Half the size (or the same): relu, conv, pool, relu, conv, beside a straight way; all spectrally normalised.

    Args:
        channels, out: of the map before and after.
        down: whether the map shrinks.
    """

    def __init__(self, channels: int, out: int, *, down: bool = True) -> None:
        super().__init__()
        self.conv_fine = spectral_norm(nn.Conv2d(channels, channels, 3, padding=1))
        self.conv = spectral_norm(nn.Conv2d(channels, out, 3, padding=1))
        self.straight = spectral_norm(nn.Conv2d(channels, out, 1)) if channels != out else nn.Identity()
        self.down = down

    def forward(self, x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b o yy xx"]:
        """yy = y / 2 where it shrinks."""
        h = self.conv_fine(functional.relu(x))
        if self.down:
            h, x = functional.avg_pool2d(h, 2), functional.avg_pool2d(x, 2)
        out: Tensor = self.conv(functional.relu(h)) + self.straight(x)
        return out
