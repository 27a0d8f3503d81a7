"""What a training leaves out of its source is named and counted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs the [train] extra")

from diptych import runs
from diptych.core.config import Part
from diptych.core.errors import ConfigError, Reason
from diptych.core.notes import cut_note
from diptych.core.types import Pair, Role, Skipped, Text
from diptych.runs import reading
from diptych.runs.cross_encoder import CrossEncoderConfig
from diptych.runs.generator.config import GeneratorConfig
from diptych.synthesis.settings import XmcSettings
from diptych.training.settings import TrainingSettings


def counts(notes: Any) -> dict[str, int]:
    return {note.kind: note.count for note in notes}


def test_a_training_counts_the_records_and_texts_that_it_does_not_use(shapes: Path, tmp_path: Path, small: Any) -> None:
    rows = [json.loads(line) for line in shapes.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["image"] = str(shapes.parent / row["image"])
        if row["image"].endswith("yellow-stripe-40.png"):
            row["split"] = "test"
        if row["image"].endswith("black-stripe-40.png"):
            row["split"] = None
        if row["image"].endswith("black-stripe-20.png") and row["lang"] == "en":
            row["text"] = row["text"] + " and so on" * 20
    source = tmp_path / "source.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = small(
        text=runs.SideSettings(Part("words", {"max_tokens": 12}), Part("bag"), Part("linear")),
        data=runs.DataConfig(langs=("en",), views=("full",), workers=1),
        training=TrainingSettings(precision="32-true", epochs=1, batch_size=30),
    )
    report = runs.train(config, str(source), tmp_path / "out", device="cpu")
    found = {note.kind: note for note in report.notes}
    assert counts(report.notes).items() >= {"other_text": 43, "cut_text": 2}.items()
    other = {note.detail: note.count for note in report.notes if note.kind == "other_split"}
    assert other == {
        "records of the split 'test', neither trained on nor validated with": 1,
        "records without a split, beside others that have one, neither trained on nor validated with": 1,
    }
    assert found["other_text"].detail == "texts not learnt from (other than data.langs en)"
    assert found["cut_text"].detail == "training texts cut after 12 tokens"


@pytest.mark.parametrize("kind", ["cross-encoder", "generator"])
@pytest.mark.parametrize("setting", [{"mined": "mined.jsonl"}, {"together": 3}])
def test_settings_without_effect_are_refused(kind: str, setting: dict[str, Any]) -> None:
    data = dataclasses.replace(runs.DataConfig(), **setting)
    make = {
        "cross-encoder": lambda: CrossEncoderConfig(name="x", data=data),
        "generator": lambda: GeneratorConfig(name="x", xmc=XmcSettings(), data=data),
    }
    with pytest.raises(ConfigError, match=rf"data\.{next(iter(setting))} has no effect on a {kind}"):
        make[kind]()


def test_what_was_left_out_is_named_by_reason() -> None:
    skipped = [Skipped(f"{number}.png", Reason.NOT_AN_IMAGE) for number in range(5)]
    skipped.append(Skipped("7", Reason.EMPTY_TEXT))
    assert reading.left_out(skipped) == (
        "6 inputs were left out: not_an_image 5 (0.png, 1.png, 2.png, ...), empty_text 1 (7)"
    )
    assert reading.left_out([]) == ""


def test_a_tower_without_a_limit_cuts_nothing() -> None:
    assert not cut_note(["one"], lambda texts: [10_000], None)
    (note,) = cut_note(["one", "two", "one"], lambda texts: [10_000 if text == "one" else 3 for text in texts], 5)
    assert (note.count, note.examples) == (2, ("one...",))


def test_documents_of_the_gallery_are_no_records_that_are_left_out() -> None:
    texts = [(Text(str(n), role=Role.QUERY), Text("d", role=Role.DOCUMENT)) for n in range(30)]
    pairs = [Pair(str(n), (), texts[n], "train" if n % 2 else "test") for n in range(30)]
    gallery = [Pair("d", (), (Text("d", role=Role.DOCUMENT),))]
    splits = reading.read_splits(reading.DataConfig(), [*pairs, *gallery])
    assert counts(splits.notes) == {"other_split": 15}
    assert splits.train[-1:] == splits.val[-1:] == gallery
