"""Load a transformers model from a folder or the cache: no remote code, no silent random weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.errors import MissingExtraError, ModelError
from diptych.core.extras import need
from diptych.encoders.compat import import_torchvision
from diptych.encoders.offline import hub_folder, network
from diptych.encoders.pytorch import choose_device, freeze, shared


@dataclass(frozen=True)
class HubModel:
    """A frozen model, the folder it came from, and whether its pooling layer came with weights."""

    module: Any
    folder: Path
    has_pooler: bool

    @property
    def two_sided(self) -> bool:
        """Whether it embeds images and texts in one space, as CLIP does."""
        return hasattr(self.module, "get_image_features") and hasattr(self.module, "get_text_features")


def load_hub_model(name: str | Path, device: str, allow_download: bool | None) -> HubModel:
    """The model in a folder or the hub's cache; the two towers of a CLIP share one copy.

    Raises ModelError when it is not here, needs code from its folder, or lacks weights.
    """
    transformers = import_transformers()
    folder = hub_folder(name, allow_download=allow_download)
    where = choose_device(device)
    key = ("transformers", folder.resolve(), str(where))
    try:
        with network(allow_download):
            module = shared(key, lambda: _load(transformers, folder, where))
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(f"transformers cannot load {folder}: {one_line(error)}") from error
    return HubModel(module, folder, not module.diptych_random_pooler)


def import_transformers() -> Any:
    """The transformers package, with torchvision repaired first where that is needed."""
    with contextlib.suppress(MissingExtraError):  # transformers does without torchvision
        import_torchvision()
    transformers = need("transformers", "a transformers tower")
    need("torch", "a transformers tower")
    return transformers


def one_line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def features_of(output: Any) -> Any:
    """Projected features: newer versions wrap the tensor, older ones return it."""
    return getattr(output, "pooler_output", output)


def _load(transformers: Any, folder: Path, device: Any) -> Any:
    with quiet(transformers):
        module, report = transformers.AutoModel.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    missing = sorted(report["missing_keys"])
    pooler = [key for key in missing if "pooler" in key.split(".")]
    if len(pooler) < len(missing):
        lost = [key for key in missing if key not in pooler]
        raise ModelError(
            f"{folder} lacks weights for {len(lost)} parameters of {type(module).__name__} ({lost[0]}, ...)"
        )
    if module.config.is_encoder_decoder:
        module = module.get_encoder()
    module.diptych_random_pooler = bool(pooler)
    return freeze(module, device)


@contextlib.contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """No bar and no report of transformers on stderr: what is missing is raised by whoever loads."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
