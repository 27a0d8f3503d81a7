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
from diptych.models.folder import model_kind


def export(
    model: ModelAddress,
    /,
    *,
    out: Path,
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    check: Annotated[str, Parameter(metavar="SOURCE")] = "",
    bootstrap: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 2000,
    options: Reading = SourceOptions(),
    common: Common = Common(),
) -> None:
    """Write a model that runs on PyTorch as a folder that runs on ONNX Runtime, without PyTorch.

    The folder is a model like any other: index, search, serve and all other commands take it as --model, on the
    devices of ONNX Runtime (--device). Its vectors are those of the original within rounding (fp32) or nearly (fp16,
    int8), but it is another model: a library of the original moves to it by diptych library reembed.

    A cross-encoder needs this only where it was saved before December 2026, or with int8 to halve its size: training
    writes its graphs. What diptych rerank fit found for it is kept; its tokens are made anew.

    Examples:
        diptych models export hf:openai/clip-vit-base-patch32 --out clip
        diptych models export runs/cross-encoder/model --out cross-encoder-int8 --precision int8
        diptych models export open_clip:ViT-B-32/laion2b_s34b_b79k --out clip-int8 --precision int8 --check flickr8k/

    Args:
        model: Dual encoder: its address, or a model folder whose towers run on PyTorch. Or the folder of a
            cross-encoder.
        out: Folder to write; an older model there is replaced.
        precision: fp32 keeps all; fp16 halves the size; int8 quarters it and is quickest. Weights of a cross-encoder
            are saved in 16 bits, so that fp32 is fp16 there.
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
        _export_cross_encoder(model, out, precision, common)
        return
    from diptych.models import load
    from diptych.models.exporting import export_model, write_card

    original = load(model, device=common.device)
    config, nearness = export_model(original, out, precision=precision, progress=common.progress())
    size = sum(path.stat().st_size for path in out.iterdir())
    found: dict[str, Any] = {
        "model": str(out),
        "name": config.name,
        "fingerprint": config.fingerprint,
        "precision": precision,
        "bytes": size,
        "least_cosine": nearness,
    }
    lines = [
        f"{out}: {config.name}, {size / 1e6:.0f} MB",
        *(f"{name.replace('_', ' ')}: cosine to the original at least {value:.4f}" for name, value in nearness.items()),
    ]
    notes: tuple[Note, ...] = ()
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
        write_card(out, config, nearness, measured.table())
        found["check"], notes = measured.to_json(), measured.comparison.notes
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
