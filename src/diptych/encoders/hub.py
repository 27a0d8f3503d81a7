"""Where pretrained weights are: in a folder, or in the Hugging Face cache. Nothing here uses the network."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from diptych.core.errors import ModelError
from diptych.core.extras import need
from diptych.core.registry import nearest

GET = "diptych models get"  # the command that fetches weights
SAFE_WEIGHTS = (".safetensors",)
OTHER_WEIGHTS = (".bin", ".pth", ".pt")  # only ever read with torch.load(weights_only=True)

_lock = threading.Lock()
_closings = 0  # blocks of `offline` that are open now
_was_offline = False


def hub_folder(name: str | Path, revision: str | None = None, *, address: str = "") -> Path:
    """The folder of a model: `name` itself if it is a folder, else its snapshot in the hub's cache.

    Args:
        name: a folder, or ORG/NAME, where "@REVISION" may follow.
        revision: a commit, branch or tag of the hub; None is the one in `name`, else the branch "main".
        address: what `diptych models get` fetches the model by; "hf:NAME" when left out.

    Raises ModelError if it is neither; the message ends with the command that fetches the model.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if isinstance(name, Path) or name.startswith((".", "/", "~")):
        raise ModelError(f"no model folder at {folder}; expected a folder with config.json and its weights")
    repository, _, pinned = name.partition("@")
    revision = revision or pinned
    cached = cached_repository(repository)
    commit = revision or "main"
    with contextlib.suppress(OSError, ValueError):
        commit = (cached / "refs" / commit).read_text(encoding="utf-8").strip()
    snapshot = cached / "snapshots" / commit
    if repository.count("/") > 1 or ".." in f"{repository}/{commit}" or not snapshot.is_dir():
        wanted = f"{repository}@{revision}" if revision else repository
        raise ModelError(
            f"the model {wanted!r} is neither a local folder nor in the Hugging Face cache ({cached.parent})"
            f"{_in_its_place(repository, cached)}; pass the path of a folder that holds it, or fetch it: "
            f"{GET} {address or f'hf:{wanted}'}"
        )
    return snapshot


def lasting(name: str, folder: Path) -> str:
    """A name that finds the same weights later: a folder's full path, or ORG/NAME with the commit of its snapshot."""
    return str(folder.resolve()) if Path(name).expanduser().is_dir() else f"{name.partition('@')[0]}@{folder.name}"


def cached_repository(name: str) -> Path:
    """Where the hub's cache keeps the repository ORG/NAME: its `snapshots`, `refs` and `blobs`."""
    need("huggingface_hub", f"the model {name!r}")
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"


def _in_its_place(repository: str, cached: Path) -> str:
    """What the cache has instead: other revisions of the repository, or one of a similar name."""
    if revisions := sorted(path.name for path in cached.glob("snapshots/*")):
        return f"; of it are there the revisions {', '.join(revisions)}"
    others = [path.name.removeprefix("models--").replace("--", "/", 1) for path in cached.parent.glob("models--*")]
    return nearest(repository, others)


def record_file(snapshot: Path) -> Path:
    """What `diptych models get` wrote about a snapshot: its address, licence, and each file's size and SHA-256."""
    return snapshot.parent.parent / "diptych" / f"{snapshot.name}.json"


def url_file(url: str) -> Path:
    """Where open_clip keeps weights that come from a URL."""
    return Path("~/.cache/clip").expanduser() / url.rpartition("/")[2]


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
def offline() -> Iterator[None]:
    """Keep the hub's client offline while a model is built.

    Folders are resolved before, but the libraries sometimes ask the hub for more on their own.
    """
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
