"""How long a generator takes for an image.

    python benchmarks/generate.py [--model emoji] [--batch 8] [--rounds 50] [--threads 2]

Texts are read and images drawn, batch by batch, as `diptych generator draw` does; every batch has other texts.
Printed: milliseconds an image, median and 95th percentile over the rounds, and the same for drawing alone.
Target: 50 ms an image of 64 pixels, batches of 8, two cores.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from diptych.synthesis import load

THINGS = ("apple", "heart", "car", "cat", "house", "moon", "tree", "fish", "bell", "book")
COLOURS = ("red", "green", "blue", "yellow", "black", "white", "orange", "purple", "pink", "brown")
TARGET = 50.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="emoji", help="name or folder of a generator")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    generator = load(arguments.model, threads=arguments.threads)
    size, batch = generator.config.size, arguments.batch
    texts = [f"a {colour} {thing}" for thing in THINGS for colour in COLOURS]
    generator.generate(texts[:batch])
    whole, painting = [], []
    for number in range(arguments.rounds):
        chosen = [texts[(number * batch + at) % len(texts)] for at in range(batch)]
        begun = time.perf_counter()
        read = generator.read(chosen)
        middle = time.perf_counter()
        generator.sample(read, generator.noise(batch, seed=number))
        end = time.perf_counter()
        whole.append(1000 * (end - begun) / batch)
        painting.append(1000 * (end - middle) / batch)
    print(f"| {size} px, batches of {batch}, {arguments.threads} threads | ms an image | p95 |\n|---|---|---|")
    for name, took in (("words to image", whole), ("painting alone", painting)):
        print(f"| {name} | {np.median(took):.1f} | {np.quantile(took, 0.95):.1f} |")
    print(f"{'ok  ' if np.median(whole) <= TARGET else 'MISS'} target {TARGET:.0f} ms")


if __name__ == "__main__":
    main()
