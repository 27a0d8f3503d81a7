"""What a model is, in one place for every kind: dual encoder, joint model, cross-encoder, generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diptych.core.config import Part
from diptych.core.text import in_bytes
from diptych.encoders.cached import parameters_in, sha256_of, weights_in
from diptych.models import DualEncoder
from diptych.models.folder import CARD, SideConfig, model_kind

CROSS_ENCODER, GENERATOR = "cross", "synthesis"  # `kind` in config.json


@dataclass(frozen=True)
class ModelDescription:
    """A model as its folder describes it."""

    name: str
    kind: str  # dual encoder, joint model, cross-encoder, generator
    folder: str
    fingerprint: str
    licence: str
    parts: Mapping[str, str]  # towers, heads, sizes: what each is, in words
    languages: tuple[str, ...]  # that the text tower knows; empty where it does not say
    data: Mapping[str, Any]  # what it was trained on: records and fingerprints
    scores: Mapping[str, Any]  # on its validation records
    card: str  # the model card, Markdown

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def to_text(self) -> str:
        """The facts a line each, then the card."""
        rows = {"kind": self.kind, "folder": self.folder, "fingerprint": self.fingerprint, **self.parts}
        rows["languages"] = ", ".join(self.languages) or "not stated"
        counts = {key: value for key, value in self.data.items() if key != "sources"}
        rows["training data"] = ", ".join(f"{key} {value}" for key, value in counts.items()) or "not stated"
        if sources := self.data.get("sources"):
            rows["sources"] = ", ".join(f"{one['name']} {one['train']} and {one['val']} records" for one in sources)
        rows["validation"] = ", ".join(f"{key} {value}" for key, value in self.scores.items()) or "not measured"
        rows["licence"] = self.licence or "not stated"
        width = max(map(len, rows)) + 2
        return "\n".join(
            [self.name, *(f"  {key:{width}}{value}" for key, value in rows.items()), "", self.card.strip()]
        )


def describe_model(address: str | Path) -> ModelDescription:
    """Describe a shipped model or generator by name, a joint model by its address, or a model folder of any kind.

    Raises ModelError where there is no such model.
    """
    from diptych.models import SHIPPED, load
    from diptych.synthesis import folder as generators

    folder = Path(address).expanduser()
    kind = model_kind(folder)
    if not kind and str(address) in generators.shipped() and str(address) not in SHIPPED:
        folder, kind = generators.find(address), GENERATOR
    if kind == GENERATOR:
        return _generator(folder)
    if kind == CROSS_ENCODER:
        return _cross_encoder(folder)
    model = load(address)
    config = model.config
    if model.joint:
        return _joint(model)
    parts = {
        "image": f"{config.image.source or config.image.tower}, head {_named(config.image.head)}",
        "text": f"{_tower(config.text)}, head {_named(config.text.head)}",
        "embedding": f"{model.dim} dimensions, {config.similarity}",
    }
    for side, settings in (("image", config.image), ("text", config.text)):
        if settings.network is not None:
            parts[side] += f", network {_named(settings.network)}"
    return _described("dual encoder", model.folder, config, parts, model.languages)


def _joint(model: DualEncoder) -> ModelDescription:
    """A pretrained model of another library: its sides, its temperature, and what its files and its card tell."""
    config, joint, preprocess = model.config, model.joint, model.preprocess
    assert joint is not None
    texts = model.text_tower.max_tokens
    folder = joint.folder
    files = weights_in(folder)
    known = dict(joint.facts.get("weights", {}))
    hashes = {str(file.relative_to(folder)): sha256_of(file) for file in files if file.name not in known}
    count = parameters_in(folder)
    parts = {
        "address": model.address,
        "image": f"{config.image.tower}, {preprocess.mode} {preprocess.size} x {preprocess.size}, "
        f"{preprocess.interpolation}",
        "preprocessing": repr(preprocess),
        "text": config.text.tower + (f", {texts} tokens at most" if texts else ", of any length"),
        "embedding": f"{model.dim} dimensions, {config.similarity}",
        "probability": _probability(config.logit_scale, config.logit_bias),
        "parameters": "not stated" if count is None else f"{count:,}",
        "size": in_bytes(sum(file.stat().st_size for file in files)),
        "revision": str(joint.facts.get("revision", "")) or "none: a folder",
        **{name: f"SHA-256 {sha}" for name, sha in sorted({**known, **hashes}.items())},
    }
    if bound := joint.facts.get("image side"):
        parts["image side of"] = str(bound)
    languages = model.languages or joint.facts.get("languages", ())
    return _described("joint model", folder, config, parts, languages)


def _probability(scale: float | None, bias: float | None) -> str:
    if scale is None:
        return "keeps no temperature"
    if bias is None:
        return f"softmax over texts of {scale:.4g} x cosine"
    return f"sigmoid of {scale:.4g} x cosine {bias:+.4g}"


def _generator(folder: Path) -> ModelDescription:
    from diptych import synthesis

    generator = synthesis.load(folder)
    config = generator.config
    parts = {
        "design": config.design,
        "images": f"{config.size} x {config.size} pixels",
        "text": f"{_named(config.text.tower)}, {config.text.max_words} words beside the sentence",
    }
    return _described("generator", folder, config, parts, generator.tower.languages)


def _cross_encoder(folder: Path) -> ModelDescription:
    from diptych.models.cross_encoder.folder import read_config

    config = read_config(folder)
    parts = {
        "image": config.image.source or config.image.tower,
        "text": f"{config.vocabulary:,} word pieces, {config.network.max_tokens} a text at most",
        "objective": config.objective.name,
        "runs on": "ONNX Runtime" if config.has_graphs else "PyTorch; diptych models export writes its graphs",
    }
    return _described("cross-encoder", folder, config, parts, ())


def _described(kind: str, folder: Path, config: Any, parts: Mapping[str, str], languages: Any) -> ModelDescription:
    card = folder / CARD
    return ModelDescription(
        name=config.name,
        kind=kind,
        folder=str(folder),
        fingerprint=config.fingerprint,
        licence=config.licence,
        parts=parts,
        languages=tuple(sorted(languages)),
        data=dict(config.training.get("data", {})),
        scores=dict(config.training.get("validation", {})),
        card=card.read_text(encoding="utf-8", errors="replace") if card.is_file() else "",
    )


def _tower(side: SideConfig) -> str:
    """A side's tower, and what stands side by side in it: `joined (use, bundled)`."""
    inside = [str(one["name"]) if isinstance(one, Mapping) else str(one) for one in side.options.get("towers", ())]
    return f"{side.source or side.tower} ({', '.join(inside)})" if inside else side.source or side.tower


def _named(part: Part) -> str:
    """A part and how many: `ensemble of 2 mlp`."""
    members = part.options.get("members", ())
    inside = list(dict.fromkeys(str(one.get("name", one)) if isinstance(one, Mapping) else str(one) for one in members))
    return f"{part.name} of {len(members)} {' and '.join(inside)}" if inside else part.name
