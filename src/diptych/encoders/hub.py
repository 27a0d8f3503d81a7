"""Where pretrained weights come from: a folder, the Hugging Face cache, or, only if allowed, the hub."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from diptych.core.errors import ModelError, first_line
from diptych.core.extras import need

ALLOW = "DIPTYCH_ALLOW_DOWNLOAD"
SAFE_WEIGHTS = (".safetensors",)
OTHER_WEIGHTS = (".bin", ".pth", ".pt")  # only ever read with torch.load(weights_only=True)
_DESCRIPTIONS = ["*.json", "*.txt", "*.model", "*.safetensors"]

_lock = threading.Lock()
_closings = 0  # blocks of `network` that are open now
_was_offline = False


def downloads_allowed(allow_download: bool | None = None) -> bool:
    """The argument if given, else whether DIPTYCH_ALLOW_DOWNLOAD is 1, true, yes or on."""
    if allow_download is not None:
        return allow_download
    return os.environ.get(ALLOW, "").strip().lower() in ("1", "true", "yes", "on")


def hub_folder(name: str | Path, *, allow_download: bool | None = None) -> Path:
    """The folder of a model: `name` itself if it is a folder, else its snapshot in the hub's cache.

    Raises ModelError, without touching the network, if it is neither and downloads are not allowed.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if isinstance(name, Path) or str(name).startswith((".", "/", "~")):
        raise ModelError(f"no model folder at {folder}; expected a folder with config.json and its weights")
    if downloads_allowed(allow_download):
        return _download(str(name))
    hub = need("huggingface_hub", f"the model {name!r}")
    from huggingface_hub import constants

    try:
        return Path(hub.snapshot_download(str(name), local_files_only=True))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the model {str(name)!r} is neither a local folder nor in the Hugging Face cache "
            f"({constants.HF_HUB_CACHE}); nothing is downloaded unless allowed: set {ALLOW}=1 (or "
            "allow_download=True), or pass the path of a folder that holds the model"
        ) from error


def weights_file(folder: Path, *names: str) -> Path | None:
    """The weights in a folder: the first of `names` that is there, else any, safetensors before the rest."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    for suffix in (*SAFE_WEIGHTS, *OTHER_WEIGHTS):
        if found := sorted(folder.glob(f"*{suffix}")):
            return found[0]
    return None


@contextlib.contextmanager
def network(allow_download: bool | None = None) -> Iterator[None]:
    """Keep the hub's client offline while a model is built, unless downloads are allowed.

    Folders are resolved before, but the libraries sometimes ask the hub for more on their own.
    """
    if downloads_allowed(allow_download):
        yield
        return
    from huggingface_hub import constants

    global _closings, _was_offline
    with _lock:
        if _closings == 0:
            _was_offline = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = True
        _closings += 1
    try:
        yield
    finally:
        with _lock:
            _closings -= 1
            constants.HF_HUB_OFFLINE = _closings > 0 or _was_offline


def _download(name: str) -> Path:
    hub = need("huggingface_hub", f"the model {name!r}")
    try:
        folder = Path(hub.snapshot_download(name, allow_patterns=_DESCRIPTIONS))
        if weights_file(folder) is None:  # an old repository without safetensors
            patterns = [f"*{suffix}" for suffix in OTHER_WEIGHTS]
            folder = Path(hub.snapshot_download(name, allow_patterns=_DESCRIPTIONS + patterns))
        return folder
    except Exception as error:  # the client's own errors, and those of its transport
        raise ModelError(
            f"cannot download the model {name!r}: {first_line(error)}; pass a local folder instead"
        ) from error
