"""Every command as a base install finds it: it works, or says which extra to install before it reads anything.

    python tests/every_command.py [--without EXTRA ...] [--refused]

Runs with whatever is installed, without pytest; `--without` hides the packages of extras (`all` hides those of
every extra). Most commands whose extras are all here are not run; with `--refused` nor are those that need none.
Exit code 1 when a command does something else.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path

from diptych.core.extras import EXTRAS, is_installed


class Hidden:
    """Hides packages from imports, as if they were not installed."""

    def __init__(self, packages: set[str]) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """What Python asks before it looks for a module."""
        if name.partition(".")[0] in self._packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


@dataclass(frozen=True)
class Case:
    """A command line, and the extras it needs; without them nothing it names is read, so the files may be missing."""

    line: str
    needs: tuple[str, ...] = ()
    fails: int = 0  # the exit code where all is here
    runs: bool = False  # also where all that it needs is here
    enough: str = ""  # the one package of these extras that it uses, which others may bring too


CASES = (
    Case("demo --drawings 40", ("demo", "fit"), runs=True),
    Case("demo {photos} --folder shown"),
    Case("demo {photos} --folder shown --serve", ("serve",)),
    Case("index {photos} --library {library}"),
    Case("index {photos} --library other --store milvus://127.0.0.1:9/x", ("milvus",)),
    Case("index {photos} --library s3://bucket/x", ("s3",)),
    Case("index {photos} --library clips --videos", ("video",)),
    Case("index {photos} --library {library} --ocr", ("ocr",)),
    Case("index {photos} --library {library} --engine ray", ("cluster",)),
    Case("index {photos} --library {library} --reranker no-such", fails=4),
    Case("index {photos} --library {library} --reranker blip:no-such", ("train",)),
    Case("search red --library {library} --preview found.png"),
    Case("search --by-generated apple --library {library}"),
    Case("search red --library {library} --rerank 5 --reranker no-such", fails=4),
    Case("serve --library {library}", ("serve",)),
    Case("mcp --library {library}", ("mcp",)),
    Case("classify {photos} --labels red,green --templates plain"),
    Case("relate {image} text"),
    Case("relate {image} text --reranker no-such", fails=4),
    Case("caption no-such.jpg --reranker no-such", fails=4),
    Case("map {pairs} --method pacmap", ("map", "plot")),
    Case("map {pairs} --method pca --words 5", ("plot",)),
    Case("explain text {image} --grid 2"),
    Case("explain text {image} --by attention --reranker no-such", fails=4),
    Case("explain text no-such.jpg --by attention --model base", ("train",)),
    Case("data check {pairs}"),
    Case("data filter {pairs} --out filtered", ("plot",)),
    Case("data filter {pairs} --out filtered --engine ray", ("plot", "cluster")),
    Case("data translate {pairs} --to es --engine ctranslate2:no-such-{source}-{target}", ("translate",)),
    Case("data mine {pairs} --out mined.jsonl"),
    Case("data emoji emoji", ("demo",)),
    Case("train {heads}", ("train",)),
    Case("train {fit} {pairs} --out fitted", ("fit",), runs=True),
    Case("distill no-such.toml --reranker no-such", ("train",)),
    Case("eval {pairs} --bootstrap 10 --out report.json"),
    Case("eval org/no-such-data --format huggingface", ("hub",)),
    Case("eval {pairs} --model no-such-model", fails=4),
    Case("compare --report report.json report.json --bootstrap 10"),
    Case("compare --report report.json report.json --plot drawn.png", ("plot",)),
    Case("rerank fit no-such --reranker no-such", fails=4),
    Case("rerank check no-such --reranker no-such", fails=4),
    Case("rerank check no-such --reranker no-such --plot drawn.png", ("plot",)),
    Case("rerank prepare --library {library} --reranker no-such", fails=4),
    Case("rerank prepare --library {library} --reranker base --engine ray", ("cluster",)),
    Case("generator draw apple -n 2 --out grid.png"),
    Case("generator eval {pairs} --generator emoji --train-split= --texts 4 --noises 2 --bootstrap 2 --pool 4"),
    Case("generator eval {pairs} --generator emoji --features inception:{image}", ("fid", "train")),
    Case("generator eval {pairs} --generator emoji --features efficientnet-lite1", ("train",)),
    Case("generator eval {pairs} --generator emoji --maps efficientnet-lite2-maps", ("train",)),
    Case("generator eval {pairs} --generator emoji --detector imagenet", ("train",)),
    Case("generator eval {pairs} --generator emoji --detector torchvision:fcos_resnet50_fpn", ("train",), fails=4),
    Case("generator eval {pairs} --generator emoji --detector onnx:no-such.onnx", fails=4),
    Case("generator audit --generator emoji --pairs {minimal} --noises 1 --bootstrap 10 --page a.html --png a.png"),
    Case("generator rate emoji real=images:{pairs} --source {pairs} --texts 2 --out rating"),
    Case("generator report {run} {pairs} --train-split= --model= --generator emoji --texts 4 --pool 4 --bootstrap 2"),
    Case("generator report {run}"),
    Case("detector eval {pairs} --detector onnx:no-such.onnx", fails=4),
    Case("detector eval {pairs} --detector imagenet", ("train",), fails=3),
    Case("detector convert no-such.json out.onnx --classes coco", ("fit",), fails=4),
    Case("models get hf:no/such --yes", ("hub",), enough="huggingface_hub"),
    Case("models list"),
    Case("models export hf:no-such --out exported", ("train", "fit")),
    Case("models parts"),
    Case("models show base"),
    Case("models blend base base --out blended", ("fit",), runs=True),
    Case("library info --library {library}"),
    Case("library verify --library {library}"),
    Case("library repair --library {library}"),
    Case("library compact --library {library}"),
    Case("library list --library {library} --sort size"),
    Case("library tune --library {library} --use exact"),
    Case("library duplicates --library {library}"),
    Case("library reread --library {library}"),
    Case("library rm --where width=41 --library {library}"),
    Case("library undo --library {library}"),
    Case("library trash --library {library}"),
    Case("library purge --library {library}"),
    Case("library export exported --library {library}"),
    Case("library import exported --library imported"),
    Case("library backup kept --library {library}"),
    Case("library reembed --library {library} --model base", fails=4),
    Case("library reembed --library {library} --model base --engine ray", ("cluster",)),
)


def make_inputs(folder: Path) -> dict[str, str]:
    """Photos, pairs of them, minimal pairs, and the folder of a run, all small."""
    from PIL import Image

    photos = folder / "photos"
    photos.mkdir()
    rows = []
    for number, colour in enumerate(("red", "green", "blue", "black", "white", "orange", "purple", "brown")):
        path = photos / f"{colour}-{number}.png"
        Image.new("RGB", (40 + number, 30), colour).save(path)
        for split in ("train", "val"):
            rows.append({"image": str(path), "text": f"{colour} number {number}", "lang": "en", "split": split})
    (folder / "run").mkdir()
    write_lines(folder / "run" / "log.jsonl", [{"epoch": "1"}])
    write_lines(folder / "pairs.jsonl", rows)
    pair = {"attribute": "colour", "one": "a red apple", "other": "a green apple"}
    write_lines(folder / "minimal.jsonl", [pair])
    named = {name: str(folder / name) for name in ("photos", "run", "library")}
    named |= {"source": "{source}", "target": "{target}"}  # stand for languages in the name of an engine
    sides = '\n[image]\ntower = "model:base"\nhead = "linear"\n[text]\ntower = "model:base"\nhead = "linear"\n'
    (folder / "heads.toml").write_text(f'name = "heads"\nloss = "info_nce"{sides}')
    (folder / "fit.toml").write_text(f'name = "fit"\ndim = 4\nfit = "cca"{sides}')
    files = {"pairs": "pairs.jsonl", "minimal": "minimal.jsonl", "heads": "heads.toml", "fit": "fit.toml"}
    return named | {name: str(folder / file) for name, file in files.items()} | {"image": str(photos / "red-0.png")}


def write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    """JSON, a row a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def absent_extras() -> set[str]:
    """The extras of which a package cannot be found."""

    return {extra for extra, packages in EXTRAS.items() if not all(map(is_installed, packages))}


def wrong(case: Case, absent: set[str], inputs: dict[str, str]) -> str | None:
    """What is wrong with what a command did; None when nothing is, or it was not run."""
    from diptych.cli.app import run

    lacking = [extra for extra in case.needs if extra in absent]
    is_here = not lacking or bool(case.enough and is_installed(case.enough))
    if case.needs and is_here and not case.runs:
        return None
    before = sorted(Path.cwd().rglob("*"))
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([part.format(**inputs) for part in case.line.split(" ")])
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    said = err.getvalue().strip()
    if not lacking:
        return None if code in (case.fails, 1 if case.fails == 0 else case.fails) else f"exit code {code}: {said}"
    if code != 2 or not any(f"pip install 'diptych[{extra}]'" in said for extra in lacking):
        return f"exit code {code}: {said}; expected 2 and the extra {' or '.join(lacking)}"
    if "\n" in said:
        return f"more than a line: {said}"
    made = [str(path) for path in sorted(Path.cwd().rglob("*")) if path not in before]
    return f"left behind {made}" if made else None


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """With this working folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def main() -> int:
    """Run every command; print what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--without", nargs="*", default=[], choices=["all", *EXTRAS], help="extras to hide")
    parser.add_argument("--refused", action="store_true", help="only what lacks something")
    arguments = parser.parse_args()
    hidden = list(EXTRAS) if "all" in arguments.without else list(arguments.without)
    if "fit" in hidden:
        hidden.append("train")  # which cannot be installed without it
    sys.meta_path.insert(0, Hidden({package for extra in hidden for package in EXTRAS[extra]}))
    absent, failed = absent_extras(), 0
    with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)):
        inputs = make_inputs(Path(folder))
        for case in CASES:
            if arguments.refused and not case.needs:
                continue
            problem = wrong(case, absent, inputs)
            if problem is not None:
                failed += 1
                print(f"diptych {case.line}: {problem}")
    print(f"{len(CASES)} commands without {', '.join(sorted(absent)) or 'nothing'}: {failed or 'none'} wrong")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
