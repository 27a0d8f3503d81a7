"""Does `diptych data filter` find wrong captions? On a copy of a source with some of them shuffled.

    python benchmarks/filter.py flickr8k/ --split val --model base [--share 0.2] [--seeds 3] [--score cosine ...]

For each seed a share of the captions is given to other pictures (in a temporary folder; the pictures
stay where they are), the command runs on that copy as a user would run it, and its verdicts are held
against the truth: AUC (right above wrong), AP of the wrong ones when sorted from the least likely, and
what was dropped.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from diptych.cli.app import run
from diptych.core.types import Pair
from diptych.data.readers import SourceOptions, open_source
from diptych.data.write import write_pairs


def with_shuffled(pairs: list[Pair], share: float, seed: int) -> tuple[list[Pair], list[bool]]:
    """The pairs with that share of their texts moved among themselves, and which texts are now wrong."""
    draw = np.random.default_rng(seed)
    places = [(number, place) for number, pair in enumerate(pairs) for place in range(len(pair.texts))]
    texts = [list(pair.texts) for pair in pairs]
    moved = draw.choice(len(places), round(share * len(places)), replace=False)
    taken = [pairs[places[at][0]].texts[places[at][1]] for at in moved]
    wrong = np.zeros(len(places), dtype=bool)
    for at, source, text in zip(moved, np.roll(moved, 1), np.roll(np.array(taken, dtype=object), 1), strict=True):
        number, place = places[at]
        texts[number][place] = text
        wrong[at] = places[source][0] != number
    shuffled = [replace(pair, texts=tuple(own)) for pair, own in zip(pairs, texts, strict=True)]
    return shuffled, wrong.tolist()


def average_precision(found: np.ndarray, scores: np.ndarray) -> float:
    """Of the `found` ones when sorted by falling score."""
    ordered = found[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(ordered) / np.arange(1, len(ordered) + 1))[ordered].mean())


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Chance that a positive scores above a negative; ties count half."""
    ordered = np.sort(negative)
    below, upto = (np.searchsorted(ordered, positive, side=side) for side in ("left", "right"))
    return float((below + upto).mean() / (2 * len(negative)))


def once(pairs: list[Pair], share: float, seed: int, model: str, extra: list[str]) -> dict[str, float]:
    shuffled, wrong_list = with_shuffled(pairs, share, seed)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "shuffled.jsonl", Path(folder) / "filtered"
        write_pairs(source, shuffled)
        command = ["data", "filter", str(source), "--model", model, "--out", str(out), "--quiet", *extra]
        with contextlib.redirect_stdout(io.StringIO()):
            code = run(command)
        if code:
            raise SystemExit(code)
        verdicts = [json.loads(line) for line in (out / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
        report = json.loads((out / "filter.json").read_text(encoding="utf-8"))
    wrong = np.array(wrong_list)
    if len(verdicts) != len(wrong):
        raise SystemExit("some pictures could not be read, so verdicts and truth do not line up")
    scores = np.array([verdict["score"] for verdict in verdicts])
    probability = np.array([verdict["probability"] for verdict in verdicts])
    dropped = ~np.array([verdict["keep"] for verdict in verdicts])
    return {
        "seed": seed,
        "AUC": auc(scores[~wrong], scores[wrong]),
        "AP of wrong": average_precision(wrong, -scores),
        "wrong share": float(wrong.mean()),
        "estimated": report["wrong_share"],
        "wrong dropped": float(dropped[wrong].mean()),
        "right kept": float((~dropped[~wrong]).mean()),
        "right among kept": float((~wrong)[~dropped].mean()),
        "Brier score": float(((probability - ~wrong) ** 2).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--model", default="base")
    parser.add_argument("--split")
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--every", type=int, default=1, help="use each n-th record only")
    parser.add_argument("--seeds", type=int, default=3)
    arguments, extra = parser.parse_known_args()  # what is left over goes to the command
    pairs = list(open_source(arguments.source, SourceOptions(split=arguments.split)))[:: arguments.every]
    rows = [once(pairs, arguments.share, seed, arguments.model, extra) for seed in range(arguments.seeds)]
    print("| " + " | ".join(rows[0]) + " |\n|" + "---:|" * len(rows[0]))
    for row in rows:
        print(
            "| "
            + " | ".join(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values())
            + " |"
        )


if __name__ == "__main__":
    main()
