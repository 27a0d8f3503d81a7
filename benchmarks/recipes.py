"""Few recipes: which parts of the text matter, and do heads fitted to the other recipes help the one left out?

    python benchmarks/recipes.py recipes-zh/ --model base --out runs/recipes.json

1. Zero-shot, the model as it is: pictures against title, ingredients, instructions and every joint text of
   them, on the recipes that have all parts.
2. Leave one out: for each recipe the space is fitted to all others; its pictures are then ranked against all
   texts, and its text against all pictures. The towers and the model's heads stay. What is fitted is a change of
   the embeddings that starts from none: "ridge", a linear one of the pictures by least squares; "cknn", a picture
   becomes the mean of the texts of its nearest known pictures; or a low-rank one of both sides trained for a loss, in
   full batches of one random picture a recipe. How strongly it is pulled back
   to no change, and how long it is trained, is chosen without the recipe: the recipes are dealt into five groups,
   and a group's settings are those that did best when the other four were fitted on three and measured on one.
   "No training" is one of the choices.
3. A stricter gallery: a fifth of the recipes is left out at once and ranked among itself, so that none of it was
   trained on. Here the model's whole heads are fitted too, at fixed settings (a step costs a hundred times more).

All is compared with zero-shot on the same queries: the difference's interval and p-value come from a paired
bootstrap that draws recipes. A picture is found when its recipe is; a recipe when any of its pictures is.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych import losses, runs
from diptych.core import registry
from diptych.core.config import Part, load
from diptych.core.files import cache_folder
from diptych.data.features import FeaturePairs, Selection, collect
from diptych.data.readers import open_source
from diptych.data.text_parts import join_parts
from diptych.evaluation.bootstrap import Number, Resampling, paired_difference, percentile_interval, replicates
from diptych.evaluation.bootstrap import summarised as value_of
from diptych.evaluation.direction import DrawRanking, numbers_of
from diptych.evaluation.positives import Positives
from diptych.evaluation.ranks import Ranks, ranks_from_scores
from diptych.runs import parts as building
from diptych.runs import towers
from diptych.training.two_sides import TwoSides, class_numbers

PARTS = ("title", "ingredients", "instructions")
METRICS = ("R@1", "R@5", "R@10", "medR")
CUTS = (1, 5, 10)
GROUPS = 5
HEADS = Path(__file__).resolve().parents[1] / "configs" / "heads.toml"
TEMPERATURE = 0.05
RIDGE, CKNN = "ridge", "cknn"
METHODS = (RIDGE, CKNN, "info_nce", "class_aware_triplet")


@dataclass(frozen=True)
class Recipes:
    """One vector a picture and a text: features, or embeddings; recipe i owns text i and some pictures."""

    images: Tensor
    texts: Tensor
    owner: Tensor  # recipe of each picture
    classes: Tensor

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Setting:
    """How a space is fitted. 0 steps is the model as it is."""

    steps: int = 0
    loss: str = "info_nce"  # of METHODS
    rank: int = 16  # of the change
    learning_rate: float = 3e-3
    pull: float = 0.3  # towards the start: per step, share of the way back = learning rate x pull
    neighbours: int = 5  # of CkNN

    def __str__(self) -> str:
        if not self.steps:
            return "no training"
        if self.loss == CKNN:
            return f"cknn, {self.neighbours} neighbours"
        if self.loss == RIDGE:
            return f"ridge, pull {self.pull:g}"
        return f"{self.loss}, {self.steps} steps, rank {self.rank}, rate {self.learning_rate:g}, pull {self.pull:g}"


class LowRankChange(nn.Module):
    """e -> e + (e U) V, normalised; V starts at 0."""

    def __init__(self, dim: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(dim, rank) / dim**0.5)
        self.up = nn.Parameter(torch.zeros(rank, dim))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Changed embeddings, of unit length."""
        return functional.normalize(embeddings + embeddings @ self.down @ self.up, dim=-1)


class RidgeMap(nn.Module):
    """e -> e + (e, 1) D, normalised, with the D that least squares give.

    Over the pictures x of some recipes and their texts y, D minimises |x + (x, 1) D - y|^2 + pull |D|^2.
    """

    def __init__(self, images: Tensor, texts: Tensor, pull: float) -> None:
        super().__init__()
        known = _with_one(images)
        inner = known @ known.T + pull * torch.eye(len(known))
        self.change = known.T @ torch.linalg.solve(inner, texts - images)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Changed embeddings, of unit length."""
        return functional.normalize(embeddings + _with_one(embeddings) @ self.change, dim=-1)


class NearestTexts(nn.Module):
    """CkNN (Fain et al. 2019): e -> the mean of the texts of the k known pictures nearest to it, normalised."""

    def __init__(self, images: Tensor, texts: Tensor, neighbours: int) -> None:
        super().__init__()
        self.images, self.texts, self.neighbours = images, texts, neighbours

    def forward(self, embeddings: Tensor) -> Tensor:
        """Changed embeddings, of unit length."""
        nearest = (embeddings @ self.images.T).topk(self.neighbours, dim=1).indices
        return functional.normalize(self.texts[nearest].mean(1), dim=-1)


def _with_one(embeddings: Tensor) -> Tensor:
    return torch.cat([embeddings, torch.ones(len(embeddings), 1)], dim=1)


Sides = tuple[nn.Module, nn.Module]
Fit = Callable[[Recipes, Sequence[int], Setting], Sides]


# training


def loss_named(name: str) -> losses.Loss:
    options: dict[str, Any] = {"temperature": TEMPERATURE} if name == "info_nce" else {"margin": 0.3}
    return registry.build("loss", Part(name, options), dim=1, classes=2)


def fit_sides(sides: Sides, recipes: Recipes, among: Sequence[int], setting: Setting, seed: int) -> Sides:
    """Train both sides on some recipes, in full batches of one random picture a recipe."""
    draw = np.random.default_rng(seed)
    own = [np.flatnonzero(recipes.owner.numpy() == recipe) for recipe in among]
    rows = torch.tensor(among)
    module = nn.ModuleList(sides)
    learning = list(module.parameters())
    start = [value.detach().clone() for value in learning]
    optimiser = torch.optim.Adam(learning, setting.learning_rate)
    loss = loss_named(setting.loss)
    module.train()
    for _ in range(setting.steps):
        pictures = torch.tensor([int(draw.choice(images)) for images in own])
        embedded = losses.Embedded(
            sides[0](recipes.images[pictures]), sides[1](recipes.texts[rows]), rows, recipes.classes[rows]
        )
        optimiser.zero_grad()
        loss(embedded).backward()
        optimiser.step()
        with torch.no_grad():
            for value, origin in zip(learning, start, strict=True):
                value.lerp_(origin, min(1.0, setting.learning_rate * setting.pull))
    module.eval()
    return sides


def changes(seed: int) -> Fit:
    """Changes embeddings: in one step for ridge and CkNN, else by training."""

    def fit(recipes: Recipes, among: Sequence[int], setting: Setting) -> Sides:
        if not setting.steps:
            return nn.Identity(), nn.Identity()
        if setting.loss in (RIDGE, CKNN):
            known = torch.isin(recipes.owner, torch.tensor(among))
            given = recipes.images[known], recipes.texts[recipes.owner[known]]
            made = NearestTexts(*given, setting.neighbours) if setting.loss == CKNN else RidgeMap(*given, setting.pull)
            return made, nn.Identity()
        torch.manual_seed(seed)
        dim = recipes.texts.shape[1]
        sides = LowRankChange(dim, setting.rank), LowRankChange(dim, setting.rank)
        return fit_sides(sides, recipes, among, setting, seed)

    return fit


def whole_heads(base: TwoSides, seed: int) -> Fit:
    """Fits all weights of the model's heads, from where they are."""

    def fit(recipes: Recipes, among: Sequence[int], setting: Setting) -> Sides:
        torch.manual_seed(seed)
        sides = copy.deepcopy(base.image), copy.deepcopy(base.text)
        return fit_sides(sides, recipes, among, setting, seed) if setting.steps else sides

    return fit


# measuring


@dataclass(frozen=True)
class Scores:
    """Cosines of every picture query to all texts and of every text query to all pictures."""

    to_text: np.ndarray  # (pictures, recipes)
    to_image: np.ndarray  # (recipes, pictures)

    @classmethod
    def empty(cls, recipes: Recipes) -> Scores:
        """To be filled; what is not filled cannot be ranked."""
        shape = len(recipes.images), len(recipes)
        return cls(np.full(shape, np.nan, np.float32), np.full(shape[::-1], np.nan, np.float32))

    def fill(self, sides: Sides, recipes: Recipes, queries: Iterable[int]) -> None:
        """The rows of these recipes' pictures and texts, by this model."""
        with torch.inference_mode():
            cosines = (sides[0](recipes.images) @ sides[1](recipes.texts).T).numpy()
        here = np.fromiter(queries, dtype=np.int64)
        pictures = np.isin(recipes.owner.numpy(), here)
        self.to_text[pictures] = cosines[pictures]
        self.to_image[here] = cosines.T[here]

    def part(self, recipes: Recipes, queries: Sequence[int], gallery: Sequence[int]) -> tuple[DrawRanking, DrawRanking]:
        """Pictures to texts and texts to pictures: where the right ones land among the gallery's recipes."""
        owner = recipes.owner.numpy()
        asked, shown = np.flatnonzero(np.isin(owner, queries)), np.flatnonzero(np.isin(owner, gallery))
        texts, items = np.array(queries), np.array(gallery)
        to_text = _ranks(self.to_text[np.ix_(asked, items)], owner[asked], items)
        to_image = _ranks(self.to_image[np.ix_(texts, shown)], texts, owner[shown])
        return DrawRanking(to_text, owner[asked]), DrawRanking(to_image, texts)


def _ranks(scores: np.ndarray, queries: np.ndarray, gallery: np.ndarray) -> Ranks:
    return ranks_from_scores(scores, Positives.from_labels(queries, gallery))


def numbers(rankings: Sequence[tuple[DrawRanking, DrawRanking]]) -> dict[str, Number]:
    """Every metric of both directions; of several galleries the mean."""
    directions = (("i2t", [one for one, _ in rankings]), ("t2i", [other for _, other in rankings]))
    return {f"{way} {name}": number for way, some in directions for name, number in numbers_of(some, CUTS).items()}


def leave_one_out(recipes: Recipes, setting_of: Mapping[int, Setting], fit: Fit) -> Scores:
    """Each recipe's queries by a model that was fitted to all other recipes."""
    scores = Scores.empty(recipes)
    for recipe in range(len(recipes)):
        others = [other for other in range(len(recipes)) if other != recipe]
        scores.fill(fit(recipes, others, setting_of[recipe]), recipes, [recipe])
    return scores


def in_groups(recipes: Recipes, groups: Sequence[Sequence[int]], setting: Sequence[Setting], fit: Fit) -> Scores:
    """Each group's queries by a model that was fitted to the other groups."""
    scores = Scores.empty(recipes)
    for group, chosen in zip(groups, setting, strict=True):
        others = sorted(set(range(len(recipes))) - set(group))
        scores.fill(fit(recipes, others, chosen), recipes, group)
    return scores


def inner_quality(recipes: Recipes, groups: Sequence[Sequence[int]], grid: Sequence[Setting], fit: Fit) -> np.ndarray:
    """(groups, settings): MRR both ways when each of the other groups is held out in turn; the group is not used."""
    quality = np.zeros((len(groups), len(grid)))
    for place, group in enumerate(groups):
        inner = [other for other in groups if other is not group]
        known = sorted(itertools.chain(*inner))
        for number, setting in enumerate(grid):
            scores = Scores.empty(recipes)
            for held in inner:
                scores.fill(fit(recipes, sorted(set(known) - set(held)), setting), recipes, held)
            found = numbers([scores.part(recipes, known, known)])
            quality[place, number] = value_of(found["i2t MRR"]) + value_of(found["t2i MRR"])
    return quality


def dealt(count: int, seed: int) -> list[list[int]]:
    """Recipes in GROUPS groups of about one size."""
    order = np.random.default_rng(seed).permutation(count)
    return [sorted(part.tolist()) for part in np.array_split(order, GROUPS)]


# data


def read(data: str, parts: Sequence[str], both: building.Towers, only: frozenset[str] | None = None) -> FeaturePairs:
    pairs = [join_parts(pair, parts) for pair in open_source(data) if only is None or pair.id in only]
    return collect(pairs, *both, cache_folder() / "features", Selection(workers=1))


def with_all_parts(data: str) -> frozenset[str]:
    """Ids of the recipes that have every part."""
    return frozenset(pair.id for pair in open_source(data) if {text.field for text in pair.texts} >= set(PARTS))


def as_recipes(found: FeaturePairs) -> Recipes:
    """Features as tensors. A recipe without a class is a class of its own."""
    groups = class_numbers(found.groups)
    classes = np.full(found.records, -1) if groups is None else groups
    every = (rows[np.arange(len(rows))] for rows in (found.images[0], found.texts))
    return Recipes(*(torch.from_numpy(rows) for rows in every), torch.tensor(found.image_owner), torch.tensor(classes))


def embedded(features: Recipes, base: TwoSides) -> Recipes:
    with torch.inference_mode():
        images, texts = base.image(features.images), base.text(features.texts)
    return replace(features, images=images.clone(), texts=texts.clone())


def zero_shot(recipes: Recipes) -> Scores:
    scores = Scores.empty(recipes)
    scores.fill((nn.Identity(), nn.Identity()), recipes, range(len(recipes)))
    return scores


# the tables


def row(found: dict[str, Number], base: dict[str, Number] | None, resampling: Resampling) -> dict[str, Any]:
    """Values, intervals and the difference to the row that it is compared with."""
    result: dict[str, Any] = {}
    for metric in (f"{way} {name}" for way in ("i2t", "t2i") for name in METRICS):
        low_high = percentile_interval(replicates([found[metric]], resampling)[0])
        result[metric] = {"value": value_of(found[metric]), "interval": [low_high.low, low_high.high]}
        if base is not None:
            result[metric]["difference"] = asdict(paired_difference(base[metric], found[metric], resampling))
    return result


def shown(rows: dict[str, dict[str, Any]]) -> str:
    names = [f"{way} {name}" for way in ("i2t", "t2i") for name in METRICS]
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [
        f"| {label} | {' | '.join(_cell(cells[name], name) for name in names)} |" for label, cells in rows.items()
    ]
    return "\n".join(lines) + "\n"


def _cell(cell: dict[str, Any], name: str) -> str:
    scale = 1 if name.endswith("medR") else 100
    low, high = (scale * bound for bound in cell["interval"])
    mark = ""
    if "difference" in cell:
        sure = cell["difference"]["p_value"] < 0.05
        mark = f", {scale * cell['difference']['value']:+.1f}{'*' if sure else ''}"
    return f"{scale * cell['value']:.1f} ({low:.1f}–{high:.1f}{mark})"


def grid_of(loss: str) -> list[Setting]:
    """No training first, where that is a choice: of equals the first is taken."""
    if loss == RIDGE:
        return [Setting(), *(Setting(1, RIDGE, pull=pull) for pull in (100.0, 10.0, 1.0, 0.1))]
    if loss == CKNN:  # always computed: it is a baseline, not a change that may be left out
        return [Setting(1, CKNN, neighbours=count) for count in (1, 5, 20, 60)]
    choices = itertools.product((10, 30), (0.0, 30.0))
    return [Setting(), *(Setting(steps, loss, pull=pull) for steps, pull in choices)]


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    started = time.perf_counter()
    config = replace(load(runs.DualEncoderConfig, HEADS), init=options.model)
    of_model = Part(f"model:{options.model}")
    config = replace(config, image=replace(config.image, tower=of_model), text=replace(config.text, tower=of_model))
    config = config.resolved()
    both = towers.image_tower(of_model), towers.text_tower(of_model, list)
    base = building.build(config, both, options.seed, 2).eval()
    report: dict[str, Any] = {"model": options.model, "seed": options.seed, "resamples": options.resamples}

    ablation = parts_that_matter(options, both, base)
    print(shown(ablation), flush=True)
    features = as_recipes(read(options.data, PARTS, both))
    recipes = embedded(features, base)
    report |= {"recipes": len(recipes), "images": len(recipes.images), "parts": ablation}
    print(f"{len(recipes)} recipes, {len(recipes.images)} pictures; {time.perf_counter() - started:.0f} s", flush=True)

    few = FewShot(recipes, options.seed, options.resamples)
    for method in options.only or METHODS:
        few.add(method, changes(options.seed))
    if options.heads_steps:
        setting = Setting(options.heads_steps, learning_rate=options.heads_rate, pull=0.0)
        few.add_groups("info_nce, whole heads", [setting] * GROUPS, features, whole_heads(base, options.seed))
    print(f"\nleave one out, among all {len(recipes)}\n\n{shown(few.left_out)}")
    print(f"a fifth left out, ranked among itself\n\n{shown(few.unseen)}")
    for label, settings in few.chosen.items():
        print(f"{label}: {'; '.join(settings)}")
    report |= few.report()
    report["seconds"] = round(time.perf_counter() - started)
    print(f"{report['seconds']} s in all; * is p < 0.05 against a table's first row")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2), encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--model", default="base")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", action="append", choices=METHODS, help="repeat for several")
    parser.add_argument("--heads-steps", type=int, default=10, help="0 leaves out the whole heads")
    parser.add_argument("--heads-rate", type=float, default=1e-4)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def parts_that_matter(options: argparse.Namespace, both: building.Towers, base: TwoSides) -> dict[str, Any]:
    """Zero-shot by each choice of parts, all of them first, on the recipes that have all."""
    whole = with_all_parts(options.data)
    rows: dict[str, Any] = {}
    first: dict[str, Number] | None = None
    for chosen in (some for size in (3, 2, 1) for some in itertools.combinations(PARTS, size)):
        recipes = embedded(as_recipes(read(options.data, chosen, both, whole)), base)
        everyone = range(len(recipes))
        found = numbers([zero_shot(recipes).part(recipes, everyone, everyone)])
        rows["+".join(chosen)] = row(found, first, Resampling(len(recipes), options.resamples, options.seed))
        first = first or found
    return rows


class FewShot:
    """Zero-shot against each way of fitting: every recipe left out once, and whole groups left out."""

    def __init__(self, recipes: Recipes, seed: int, resamples: int) -> None:
        self.recipes = recipes
        self.everyone = range(len(recipes))
        self.groups = dealt(len(recipes), seed)
        self.resampling = Resampling(len(recipes), resamples, seed)
        self.chosen: dict[str, list[str]] = {}
        start = zero_shot(recipes)
        self.start_all, self.start_groups = self.among_all(start), self.among_groups(start)
        self.left_out = {"zero-shot": row(self.start_all, None, self.resampling)}
        self.unseen = {"zero-shot": row(self.start_groups, None, self.resampling)}

    def among_all(self, scores: Scores) -> dict[str, Number]:
        """Every recipe's queries among all recipes."""
        return numbers([scores.part(self.recipes, self.everyone, self.everyone)])

    def among_groups(self, scores: Scores) -> dict[str, Number]:
        """Every group's queries among the group; the mean over the groups."""
        return numbers([scores.part(self.recipes, group, group) for group in self.groups])

    def add(self, method: str, fit: Fit) -> None:
        """A row for a method; and where no training was chosen, another for the best that is some training."""
        grid = grid_of(method)
        quality = inner_quality(self.recipes, self.groups, grid, fit)
        best, trained = quality.argmax(1), quality[:, 1:].argmax(1) + 1
        self._add(method, [grid[place] for place in best], fit)
        if (best != trained).any():
            self._add(f"{method}, trained anyway", [grid[place] for place in trained], fit)

    def _add(self, label: str, settings: Sequence[Setting], fit: Fit) -> None:
        began = time.perf_counter()
        of_recipe = {recipe: own for group, own in zip(self.groups, settings, strict=True) for recipe in group}
        found = self.among_all(leave_one_out(self.recipes, of_recipe, fit))
        self.left_out[label] = row(found, self.start_all, self.resampling)
        self.add_groups(label, settings, self.recipes, fit)
        print(f"{label}: {len(self.recipes)} fits took {time.perf_counter() - began:.0f} s", flush=True)

    def add_groups(self, label: str, settings: Sequence[Setting], vectors: Recipes, fit: Fit) -> None:
        """A row for the groups alone, fitted to these vectors."""
        found = self.among_groups(in_groups(vectors, self.groups, settings, fit))
        self.unseen[label] = row(found, self.start_groups, self.resampling)
        self.chosen[label] = [str(setting) for setting in settings]

    def report(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"left_out": self.left_out, "unseen": self.unseen, "chosen": self.chosen}


if __name__ == "__main__":
    main()
