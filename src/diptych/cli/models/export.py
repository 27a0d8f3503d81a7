"""`diptych models export`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal

from cyclopts import Parameter, validators

from diptych.cli.outputs import check_folder
from diptych.cli.shared import Common, ModelAddress
from diptych.cli.sources import Reading
from diptych.core.errors import ConfigError
from diptych.core.extras import need
from diptych.core.file_names import escape
from diptych.core.notes import Note
from diptych.data.readers import SourceOptions
from diptych.models.folder import EXPORTED, model_kind


def export(
    model: ModelAddress,
    /,
    *,
    out: Path,
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    images: Annotated[str, Parameter(metavar="SOURCE")] = "",
    check: Annotated[str, Parameter(metavar="SOURCE")] = "",
    bootstrap: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 2000,
    options: Reading = SourceOptions(),
    common: Common = Common(),
) -> None:
    """Write a model as a folder that runs on ONNX Runtime without PyTorch, or in smaller numbers.

    The folder is a model like any other: index, search, serve and all other commands take it as --model, on the
    devices of ONNX Runtime (--device). Its vectors are those of the original within rounding (fp32) or nearly (fp16,
    int8), but it is another model: a library of the original moves to it by diptych library reembed.

    A model that was trained here over a frozen tower runs without PyTorch as it is. int8 makes it smaller and quicker:
    its convolutions then compute in 8 bits, by ranges that are measured on --images.

    A cross-encoder needs this only where it was saved before December 2026, or with int8 to halve its size: training
    writes its graphs. What diptych rerank fit found for it is kept; its tokens are made anew.

    Examples:
        diptych models export hf:openai/clip-vit-base-patch32 --out clip
        diptych models export runs/photos/model --out photos-int8 --precision int8 --images photos/ --check pairs.csv
        diptych models export runs/cross-encoder/model --out cross-encoder-int8 --precision int8
        diptych models export open_clip:ViT-B-32/laion2b_s34b_b79k --out clip-int8 --precision int8 --check flickr8k/

    Args:
        model: Dual encoder: its address, or a model folder. Or the folder of a cross-encoder.
        out: Folder to write; an older model there is replaced.
        precision: fp32 keeps all; fp16 halves the size; int8 quarters it and is quickest. Weights of a cross-encoder
            and of a model trained here are saved in 16 bits, so that fp32 is fp16 there.
        images: Folder of images, or a source of pairs (of its training split, where it has one) of the kind that the
            model will see. int8 of convolutions needs them: at most 320 are drawn (--seed), and one in five of these
            measures how near the vectors are to the original's.
        check: Source of pairs: what the export costs in recall, with paired differences, and how much faster it is,
            printed and written into its card.
        bootstrap: Resamples behind the differences of --check.
    """
    need("torch", "diptych models export")
    need("onnx", "diptych models export")
    check_folder(out, "--out")
    if out.resolve() == Path(model).expanduser().resolve():
        raise ConfigError(f"--out {escape(str(out))} is the model itself, which would be replaced; name another folder")
    if model_kind(Path(model).expanduser()) == "cross":
        if check:
            raise ConfigError("--check measures dual encoders; leave it out, and compare by diptych rerank check")
        if images:
            raise ConfigError("--images are for dual encoders; a cross-encoder needs none, so leave it out")
        _export_cross_encoder(model, out, precision, common)
        return
    from diptych.models import load
    from diptych.models.exporting import MEASURED, export_model, write_card
    from diptych.runs.export_images import draw_images

    original = load(model, device=common.device)
    drawn = None
    if images:
        drawn = draw_images(original.preprocess, images, options, seed=common.seed or 0, progress=common.progress())
    config, nearness = export_model(
        original, out, precision=precision, images=None if drawn is None else drawn.pixels, progress=common.progress()
    )
    size = sum(path.stat().st_size for path in out.iterdir())
    found: dict[str, Any] = {
        "model": str(out),
        "name": config.name,
        "fingerprint": config.fingerprint,
        "precision": config.training[EXPORTED]["precision"],
        "bytes": size,
        "least_cosine": nearness,
    }
    lines = [
        f"{out}: {config.name}, {size / 1e6:.0f} MB",
        *(f"{name.replace('_', ' ')}: cosine to the original at least {value:.4f}" for name, value in nearness.items()),
    ]
    notes: tuple[Note, ...] = tuple(drawn.notes) if drawn else ()
    if drawn:
        used = config.training[EXPORTED].get("images", 0)
        found["images"] = {"calibrating": used, "measuring": min(len(drawn.pixels) - used, MEASURED)}
        lines.insert(
            1,
            "images: "
            + (f"{used} for the ranges, " if used else "")
            + f"{found['images']['measuring']} others for the nearness",
        )
    if check:
        from diptych.runs.export_check import check_export

        measured = check_export(
            original,
            load(out, device=common.device),
            check,
            options=options,
            resamples=bootstrap,
            seed=common.seed or 0,
            progress=common.progress(),
        )
        write_card(out, original, config, nearness, measured.table())
        found["check"] = measured.to_json()
        notes = (*notes, *measured.comparison.notes)
        lines += ["", measured.table().strip(), ""]
    lines.append(f"next: diptych index IMAGES --library LIBRARY --model {quote(str(out))}")
    common.show(found, "\n".join(lines), notes)


def _export_cross_encoder(model: str, out: Path, precision: str, common: Common) -> None:
    from diptych.models.cross_encoder import load_trained_cross_encoder
    from diptych.models.cross_encoder.exporting import export_cross_encoder

    original = load_trained_cross_encoder(model, graphs=False)
    stored = "int8" if precision == "int8" else "fp16"  # a cross-encoder's weights are never kept in more
    config, nearness = export_cross_encoder(original, out, precision=stored, progress=common.progress())
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    found = {
        "model": str(out),
        "name": config.name,
        "fingerprint": config.fingerprint,
        "precision": stored,
        "bytes": size,
        "nearness": nearness,
    }
    lines = [
        f"{out}: {config.name}, {size / 1e6:.1f} MB",
        *(f"random texts with random images, {name}: {value:.4f}" for name, value in nearness.items()),
        f"next: diptych rerank prepare --library LIBRARY --reranker {quote(str(out))}",
    ]
    common.show(found, "\n".join(lines))
