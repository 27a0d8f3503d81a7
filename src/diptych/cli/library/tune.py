"""`diptych library tune`."""

from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter, validators

from diptych.cli.shared import Common, LibraryFolder
from diptych.core.errors import ConfigError
from diptych.core.text import number
from diptych.library import IndexChoice, Library
from diptych.library.bucket import shown
from diptych.library.maintenance import Measured, Tuning

_USUAL = "usual"


def tune(
    *,
    library: LibraryFolder,
    recall: Annotated[float, Parameter(validator=validators.Number(gt=0, lt=1))] = 0.99,
    k: Annotated[int, Parameter(name=("--k", "-k"), validator=validators.Number(gte=1, lte=1000))] = 10,
    queries: Path | None = None,
    count: Annotated[int, Parameter(validator=validators.Number(gte=40))] = 1_000,
    prefer: Literal["speed", "size"] = "speed",
    apply: bool = False,
    use: str | None = None,
    common: Common = Common(),
) -> None:
    """Measure which index finds the nearest images quickly enough and rightly enough, and use it.

    Vectors are held in 32, 16 or 8 bits a number, or as product-quantised codes, of all numbers or the first of them; a
    search reads some cells of the index and scores the nearest again from the stored vectors. Half of the queries
    choose, the other half say what that gives. Without --apply nothing is changed.

    Examples:
        diptych library tune --library ~/pictures.library
        diptych library tune --library ~/pictures.library --recall 0.999 --queries searches.txt --apply
        diptych library tune --library ~/pictures.library --use ivf,int8,share=0.012,candidates=200
        diptych library tune --library ~/pictures.library --use usual

    Args:
        recall: Share of the exact nearest images that is to be found.
        k: How many nearest images, as a search shows.
        queries: What is searched for: a text file with a search a line, or vectors in a .npy file. Without it: images
            of the library, and their texts where they have some.
        count: How many images of the library are drawn for that.
        prefer: The quickest index, or the smallest that is quicker than comparing all vectors.
        apply: Let all searches use what was found best.
        use: Let them use this index without measuring, as an earlier run named it; exact for none, usual for the one
            that large libraries have by themselves.
    """
    if use is not None and (apply or queries is not None):
        raise ConfigError("--use measures nothing; leave out --apply and --queries, or --use")
    opened = Library.open(library, device=common.device)
    if use is not None:
        choice = None if use == _USUAL else IndexChoice.parse(use)
        there = opened.use_index(choice)
        text = f"{shown(library)}: searches use {_named(choice, there)}"
        common.show({"index": None if choice is None else str(choice), "made": there}, text)
        return
    found = opened.tune(
        recall,
        queries=None if queries is None else _read(queries),
        k=k,
        count=count,
        prefer=prefer,
        seed=common.seed or 0,
        progress=common.progress(),
    )
    if apply:
        opened.use_index(found.chosen)
    value: dict[str, Any] = {**asdict(found), "chosen": str(found.chosen), "applied": apply}
    value["measured"] = [{**asdict(one), "index": str(one.index)} for one in found.measured]
    common.show(value, "\n".join([*_table(found), *_advice(found, library, apply)]), found.notes)


def _read(path: Path) -> list[str] | np.ndarray[Any, Any]:
    """Searches, one a line, or vectors."""
    try:
        if path.suffix == ".npy":
            vectors = np.load(path, allow_pickle=False)
            if vectors.ndim != 2:
                raise ConfigError(f"found an array of shape {vectors.shape} in {path}; expected (queries, dimensions)")
            return np.asarray(vectors)
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read --queries {path}: {error}; expected a UTF-8 text, a search a line, or .npy vectors"
        ) from error


def _named(choice: IndexChoice | None, there: bool) -> str:
    if choice is None:
        return f"the usual index{'' if there else ', which libraries of 200,000 images and more have: none here'}"
    if choice.kind == "exact":
        return "no index: all vectors are compared"
    return str(choice) if there else f"{choice} from 10,000 images on; until then all vectors are compared"


def _table(found: Tuning) -> list[str]:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.queries.items())
    lines = [
        f"{number(found.images, 'image')}, {found.dim} numbers each; recall of the exact {found.k} nearest by held-out "
        f"queries: {kinds}",
        _line("index", "recall", "95 %", "time", "bytes a vector"),
        _line("exact", "1", "", "1", f"{4 * found.dim:,}"),
    ]
    for one in _quickest(found.measured):
        low, high = one.interval
        cells = (f"{one.recall:.4f}", f"{low:.4f} - {high:.4f}", f"{one.time:.3f}", f"{one.bytes_a_vector:,.0f}")
        lines.append(_line(str(one.index), *cells) + ("" if one.reaches else "  too low"))
    lines += [f"skipped: {line}" for line in found.skipped]
    return [*lines, f"time: CPU time of a query, as a share of the exact search's {found.exact_milliseconds:.1f} ms"]


def _line(index: str, recall: str, interval: str, time: str, size: str) -> str:
    return f"{index:<48} {recall:>7}  {interval:>15} {time:>7} {size:>15}"


def _quickest(measured: tuple[Measured, ...]) -> list[Measured]:
    """One setting of each way of holding vectors: the quickest that reaches the recall (--json has all)."""
    best: dict[tuple[str, int], Measured] = {}
    for one in sorted(measured, key=lambda one: (not one.reaches, one.time)):
        best.setdefault((one.index.code, one.index.cut), one)
    return [one for one in measured if one in best.values()]


def _advice(found: Tuning, library: Path, applied: bool) -> list[str]:
    name = quote(shown(library))
    if found.chosen.kind == "exact":
        best = f"no index reaches {found.recall:g} and is quicker than comparing all vectors"
    else:
        best = f"best: {found.chosen}"
    if applied:
        return [f"{best}; searches of {shown(library)} use it now"]
    return [best, f"to use it: diptych library tune --library {name} --use {found.chosen}"]
