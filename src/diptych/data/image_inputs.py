"""What counts as an image, and how large it may be: all that is known before a pixel is decoded.

Imports no decoder, so that what only searches stays light.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.types import ImageRef

EncodedImage: TypeAlias = ImageRef | Path | str | bytes
if TYPE_CHECKING:
    import PIL.Image
    from numpy.typing import NDArray

    ImageInput: TypeAlias = EncodedImage | PIL.Image.Image | NDArray[Any]
else:
    ImageInput = Any  # naming Pillow's class would import Pillow

# Suffixes by which a folder reader picks its files. The content decides later, never the suffix.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".heic", ".heif", ".avif", ".mpo"}
)
# Suffixes of RAW files of cameras, which are read where the extra [raw] is installed.
RAW_SUFFIXES = frozenset(
    {
        ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".dng", ".orf", ".rw2", ".raf", ".pef",
        ".srw", ".x3f", ".raw", ".rwl", ".3fr", ".erf", ".kdc", ".mrw", ".dcr", ".iiq", ".mef", ".mos",
    }
)  # fmt: skip
# Suffixes of sounds, which are read where a model takes them in place of images.
SOUND_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"})
# Images of kinds that are not read, because Pillow cannot, or not safely enough. They are counted, never opened.
OTHER_SUFFIXES = frozenset(
    {
        ".jp2", ".j2k", ".jpf", ".jpx", ".jpc", ".jxl", ".jxr", ".tga", ".ico", ".cur", ".icns", ".psd",
        ".psb", ".xcf", ".svg", ".svgz", ".eps", ".ai", ".wmf", ".emf", ".exr", ".hdr", ".dds", ".pcx",
        ".sgi", ".fits", ".fit", ".pfm", ".djvu", ".xbm", ".xpm", ".qoi", ".bpg", ".pcd", ".dcm", ".kra",
        ".cdr", ".heics", ".avifs", ".ppm", ".pgm", ".pbm", ".pnm",
    }
)  # fmt: skip

_MEGA = 1_000_000


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The largest image that is read."""

    max_bytes: int = 20 * _MEGA  # bytes of the encoded file
    max_pixels: int = 50 * _MEGA  # width x height, as the header says
    max_aspect: float = 100.0  # longer side / shorter side; a panorama is at most about 20

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or self.max_pixels < 1 or not self.max_aspect >= 1:
            raise ConfigError(
                f"image limits must be at least 1, found max_bytes={self.max_bytes}, "
                f"max_pixels={self.max_pixels}, max_aspect={self.max_aspect}"
            )

    def check_bytes(self, count: int, name: str) -> None:
        """Raise DataError(too_large) when the encoded file is too long."""
        if count > self.max_bytes:
            raise DataError(
                f"{name} has {count / _MEGA:.3g} MB or more, the limit is {self.max_bytes / _MEGA:.3g} MB; "
                "make it smaller or raise the limit",
                Reason.TOO_LARGE,
            )

    def check_size(self, width: int, height: int, name: str) -> None:
        """Raise DataError(malformed, too_large or bad_aspect) when these dimensions are not to be decoded."""
        if width < 1 or height < 1:
            raise DataError(f"{name} is {width} x {height} pixels; it has no pixels", Reason.MALFORMED)
        if width * height > self.max_pixels:
            raise DataError(
                f"{name} has {width} x {height} pixels ({width * height / _MEGA:.4g} megapixels), "
                f"the limit is {self.max_pixels / _MEGA:.4g}; make it smaller or raise the limit",
                Reason.TOO_LARGE,
            )
        if max(width, height) > self.max_aspect * min(width, height):
            raise DataError(
                f"{name} has {width} x {height} pixels; one side may be at most {self.max_aspect:g} times "
                "the other; cut it into pieces",
                Reason.BAD_ASPECT,
            )


DEFAULT_LIMITS = ImageLimits()
