"""The process that decodes images from clients: `python -m diptych.serve.decode_worker`.

It reads requests from stdin and writes answers to stdout, one after another. The operating system limits its memory
and its processor time for each image, and forbids it to write files. If it dies, only the current image fails:
`decoding.DecoderPool` starts another process.

    request:  header length (4 bytes, big-endian) · JSON header · encoded image
    answer:   header length · JSON header · pixels of the model (size x size x 3) · JPEG thumbnail
"""

from __future__ import annotations

import json
import struct
import sys
from typing import IO, Any

LENGTH = struct.Struct(">I")


def frame(header: dict[str, Any], *parts: bytes | memoryview) -> bytes:
    """One message."""
    encoded = json.dumps(header).encode()
    return b"".join((LENGTH.pack(len(encoded)), encoded, *parts))


def limit_resources(memory: int) -> None:
    """Bound this process: address space in bytes, no core files, no files written, few descriptors."""
    import resource

    for name, value in (("RLIMIT_AS", memory), ("RLIMIT_CORE", 0), ("RLIMIT_FSIZE", 0), ("RLIMIT_NOFILE", 32)):
        resource.setrlimit(getattr(resource, name), (value, value))


def allow_seconds(seconds: int) -> None:
    """Processor time from now on; beyond it the system ends this process."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, hard))


def answer(header: dict[str, Any], data: bytes) -> bytes:
    """Decode one image as the header says; whatever is wrong with it becomes an answer too."""
    from diptych.core.errors import DataError, Reason

    try:
        return _decoded(header, data)
    except DataError as error:
        return frame({"reason": error.reason.value, "message": str(error)})
    except MemoryError:
        return frame({"reason": Reason.TOO_LARGE.value, "message": "the image needs more memory than it may have"})


def _decoded(header: dict[str, Any], data: bytes) -> bytes:
    from dataclasses import asdict

    import numpy as np

    from diptych.core.config import from_dict
    from diptych.core.protocols import Preprocess
    from diptych.core.types import BytesImage
    from diptych.data.images import (
        ImageLimits,
        Photo,
        beginning_for,
        decode,
        decode_for,
        prepare,
        read_beginning,
        thumbnail,
    )
    from diptych.data.images.prepare import SPARE_PIXELS

    limits = ImageLimits(**header["limits"])
    image = BytesImage(data, header["name"])
    longest = int(header["longest"])
    wanted = header["preprocess"]
    preprocess = None if wanted is None else from_dict(Preprocess, wanted, "the request")
    about, photo = beginning_for(image, preprocess, limits) if preprocess else read_beginning(image, limits)
    model, shown = b"", None
    if preprocess is not None:
        shown = decode_for(image, preprocess, limits)
        model = np.ascontiguousarray(prepare(shown, preprocess)).tobytes()
    if shown is None or (longest > SPARE_PIXELS and not (preprocess and preprocess.is_of_sounds)):
        shown = decode(image, limits, at_least=longest)
    width, height = about.upright(is_wide=shown.shape[1] > shown.shape[0])
    small = thumbnail(shown, longest)
    facts = {
        "width": width, "height": height, "pixels": len(model), "thumb": len(small), "photo": asdict(photo or Photo()),
    }  # fmt: skip
    return frame(facts, model, small)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def main(memory: int) -> None:
    """Serve requests until stdin closes."""
    import PIL.Image  # noqa: F401 - loaded before the limits, as are the decoders
    import simplejpeg  # noqa: F401

    from diptych.data import images  # noqa: F401

    limit_resources(memory)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            (length,) = LENGTH.unpack(_exactly(source, LENGTH.size))
            header = json.loads(_exactly(source, length))
            data = _exactly(source, header["bytes"])
        except EOFError:
            return
        allow_seconds(header["seconds"])
        sink.write(answer(header, data))
        sink.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
