"""`diptych models list`."""

from __future__ import annotations

from typing import Any

from diptych.cli.shared import Common


def list_models(*models: str, common: Common = Common()) -> None:
    """List the models at hand: those that ship, those in the caches of pretrained models, and any that you name.

    A model in a cache is listed with its address, kind, size, licence, revision and when it was last used.

    Examples:
        diptych models list
        diptych models list runs/*/model --json

    Args:
        models: Model folders, or addresses, to describe as well.
    """
    from diptych.core.text import in_bytes
    from diptych.encoders.cached import cached_models
    from diptych.encoders.hub import GET
    from diptych.models import SHIPPED
    from diptych.models.cross_encoder import shipped as shipped_reranker

    shipped, named = [_described(name, SHIPPED[name]) for name in SHIPPED], [_described(name) for name in models]
    cached: list[dict[str, Any]] = [
        {
            "name": model.folder.parent.parent.name.removeprefix("models--").replace("--", "/")
            if model.revision
            else model.address,
            "load": model.address,
            "kind": model.kind,
            "size": model.size,
            "licence": model.licence,
            "revision": model.revision,
            "last_used": model.last_used,
            "folder": str(model.folder),
            "is_whole": model.is_whole,
        }
        for model in cached_models()
    ]
    rerankers = [_reranker()] if shipped_reranker.is_shipped() else []
    lines = [
        f"{row['load']:24} {row['dim']:>5}-d  {row['image_tower']} + {row['text_tower']}  "
        f"rsum {row['validation'].get('score', float('nan')):.1f}  {row['summary']}"
        for row in (*shipped, *named)
    ]
    lines += [
        f"{row['load']:24} re-ranker (--reranker), of {row['image_tower']}: {row['summary']}" for row in rerankers
    ]
    if cached:
        width = max(len(row["load"]) for row in cached)
        lines += ["", "In the caches of pretrained models:"]
    for row in cached:
        facts = f"{row['kind']:13} {in_bytes(row['size']):>7}  {row['licence'] or 'no licence stated'}"
        used = f", {row['revision'][:12]}, used {row['last_used'][:10]}" if row["revision"] else ""
        rest = "" if row["is_whole"] else f"  not whole; go on: {GET} {row['load']}"
        lines.append(f"{row['load']:{width}}  {facts}{used}{rest}")
    common.show([*shipped, *rerankers, *cached, *named], "\n".join(lines))


def _described(name: str, summary: str = "") -> dict[str, Any]:
    from diptych.models import load

    model = load(name)
    return {
        "name": model.name,
        "load": name,
        "kind": "dual encoder",
        "dim": model.dim,
        "fingerprint": model.fingerprint,
        "image_tower": model.config.image.source or model.config.image.tower,
        "text_tower": model.config.text.tower,
        "licence": model.config.licence,
        "validation": dict(model.config.training.get("validation", {})),
        "summary": summary,
    }


def _reranker() -> dict[str, Any]:
    """The one that ships."""
    from diptych.models.cross_encoder import load_trained_cross_encoder, shipped

    found = load_trained_cross_encoder(shipped.NAME)
    return {
        "name": found.name,
        "load": shipped.NAME,
        "kind": "cross-encoder",
        "fingerprint": found.fingerprint,
        "image_tower": found.config.image.source or found.config.image.tower,
        "licence": found.config.licence,
        "validation": dict(found.config.training.get("validation", {})),
        "summary": "re-ranks, describes and explains what base finds; no PyTorch needed",
    }
