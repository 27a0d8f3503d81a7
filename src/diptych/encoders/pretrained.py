"""Load a model of transformers from a folder or the cache: no remote code, no silent random weights."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.errors import ConfigError, MissingExtraError, ModelError, first_line
from diptych.core.extras import need
from diptych.encoders.compat import import_torchvision
from diptych.encoders.hub import hub_folder, offline
from diptych.encoders.pytorch import choose_device, freeze, shared_model
from diptych.encoders.weights import check_folder, stamp


@dataclass(frozen=True)
class HubModel:
    """A frozen model of transformers, the folder it came from, and whether its pooling layer came with weights."""

    module: Any
    folder: Path
    has_pooler: bool

    @property
    def two_sided(self) -> bool:
        """Whether it embeds images and texts in one space, as CLIP does."""
        return hasattr(self.module, "get_image_features") and hasattr(self.module, "get_text_features")

    def check_pooling(self, pooling: str, poolings: Sequence[str]) -> str:
        """`pooling`, if it is one of `poolings` and the model has what it takes. Raises ConfigError otherwise."""
        if pooling not in poolings:
            raise ConfigError(f"unknown pooling {pooling!r}; choose from {', '.join(poolings)}")
        others = ", ".join(one for one in poolings if one not in ("auto", "projected", "pooler"))
        if pooling == "projected" and not self.two_sided:
            raise ConfigError(f"{self.folder} is not a CLIP-like model; choose pooling {others}")
        if pooling == "pooler" and not self.has_pooler:
            raise ConfigError(f"{self.folder} has no weights for a pooling layer; choose pooling {others}")
        return pooling


def load_hub_model(name: str | Path, device: str, *, address: str = "") -> HubModel:
    """The model in a folder or the hub's cache; the two towers of a CLIP share one copy.

    `address` is what `diptych models get` fetches it by; "hf:NAME" when left out, nothing for a folder.

    Raises ModelError when it is not here, needs code from its folder, lacks weights, or is not whole.
    """
    folder = hub_folder(name, address=address)
    where = choose_device(device)
    check_folder(folder, address or ("" if folder == Path(name).expanduser() else f"hf:{name}"))

    def load() -> Any:
        module, missing = pretrained_model("AutoModel", folder, str(folder), optional=_is_pooler)
        if module.config.is_encoder_decoder:
            module = module.get_encoder()
        module.diptych_random_pooler = bool(missing)
        return freeze(module, where)

    module = shared_model(("transformers", folder.resolve(), stamp(folder), str(where)), load)
    return HubModel(module, folder, not module.diptych_random_pooler)


def import_transformers() -> Any:
    """The transformers package, with torchvision repaired first where that is needed."""
    with contextlib.suppress(MissingExtraError):  # transformers does without torchvision
        import_torchvision()
    transformers = need("transformers", "a transformers tower")
    need("torch", "a transformers tower")
    return transformers


def pretrained(kind: str, folder: Path, what: str, **options: Any) -> Any:
    """`kind.from_pretrained(folder)` of transformers, such as kind "AutoTokenizer"; nothing from the folder is run.

    Raises ModelError, with `what` it was in words, when transformers cannot load it.
    """
    transformers = import_transformers()
    try:
        with offline(), _quiet(transformers):
            return getattr(transformers, kind).from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, **options
            )
    except Exception as error:  # transformers raises whatever it meets while reading
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"{what} needs code of its own (auto_map in its configuration), and code from a model's folder is "
                "never run; choose a model of an architecture that transformers has itself"
            ) from error
        raise ModelError(f"transformers cannot load {what}: {first_line(error)}") from error


def pretrained_model(
    kind: str,
    folder: Path,
    what: str,
    *,
    optional: Callable[[str], bool] = lambda _: False,
) -> tuple[Any, list[str]]:
    """As `pretrained`, for a model: the module, and which `optional` weights the folder lacks.

    Raises ModelError when it lacks others.
    """
    module, report = pretrained(kind, folder, what, output_loading_info=True)
    missing = sorted(report["missing_keys"])
    if lost := [key for key in missing if not optional(key)]:
        raise ModelError(
            f"{folder} lacks weights for {len(lost)} parameters of {type(module).__name__} ({lost[0]}, ...)"
        )
    return module, missing


def features_of(output: Any) -> Any:
    """Projected features: newer versions of transformers wrap the tensor, older ones return it."""
    return getattr(output, "pooler_output", output)


def _is_pooler(key: str) -> bool:
    return "pooler" in key.split(".")


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No bar, report or advice of transformers on stderr: what is missing is raised by whoever loads."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as advice to install what is not needed
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
