r"""Figures of the model in the box beyond photos with English captions: languages, recipes, drawings. One table each.

    python benchmarks/base_figures.py languages flickr8k-languages.jsonl --split val --model base
    python benchmarks/base_figures.py recipes recipes-zh/ --model base
    python benchmarks/base_figures.py folds recipes-zh/ --config configs/base.toml --source flickr8k/ \
        --with emoji/:0.2 --weight 0.05 --work runs/recipe-folds
    python benchmarks/base_figures.py drawings --model base
    python benchmarks/base_figures.py calibration flickr8k/ --split val --model base

languages: text -> image R@10 of each language as a share of English's, on the same photos: the records of the split
that have texts in both, among all images of the split. The source is made by `benchmarks/languages.py`.

recipes: text -> image median rank and R@10 of a model as it is; the text is title, ingredients and instructions in one.

folds: the same for a mixture that learns from recipes. Five trainings, each without a fifth of the recipes (by a hash
of the recipe); each recipe is the query of the model that did not see it, among the images of all recipes, of which
those of the other folds were learnt from. Of the recipes that are left, a tenth validates. An interrupted run goes on:
every fold is a training that resumes, and keeps its ranks and what it was trained with; asked for another, it refuses.

drawings: OpenMoji's drawings of the emoji families that are held out, by their names in 14 languages, without fitting.

calibration: how right two statements of a dual encoder are, and how well they tell right from wrong. "This pair is
right": the probability of `diptych relate` (the calibration that the model comes with, or --calibration), of each text
with its image and with one of another record; and one that is fitted here, on one half of the records, and judged on
the other half, both ways. "Nothing matches": each text asks libraries of 20, 100 and 1,000 images twice, with its image
and with that image taken out; the statement is a logistic regression on the best cosine and its lead over the second
and over the mean of the best five, with weights that depend on the library's size, fitted by halves too: no model comes
with one (that of a cross-encoder is measured by `diptych rerank check`). Expected calibration error (ECE) in 15 bins of
as many statements each, and AUC beside it, since a constant can have no error.

Intervals: 95 %, bootstrap over records, paired where two languages are compared. A tie counts against.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import diptych
from diptych import runs
from diptych.core import fingerprint
from diptych.core.files import cache_folder, write_json
from diptych.core.types import Pair
from diptych.data.pair_list import IMAGE_TEXT
from diptych.data.readers import SourceOptions, open_source
from diptych.data.readers.openmoji import iter_openmoji
from diptych.data.write import write_pairs
from diptych.demo.drawings import DRAWINGS
from diptych.evaluation import Positives
from diptych.evaluation.ranks import ranks_from_embeddings
from diptych.evaluation.reliability import fit_logistic
from diptych.inspection.relating import read_calibrations
from diptych.inspection.relating.scoring import DualScorer
from diptych.models import DualEncoder
from diptych.models.embed import EmbeddedPairs, embed_pairs
from diptych.runs.source_settings import SourceSettings

LANGUAGES = ("de", "fr", "pt", "ar", "zh", "cs", "hi", "uk", "es", "ja")
PARTS = ("title", "ingredients", "instructions")
FOLDS = 5
RESAMPLES = 1000
K = 10
LIBRARIES = (20, 100, 1000)  # images

Statistic = Callable[[np.ndarray], float]  # of how often each record is drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tasks = parser.add_subparsers(dest="task", required=True)
    for name in ("languages", "recipes", "folds", "drawings", "calibration"):
        task = tasks.add_parser(name)
        task.add_argument("--seed", type=int, default=0, help="of the bootstrap, and of trainings")
        if name != "drawings":
            task.add_argument("data", type=Path)
        if name != "folds":
            task.add_argument("--model", default="base")
    languages, folds, drawings = tasks.choices["languages"], tasks.choices["folds"], tasks.choices["drawings"]
    languages.add_argument("--split", default="val")
    languages.add_argument("--languages", nargs="+", default=LANGUAGES)
    languages.add_argument("--origins", nargs="*", default=(), help="only texts of these: human, translated")
    folds.add_argument("--config", type=Path, required=True)
    folds.add_argument("--source", help="first source; the config's when left out")
    folds.add_argument("--with", dest="more", action="append", default=[], help="further source, SOURCE[:WEIGHT]")
    folds.add_argument("--weight", type=float, default=0.0, help="share of an epoch that is of the recipes")
    folds.add_argument("--work", type=Path, required=True, help="folder of the five runs")
    drawings.add_argument("--drawings", type=int, default=DRAWINGS, help="how many emojis to draw, as diptych demo")
    calibration = tasks.choices["calibration"]
    calibration.add_argument("--split", default="val")
    calibration.add_argument("--languages", nargs="*", default=("en",), help="of the texts; none: all")
    calibration.add_argument("--calibration", type=Path, help="file of diptych relate --calibrate")
    options = parser.parse_args()
    work = {"languages": by_language, "recipes": recipes, "folds": by_folds, "drawings": drawn}
    (work | {"calibration": calibrated})[options.task](options)


def by_language(options: argparse.Namespace) -> None:
    read = SourceOptions(split=options.split, origins=tuple(options.origins))
    asked = ("en", *options.languages)
    pairs = [with_texts(pair, lambda text: text.lang in asked) for pair in open_source(options.data, read)]
    found = embed_pairs(diptych.load(options.model), pairs)
    ranks = text_to_image(found)
    spoken = np.array(found.languages, dtype=object)
    hits, counts = {}, {}
    for language in asked:
        own = spoken == language
        hits[language] = np.bincount(found.owner[own], ranks[own] < K, len(found.ids))
        counts[language] = np.bincount(found.owner[own], minlength=len(found.ids))
    rows = []
    for language in options.languages:
        both = (counts[language] > 0) & (counts["en"] > 0)
        if not both.any():
            rows.append([language, "0", "", "", ""])
            continue

        def recall(drawn: np.ndarray, of: str, both: np.ndarray = both) -> float:
            return 100 * float((drawn * both) @ hits[of] / ((drawn * both) @ counts[of]))

        def share(drawn: np.ndarray, of: str = language, recall: Callable[..., float] = recall) -> float:
            return recall(drawn, of) / recall(drawn, "en")

        one = np.ones(len(both))
        rows.append([language, f"{int(both.sum()):,}", f"{recall(one, language):.1f}", f"{recall(one, 'en'):.1f}",
                     told(share, both, options.seed, 3)])  # fmt: skip
    print(f"{options.model} on {options.data}, {options.split}: text -> image R@{K}, gallery of {len(found.images):,}")
    show(["language", "photos", f"R@{K}", "English's", "share of English's"], rows)


def recipes(options: argparse.Namespace) -> None:
    found = embed_pairs(diptych.load(options.model), recipes_of(options.data))
    show_recipes(f"{options.model}, as it is", text_to_image(found), len(found.images), options.seed)


def by_folds(options: argparse.Namespace) -> None:
    pairs = recipes_of(options.data)
    trained = {
        "config": options.config.read_text(encoding="utf-8"),
        "sources": [options.source, *options.more],
        "weight": options.weight,
        "seed": options.seed,
    }
    fold = np.array([fold_of(pair) for pair in pairs])
    ranks = np.zeros(len(pairs), dtype=np.int64)
    gallery = 0
    for number in range(FOLDS):
        folder = options.work / f"fold-{number}"
        kept = folder / "ranks.json"
        if not kept.exists():
            own = ranks_of_fold(options, pairs, number, folder)
            write_json(kept, own | {"trained": trained})
        own = json.loads(kept.read_text(encoding="utf-8"))
        if own["recipes"] != [pair.id for pair in pairs]:
            raise SystemExit(f"{kept} is of other recipes; choose another --work")
        if own.get("trained") != trained:
            raise SystemExit(f"{kept} is of another config, source, weight or seed; choose another --work")
        ranks[fold == number] = np.array(own["ranks"])[fold == number]
        gallery = own["gallery"]
        print(f"fold {number}: {int((fold == number).sum())} recipes left out", flush=True)
    show_recipes(f"{options.config}, {FOLDS} trainings, each recipe left out once", ranks, gallery, options.seed)


def ranks_of_fold(options: argparse.Namespace, pairs: Sequence[Pair], number: int, folder: Path) -> dict[str, object]:
    """Train without a fold, then rank every recipe's text among the images of all."""
    folder.mkdir(parents=True, exist_ok=True)
    rest = folder / "recipes.jsonl"
    write_pairs(rest, [dataclasses.replace(pair, split=None) for pair in pairs if fold_of(pair) != number])
    own = SourceSettings(path=str(rest), name="recipes", weight=options.weight, val_share=0.1)
    run = runs.train(options.config, options.source, folder / "run", sources=[*options.more, own], seed=options.seed)
    model: DualEncoder = run.model
    found = embed_pairs(model, pairs)
    return {
        "recipes": [pair.id for pair in pairs],
        "ranks": text_to_image(found).tolist(),
        "gallery": len(found.images),
        "model": model.fingerprint,
    }


def drawn(options: argparse.Namespace) -> None:
    emojis = iter_openmoji(cache_folder() / "openmoji", limit=options.drawings)
    held = [with_texts(pair, lambda text: text.field == "caption") for pair in emojis if pair.split == "val"]
    found = embed_pairs(diptych.load(options.model), held)
    hit = text_to_image(found) < K
    spoken = np.array(found.languages, dtype=object)
    rows = []
    for language in (None, *sorted(set(found.languages))):
        own = spoken == language if language else np.ones(len(spoken), dtype=bool)
        hits = np.bincount(found.owner[own], hit[own], len(found.ids))
        counts = np.bincount(found.owner[own], minlength=len(found.ids))

        def recall(drawn: np.ndarray, hits: np.ndarray = hits, counts: np.ndarray = counts) -> float:
            return 100 * float(drawn @ hits / (drawn @ counts))

        rows.append([language or "all", f"{int(own.sum()):,}", told(recall, counts > 0, options.seed, 1)])
    print(f"{options.model} on OpenMoji's drawings, {len(held)} held-out emojis of {options.drawings}, without fitting")
    show(["language", "names", f"text -> image R@{K}"], rows)


def calibrated(options: argparse.Namespace) -> None:
    model = diptych.load(options.model)
    pairs = list(open_source(options.data, SourceOptions(split=options.split)))
    if options.languages:
        pairs = [with_texts(pair, lambda text: (text.lang or "en") in options.languages) for pair in pairs]
    found = embed_pairs(model, pairs)
    counts = f"{len(found.values):,} texts, {len(found.images):,} images"
    print(f"{options.model} on {options.data}, {options.split}: {counts}")
    path, scorer = options.calibration, DualScorer(model)
    known = read_calibrations(path, model.fingerprint, model.name) if path else scorer.comes_with()
    pair, rows = f"this pair is right, {'--calibration' if path else 'as it says'}", []
    cosines, matching = pair_statements(found, options.seed)
    if known is None or IMAGE_TEXT not in known.kinds:
        print(f"{pair}: {scorer.missing(IMAGE_TEXT)}")
    else:
        print(f"{pair}: {known.origin(IMAGE_TEXT)}")
        said = known.kinds[IMAGE_TEXT].probability(cosines, 0.5)
        rows.append([pair, *figures(dataclasses.replace(matching, said=said), options.seed)])
    rows.append(["this pair is right, fitted here", *figures(matching, options.seed)])
    stated = nothing_statements(found, options.seed)
    for size in (*LIBRARIES, None):
        own = stated.of(stated.size == size) if size else stated
        if len(own.said):
            where = f"{size:,} images" if size else "all sizes"
            rows.append([f"nothing matches, {where}", *figures(own, options.seed)])
    show(["statement", "statements", "ECE", "AUC"], rows)


@dataclasses.dataclass(frozen=True)
class Statements:
    """Probabilities that were said, whether each was so, the record of its text, and the size of the library."""

    said: np.ndarray
    so: np.ndarray
    record: np.ndarray
    size: np.ndarray

    def of(self, which: np.ndarray) -> Statements:
        """Some of them."""
        return Statements(self.said[which], self.so[which], self.record[which], self.size[which])


def pair_statements(found: EmbeddedPairs, seed: int) -> tuple[np.ndarray, Statements]:
    """Cosines (n, 1) of each text with an image of its record and with one of another, and what is fitted to them."""
    own = np.searchsorted(found.image_owner, found.owner)
    draw = np.random.default_rng(seed)
    other = draw.integers(len(found.images), size=len(found.texts))
    while (same := found.image_owner[other] == found.owner).any():
        other[same] = draw.integers(len(found.images), size=int(same.sum()))
    image, text = np.r_[own, other], np.tile(np.arange(len(found.texts)), 2)
    cosines = np.einsum("kd,kd->k", found.images[image], found.texts[text])[:, None]
    so, record = np.repeat([True, False], len(found.texts)), found.owner[text]
    return cosines, Statements(said_by_halves(cosines, so, record, seed), so, record, np.zeros_like(record))


def said_by_halves(features: np.ndarray, so: np.ndarray, record: np.ndarray, seed: int) -> np.ndarray:
    """Probabilities of each half of the records by a logistic regression that the other half fitted."""
    records = int(record.max()) + 1
    first = np.random.default_rng(seed).permutation(records)[record] < records // 2
    said = np.empty(len(features))
    for here in (first, ~first):
        said[here] = fit_logistic(features[~here], so[~here])(features[here])
    return said


def nothing_statements(found: EmbeddedPairs, seed: int) -> Statements:
    """Of each text, asking a random library that holds the images of its record and the same one without them."""
    draw = np.random.default_rng(seed)
    shuffled = draw.permutation(len(found.images))
    features, so, record, size = [], [], [], []
    for most in (each for each in LIBRARIES if each <= len(found.images)):
        for start in range(0, len(shuffled) - most + 1, most):
            library = shuffled[start : start + most]
            for text in np.flatnonzero(np.isin(found.owner, found.image_owner[library])):
                cosines = found.images[library] @ found.texts[text]
                for kept in (np.ones(most, dtype=bool), found.image_owner[library] != found.owner[text]):
                    best = np.sort(cosines[kept])[::-1][:5]
                    features.append([1.0, best[0], best[0] - best[1], best[0] - best.mean()])
                    so.append(not (found.image_owner[library[kept]] == found.owner[text]).any())
                    record.append(found.owner[text])
                    size.append(most)
    is_so, of_record, by_size = np.array(so), np.array(record), np.log(size)[:, None]
    shown = np.hstack([np.array(features) * by_size**power for power in range(3)])
    return Statements(said_by_halves(shown, is_so, of_record, seed), is_so, of_record, np.array(size))


def figures(stated: Statements, seed: int) -> list[str]:
    """How many, ECE and AUC, both with their intervals over resampled records."""
    order = np.argsort(stated.said, kind="stable")
    said, so, record = stated.said[order], stated.so[order], stated.record[order]
    among = np.bincount(record) > 0

    def error(drawn: np.ndarray) -> float:
        return expected_error(said, so, drawn[record])

    def area(drawn: np.ndarray) -> float:
        return auc(said, so, drawn[record])

    return [f"{len(said):,}", told(error, among, seed, 3), told(area, among, seed, 3)]


def expected_error(said: np.ndarray, so: np.ndarray, weight: np.ndarray, bins: int = 15) -> float:
    """Mean difference of what was said and what was so, over bins of the same weight each; `said` ascends."""
    total = weight.sum()
    place = np.minimum((np.cumsum(weight) - weight) * bins // total, bins - 1).astype(np.int64)
    return float(np.abs(np.bincount(place, weight * (said - so), bins)).sum() / total)


def auc(said: np.ndarray, so: np.ndarray, weight: np.ndarray) -> float:
    """Chance that one that is so has the higher probability; ties count half. `said` ascends."""
    level = np.cumsum(np.r_[0, np.diff(said) > 0])
    right, wrong = np.bincount(level, weight * so), np.bincount(level, weight * ~so)
    return float(right @ (np.cumsum(wrong) - wrong / 2) / (right.sum() * wrong.sum()))


def with_texts(pair: Pair, takes: Callable[..., bool]) -> Pair:
    return dataclasses.replace(pair, texts=tuple(text for text in pair.texts if takes(text)))


def recipes_of(data: Path) -> list[Pair]:
    return list(open_source(data, SourceOptions(text_parts=PARTS)))


def fold_of(pair: Pair) -> int:
    """The fold of a recipe: a function of its id alone."""
    return int(fingerprint.combined([pair.identity])[:8], 16) % FOLDS


def text_to_image(found: object) -> np.ndarray:
    """The rank of each text's best image among all images, 0 first."""
    positives = Positives.from_labels(found.owner, found.image_owner)
    return ranks_from_embeddings(found.texts, found.images, positives).best


def show_recipes(title: str, ranks: np.ndarray, gallery: int, seed: int) -> None:
    every = np.ones(len(ranks), dtype=bool)

    def median(drawn: np.ndarray) -> float:
        return float(np.median(np.repeat(ranks, drawn.astype(int)))) + 1

    def recall(drawn: np.ndarray) -> float:
        return 100 * float(drawn @ (ranks < K) / drawn.sum())

    print(f"{title}: {len(ranks)} recipes, {', '.join(PARTS)} -> {gallery} images")
    show(["", "text -> image"], [["medR", told(median, every, seed, 1)], [f"R@{K}", told(recall, every, seed, 1)]])


def told(statistic: Statistic, among: np.ndarray, seed: int, digits: int) -> str:
    """A figure with its interval over resampled records."""
    records, draw = np.flatnonzero(among), np.random.default_rng(seed)
    found = []
    for _ in range(RESAMPLES):
        drawn = np.bincount(draw.choice(records, len(records)), minlength=len(among))
        found.append(statistic(drawn))
    low, high = np.nanpercentile(found, (2.5, 97.5))
    return f"{statistic(among.astype(float)):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def show(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for cells in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
