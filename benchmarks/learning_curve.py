r"""A dual encoder's learning curve: recall on held-out records, by how many records it was trained on.

    python benchmarks/learning_curve.py flickr8k/ --config configs/base/heads.toml --records 1000 2000 4000 \
        --out CURVE --set 'text.tower.towers=["use", "hf:ENCODER"]'

5 % of the training split are held out of every run; they choose its best epoch, and are what the table is measured on.
Each number of records holds the smaller ones (seed 0). Runs are kept in --out: the same command goes on where an
earlier one stopped. Writes table.md and curve.png there.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np

from diptych.core.markdown import table
from diptych.data.readers import SourceOptions, open_source
from diptych.data.splits import held_out_of
from diptych.data.write import write_pairs

SHARE = 0.05
COLUMNS = ("i2t R@1", "i2t R@10", "t2i R@1", "t2i R@10", "score")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--config", required=True)
    parser.add_argument("--records", type=int, nargs="+", default=[1000, 2000, 4000], help="all are a last run")
    parser.add_argument("--out", type=Path, default=Path("runs/curve"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="passed on to diptych train")
    options = parser.parse_args()
    pairs = list(open_source(options.source, SourceOptions(split="train")))
    is_held = np.array(held_out_of(pairs, SHARE))
    rest = np.random.default_rng(0).permutation(np.flatnonzero(~is_held))
    counts = sorted({*(count for count in options.records if count < len(rest)), len(rest)})
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for count in counts:
        source, run = options.out / f"{count}.jsonl", options.out / str(count)
        if not source.exists():
            write_pairs(source, [pairs[at] for at in (*np.flatnonzero(is_held), *rest[:count])])
        if not (run / "model" / "config.json").exists():
            train(options.config, source, run, options)
        rows.append(best(run))
        print(f"{count:,} records: rsum {rows[-1]['score']:.1f}", flush=True)
    cells = [[f"{count:,}", *(f"{row[name]:.1f}" for name in COLUMNS)] for count, row in zip(counts, rows, strict=True)]
    heads = ["records", *(name.replace("score", "rsum") for name in COLUMNS)]
    text = table(heads, cells)
    (options.out / "table.md").write_text(f"{text}\n", encoding="utf-8")
    plot(counts, [row["score"] for row in rows], options.out / "curve.png")
    print(text)


def train(config: str, source: Path, run: Path, options: argparse.Namespace) -> None:
    """`diptych train` with the same records held out as everywhere."""
    changes = ["data.val=held-out", f"data.val_share={SHARE}", *options.set]
    command = [sys.executable, "-m", "diptych", "train", config, str(source), "--out", str(run), "--quiet"]
    command += ["--seed", str(options.seed)]
    subprocess.run([*command, *(part for change in changes for part in ("--set", change))], check=True)


def best(run: Path) -> dict[str, float]:
    """The epoch with the best score in a run's log."""
    with (run / "log.csv").open(encoding="utf-8") as stream:
        rows = [{name: float(row[name]) for name in COLUMNS} for row in csv.DictReader(stream)]
    return max(rows, key=lambda row: row["score"])


def plot(counts: list[int], scores: list[float], path: Path) -> None:
    """rsum over the number of records, which doubles from tick to tick."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.2), layout="constrained")
    axes.plot(counts, scores, marker="o")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("training records")
    axes.set_ylabel("rsum, held-out records")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
