"""From an image that was found to its fingerprint, its vector and its small copy; in this process or on a worker."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.core.errors import DataError, Reason
from diptych.core.protocols import Preprocess
from diptych.core.shapes import Float32, Shaped, UInt8
from diptych.core.threads import map_ahead
from diptych.core.types import BytesImage, ImageRef, Skipped
from diptych.core.workers import SentModel
from diptych.data.image_inputs import ImageLimits
from diptych.data.images import Header, Photo, beginning_for, stream, thumbnail
from diptych.data.video import VideoImage, probe
from diptych.encoders.video import MeanPooledVideo
from diptych.library.embedding import embedded
from diptych.library.encoder import Encoder
from diptych.library.kinds import content_of_ref
from diptych.library.opened import lasting_name
from diptych.library.rendering.thumbnails import SIZE as THUMB_SIZE
from diptych.library.sources import FoundImage
from diptych.library.store.rows import content_of

HASH_AHEAD = 64  # images


@dataclass(frozen=True, slots=True)
class Unread:
    """An image whose bytes have not been read: where they are, its path in written form, and its stated length."""

    ref: ImageRef
    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Read:
    """What the encoded bytes of an image say before they are decoded."""

    content: str
    header: Header
    photo: Photo | None = None


@dataclass(frozen=True, slots=True)
class SmallCopy:
    """What a decoding thread keeps of an image, besides the model's pixels."""

    is_wide: bool
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class Embedded:
    """An image that could be read. Without a vector and a copy where its content was known already."""

    read: Read
    vector: Float32[np.ndarray, d] | None = None
    copy: SmallCopy | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """How images are read and embedded."""

    batch_size: int  # images embedded at once
    workers: int  # decoding threads
    limits: ImageLimits
    has_videos: bool  # whether there are videos among all images of the run


def unread(found: FoundImage) -> Unread:
    """The same image, without what its source says about it."""
    return Unread(found.ref, found.path, found.bytes)


def read_image(image: Unread, preprocess: Preprocess, limits: ImageLimits) -> Read | Skipped:
    """The fingerprint of the encoded bytes and the size in their header."""
    try:
        if isinstance(image.ref, VideoImage):
            about = probe(image.ref.path)
            return Read(content_of_ref(image.ref), Header(about.width, about.height, turned=False))
        limits.check_bytes(image.bytes, image.path)
        with image.ref.open() as opened:
            data = opened.read(limits.max_bytes + 1)
        limits.check_bytes(len(data), image.path)
        inside = BytesImage(data, image.path)
        header, photo = beginning_for(inside, preprocess, limits)
    except DataError as error:
        return Skipped(image.path, error.reason, str(error))
    except OSError as error:
        return Skipped(image.path, Reason.MISSING, f"cannot read it: {error.strerror}")
    return Read(content_of(data), header, photo)


def small_copy(pixels: UInt8[np.ndarray, "*f h w 3"]) -> SmallCopy:
    """The thumbnail of decoded pixels; of frames the middle one's."""
    if pixels.ndim == 4:
        pixels = pixels[len(pixels) // 2]
    return SmallCopy(pixels.shape[1] > pixels.shape[0], thumbnail(pixels, THUMB_SIZE))


def sides(encoder: Encoder, *, has_videos: bool) -> tuple[Preprocess, Callable[[Any], np.ndarray]]:
    """How images are prepared and embedded; the frames of videos are pooled."""
    if not has_videos:
        return encoder.preprocess, encoder.encode_pixels
    pooled = MeanPooledVideo(encoder.encode_pixels, encoder.preprocess)
    return pooled.preprocess, pooled.encode_pixels


def embed_all(
    images: Sequence[Unread], encoder: Encoder, work: Work, known: Container[str] = ()
) -> list[Embedded | Skipped]:
    """What becomes of each image, in order; those whose content is in `known` are read, and not embedded."""
    results: list[Embedded | Skipped] = []
    streamed: list[tuple[int, Read]] = []  # by position in the stream: the one in `images`
    preprocess, encode = sides(encoder, has_videos=work.has_videos)

    def unknown() -> Iterator[ImageRef]:
        reads = map_ahead(
            lambda image: read_image(image, encoder.preprocess, work.limits),
            images, workers=1, depth=HASH_AHEAD, name="hash",
        )  # fmt: skip
        for image, found in zip(images, reads, strict=True):
            results.append(found if isinstance(found, Skipped) else Embedded(found))
            if isinstance(found, Read) and found.content not in known:
                streamed.append((len(results) - 1, found))
                yield image.ref

    for batch in stream(
        unknown(), preprocess, batch_size=work.batch_size, workers=work.workers, limits=work.limits, also=small_copy
    ):
        vectors = embedded(batch.pixels, encoder, encode)
        for position, vector, copy in zip(batch.indices, vectors, batch.extras, strict=True):
            at, found = streamed[position]
            results[at] = Embedded(found, vector, copy)
        for position, skipped in batch.skipped:
            results[streamed[position][0]] = skipped
    return results


@dataclass(frozen=True)
class EmbedImages:
    """The task of embedding images (`core.workers.Task`): `Embedded` or `Skipped` for each `Unread`.

    Those whose content is in `known` (sorted, of type S) are read, and not embedded.
    """

    model: SentModel[Encoder]
    work: Work
    known: Shaped[np.ndarray, n]

    @classmethod
    def by(cls, encoder: Encoder, work: Work, known: Collection[str] = ()) -> EmbedImages:
        """The task for a model that is loaded here."""
        sent = SentModel(_load, lasting_name(encoder), encoder.fingerprint, encoder)
        return cls(sent, work, np.array(sorted(known), dtype="S"))

    @property
    def batch_size(self) -> int:
        """Images embedded at once."""
        return self.work.batch_size

    @property
    def threads(self) -> int:
        """Decoding threads."""
        return self.work.workers

    def start(self, threads: int, device: str) -> Callable[[Sequence[Unread]], list[Embedded | Skipped]]:
        """`embed_all`, by the model that is loaded now."""
        encoder, known = self.model.get(threads, device), _Sorted(self.known)
        return lambda images: embed_all(images, encoder, self.work, known)


def _load(name: str, *, threads: int | None, device: str) -> Encoder:
    from diptych.models import load

    return load(name, threads=threads, device=device)


class _Sorted(Container[str]):
    """Contents in a sorted array, which the workers of a machine share without a copy."""

    def __init__(self, contents: Shaped[np.ndarray, n]) -> None:
        self._contents = contents

    def __contains__(self, content: object) -> bool:
        sought = str(content).encode()
        place = int(np.searchsorted(self._contents, sought))
        return place < len(self._contents) and bool(self._contents[place] == sought)
