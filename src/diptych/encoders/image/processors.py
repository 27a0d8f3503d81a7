"""How a model of transformers wants its images, read from its image processor and checked against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from diptych.core.errors import ConfigError, ModelError, first_line
from diptych.core.protocols import Preprocess
from diptych.core.shapes import Float, UInt8
from diptych.data.images import as_image, prepare
from diptych.encoders.inputs import by_channel, normalise_pixels
from diptych.encoders.pretrained import pretrained

_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # by Pillow's numbers
_SQUASHED_FROM = 384  # pixels, from which ConvNeXT's processor cuts nothing
# Resizing as the processors that run on torchvision do it, which are the usual ones; half a margin as all of them.
_LIKE_TORCHVISION: dict[str, Any] = {"rounding": "down", "width_first": True, "exact": True}
_NEAR = 2.5  # grey levels of 255; Pillow and torchvision round differently


def preprocess_of(folder: Path) -> Preprocess:
    """How a model of transformers wants its images.

    Raises ModelError when its folder does not say, or says something that `Preprocess` cannot do: two images are
    prepared both ways and compared, so that no setting is ignored.
    """
    processor = pretrained("AutoImageProcessor", folder, f"the image preprocessing in {folder}")
    where = f"{folder} prepares images by {type(processor).__name__}, which"
    try:
        mean, std = _levels(processor)
        geometry = _geometry(processor)
        filtering = _FILTERS[int(processor.resample)]
        found = Preprocess(**geometry, mean=mean, std=std, interpolation=filtering, **_LIKE_TORCHVISION)
    except _UnknownError as error:
        raise ModelError(f"{where} {error}") from error
    except (ConfigError, IndexError, AttributeError, TypeError) as error:  # or does not say what a processor must
        raise ModelError(f"{where} asks for what is not offered: {first_line(error)}") from error
    _check(processor, found, where)
    return found


class _UnknownError(Exception):
    """A setting of a processor that has no counterpart here, as the end of a sentence about the processor."""


def _geometry(processor: Any) -> dict[str, Any]:
    """The fields of `Preprocess` that say which size an image gets and which part of it remains."""
    if not processor.do_resize:
        raise _UnknownError("does not resize them, so they would need to have one size; expected a size")
    if getattr(processor, "do_pad", None) and getattr(processor, "pad_size", None):
        raise _UnknownError("pads them after normalising; expected a size and a centre crop")
    most, patch = (getattr(processor, name, None) for name in ("max_num_patches", "patch_size"))
    if most and patch:
        side = round(int(most) ** 0.5)
        if side * side != most:
            raise _UnknownError(f"makes at most {most} patches; expected a square number, such as 256")
        return {"size": side * int(patch), "mode": "patches", "patch": int(patch)}
    sides = _sides(processor.size)
    if "ConvNext" in type(processor).__name__:
        return _convnext(int(sides["shortest_edge"]), float(processor.crop_pct))
    cut = _sides(processor.crop_size) if getattr(processor, "do_center_crop", False) else {}
    if set(sides) == {"height", "width"}:
        size = _one_side(cut or sides)
        return {"size": size, "mode": "squash", **_resize(size, _one_side(sides))}
    if set(sides) != {"shortest_edge"}:
        raise _UnknownError(f"resizes them to {sides}; expected height and width, or the shortest edge")
    if not cut:
        raise _UnknownError(f"keeps proportions ({sides}) and cuts nothing out; expected a square")
    size = _one_side(cut)
    return {"size": size, "mode": "shortest", **_resize(size, sides["shortest_edge"])}


def _convnext(size: int, share: float) -> dict[str, Any]:
    """ConvNeXT's own rule: smaller images are cut from larger ones, larger ones are squashed."""
    if size >= _SQUASHED_FROM:
        return {"size": size, "mode": "squash"}
    return {"size": size, "mode": "shortest", **_resize(size, int(size / share))}


def _resize(size: int, resize: int) -> dict[str, int]:
    return {} if resize == size else {"resize": resize}


def _one_side(sides: Mapping[str, int]) -> int:
    if len(set(sides.values())) != 1:
        raise _UnknownError(f"makes images that are not square: {dict(sides)}; expected one side")
    return next(iter(sides.values()))


def _sides(size: Any) -> dict[str, int]:
    """Sides by name, of a mapping or a size object, without those that are unset."""
    if isinstance(size, int):
        return {"shortest_edge": size}
    items = size.items() if isinstance(size, Mapping) else getattr(size, "__dict__", {}).items()
    return {str(name): int(value) for name, value in items if value is not None}


def _levels(processor: Any) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and deviation in 0..255 units: rescaling, ALIGN's offset and both its normalisations in one step."""
    scale = float(processor.rescale_factor) if processor.do_rescale else 1.0
    offset = 1.0 if processor.do_rescale and getattr(processor, "rescale_offset", False) else 0.0
    mean, std = (_three(processor.image_mean), _three(processor.image_std)) if processor.do_normalize else (0.0, 1.0)
    again = _three(processor.image_std) if getattr(processor, "include_top", False) else 1.0
    return by_channel((np.zeros(3) + mean + offset) / scale, 1.0), by_channel(np.ones(3) * std * again / scale, 1.0)


def _three(values: Any) -> Float[np.ndarray, " c"]:
    """Of a value for all channels, or one for each."""
    return np.asarray(np.broadcast_to(np.asarray(values, dtype=float), 3))


@dataclass(frozen=True)
class _Prepared:
    """Normalised values of one image, and the rows and columns of its patches where it has those."""

    values: np.ndarray
    grid: tuple[int, ...] = ()


def _check(processor: Any, preprocess: Preprocess, where: str) -> None:
    """Raise ModelError unless the processor itself makes the same of a wide and of a small tall image."""
    for height, width in ((preprocess.size + 9, 2 * preprocess.size + 5), (preprocess.size - 1, preprocess.size // 2)):
        image = _drawn(max(2, height), max(2, width))
        try:
            theirs = _theirs(processor, image, preprocess)
        except Exception as error:  # whatever a processor meets that expects more than an image
            raise ModelError(f"{where} cannot take an image alone: {first_line(error)}") from error
        ours = _ours(image, preprocess)
        if ours.grid != theirs.grid or ours.values.shape != theirs.values.shape:
            raise ModelError(
                f"{where} does more than its settings say: an image of {image.shape[1]} x {image.shape[0]} pixels "
                f"becomes {theirs.values.shape}, expected {ours.values.shape}; choose another model"
            )
        levels = np.abs(ours.values - theirs.values) * np.asarray(preprocess.std, dtype=np.float32)
        if levels.max() > _NEAR:
            raise ModelError(
                f"{where} does more than its settings say: values of a prepared image are up to {levels.max():.1f} "
                "grey levels from what the settings give; choose another model"
            )


def _theirs(processor: Any, image: UInt8[np.ndarray, "h w 3"], preprocess: Preprocess) -> _Prepared:
    found = processor(images=[PIL.Image.fromarray(image)], return_tensors="pt")
    values = found["pixel_values"][0].float().numpy()
    if preprocess.mode != "patches":
        return _Prepared(np.moveaxis(values, 0, -1))
    rows, columns = (int(count) for count in found["spatial_shapes"][0])
    return _Prepared(values[: rows * columns].reshape(rows * columns, -1, 3), (rows, columns))


def _ours(image: UInt8[np.ndarray, "h w 3"], preprocess: Preprocess) -> _Prepared:
    prepared = prepare(image, preprocess)
    values = np.moveaxis(normalise_pixels(prepared[np.newaxis], preprocess)[0], 0, -1)
    if preprocess.mode != "patches":
        return _Prepared(values)
    rows, columns = (side // preprocess.patch for side in as_image(prepared, preprocess).shape[:2])
    patches = values[: preprocess.size].reshape(-1, preprocess.patch**2, 3)
    return _Prepared(patches[: rows * columns], (rows, columns))


def _drawn(height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """An image of edges and slopes, without a symmetry: each filter, crop and padding makes something else of it."""
    down, across = np.mgrid[:height, :width]
    edges = ((down // 3 + across // 5) % 2) * 150 + (across * 50) // width
    slopes = (down * 255) // height
    return np.stack([edges, slopes, (edges + slopes) // 2], axis=-1).astype(np.uint8)
