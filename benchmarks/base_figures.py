r"""Figures of the model in the box beyond photos with English captions: languages, recipes, drawings. One table each.

    python benchmarks/base_figures.py languages flickr8k-languages.jsonl --split val --model base
    python benchmarks/base_figures.py recipes recipes-zh/ --model base
    python benchmarks/base_figures.py folds recipes-zh/ --config configs/base.toml --source flickr8k/ \
        --with emoji/:0.2 --weight 0.05 --work runs/recipe-folds
    python benchmarks/base_figures.py drawings --model base

languages: text -> image R@10 of each language as a share of English's, on the same photos: the records of the split
that have texts in both, among all images of the split. The source is made by `benchmarks/languages.py`.

recipes: text -> image median rank and R@10 of a model as it is; the text is title, ingredients and instructions in one.

folds: the same for a mixture that learns from recipes. Five trainings, each without a fifth of the recipes (by a hash
of the recipe); each recipe is the query of the model that did not see it, among the images of all recipes, of which
those of the other folds were learnt from. Of the recipes that are left, a tenth validates. An interrupted run goes on:
every fold is a training that resumes, and keeps its ranks and what it was trained with; asked for another, it refuses.

drawings: OpenMoji's drawings of the emoji families that are held out, by their names in 14 languages, without fitting.

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
from diptych.data.readers import SourceOptions, open_source
from diptych.data.readers.openmoji import iter_openmoji
from diptych.data.write import write_pairs
from diptych.demo import DRAWINGS
from diptych.evaluation import Positives
from diptych.evaluation.ranks import ranks_from_embeddings
from diptych.models import DualEncoder
from diptych.models.embed import embed_pairs
from diptych.runs.source_settings import SourceSettings

LANGUAGES = ("de", "fr", "pt", "ar", "zh", "cs", "hi", "uk", "es", "ja")
PARTS = ("title", "ingredients", "instructions")
FOLDS = 5
RESAMPLES = 1000
K = 10

Statistic = Callable[[np.ndarray], float]  # of how often each record is drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tasks = parser.add_subparsers(dest="task", required=True)
    for name in ("languages", "recipes", "folds", "drawings"):
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
    options = parser.parse_args()
    {"languages": by_language, "recipes": recipes, "folds": by_folds, "drawings": drawn}[options.task](options)


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
