"""What each departure from XMC-GAN as published brings: xmc_paper_emoji.toml beside every config of departures/.

    python benchmarks/xmc_departures.py seen/ --model runs/judge/model --text-tower sentence-transformers:FOLDER
    python benchmarks/xmc_departures.py seen/ --model runs/judge/model --text-tower sentence-transformers:FOLDER \
        --only centre --only word_mean --seeds 1 --set training.epochs=2

`seen/` and the judge are made as docs/generated.md says. Each run is a `diptych train` of its own, all of equally many
batches. After Ctrl-C the same command goes on where it was. For each seed all generators draw the same held-out texts,
and the judge chooses from the same pools; the bootstrap resamples records. Writes OUT/table.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from diptych.core.markdown import table
from diptych.core.shapes import Float64
from diptych.data.readers import SourceOptions, open_source
from diptych.evaluation.bootstrap import Addend, Number, Resampling, Sample, paired_difference
from diptych.evaluation.generative import estimate_of_mean, frechet_distance
from diptych.inspection.generators import generate_all, open_extractor, open_generator
from diptych.inspection.generators.prompts import choose_prompts, read_real_images
from diptych.models import load
from generators_compared import shares

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "synthesis"
PAPER = "paper"


def main() -> None:
    options = arguments()
    configs = {PAPER: CONFIGS / "xmc_paper_emoji.toml"}
    configs |= {path.stem: path for path in sorted((CONFIGS / "departures").glob("*.toml"))}
    if missing := [name for name in options.only if name not in configs]:
        sys.exit(f"no config for {', '.join(missing)}; choose from {', '.join(configs)}")
    names = [PAPER, *(name for name in configs if name != PAPER and (not options.only or name in options.only))]
    folders = {
        (name, seed): train(configs[name], name, seed, options) for seed in range(options.seeds) for name in names
    }
    pairs = list(open_source(options.data, SourceOptions(split=options.split)))
    judge = load(options.model)
    found: dict[str, list[Float64[np.ndarray, " n"]]] = {name: [] for name in names}
    apart: dict[str, list[float]] = {name: [] for name in names}
    for (name, seed), folder in folders.items():
        asked = argparse.Namespace(**{**vars(options), "seed": seed, "languages": ["en"]})
        found[name].append(100 * shares(open_generator(str(folder)), pairs, judge, asked))
        apart[name].append(frechet(folder, pairs, options, seed))
        print(
            f"{name}, seed {seed}: R-precision {found[name][-1].mean():.2f}, Fréchet {apart[name][-1]:.1f}", flush=True
        )
    rows = [row(name, found, apart) for name in names]
    heads = [
        "config",
        "R-precision % (95 %)",
        "less the paper's, paired",
        "each seed",
        f"Fréchet, {options.features} ↓",
    ]
    text = table(heads, rows)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "table.md").write_text(f"{text}\n", encoding="utf-8")
    print(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", type=Path, required=True, help="the judge")
    parser.add_argument("--text-tower", required=True, help="hf:FOLDER or sentence-transformers:FOLDER")
    parser.add_argument("--out", type=Path, default=Path("runs/departures"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[], help="a departure's name; repeat for several")
    parser.add_argument("--split", default="val")
    parser.add_argument("--fields", nargs="+", default=["name"])
    parser.add_argument("--noises", type=int, default=4, help="images of each text")
    parser.add_argument("--features", default="efficientnet-lite0", help="behind the Fréchet distance")
    parser.add_argument("--set", action="append", default=[], help="passed on to diptych train")
    return parser.parse_args()


def train(config: Path, name: str, seed: int, options: argparse.Namespace) -> Path:
    """The folder of a run's generator, trained unless it is there."""
    out = options.out / f"{name}-{seed}"
    changes = [f'text.tower="{options.text_tower}"', *options.set]
    command = [sys.executable, "-m", "diptych", "train", str(config), options.data, "--out", str(out), "--quiet"]
    command += ["--seed", str(seed)]
    print(f"training {name}, seed {seed}", flush=True)
    subprocess.run([*command, *(part for change in changes for part in ("--set", change))], check=True)
    return out / "model"


def frechet(folder: Path, pairs: list, options: argparse.Namespace, seed: int) -> float:
    """Distance of one image a text from all real ones."""
    prompts = choose_prompts(pairs, "en", len(pairs), seed, options.fields)
    made = generate_all(open_generator(str(folder)), [one.text.value for one in prompts], noises=1, seed=seed)
    real = read_real_images(pairs, made.shape[2])
    extractor = open_extractor(options.features)
    return frechet_distance(extractor.extract(real.pixels).features, extractor.extract(made[:, 0]).features)


def row(name: str, found: dict[str, list[Float64[np.ndarray, " n"]]], apart: dict[str, list[float]]) -> list[str]:
    """A config's cells: means over seeds, and the difference record by record."""
    mean = np.mean(found[name], axis=0)
    estimate = estimate_of_mean(mean)
    own = f" ({estimate.interval.low:.1f} to {estimate.interval.high:.1f})" if estimate.interval else ""
    distances = f"{np.mean(apart[name]):.0f} ({min(apart[name]):.0f} to {max(apart[name]):.0f})"
    if name == PAPER:
        return [name, f"{estimate.value:.1f}{own}", "", "", distances]
    paper = np.mean(found[PAPER], axis=0)
    units = np.arange(len(mean))
    numbers = [Number((Addend((Sample(each, units),)),)) for each in (paper, mean)]
    moved = paired_difference(*numbers, Resampling(len(mean), 4000, 0))
    difference = (
        f"{moved.value:+.1f} ({moved.interval.low:+.1f} to {moved.interval.high:+.1f}), p = {moved.p_value:.3f}"
    )
    seeds = " ".join(f"{(one - other).mean():+.1f}" for one, other in zip(found[name], found[PAPER], strict=True))
    return [name, f"{estimate.value:.1f}{own}", difference, seeds, distances]


if __name__ == "__main__":
    main()
