"""The process that reads words: images come in over its standard input, and a line of JSON for each goes out.

An image is 8 bytes of its length and then its encoded bytes. The first line says that the process is ready.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any

from diptych.core.errors import DataError
from diptych.core.types import BytesImage
from diptych.data.images import decode

from .models import found_models


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a package prints is no answer
    try:
        from rapidocr import RapidOCR

        options = {f"{part}.model_path": path for part, path in found_models().items()}
        threads = {"EngineConfig.onnxruntime.intra_op_num_threads": int(os.environ.get("OMP_NUM_THREADS", "-1"))}
        engine = RapidOCR(params={"Global.log_level": "critical", **threads, **options})
    except Exception as error:  # of any package below
        _say(answers, {"error": f"{type(error).__name__}: {error}"})
        return
    _say(answers, {"ready": True})
    incoming = sys.stdin.buffer
    while len(head := incoming.read(8)) == 8:
        _say(answers, _read(engine, incoming.read(int.from_bytes(head, "big"))))


def _read(engine: Any, data: bytes) -> dict[str, Any]:
    try:
        pixels = decode(BytesImage(data, "the image"))
        found = engine(pixels[:, :, ::-1])  # it takes BGR
    except DataError as error:
        return {"error": str(error), "reason": error.reason}
    except Exception as error:  # an image that the recogniser cannot take
        return {"error": f"its words cannot be read ({type(error).__name__})", "reason": "malformed"}
    return {"words": "\n".join(found.txts or ())}


def _say(answers: IO[bytes], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
