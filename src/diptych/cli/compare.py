"""`diptych compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, validators

from diptych.core.errors import ConfigError
from diptych.core.extras import need
from diptych.data.readers import SourceOptions

from .outputs import JSON, MARKDOWN, PNG, check_file, write
from .shared import Common, check_unused
from .sources import Reading

_OTHERS = ("spearman", "pearson", "top-1", "top-5", "per-class")  # columns where there are such


def compare(
    source: str = "",
    /,
    *,
    model: Annotated[tuple[str, ...], Parameter(consume_multiple=True, metavar="[NAME=]MODEL...")] = (),
    report: Annotated[tuple[str, ...], Parameter(consume_multiple=True, metavar="[NAME=]FILE...")] = (),
    task: Literal["retrieval", "zero-shot"] = "retrieval",
    options: Reading = SourceOptions(),
    baseline: str = "first",
    modality: Literal["image-text", "text-text", "image-image"] = "image-text",
    protocol: str = "full",
    relevance: Literal["pair", "group"] = "pair",
    relevant_from: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 0.0,
    metrics: tuple[str, ...] = ("R@1", "R@5", "R@10", "medR", "mAP", "rsum", *_OTHERS),
    bootstrap: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 2000,
    out: Path | None = None,
    markdown: Path | None = None,
    plot: Path | None = None,
    labels: Annotated[str | None, Parameter(metavar="FILE|WORDS")] = None,
    templates: Annotated[str, Parameter(metavar="NAME|FILE")] = "photo",
    shots: Annotated[str, Parameter(metavar="N,N,...")] = "",
    adapters: Annotated[str, Parameter(metavar="NAME,NAME,...")] = "linear-probe,tip-adapter,tip-adapter-f",
    seeds: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 3,
    train_split: str = "train",
    common: Common = Common(),
) -> None:
    """Several models in one table: every metric with its interval, and a paired bootstrap test against one of them.

    Models are measured on the source now; reports are what `diptych eval --out` wrote before. All must be of the
    same queries; where they are not, the difference is named. Without --split, models are measured on the
    records that their trainings held out, and that none of them was trained on.

    With --task zero-shot, models classify images by words, and --shots adds rows for adapters that learn from a few
    images of each class: a linear probe (logistic regression on the frozen features) and Tip-Adapter, each measured
    with several seeds.

    Examples:
        diptych compare flickr8k/ --split val --model base runs/mine/ --baseline best
        diptych compare --report a.json b.json c.json --plot compared.png
        diptych compare --report old=a.json new=b.json --out compared.json --markdown compared.md
        diptych compare stsbenchmark/ --split test --model base runs/texts/
        diptych compare classes/ --task zero-shot --model base hf:openai/clip-vit-base-patch32
        diptych compare classes/ --task zero-shot --model base --shots 1,2,4,8,16,all --plot shots.png

    Args:
        source: File or folder of pairs that the models are measured on; reports need none.
        model: Dual encoders to measure: shipped models' names, model folders, folders of training runs, or addresses of
            pretrained models. NAME=MODEL gives one a name in the table.
        report: Reports that diptych eval --out wrote; NAME=FILE gives one a name in the table.
        task: What models are measured at: retrieval, or zero-shot classification of records with a class. Reports say
            it themselves.
        baseline: What the others are tested against: first (models come before reports), best (by rsum), or a name.
        modality: As in diptych eval, for models.
        protocol: As in diptych eval, for models.
        relevance: As in diptych eval, for models.
        relevant_from: As in diptych eval, for models.
        metrics: Columns of the printed tables; the JSON has all. Repeat for several.
        bootstrap: Resamples behind intervals and tests.
        out: Write everything here as JSON.
        markdown: Write the tables here as Markdown.
        plot: Draw recall and rsum with their intervals here, as PNG; of zero-shot, accuracies over shots.
        labels: Of zero-shot: a file of labels called like the classes, as of diptych classify; by default the classes.
        templates: Of zero-shot: plain, photo, clip, or a file with a sentence a line and {} where the label goes.
        shots: Of zero-shot: training images of each class that adapters learn from, such as 1,2,4,8,16,all. Up to
            four further ones of each class are held out, to choose an adapter's settings.
        adapters: Of --shots: which adapters.
        seeds: Of --shots: how often the images are drawn anew.
        train_split: Of --shots: the split that is learnt from; a source without splits is divided into halves.
    """
    from diptych import runs

    of_retrieval: dict[str, Any] = {"modality": modality, "protocol": protocol, "relevance": relevance}
    of_retrieval |= {"relevant_from": relevant_from}
    of_zero_shot: dict[str, Any] = {"labels": labels, "templates": templates, "shots": shots, "adapters": adapters}
    of_zero_shot |= {"seeds": seeds, "train_split": train_split}
    check_unused(compare, of_zero_shot if task == "retrieval" else of_retrieval, task)
    check_file(out, "--out", JSON)
    check_file(markdown, "--markdown", MARKDOWN)
    check_file(plot, "--plot", PNG)
    if plot is not None:
        need("matplotlib", "--plot")
    if task == "zero-shot" and report:
        raise ConfigError("--task zero-shot measures models; leave it out to compare reports, which know their task")
    if len(model) + len(report) < 2 and not (task == "zero-shot" and model and shots):
        raise ConfigError(
            f"found {len(model)} models and {len(report)} reports; expected two or more to compare, as --model A B or "
            "--report a.json b.json"
        )
    if bool(model) != bool(source):
        raise ConfigError(
            "--model needs a source of pairs to measure on, as the first argument"
            if model
            else f"found the source {source} and no --model to measure on it; name models, or leave the source out"
        )
    progress, seed = common.progress(), common.seed or 0
    if task == "zero-shot":
        found = runs.compare_zero_shot(
            model,
            source,
            labels,
            templates=templates,
            few_shots=runs.FewShots(_shots(shots), tuple(_words(adapters)), seeds, train_split),
            options=options,
            baseline=baseline,
            resamples=bootstrap,
            seed=seed,
            device=common.device,
            progress=progress,
        )
    else:
        found = runs.compare(
            [*model, *report],
            source or None,
            options=options,
            baseline=baseline,
            resamples=bootstrap,
            seed=seed,
            device=common.device,
            progress=progress,
            modality=modality,
            protocol=protocol,
            relevance=relevance,
            relevant_from=relevant_from,
        )
    page = found.table(metrics)
    write(out, found.to_json())
    write(markdown, page)
    if plot is not None:
        from diptych.inspection import comparison

        draw = comparison.draw_accuracies if found.task["modality"] == "zero-shot" else comparison.draw_bars
        write(plot, draw(found))
        progress.say(f"plot: {plot}")
    common.show(found.to_json(), page, found.notes)


def _words(listed: str) -> list[str]:
    return [word.strip() for word in listed.split(",") if word.strip()]


def _shots(listed: str) -> tuple[int, ...]:
    """Numbers with commas between them; "all" is 0."""
    found = []
    for word in _words(listed):
        if word != "all" and not (word.isdecimal() and int(word)):
            raise ConfigError(f"--shots: found {word!r}; expected whole numbers from 1, or all, such as 1,2,4,8,16,all")
        found.append(0 if word == "all" else int(word))
    return tuple(dict.fromkeys(found))
