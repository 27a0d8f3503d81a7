"""Every method of configs/methods on one data set, in one table.

    python benchmarks/methods.py flickr8k/ --out runs/methods --seeds 3
    python benchmarks/methods.py flickr8k/ --out runs/methods --only max_hinge --only info_nce
    python benchmarks/methods.py flickr8k/ --translated flickr8k-languages.jsonl --only x_mrs_back

Each run is a `diptych train` of its own, so that a row is what a user would get. A run that is finished is not
repeated: stop with Ctrl-C and start again. Writes OUT/table.md and OUT/table.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "methods"
SHARED = ("frozen",)  # what others extend
TRANSLATED = ("x_mrs_back", "x_mrs_multilingual")  # need a source with translations (benchmarks/languages.py)
STARTS = {"finetuned": "info_nce"}  # goes on from another run of the same seed
MINED = ("mined",)  # needs what `diptych data mine` found
OWN_WORDS = ("joined", "minilm", "minilm_lora")  # need a folder of a pretrained text encoder
ORDER = ("cca", "cknn", "sum_hinge", "max_hinge", "order", "info_nce", "siglip", "instance", "adversarial")
METRICS = ("i2t R@1", "i2t R@10", "t2i R@1", "t2i R@10", "score")


def main() -> None:
    options = arguments()
    found = {path.stem: path for path in CONFIGS.glob("*.toml") if path.stem not in SHARED}
    place = {name: number for number, name in enumerate(ORDER)}
    names = options.only or sorted(set(found) - left_out(options), key=lambda name: (place.get(name, len(place)), name))
    if missing := [name for name in names if name not in found]:
        sys.exit(f"no config for {', '.join(missing)}; choose from {', '.join(sorted(found))}")
    runs = [(name, seed) for seed in range(options.seeds) for name in names]
    with ThreadPoolExecutor(options.jobs) as pool:
        done = list(pool.map(lambda run: train(found[run[0]], run[1], options), runs))
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for (name, _), result in zip(runs, done, strict=True):
        if result:
            results[name].append(result)
    text = table(results, options)
    (options.out / "table.md").write_text(text, encoding="utf-8")
    (options.out / "table.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
    print(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each on one thread")
    parser.add_argument("--only", action="append", help="a config's name; repeat for several")
    parser.add_argument("--translated", help="a source with translations, for the methods that need one")
    parser.add_argument("--mined", help="file of mined negatives, for the method that trains with them")
    parser.add_argument("--encoder", help="folder of a pretrained text encoder, for the methods that need one")
    parser.add_argument("--set", action="append", default=[], help="passed on to diptych train")
    return parser.parse_args()


def left_out(options: argparse.Namespace) -> set[str]:
    """Methods that lack what they need."""
    translated = () if options.translated else TRANSLATED
    return {*translated, *(() if options.mined else MINED), *(() if options.encoder else OWN_WORDS)}


def extra(name: str, seed: int, options: argparse.Namespace) -> list[str]:
    """What a method's own command needs beyond its config."""
    if name in STARTS:
        return [f"init={options.out / f'{STARTS[name]}-{seed}' / 'model'}"]
    if name == "joined":
        return [f'text.tower.towers=["use", "transformers:{options.encoder}"]']
    if name in MINED:
        return [f'data.mined="{options.mined}"']
    if name in OWN_WORDS:
        return [f'text.tower.name="tokens:{options.encoder}"', f'text.network.model="{options.encoder}"']
    return []


def train(config: Path, seed: int, options: argparse.Namespace) -> dict[str, float] | None:
    """One run's scores and minutes; None when it failed, which is said and stops nothing."""
    out = options.out / f"{config.stem}-{seed}"
    result = out / "result.json"
    if result.exists():
        return json.loads(result.read_text(encoding="utf-8"))
    source = options.translated if config.stem in TRANSLATED else options.data
    command = [sys.executable, "-m", "diptych", "train", str(config), source, "--out", str(out)]
    settings = [*options.set, *extra(config.stem, seed, options)]
    command += ["--seed", str(seed), "--json", *(word for value in settings for word in ("--set", value))]
    started = time.perf_counter()
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if ran.returncode:
        print(f"{config.stem}, seed {seed}: {ran.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    minutes = (time.perf_counter() - started) / 60
    found = {**json.loads(ran.stdout)["scores"], "minutes": round(minutes, 2)}
    result.write_text(json.dumps(found), encoding="utf-8")
    print(f"{config.stem}, seed {seed}: rsum {found['score']:.1f}, {minutes:.1f} min", file=sys.stderr, flush=True)
    return found


def table(results: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> str:
    """Means over the seeds, with the standard deviation of rsum."""
    lines = [
        "| method | i→t R@1 | i→t R@10 | t→i R@1 | t→i R@10 | rsum | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in results.items():
        if not runs:
            lines.append(f"| {name} | failed | | | | | |")
            continue
        means = [f"{statistics.mean(run[metric] for run in runs):.1f}" for metric in METRICS]
        spread = f" ± {statistics.stdev(run['score'] for run in runs):.1f}" if len(runs) > 1 else ""
        minutes = statistics.mean(run["minutes"] for run in runs)
        lines.append(f"| {name} | {' | '.join(means)}{spread} | {minutes:.1f} |")
    shown = " ".join(f"--set {value}" for value in options.set)
    lines.append(f"\n{options.seeds} seed(s); each row: `diptych train configs/methods/NAME.toml DATA {shown}`")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
