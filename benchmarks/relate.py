"""How right a model's calibration of pairs is on another source: related and unrelated pairs of it, as many of each.

    python benchmarks/relate.py SOURCE --split val --model base
    python benchmarks/relate.py SOURCE --calibration mine.json

Prints, for each kind of pair that the source has, accuracy, precision, recall and expected calibration error of
`diptych relate`'s answers. The calibration is the one that the model comes with, or --calibration. No target: it says
how far a calibration holds on images and languages that it was not fitted on.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from diptych import SourceOptions, open_source, runs
from diptych.data.pair_list import KINDS
from diptych.inspection.relating.fitting import drawn_pairs


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("source")
    asked.add_argument("--split")
    asked.add_argument("--model", default="base")
    asked.add_argument("--calibration", type=Path)
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    pairs = list(open_source(given.source, SourceOptions(split=given.split)))
    scorer = runs.pair_scorer(given.model)
    for kind in KINDS:
        drawn = drawn_pairs(pairs, kind, seed=given.seed)
        if not drawn.right:
            continue
        labelled = [replace(pair, label=True) for pair in drawn.right] + [
            replace(pair, label=False) for pair in drawn.wrong
        ]
        found = runs.judge_pairs(scorer, labelled, calibration=given.calibration)
        print(f"{kind}: {found.measured or 'not calibrated'}")


if __name__ == "__main__":
    main()
