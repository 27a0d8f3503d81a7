"""Accuracy against time of re-ranking: the dual encoder, the cross-encoder over everything, and over the best K.

    python benchmarks/rerank.py flickr8k/ --split val --model base --reranker runs/cross-encoder/model --out rerank.png

Queries are drawn at random (seed 0), because the cross-encoder over everything takes a second a query. Beta is
fitted on the queries of one half of the pictures and used on the other half, both ways, so that no figure
was fitted on itself. Times are medians of single queries from cached tokens, the dual encoder's search included.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from diptych.cli.shared import RichProgress
from diptych.core.files import write_bytes, write_json
from diptych.data.readers import SourceOptions, open_source
from diptych.evaluation.reranking import top
from diptych.models import load
from diptych.models.cross_encoder import DIRECTIONS, IMAGE_TO_TEXT, TEXT_TO_IMAGE, load_trained_cross_encoder
from diptych.runs import reranking as work

DEPTHS = (20, 30, 50, 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="base")
    parser.add_argument("--reranker", required=True)
    parser.add_argument("--texts", type=int, default=300, help="queries text -> image")
    parser.add_argument("--images", type=int, default=60, help="queries image -> text")
    parser.add_argument("--limit", type=int, default=0, help="images in the gallery; 0 for all")
    parser.add_argument("--timed", type=int, default=20, help="queries that are timed")
    parser.add_argument("--only-rerank", action="store_true", help="leave out the rows over everything")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="plot, a PNG; the table goes beside it as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dual_encoder, cross_encoder = (
        load(options.model, threads=options.threads),
        load_trained_cross_encoder(options.reranker),
    )
    pairs = list(open_source(options.source, SourceOptions(split=options.split)))
    pairs = pairs[: options.limit] if options.limit else pairs
    prepared = work.Prepared.of(dual_encoder, cross_encoder, pairs, RichProgress())
    table = {}
    for direction, most in zip(DIRECTIONS, (options.texts, options.images), strict=True):
        table[direction] = rows(cross_encoder, prepared, direction, most, options.timed, options.only_rerank)
        print(f"\n{direction}: {most} queries among {gallery(prepared, direction)}")
        for name, row in table[direction].items():
            print("  {:24} R@1 {R@1:5.1f}  R@5 {R@5:5.1f}  R@10 {R@10:5.1f}  {ms:9.1f} ms".format(name, **row), end="")
            print(f"  beta {row['beta']}" if "beta" in row else "")
    if options.out:
        facts = {
            "dual encoder": dual_encoder.name,
            "cross-encoder": cross_encoder.name,
            "threads": options.threads,
            "images": len(prepared.embedded.images),
        }
        write_json(options.out.with_suffix(".json"), {**facts, **table})
        draw(table, options.out)


def gallery(prepared: work.Prepared, direction: str) -> int:
    return len(prepared.embedded.images) if direction == TEXT_TO_IMAGE else len(prepared.embedded.texts)


def rows(
    cross_encoder, prepared: work.Prepared, direction: str, most: int, timed: int, only_rerank: bool
) -> dict[str, dict[str, float]]:
    to_image = direction == TEXT_TO_IMAGE
    count = len(prepared.embedded.texts) if to_image else len(prepared.embedded.images)
    queries = np.sort(np.random.default_rng(0).permutation(count)[:most])
    owner = (prepared.embedded.owner if to_image else prepared.embedded.image_owner)[queries]
    everything = gallery(prepared, direction)
    depth = max(DEPTHS) if only_rerank else everything
    halves = [prepared.score(direction, depth=depth, queries=queries[owner % 2 == half]) for half in (0, 1)]
    ways = [(halves[0], halves[1]), (halves[1], halves[0])]  # fitted on, measured on
    spent = times(cross_encoder, prepared, direction, queries[:timed], () if only_rerank else (everything,))
    found = {"dual encoder alone": {**recalls(ways, lambda _: (0.0, 1)), "ms": spent[1]}}
    named = [(f"re-rank {k}", k) for k in DEPTHS]
    if not only_rerank:
        found["cross-encoder alone, everything"] = {
            **recalls(ways, lambda _: (0.0, everything)),
            "ms": spent[everything],
        }
        named.insert(0, ("both, everything", everything))
    for name, k in named:
        betas = [fitted.best_beta(k) for fitted, _ in ways]
        # k is bound now: each row has its own
        found[name] = {**recalls(ways, lambda one, k=k: (one.best_beta(k), k)), "ms": spent[k], "beta": betas}
    return found


def recalls(ways, choose) -> dict[str, float]:
    """R@k in percent over both halves, with beta and K chosen on the other half."""
    sizes = [len(measured.cosines) for _, measured in ways]
    return {
        f"R@{at}": float(np.average([measured.recall(*choose(fitted), at) for fitted, measured in ways], weights=sizes))
        for at in (1, 5, 10)
    }


def times(
    cross_encoder, prepared: work.Prepared, direction: str, queries: np.ndarray, more: tuple[int, ...]
) -> dict[int, float]:
    """Median milliseconds a query: the dual encoder's search, and the cross-encoder's scores of its best K."""
    found: dict[int, list[float]] = {}
    for query in queries:
        for k in (1, *DEPTHS, *more):
            if k > max(DEPTHS) and len(found.get(k, ())) >= 3:
                continue  # a second each; three are enough
            started = time.perf_counter()
            if direction == TEXT_TO_IMAGE:
                best = top((prepared.embedded.texts[query] @ prepared.embedded.images.T)[None], k)[0]
                if k > 1:
                    cross_encoder.score(prepared.tokens[best], prepared.embedded.values[query])
            else:
                best = top((prepared.embedded.images[query] @ prepared.embedded.texts.T)[None], k)[0]
                if k > 1:
                    cross_encoder.scores(
                        prepared.tokens[query : query + 1], [prepared.embedded.values[i] for i in best], IMAGE_TO_TEXT
                    )
            found.setdefault(k, []).append(1000 * (time.perf_counter() - started))
    return {k: float(np.median(values)) for k, values in found.items()}


def draw(table: dict, path: Path) -> None:
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axis = figure.subplots()
    for (direction, found), colour in zip(table.items(), ("#B4532A", "#1F5A7A"), strict=True):
        names = [name for name in found if name != "cross-encoder alone, everything"]
        names.sort(key=lambda name: found[name]["ms"])
        shown = [(found[name]["ms"], found[name]["R@1"]) for name in names]
        axis.plot(*zip(*shown, strict=True), color=colour, marker="o", markersize=4, label=direction.replace("_", " "))
        for name, (ms, recall) in zip(names, shown, strict=True):
            short = {"dual encoder alone": "dual", "both, everything": "all"}.get(name, name.rpartition(" ")[2])
            place = (0, 6) if direction == TEXT_TO_IMAGE else (0, -12)
            axis.annotate(
                short, (ms, recall), textcoords="offset points", xytext=place, fontsize=7, color=colour, ha="center"
            )
        if alone := found.get("cross-encoder alone, everything"):
            axis.plot(alone["ms"], alone["R@1"], color=colour, marker="x", linestyle="")
    axis.set_xscale("log")
    axis.set_xlabel("milliseconds a query (numbers: candidates; x: the cross-encoder alone)")
    axis.set_ylabel("R@1, percent")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    write_bytes(path, buffer.getvalue())


if __name__ == "__main__":
    main()
