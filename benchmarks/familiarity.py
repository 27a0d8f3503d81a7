"""Make familiar.json of a model: what its training images look like, so that it can say when others are far.

python benchmarks/familiarity.py flickr8k/                      # for the shipped base; takes a few minutes
python benchmarks/familiarity.py SOURCE --model runs/mine/model

Centres are fitted on five sixths of the source's training split and the threshold on the rest of it; what is printed
below is measured on its validation split, of which neither saw anything. `diptych train` does the same for the models
that it makes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from diptych.data.readers import SourceOptions, open_source
from diptych.models import familiarity, load


def main() -> None:
    """Write the file, and print how often ordinary sets of images would get a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--model", default="base")
    parser.add_argument(
        "--others", nargs="*", default=[], help="sources of other kinds, to see how they are told apart"
    )
    told = parser.parse_args()
    model = load(told.model)

    def embed(source: str, split: str | None = None) -> np.ndarray:
        pairs = open_source(source, SourceOptions(split=split))
        skipped: list = []
        return model.encode_images([image for pair in pairs for image in pair.images], skipped=skipped)

    training = embed(told.source, "train")
    order = np.random.default_rng(0).permutation(len(training))
    cut = len(training) * 5 // 6
    found = familiarity.fit(training[order[:cut]], training[order[cut:]])
    if found is None:
        raise SystemExit(f"{len(training)} training images are too few")
    familiarity.write(model.folder, found)
    size = (model.folder / familiarity.FILE).stat().st_size
    print(f"{model.folder / familiarity.FILE}: {size:,} bytes, threshold {found.threshold:.3f}")
    sets = {"validation": embed(told.source, "val"), **{Path(one).name: embed(one) for one in told.others}}
    for name, vectors in sets.items():
        draws = np.random.default_rng(1)
        closeness = found.closeness(vectors)
        sets_of_20 = [draws.choice(len(vectors), familiarity.LEAST, replace=False) for _ in range(2000)]
        alike = np.argsort(-(vectors @ vectors.T), axis=1, kind="stable")[:, : familiarity.LEAST]
        lines = [100 * np.mean(np.median(closeness[one], axis=1) < found.threshold) for one in (sets_of_20, alike)]
        print(
            f"{name}: median closeness {np.median(closeness):.3f}; a line for {lines[0]:.1f} % of random sets of 20, "
            f"{lines[1]:.1f} % of sets of 20 that are alike"
        )


if __name__ == "__main__":
    main()
