"""How well a search for relevant hits alone tells what a library does not hold, by its size.

    python benchmarks/relevant.py flickr8k/ --split val --model base --other recipes-zh/

Each text is searched for in libraries of --sizes images drawn at random (seed 0): once with its own image among them,
once with another in its place. The texts of --other are searched for in the same libraries. Printed for each size:

- AUC of the best score, of texts whose image is there against those whose image is not, and against the other texts
  (targets .88, .75 and .60 for 20, 100 and 1,000 images);
- right hits kept: of the right images among the first 10, those that reach the cut (target: 95 %);
- wrong images hidden, of all in the library;
- nothing shown: of the texts whose image is not there, and of the other texts, those for which nothing reaches the cut;
- single words (--words): right hits kept, where the right images are those that three of their texts call by the word.

The cut is that of the model's calibration, or of --calibration; AUC needs none.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.similarity import of_cosines
from diptych.data.pair_list import IMAGE_TEXT
from diptych.data.readers import SourceOptions, open_source
from diptych.evaluation.calibration import curve
from diptych.evaluation.calibrations import calibrations_of, read_calibrations
from diptych.models import load
from diptych.models.embed import embed_pairs

FIRST = 10  # hits of a search
WORDS = (
    "dog man woman boy girl child ball beach snow grass water pool bike horse tennis football mountain car street rock"
)
_SAY_IT = 3  # texts of an image
_LIBRARIES = 20  # for each word


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="base")
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--other", help="a source of another domain, whose texts are searched for")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 100, 1000])
    parser.add_argument("--words", nargs="*", default=WORDS.split())
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = load(options.model)
    kept = read_calibrations(options.calibration) if options.calibration else calibrations_of(model)
    pair = None if kept is None else kept.kinds.get(IMAGE_TEXT)
    if pair is None or pair.cut is None:
        raise SystemExit("the model has no cut for image-text pairs: fit one with diptych relate --calibrate")
    embedded = embed_pairs(model, list(open_source(options.source, SourceOptions(split=options.split))))
    scores = embedded.texts @ embedded.images.T
    own = np.asarray(embedded.image_owner if embedded.image_owner is not None else np.arange(len(embedded.images)))
    place = np.array([int(np.flatnonzero(own == owner)[0]) for owner in embedded.owner])  # the first image of each text
    other = other_texts(model, options.other) @ embedded.images.T if options.other else np.zeros((0, scores.shape[1]))
    words = model.encode_queries(options.words) @ embedded.images.T if options.words else np.zeros((0, scores.shape[1]))
    named = called(embedded, own, options.words)
    line = pair.cut.probability

    def shown(found: Any) -> Any:
        flat = pair.probability(of_cosines(model.compares_by, np.ravel(found))[:, None])
        return flat.reshape(np.shape(found)) >= line

    print(
        f"{len(scores):,} texts, {scores.shape[1]:,} images; cut: probability {line:.3f}; other texts: {len(other):,}"
    )
    for size in options.sizes:
        draws = np.random.default_rng(options.seed)
        right, there, gone, elsewhere, wrong = of_size(scores, place, other, size, draws)
        print(
            f"{size:,} images: AUC {auc(there, gone):.3f}; "
            f"right hits kept {shown(right).mean():.1%}; wrong images hidden {1 - shown(wrong).mean():.1%}; "
            f"nothing shown for {1 - shown(gone).mean():.1%} of texts whose image is gone"
        )
        if len(other):
            print(
                f"    other texts: AUC {auc(there, elsewhere):.3f}; nothing shown for {1 - shown(elsewhere).mean():.1%}"
            )
        if len(right := of_words(words, named, size, draws)):
            print(f"    single words: right hits kept {shown(right).mean():.1%} of {len(right)}")


def of_size(scores: Any, place: Any, other: Any, size: int, draws: Any) -> tuple[Any, ...]:
    """For libraries of `size` images: scores of right images among the first hits; the best of each text with its
    image, without it, and of each other text; and those of wrong images.
    """
    images = scores.shape[1]
    size = min(size, images)
    right, there, gone, wrong = [], [], [], []
    for row, at in zip(scores, place, strict=True):
        drawn = draws.choice(images, min(size + 1, images), replace=False)
        others = row[drawn[drawn != at]][:size]
        beside = others[: size - 1]
        there.append(max(row[at], beside.max()))
        gone.append(others.max())
        wrong.append(others[draws.integers(len(others))])
        if (beside >= row[at]).sum() < FIRST:
            right.append(row[at])
    elsewhere = [row[draws.choice(images, size, replace=False)].max() for row in other]
    return tuple(map(np.array, (right, there, gone, elsewhere, wrong)))


def of_words(words: Any, named: Any, size: int, draws: Any) -> Any:
    """Scores of right images among the first hits of each word, in libraries of its own."""
    right = []
    for row, is_right in zip(words, named, strict=True):
        for _ in range(_LIBRARIES):
            drawn = draws.choice(len(row), min(size, len(row)), replace=False)
            first = drawn[np.argsort(-row[drawn])][:FIRST]
            right += row[first][is_right[first]].tolist()
    return np.array(right)


def called(embedded: Any, own: Any, words: Sequence[str]) -> Any:
    """Whether enough texts of an image hold each word: a row for each word."""
    texts = [set(value.lower().split()) for value in embedded.values]
    return np.array(
        [
            [sum(word in texts[at] for at in np.flatnonzero(embedded.owner == o)) >= _SAY_IT for o in own]
            for word in words
        ]
    )


def other_texts(model: Any, source: str) -> Any:
    """Embeddings of the first text of each record."""
    texts: Sequence[str] = [pair.texts[0].value for pair in open_source(source, SourceOptions()) if pair.texts]
    return model.encode_queries(texts)


def auc(more: Any, less: Any) -> float:
    """The chance that the first score is above the second; ties count half."""
    return curve(more, less, contamination=0.0, prior=0.5).auc


if __name__ == "__main__":
    main()
