"""A cross-encoder's learning curve, and what each option of its training gives: one table.

    python benchmarks/cross_encoder.py flickr8k/ --out cross-curve
    python benchmarks/cross_encoder.py flickr8k/ --out cross-curve --languages flickr8k-languages.jsonl --minutes 60

"as is" is configs/cross_encoder.toml. It is trained on 1,000, 2,000, 4,000 and all training images, each number holding
the smaller ones; every option of VARIANTS on the most. Each run is a `diptych train`, whose best epoch is chosen on 5 %
of the training split that no run learns from, then a `diptych rerank fit` on the same records, then a measurement on
--split (dev) among all of its images: the cross-encoder alone and the dual encoder's 50 best re-ranked, for the same
queries in every run. Differences are paired, their 95 % intervals are of a bootstrap over images (1,000 resamples).
The dual encoder that ships has seen the records that beta is fitted on, in all runs alike.

Everything is kept in --out: the same command goes on where an earlier one stopped, a training from its last checkpoint.
The table is written anew after each run, to table.md and table.json, and holds all runs of the folder. Scoring
everything takes seconds a query, so two things are measured re-ranked alone: image -> text, and the queries in
other languages of "as is" and "languages".
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.cli.shared import RichProgress
from diptych.core.files import write_bytes, write_json
from diptych.data.readers import open_source
from diptych.evaluation import ranks_from_scores
from diptych.evaluation.bootstrap import Addend, Number, Resampling, Sample, paired_difference
from diptych.evaluation.reranking import reranked_scores, top
from diptych.models import load
from diptych.models.cross_encoder import IMAGE_TO_TEXT, TEXT_TO_IMAGE, load_trained_cross_encoder
from diptych.models.cross_encoder.pair import read_pair
from diptych.runs import reranking as work
from timed import finished

AS_IS, LANGUAGES = "as is", "languages"
PARTNERS = ("objective.group=4", "objective.mined=30")
POLICY = ("back=0", "other=0.5", 'original="en"', "of_record=true")
VARIANTS = {
    AS_IS: (),
    "vectors": ("network.vectors=use",),
    "levels": ('image.tower={name="efficientnet-lite0-maps", levels=3}',),
    "stage6": ('image.tower={name="efficientnet-lite0-maps", stage6=true}',),
    "matching": ("objective.matching=0.5", *PARTNERS),
    "contrastive": ("objective.contrastive=0.1", *PARTNERS),
    LANGUAGES: ("vocabulary=12000", *(f"data.language.{each}" for each in POLICY)),
}
CONFIG = Path(__file__).parents[1] / "configs" / "cross_encoder.toml"
TRAIN, HELD_OUT, DEV = "train", "held-out", "val"
SHARE = 0.05  # of the training split, held out
DEPTH = 50
MEASURES = ("alone", "re-ranked", "image -> text")


@dataclass(frozen=True)
class Run:
    """One training: its options, on how many records, with which seed."""

    variant: str
    records: int
    seed: int

    @property
    def name(self) -> str:
        """The folder of the run."""
        return f"{self.variant.replace(' ', '-')}-{self.records}-seed-{self.seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--records", default="1000,2000,4000,6000", help="training images; more than there are is all")
    parser.add_argument("--only", action="append", choices=VARIANTS, help="this run alone; repeat it for several")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each run, with the seeds 0, 1, ...")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so many; 0: when all is done")
    parser.add_argument("--languages", type=Path, help="the same images with texts in other languages")
    parser.add_argument("--model", default="base", help="the dual encoder that is re-ranked")
    parser.add_argument("--split", default="val", help="what is measured on")
    parser.add_argument("--texts", type=int, default=500, help="queries text -> image, of each language")
    parser.add_argument("--images", type=int, default=300, help="queries image -> text")
    parser.add_argument("--limit", type=int, default=0, help="images of the split; 0 for all")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every training")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes if options.minutes else float("inf")
    keep_options(options)
    sources = Sources(options)
    runs = list(planned(options, sources.most))
    for run in runs:
        folder = options.out / run.name
        if (folder / "result.json").exists():
            print(f"{run.name}: done before", flush=True)
        elif not done(run, folder, sources, options, deadline):
            print(f"stopped in {run.name} after {options.minutes:g} minutes; the same command goes on from there")
            break
        write_table(options)
    print((options.out / "table.md").read_text() if (options.out / "table.md").exists() else "nothing is measured yet")


def keep_options(options: argparse.Namespace) -> None:
    """Write what all runs in the folder have in common. Exits where earlier ones were of other options."""
    own = {name: getattr(options, name) for name in ("model", "split", "texts", "images", "limit", "set")}
    own |= {
        name: str(value and Path(value).resolve())
        for name in ("source", "languages")
        for value in [getattr(options, name)]
    }
    path = options.out / "options.json"
    kept = json.loads(path.read_text()) if path.exists() else own
    if other := [f"{name} was {kept[name]!r} and is {own[name]!r}" for name in own if kept[name] != own[name]]:
        raise SystemExit(
            f"{options.out} holds runs of other options ({'; '.join(other)}); name another folder as --out"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(path, own)


def planned(options: argparse.Namespace, most: int) -> Iterator[Run]:
    """The runs that are asked for: the learning curve of "as is", and each option on the most records."""
    sizes = sorted({min(int(number), most) for number in options.records.split(",")})
    for variant in options.only or VARIANTS:
        if variant == LANGUAGES and options.languages is None:
            print(
                "languages: left out, since no --languages names texts in others (benchmarks/languages.py makes them)"
            )
            continue
        for records in sizes if variant == AS_IS else sizes[-1:]:
            yield from (Run(variant, records, seed) for seed in range(options.seeds))


class Sources:
    """The source as files of JSON lines with the splits train, held-out and val, one for each number of records."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._folder = options.out
        self._more = {
            pair.id: [text for text in line_of(pair, "")["texts"] if text["lang"] != "en"]
            for pair in (open_source(options.languages) if options.languages else ())
        }
        pairs = list(open_source(options.source))
        training = [pair for pair in pairs if pair.split == TRAIN]
        held = {pair.id for pair in work.of_share(training, SHARE)}
        measured = [pair for pair in pairs if pair.split == options.split]
        measured = measured[: options.limit] if options.limit else measured
        if not training or not measured:
            raise SystemExit(f"found no records of the splits {TRAIN} and {options.split} in {options.source}")
        shown = [pair for pair in training if pair.id not in held]
        self._shown = [shown[place] for place in np.random.default_rng(0).permutation(len(shown))]
        self._others = [
            *(line_of(pair, HELD_OUT) for pair in training if pair.id in held),
            *(self._with_languages(line_of(pair, DEV)) for pair in measured),
        ]

    @property
    def most(self) -> int:
        """Training records that there are."""
        return len(self._shown)

    def _with_languages(self, line: dict[str, Any]) -> dict[str, Any]:
        return line | {"texts": line["texts"] + self._more.get(line["id"], [])}

    def path(self, records: int, in_languages: bool) -> Path:
        """The file with so many training records; their texts in other languages are there where they are asked for."""
        path = self._folder / f"records-{records}{'-languages' if in_languages else ''}.jsonl"
        if not path.exists():
            shown = [line_of(pair, TRAIN) for pair in self._shown[:records]]
            lines = [*(map(self._with_languages, shown) if in_languages else shown), *self._others]
            write_bytes(path, ("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)).encode())
        return path


def line_of(pair: Any, split: str) -> dict[str, Any]:
    """A record as a line; a text without a language is English, each with a meaning of its own."""
    texts = [
        {"text": text.value, "lang": text.lang or "en", "origin": text.origin.value}
        | ({"meaning": number} if text.meaning is None and text.lang in (None, "en") else {})
        | ({} if text.meaning is None else {"meaning": text.meaning})
        for number, text in enumerate(pair.texts)
    ]
    return {"id": pair.id, "image": str(Path(pair.images[0].path).absolute()), "split": split, "texts": texts}


def done(run: Run, folder: Path, sources: Sources, options: argparse.Namespace, deadline: float) -> bool:
    """Train, fit and measure one run; False where the time was over before."""
    source = str(sources.path(run.records, run.variant == LANGUAGES))
    settings = [*VARIANTS[run.variant], f"model={options.model}", *options.set]
    sets = [part for each in settings for part in ("--set", each)]
    reranker = str(folder / "model")
    commands = (
        ("train", str(CONFIG), source, "--out", str(folder), "--seed", str(run.seed), "--json", *sets),
        ("rerank", "fit", source, "--split", HELD_OUT, "--model", options.model, "--reranker", reranker, "--json"),
    )
    told = []
    for command in commands:
        kept = folder / f"{command[0]}.json"
        if not kept.exists():
            output = finished(command, deadline)
            if output is None:
                return False
            write_bytes(kept, output.encode())
        told.append(json.loads(kept.read_text()))
    if time.monotonic() > deadline:
        return False
    write_json(
        folder / "result.json",
        dataclasses.asdict(run) | speed_of(told[0]) | measured(run, folder, Path(source), options),
    )
    return True


def speed_of(run: dict[str, Any]) -> dict[str, float]:
    """Minutes of the training, and records shown a second."""
    (fit,) = run["members"]
    return {
        "minutes": round(fit["seconds"] / 60, 2),
        "records a second": round(run["records"]["train"] * fit["epochs"] / fit["seconds"], 1),
        "held-out score": run["scores"]["score"],
    }


def measured(run: Run, folder: Path, source: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Ranks of the right image or text of each query, by each way of ordering, with the record that the query is of."""
    dual_encoder, cross_encoder = load(options.model), load_trained_cross_encoder(folder / "model")
    pair = read_pair(folder / "model", dual_encoder.fingerprint, cross_encoder.fingerprint, options.model)
    pairs = [each for each in open_source(source) if each.split == DEV]
    prepared = work.Prepared.of(dual_encoder, cross_encoder, pairs, RichProgress())
    found: dict[str, Any] = {"beta": pair.beta}
    languages = np.array(prepared.embedded.languages)
    for lang in dict.fromkeys(prepared.embedded.languages):
        is_english = lang == "en"
        if not is_english and run.variant not in (AS_IS, LANGUAGES):
            continue
        texts = np.flatnonzero(languages == lang)
        queries = np.sort(np.random.default_rng(0).permutation(texts)[: options.texts])
        depth = len(prepared.embedded.images) if is_english else DEPTH
        scored = prepared.score(TEXT_TO_IMAGE, depth=depth, queries=queries)
        ranks = ranks_of(scored, pair.beta, alone=is_english)
        found[str(lang)] = {"owner": prepared.embedded.owner[queries].tolist()} | ranks
    english = languages == "en"
    own = {name: getattr(prepared.embedded, name) for name in ("texts", "owner", "languages", "fields", "values")}
    kept = {
        name: value[english] if isinstance(value, np.ndarray) else tuple(np.array(value, dtype=object)[english])
        for name, value in own.items()
    }
    prepared = dataclasses.replace(prepared, embedded=dataclasses.replace(prepared.embedded, **kept))
    queries = np.sort(np.random.default_rng(0).permutation(len(prepared.tokens))[: options.images])
    depth = min(DEPTH, len(prepared.embedded.texts))
    scored = prepared.score(IMAGE_TO_TEXT, depth=depth, queries=queries)
    backward = ranks_of(scored, pair.beta_image_to_text, alone=False)
    return found | {"images": {"owner": prepared.embedded.image_owner[queries].tolist()} | backward}


def ranks_of(scored: work.Scored, beta: float, *, alone: bool = True) -> dict[str, list[int]]:
    """Rank of the first right one by the cosine, by the cross-encoder alone, and with the best 50 re-ranked."""
    depth = min(DEPTH, scored.candidates.shape[1])
    orders = {
        "dual encoder": scored.cosines,
        "re-ranked": reranked_scores(scored.cosines, top(scored.cosines, depth), scored.scores[:, :depth], beta, depth),
    }
    if alone:
        everything = scored.candidates.shape[1]
        orders["alone"] = reranked_scores(scored.cosines, scored.candidates, scored.scores, 0.0, everything)
    return {name: ranks_from_scores(order, scored.positives).best.tolist() for name, order in orders.items()}


def write_table(options: argparse.Namespace) -> None:
    """One row for each option and number of records that the folder has, the mean over the seeds."""
    found = [json.loads(path.read_text()) for path in options.out.glob("*/result.json")]
    order = list(VARIANTS)
    found.sort(key=lambda one: (order.index(one["variant"]), one["records"], one["seed"]))
    results: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for one in found:
        results.setdefault((one["variant"], one["records"]), []).append(one)
    rows = [row_of(key, results) for key in results]
    lines = [
        f"R@1 in percent on {options.split}, {len(next(iter(results.values()))[0]['en']['owner'])} texts and "
        f"{len(next(iter(results.values()))[0]['images']['owner'])} images as queries; `{options.model}` re-ranked to "
        f"{DEPTH}; differences with 95 % intervals.",
        "",
        *markdown(rows),
    ]
    by_language = languages_of(results)
    if by_language:
        lines += ["", "Text -> image R@1 by the language of the query:", "", *markdown(by_language)]
    write_bytes(options.out / "table.md", ("\n".join(lines) + "\n").encode())
    write_json(options.out / "table.json", {"runs": rows, "languages": by_language})


def row_of(key: tuple[str, int], results: dict[tuple[str, int], list[dict[str, Any]]]) -> dict[str, Any]:
    """R@1 of each measure, above the dual encoder alone and above "as is" on the same records."""
    variant, records = key
    own, plain = results[key], results.get((AS_IS, records), [])
    row: dict[str, Any] = {"run": variant, "records": records, "seeds": len(own)}
    for measure in MEASURES:
        part, order = ("images", "re-ranked") if measure == MEASURES[2] else ("en", measure)
        row[measure] = round(100 * hits(own, part, order).mean(), 1)
        if order == "re-ranked":
            row[f"{measure}, above dual"] = difference(own, part, hits(own, part, "dual encoder"), order)
        is_plain = variant == AS_IS or not plain
        row[f"{measure}, above as is"] = "" if is_plain else difference(own, part, hits(plain, part, order), order)
    times = ("minutes", "records a second")
    return row | {name: round(float(np.mean([one[name] for one in own])), 1) for name in times}


def hits(results: Sequence[dict[str, Any]], part: str, order: str) -> np.ndarray:
    """Of each query the share of the seeds that find it first."""
    return np.mean([np.array(one[part][order]) == 0 for one in results], axis=0)


def difference(results: Sequence[dict[str, Any]], part: str, before: np.ndarray, order: str) -> str:
    _, units = np.unique(results[0][part]["owner"], return_inverse=True)
    first, second = (
        Number((Addend((Sample(values.astype(np.float64), units),)),), 100)
        for values in (before, hits(results, part, order))
    )
    found = paired_difference(first, second, Resampling(int(units.max()) + 1))
    return f"{found.value:+.1f} ({found.interval.low:+.1f} to {found.interval.high:+.1f})"


def languages_of(results: dict[tuple[str, int], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """R@1 of text -> image in each language that was measured."""
    rows = []
    for (variant, records), own in results.items():
        parts = [key for key, value in own[0].items() if isinstance(value, dict) and key != "images"]
        for lang in parts if len(parts) > 1 else ():
            orders = ("dual encoder", "re-ranked")
            recalls = {order: round(100 * hits(own, lang, order).mean(), 1) for order in orders}
            above = difference(own, lang, hits(own, lang, "dual encoder"), "re-ranked")
            rows.append(
                {"run": variant, "records": records, "language": lang, **recalls, "re-ranked above dual": above}
            )
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> list[str]:
    names = list(rows[0])
    cells = [names, ["---"] * len(names), *([str(row[name]) for name in names] for row in rows)]
    return ["| " + " | ".join(row) + " |" for row in cells]


if __name__ == "__main__":
    main()
