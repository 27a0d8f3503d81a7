"""The papers' claims about training, each decided by the same runs with and without the thing claimed, over 3 seeds.

    python benchmarks/claims.py flickr8k/ --out runs/claims
    python benchmarks/claims.py flickr8k/ --languages flickr8k-languages.jsonl --only languages --out runs/claims

Each row is `diptych train CONFIG SOURCE --set ...`, as a user would run it; the epoch is chosen on 5 % of the training
records, and everything is measured on the validation ("dev") split: retrieval among all its images, by its English
captions. A number is the mean over the seeds. Differences are paired by image, with the 95 % interval of a bootstrap
over images (2,000 resamples), in which all seeds share the drawn images; beside rsum is its standard deviation over
the seeds. `benchmarks/languages.py` makes the file that `--languages` takes.

A run that is finished is not repeated: stop with Ctrl-C and start again. Writes OUT/claims.md and OUT/claims.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import diptych
from diptych.evaluation import Addend, Number, Resampling, Sample, paired_difference
from diptych.evaluation.bootstrap import by_draw

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "methods"
CHOSEN_ON = ("data.val=held-out", "data.val_share=0.05")
METRICS = ("R@1", "R@5", "R@10")
DIRECTIONS = {"image_to_text": "i→t", "text_to_image": "t→i"}
PEOPLE = ("ar", "cs", "de", "fr", "pt", "zh")
MACHINE = ("es", "hi", "ja", "uk")


@dataclass(frozen=True)
class Row:
    """One way to train: a config of configs/methods, and what is set in it."""

    name: str
    config: str
    settings: tuple[str, ...] = ()
    init: str = ""  # goes on from the run of that row of the claim, of the same seed


@dataclass(frozen=True)
class Claim:
    """What a paper says, and the rows that decide it; the first row is what the others are compared with."""

    text: str
    rows: tuple[Row, ...]
    languages: bool = False  # trained on the source with many languages, and measured in each of them


def others(langs: Sequence[str], machine: bool = False) -> tuple[str, ...]:
    listed = ", ".join(f'"{lang}"' for lang in langs)
    return (
        "data.language.other=0.5",
        f"data.language.others=[{listed}]",
        f"data.language.translated={machine}".lower(),
    )


CAPTIONS = "x_mrs_captions"
BACK = ("data.language.back=0.5",)
CLAIMS = {
    "hinge": Claim(
        "the maximum of hinges is better than their sum (VSE++)",
        (Row("sum of hinges", "vse_sum"), Row("max of hinges", "vse")),
    ),
    "languages": Claim(
        "other languages regularise (X-MRS)",
        (
            Row("English", CAPTIONS),
            Row("+ back-translations", CAPTIONS, BACK),
            Row("+ 3 languages, people", CAPTIONS, others(("de", "pt", "zh"))),
            Row("+ 6 languages, people", CAPTIONS, others(PEOPLE)),
            Row("+ 10 languages, 4 by machines", CAPTIONS, others((*PEOPLE, *MACHINE), machine=True)),
        ),
        languages=True,
    ),
    "adversarial": Claim(
        "adversarial alignment and instance discrimination together are better than either",
        (
            Row("both", "adversarial_instance"),
            Row("instance discrimination", "instance"),
            Row("adversarial alignment", "adversarial"),
        ),
    ),
    "finetuned": Claim(
        "a fine-tuned backbone is better than a frozen one (VSE++)",
        (
            Row("frozen", "info_nce"),
            Row("heads alone go on", "info_nce", ("training.epochs=3", "training.learning_rate=5e-4"), init="frozen"),
            Row("late stages too", "finetuned", ("training.epochs=3",), init="frozen"),
        ),
    ),
}


def main() -> None:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    lines: list[str] = []
    for name in options.only or CLAIMS:
        claim = CLAIMS[name]
        if claim.languages and not options.languages:
            print(f"{name}: needs --languages FILE; left out", file=sys.stderr)
            continue
        runs = [(row, seed) for seed in range(options.seeds) for row in claim.rows]
        first = [run for run in runs if not run[0].init]
        with ThreadPoolExecutor(options.jobs) as pool:
            for part in (first, [run for run in runs if run[0].init]):
                list(pool.map(lambda run, name=name, claim=claim: train(name, claim, *run, options), part))
        text, found[name] = decided(name, claim, options)
        lines.append(text)
        print(text, flush=True)
    (options.out / "claims.md").write_text("\n".join(lines), encoding="utf-8")
    (options.out / "claims.json").write_text(json.dumps(found, indent=2), encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--languages", type=Path, help="the same images with captions in many languages")
    parser.add_argument("--out", type=Path, default=Path("runs/claims"))
    parser.add_argument("--only", action="append", choices=tuple(CLAIMS), help="repeat for several")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each on one thread")
    parser.add_argument("--set", action="append", default=[], help="passed on to every diptych train")
    return parser.parse_args()


def place(name: str, row: str, seed: int, options: argparse.Namespace) -> Path:
    """The folder of a run."""
    letters = "".join(letter if letter.isalnum() else "-" for letter in row).strip("-")
    return options.out / name / f"{letters}-{seed}"


def train(name: str, claim: Claim, row: Row, seed: int, options: argparse.Namespace) -> None:
    """One run, unless it is there."""
    out = place(name, row.name, seed, options)
    if (out / "model").exists():
        return
    source = options.languages if claim.languages else options.data
    settings = [*CHOSEN_ON, *row.settings, *options.set]
    if row.init:
        settings.append(f'init="{place(name, row.init, seed, options) / "model"}"')
    command = [sys.executable, "-m", "diptych", "train", CONFIGS / f"{row.config}.toml", source, "--out", out]
    command += ["--seed", str(seed), *(word for value in settings for word in ("--set", value))]
    started = time.perf_counter()
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if ran.returncode:
        sys.exit(f"{row.name}, seed {seed}: {ran.stderr.strip().splitlines()[-1]}")
    print(f"{row.name}, seed {seed}: {(time.perf_counter() - started) / 60:.1f} min", file=sys.stderr, flush=True)


def measured(model: Path, source: Path, lang: str = "") -> dict[str, Sample]:
    """The queries' values of each metric by name: "i→t R@1" and so on; with `lang`, by what people wrote in it."""
    people = diptych.SourceOptions(origins=("human",))
    report = diptych.evaluate(
        str(model), str(source), split="val", options=people, languages=(lang,) if lang else (), resamples=0
    )
    return {
        f"{arrow} {metric}": report.evaluation.directions[side].numbers[metric].terms[0].samples[0]
        for side, arrow in DIRECTIONS.items()
        for metric in METRICS
    }


def decided(name: str, claim: Claim, options: argparse.Namespace) -> tuple[str, Any]:
    """The claim's table, and the same as JSON."""
    source = options.languages if claim.languages else options.data
    seeds = range(options.seeds)
    lang = "en" if claim.languages else ""
    rows = {
        row.name: [measured(place(name, row.name, seed, options) / "model", source, lang) for seed in seeds]
        for row in claim.rows
    }
    numbers = {row: numbers_of(runs) for row, runs in rows.items()}
    baseline = numbers[claim.rows[0].name]
    shown = ("i→t R@1", "i→t R@10", "t→i R@1", "t→i R@10")
    lines = [
        f"### {claim.text}",
        "",
        f"| | {' | '.join(shown)} | rsum | less the first's, paired | p |",
        "|---" * 8 + "|",
    ]
    kept: dict[str, Any] = {}
    for row, found in numbers.items():
        cells = [f"{100 * statistics.mean(by_draw(found[metric])):.1f}" for metric in shown]
        draws = by_draw(found["rsum"])
        spread = f" ± {statistics.stdev(draws):.1f}" if len(draws) > 1 else ""
        cells.append(f"{statistics.mean(draws):.1f}{spread}")
        kept[row] = {**{metric: by_draw(number) for metric, number in found.items()}}
        if found is not baseline:
            units = 1 + max(int(sample.units.max()) for sample in rows[row][0].values())
            moved = paired_difference(baseline["rsum"], found["rsum"], Resampling(units, 2000))
            cells += [
                f"{moved.value:+.1f} ({moved.interval.low:+.1f} to {moved.interval.high:+.1f})",
                f"{moved.p_value:.3f}",
            ]
            kept[row]["difference"] = [moved.value, moved.interval.low, moved.interval.high, moved.p_value]
        else:
            cells += ["", ""]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    lines.append("")
    if claim.languages:
        table, kept["languages"] = by_language(name, claim, options)
        lines += table
    return "\n".join(lines), kept


def numbers_of(runs: Sequence[dict[str, Sample]]) -> dict[str, Number]:
    """Each metric, and rsum, as the mean over the seeds."""
    single = {metric: Addend(tuple(run[metric] for run in runs)) for metric in runs[0]}
    return {
        **{name: Number((term,)) for name, term in single.items()},
        "rsum": Number(tuple(single.values()), scale=100.0),
    }


def by_language(name: str, claim: Claim, options: argparse.Namespace) -> tuple[list[str], Any]:
    """R@10 of the images by the captions that people wrote in each language, mean over the seeds."""
    langs = ("en", *PEOPLE)
    lines = ["t→i R@10 by language:", "", f"| | {' | '.join(langs)} |", "|---" * (len(langs) + 1) + "|"]
    kept = {}
    for row in claim.rows:
        models = [place(name, row.name, seed, options) / "model" for seed in range(options.seeds)]
        kept[row.name] = {
            lang: 100
            * float(np.mean([measured(model, options.languages, lang)["t→i R@10"].values.mean() for model in models]))
            for lang in langs
        }
        lines.append(f"| {row.name} | {' | '.join(f'{value:.1f}' for value in kept[row.name].values())} |")
    return [*lines, ""], kept


if __name__ == "__main__":
    main()
