"""How well does a model classify photos by words, and what do templates, calibration and a few images add?

    python benchmarks/zero_shot.py flickr8k/ --split val --model base [--shots 1,4,16,all] [--seeds 3]

Captions give the classes: of 16 words, a photo belongs to the one that at least three of its captions name, if none of
them names another. Prints the accuracies of the template sets, how right a fitted temperature and "none of these" are
on images that they were not fitted on, what sentences for anything ("a picture of something.") find as one more label,
and the table of `diptych compare --task zero-shot --shots`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace

import numpy as np

import diptych
from diptych import runs
from diptych.core.notes import Notes
from diptych.core.types import Pair
from diptych.data.readers import SourceOptions, open_source
from diptych.data.seen import Chosen
from diptych.data.templates import TEMPLATES
from diptych.evaluation.class_calibration import area_under_curve, left_out
from diptych.inspection.classes import embed_labelled, with_labels

WORDS = [
    *("dog", "horse", "bicycle", "motorcycle", "skateboard", "snow", "beach", "basketball", "soccer", "football"),
    *("pool", "climbing", "guitar", "boat", "car", "swing"),
]
ANYTHING = ["a photo.", "a picture of something.", "an image.", "a photo of an object.", "a photo of a scene."]
_FEWEST = 3  # captions


def word_of(pair: Pair) -> str | None:
    """The class of a photo, or None."""
    captions = [text.value.lower() for text in pair.texts]
    counts = Counter(word for word in WORDS for caption in captions if word in caption)
    ((word, count),) = counts.items() if len(counts) == 1 else ((None, 0),)
    return word if count >= _FEWEST else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="base")
    parser.add_argument("--shots", default="1,4,16,all")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    source = open_source(arguments.source, SourceOptions(split=arguments.split))
    pairs = [replace(pair, group=word, split=None) for pair in source if (word := word_of(pair))]
    labelled = Chosen(source, pairs, arguments.split)
    model = diptych.load(arguments.model)
    counts = Counter(pair.group for pair in pairs)
    print(f"{len(pairs)} photos: {', '.join(f'{word} {count}' for word, count in counts.most_common())}\n")
    for name in TEMPLATES:
        report = diptych.evaluate_zero_shot(model, labelled, WORDS, templates=name)
        print(f"{name}: {', '.join(f'{key} {100 * value.value:.1f}' for key, value in report.metrics.items())}")
        print(f"  fitted on the other half: {report.fitted}")
    scorer = runs.label_scorer(model, WORDS, notes=Notes())
    found = embed_labelled(model, with_labels(labelled, pairs, scorer.labels))
    cosines = scorer.cosines(found.vectors)
    removed = left_out(cosines, found.classes)
    known, unknown = np.sort(cosines, axis=1), np.sort(removed, axis=1)
    anything = model.encode_texts(ANYTHING).mean(axis=0)
    beside = found.vectors @ (anything / np.linalg.norm(anything))
    print(f"\nnone of these, by the best cosine: AUC {area_under_curve(-unknown[:, -1], -known[:, -1]):.3f}")
    margins = [each[:, -1] - each[:, -2] for each in (known, unknown)]
    print(f"by the margin to the second label: AUC {area_under_curve(-margins[1], -margins[0]):.3f}")
    caught, wrongly = ((beside > each[:, -1]).mean() for each in (unknown, known))
    print(f"sentences for anything as one more label: {100 * caught:.0f} % found, {100 * wrongly:.0f} % wrongly\n")
    shots = tuple(0 if each == "all" else int(each) for each in arguments.shots.split(","))
    print(runs.compare_zero_shot([model], pairs, WORDS, few_shots=runs.FewShots(shots, seeds=arguments.seeds)))


if __name__ == "__main__":
    main()
