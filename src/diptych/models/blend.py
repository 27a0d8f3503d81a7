"""Blending two models of one architecture, weight by weight: before and after fine-tuning.

WiSE-FT (Wortsman et al., arXiv 2109.01903): theta = (1 - share) * theta_before + share * theta_after. A fine-tuned
model finds more on the data that it was tuned on and forgets some of what it knew; between the two there are often
models that do nearly as well on both.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.config import to_dict
from diptych.core.errors import ConfigError, ModelError
from diptych.core.extras import need
from diptych.data.seen import read_seen
from diptych.encoders.graphs import SCALE, WEIGHTS, Graph, read_graph, write
from diptych.models import folder as files
from diptych.models.dual import DualEncoder
from diptych.models.familiarity import FILE as FAMILIAR
from diptych.models.shipped import load

Weights = Mapping[str, np.ndarray]


def check_share(share: float) -> float:
    """The share of the second model. Raises ConfigError for one outside 0 to 1."""
    if not 0 <= share <= 1:
        raise ConfigError(f"a blend takes a share of the second model from 0 to 1, found {share:g}")
    return share


def blend(before: DualEncoder, after: DualEncoder, share: float, folder: Path, *, name: str = "") -> files.ModelConfig:
    """Write the model whose weights are (1 - share) * before + share * after; 0 and 1 give either one exactly.

    The temperature is blended as its logarithm, which is what is trained. Weights that are stored in half precision or
    in 8 bits are widened, blended and stored again, in the wider of both forms. What the training images look like
    (familiar.json) is known of a blend at 0 or 1 alone.

    Args:
        before, after: two models of one architecture: the same towers, networks, heads, preprocessing and tokenizer.
            Or a pretrained joint model, and the saved model of a run that began from it.
        share: of `after`, from 0 to 1.
        folder: where to write it; a model that is there is replaced when all is written.
        name: of the model; "" is "NAME-blend-SHARE".

    Raises ModelError for models that differ in more than their weights, and says in what; ConfigError for a share
    outside 0 to 1.
    """
    check_share(share)
    need("onnx", "blending models")
    require_blendable(before, after)
    copied = share == 1 or (share == 0 and before.joint is None)
    nearer = before if share == 0 and copied else after
    made = name or f"{after.config.name}-blend-{share:g}"
    with files.written_whole(folder) as temporary:
        for file in nearer.config.files if copied else _others(nearer):
            (temporary / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(nearer.folder / file, temporary / file)
        if not copied:
            write(
                temporary,
                {graph: _blended_graph(before, after, share, graph) for graph in _graphs(after)},
            )
        config = dataclasses.replace(
            nearer.config,
            name=made,
            logit_scale=blended_scale(before.config.logit_scale, after.config.logit_scale, share),
            logit_bias=_between(before.config.logit_bias, after.config.logit_bias, share),
            training=_record(before, after, share),
        )
        config = files.finish(temporary, config, _card(made, before, after, share))
        if copied and (nearer.folder / FAMILIAR).is_file():
            shutil.copyfile(nearer.folder / FAMILIAR, temporary / FAMILIAR)
        seen, earlier = (None if model.joint else read_seen(model.folder) for model in (after, before))
        if seen := (seen.after(earlier) if seen else earlier):
            seen.write(temporary)
    return config


def require_blendable(before: DualEncoder, after: DualEncoder) -> None:
    """Raise ModelError, and say in what, for two models that differ in more than their weights."""
    if after.joint or before.joint:
        _require_from_joint(before, after)
        return
    for model in (before, after):
        files.verify(model.folder, model.config)
    one, other = _shape(before), _shape(after)
    found = [(what, one.get(what, "none"), other.get(what, "none")) for what in {**one, **other}]
    apart = [f"{what}: {first} and {second}" for what, first, second in found if first != second]
    if apart:
        raise ModelError(
            f"{before.name!r} and {after.name!r} cannot be blended: they differ in {'; '.join(apart)}. Give a model, "
            "and one that was fine-tuned from it"
        )


def _blended_graph(before: DualEncoder, after: DualEncoder, share: float, name: str) -> Graph:
    """The graph of `after` with the weights of both."""
    other = read_graph(after.folder, name)
    if before.joint:
        return Graph(other.proto, blended(_started_from(after, other.weights, name), other.weights, share, name))
    one = read_graph(before.folder, name)
    if [node.op_type for node in one.proto.graph.node] != [node.op_type for node in other.proto.graph.node]:
        raise ModelError(f"{name} of the two models computes by other steps, so their weights cannot be blended")
    return Graph(other.proto, blended(one.weights, other.weights, share, name))


def _require_from_joint(before: DualEncoder, after: DualEncoder) -> None:
    """Raise ModelError unless `after` was saved by a run that began from the joint model `before`."""
    if before.joint is None or after.joint is not None:
        raise ModelError(
            f"{after.name!r} is another library's model; a joint model is blended with what `diptych train` made of "
            "it, given second. To blend two joint models, export both to folders first"
        )
    files.verify(after.folder, after.config)
    for side in ("image", "text"):
        settings, own = (getattr(model.config, side) for model in (after, before))
        start = settings.fingerprint
        if settings.network is not None:
            model = str(settings.network.options.get("model", ""))
            start = getattr(load(model).config, side).fingerprint if model else ""
        if settings.head.name != "identity" or start != own.fingerprint:
            raise ModelError(
                f"the {side} side of {after.name!r} did not begin as that of {before.name}, so the two cannot be "
                "blended; give the model that the run's init names"
            )


def _started_from(model: DualEncoder, stored: Weights, name: str) -> Weights:
    """The weights that a side of a fine-tuned joint model began with, by the names of its graph."""
    need("torch", "blending with a joint model")
    from diptych.models.side import build_side

    side, tower = (
        (model.config.image, model.image_tower) if name == files.IMAGE_HEAD else (model.config.text, model.text_tower)
    )
    built = build_side(side.network, side.head, tower, model.config.dim)
    state = (built if side.network else built.head).state_dict()
    started = {key: value.numpy() for key, value in state.items() if key in stored and value.is_floating_point()}
    same = {key: value for key, value in stored.items() if key.removesuffix(SCALE) not in started}
    return {**same, **started}


def blended(before: Weights, after: Weights, share: float, name: str = "the weights") -> dict[str, np.ndarray]:
    """(1 - share) * before + share * after, each weight in the wider of the forms that it is stored in.

    Raises ModelError where names, shapes, or whole numbers (which cannot be blended) differ.
    """
    if others := sorted(_names(before) ^ _names(after)):
        raise ModelError(f"{name} of the two models has other weights: only one of them has {others[0]}")
    found: dict[str, np.ndarray] = {}
    for key in sorted(_names(after)):
        one, other = before[key], after[key]
        if one.shape != other.shape:
            raise ModelError(f"{name} of the two models has other sizes: {key} is {one.shape} and {other.shape}")
        if not _is_real(key, before) or not _is_real(key, after):
            if not np.array_equal(one, other):
                raise ModelError(f"{key} of {name} holds whole numbers that differ, which cannot be blended")
            found[key] = other
            continue
        made = (1 - share) * _widened(key, before) + share * _widened(key, after)
        found |= _stored(key, made, {one.dtype, other.dtype})
    return found


def blended_scale(before: float | None, after: float | None, share: float) -> float | None:
    """The inverse of the temperature, blended as its logarithm; None where one of both is unknown."""
    if share in (0, 1) or before is None or after is None:
        return _between(before, after, share)
    return math.exp((1 - share) * math.log(before) + share * math.log(after))


def _between(before: float | None, after: float | None, share: float) -> float | None:
    if share in (0, 1):
        return after if share else before
    return None if before is None or after is None else (1 - share) * before + share * after


def _graphs(model: DualEncoder) -> list[str]:
    return sorted(Path(file).stem for file in model.config.files if Path(file).suffix == ".onnx")


def _others(model: DualEncoder) -> list[str]:
    """Its files beside graphs and weights: a tokenizer."""
    return sorted(file for file in model.config.files if Path(file).suffix != ".onnx" and file != WEIGHTS)


def _shape(model: DualEncoder) -> dict[str, Any]:
    """What two models must share to be blended, in words."""
    config = model.config
    found: dict[str, Any] = {"dim": config.dim, "similarity": config.similarity, "graphs": ", ".join(_graphs(model))}
    for side in ("image", "text"):
        settings = getattr(config, side)
        kept = ("tower", "features", "network", "head", "fingerprint", "preprocess")
        said = to_dict(dataclasses.replace(settings, options={}))
        found |= {f"the {side} side's {key}": said[key] for key in kept}
    return found | {file: config.files[file][:8] for file in _others(model)}


def _names(weights: Weights) -> set[str]:
    return {key for key in weights if not (key.endswith(SCALE) and key.removesuffix(SCALE) in weights)}


def _is_real(key: str, weights: Weights) -> bool:
    return weights[key].dtype.kind == "f" or key + SCALE in weights


def _widened(key: str, weights: Weights) -> np.ndarray:
    value = weights[key].astype(np.float64)
    return value * weights[key + SCALE] if key + SCALE in weights else value


def _stored(key: str, value: np.ndarray, forms: set[Any]) -> dict[str, np.ndarray]:
    if forms == {np.dtype(np.int8)}:
        scale = np.maximum(np.abs(value).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny)
        return {key: np.rint(value / scale).astype(np.int8), key + SCALE: scale.astype(np.float32)}
    return {key: value.astype(max(form for form in forms if form.kind == "f"))}


def _record(before: DualEncoder, after: DualEncoder, share: float) -> dict[str, Any]:
    """What the saved model keeps: the record of the fine-tuning, without its scores, and what was blended."""
    record = {key: value for key, value in after.config.training.items() if key not in ("validation", "before_after")}
    said = {"share": share}
    for when, model in (("before", before), ("after", after)):
        said[when] = {"name": model.name, "fingerprint": model.fingerprint}  # type: ignore[assignment]
    return record | {"blend": said}


def _card(name: str, before: DualEncoder, after: DualEncoder, share: float) -> str:
    own = (after.folder / files.CARD).read_text(encoding="utf-8") if (after.folder / files.CARD).is_file() else ""
    parts = [
        f"# {name}",
        f"A blend of two models, weight by weight (WiSE-FT): {1 - share:g} of the first and {share:g} of the second.",
        f"- before fine-tuning: {before.name} (fingerprint `{before.fingerprint[:16]}`)\n"
        f"- after fine-tuning: {after.name} (fingerprint `{after.fingerprint[:16]}`)",
        "No figure below is the blend's own; `diptych models blend --check SOURCE`, or `diptych eval`, measures it.",
        f"## The card of {after.name}" if own else "",
        own.strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
