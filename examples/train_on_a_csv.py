"""Fit the shipped model to pairs of your own, and measure it: python examples/train_on_a_csv.py [PAIRS.csv]."""

import sys

from tiny import shapes

import diptych

source = sys.argv[1] if len(sys.argv) > 1 else str(shapes() / "pairs.csv")
config = {
    "name": "mine",
    "image": {"tower": "model:base"},  # frozen; its features are cached
    "text": {"tower": "model:base"},
    "init": "base",  # the heads start from those of the shipped model
    "loss": {"name": "info_nce", "temperature": 0.05},
    "data": {"val_share": 0.25},  # held out, where the table has no column `split`
    "training": {"epochs": 5, "batch_size": 100, "learning_rate": 5e-4},
}
run = diptych.train(config, source, "runs/mine", seed=1)  # the same command again continues or is done at once
print(f"{run.records['train']} training records; validation: {run.scores}")

print(diptych.compare(["base", run.model], source).table(["R@1", "R@5", "rsum"]))
