"""R-precision of several generators on the same texts, and how far each is from the first, with paired intervals.

    python benchmarks/generators_compared.py runs/full/model runs/no-word/model --data emoji/ --model runs/judge/model

Runs that differ in one loss differ by little when they are short; two intervals of their own overlap long before their
difference stops being one. Here both draw the same texts, the judge chooses from the same pools, several of each text,
and the bootstrap resamples records (all languages and images of one go together), the same ones for both.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diptych.core.shapes import Float64
from diptych.core.types import Pair
from diptych.data.readers import SourceOptions, open_source
from diptych.evaluation.bootstrap import Addend, Number, Resampling, Sample, paired_difference
from diptych.evaluation.generative import draw_pools, estimate_of_mean, r_precision
from diptych.inspection.generators import Generator, generate_all, open_generator
from diptych.inspection.generators.measurement import embed_images_in_memory
from diptych.inspection.generators.prompts import choose_prompts
from diptych.models import DualEncoder, load

POOLS = 20  # of each text


def shares(
    generator: Generator, pairs: Sequence[Pair], judge: DualEncoder, options: argparse.Namespace
) -> Float64[np.ndarray, " n"]:
    """How often each record's texts are found for their images: a mean over languages, images and pools."""
    total, count = np.zeros(len(pairs)), np.zeros(len(pairs))
    for lang in options.languages:
        prompts = choose_prompts(pairs, lang, len(pairs), options.seed, options.fields)
        texts = [prompt.text.value for prompt in prompts]
        made = generate_all(generator, texts, noises=options.noises, seed=options.seed, lang=lang)
        images, words = embed_images_in_memory(judge, made.reshape(-1, *made.shape[2:])), judge.encode_texts(texts)
        own = np.repeat(np.arange(len(texts)), options.noises)
        record = np.array([prompt.pair for prompt in prompts])[own]
        for pool in range(POOLS):
            found = r_precision(images, words, draw_pools(texts, 100, options.seed + pool), own)
            np.add.at(total, record, found)
            np.add.at(count, record, 1)
    return np.asarray(total[count > 0] / count[count > 0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--fields", nargs="+", default=["name"])
    parser.add_argument("--languages", nargs="+", default=["en"])
    parser.add_argument("--noises", type=int, default=4, help="images of each text")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pairs = list(open_source(options.data, SourceOptions(split=options.split)))
    judge = load(options.model)
    languages = " ".join(options.languages)
    print(f"{len(pairs)} records, {languages}, {options.noises} images of each text, {POOLS} pools of 100;")
    print("R-precision % (95 %), and less the first's")
    first: Number | None = None
    for name in options.generators:
        found = shares(open_generator(name), pairs, judge, options)
        number = Number((Addend((Sample(100 * found, np.arange(len(found))),)),))
        mean = estimate_of_mean(100 * found, seed=options.seed)
        apart = ""
        if first is not None:
            moved = paired_difference(first, number, Resampling(len(found), 4000, options.seed))
            low, high = moved.interval.low, moved.interval.high
            apart = f"{moved.value:+.2f} ({low:+.2f} to {high:+.2f}), p = {moved.p_value:.3f}"
        own = f"{mean.interval.low:.1f} to {mean.interval.high:.1f}" if mean.interval else ""
        print(f"{name}: {mean.value:.2f} ({own})  {apart}", flush=True)
        first = first or number


if __name__ == "__main__":
    main()
