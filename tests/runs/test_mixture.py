"""One training over several sources: what is joined, what is held out, and what each source's figures are."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the [train] extra")

from diptych import runs
from diptych.core.config import Part, to_dict
from diptych.core.errors import ConfigError, DataError
from diptych.core.types import FileImage, Pair, Text
from diptych.data.alternatives import LanguagePolicy
from diptych.data.readers import SourceOptions
from diptych.inspection.models import describe_model
from diptych.runs.mixture import parts_of, read_parts
from diptych.runs.reading import Splits
from diptych.runs.source_settings import SourceSettings, labels_of, parse_source
from diptych.training.settings import TrainingSettings

from ..conftest import COLOURS, FORMS, draw_shape

Lines = Callable[[str, list[dict[str, Any]]], Path]
OFF = 0.0


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    """Writes a source of JSON lines in a folder of its own, with a copy of each image that is named there."""

    def write(name: str, rows: list[dict[str, Any]]) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for row in rows:
            colour, form, size = row["image"].removesuffix(".png").split("-")
            draw_shape(folder / row["image"], colour, form, int(size))
        (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return folder / "list.jsonl"

    return write


def row(image: str, text: str, split: str = "train", **more: Any) -> dict[str, Any]:
    return {"image": f"{image}.png", "text": text, "split": split, **more}


def read(*sources: SourceSettings | Path, **data: Any) -> Splits:
    settings = tuple(one if isinstance(one, SourceSettings) else SourceSettings(path=str(one)) for one in sources)
    config = runs.DataConfig(sources=settings, **data)
    return read_parts(config, parts_of(config, None, SourceOptions()))


def noted(splits: Splits) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {note.kind: (note.count, note.examples) for note in splits.notes}


def test_records_of_one_image_become_one_whatever_their_names(lines: Lines) -> None:
    one = lines("one", [row("red-circle-20", "a red circle", id="same"), row("blue-square-20", "a blue square", "val")])
    other = lines(
        "other",
        [
            row("red-circle-20", "un cercle rouge", lang="fr", id="another"),
            row("red-square-30", "un carré rouge", lang="fr", id="same"),
            row("blue-square-20", "un carré bleu", "val", lang="fr"),
        ],
    )
    found = read(one, other)
    assert found.sources == ["list.jsonl", "list.jsonl~2"]
    assert [(pair.id, pair.key, len(pair.images)) for pair in found.train] == [
        ("same", "1:same", 1),
        ("same", "2:same", 1),
    ]
    assert [[(text.value, text.source) for text in pair.texts] for pair in found.train] == [
        [("a red circle", 0), ("un cercle rouge", 1)],
        [("un carré rouge", 1)],
    ]
    assert [[text.value for text in pair.texts] for pair in found.val] == [["a blue square", "un carré bleu"]]
    joined = [(note.count, note.detail) for note in found.notes if note.kind == "joined_sources"]
    assert joined == [
        (2, "training records of several sources with the same image, joined: into 1 records"),
        (2, "validation records of several sources with the same image, joined: into 1 records"),
    ]


def test_meanings_of_joined_records_stay_apart_and_equal_texts_are_counted(lines: Lines) -> None:
    meant = [
        {"text": "a red circle", "lang": "en", "meaning": 0},
        {"text": "ein roter Kreis", "lang": "de", "meaning": 0},
    ]
    rows = [{"image": "red-circle-20.png", "texts": meant, "split": "train"}, row("blue-square-20", "blue", "val")]
    more = [
        {
            "image": "red-circle-20.png",
            "texts": [meant[0], {**meant[0], "text": "rond", "lang": "fr"}],
            "split": "train",
        },
        row("blue-square-30", "bleu", "val"),
    ]
    found = read(lines("one", rows), lines("other", more))
    assert [text.meaning for text in found.train[0].texts] == [0, 0, 1, 1]
    assert noted(found)["text_of_several_sources"] == (1, ("a red circle",))


def test_nothing_is_learnt_from_an_image_that_another_source_holds_out(lines: Lines) -> None:
    one = lines(
        "one",
        [
            row("red-circle-20", "red"),
            row("blue-square-20", "blue", "val"),
            row("black-stripe-20", "black", "test"),
        ],
    )
    other = lines(
        "other",
        [
            row("blue-square-20", "bleu", id="seen by the first"),
            row("black-stripe-20", "noir", id="tested by the first"),
            row("green-circle-40", "vert"),
            row("red-circle-40", "rouge", "val"),
        ],
    )
    found = read(one, other)
    assert [text.value for pair in found.train for text in pair.texts] == ["red", "vert"]
    assert [text.value for pair in found.val for text in pair.texts] == ["blue", "rouge"]
    assert noted(found)["held_out_elsewhere"] == (2, ("seen by the first", "tested by the first"))


def test_each_source_is_read_by_its_own_options(lines: Lines) -> None:
    one = lines("one", [row("red-circle-20", "red", lang="en"), row("blue-square-20", "blue", "val", lang="en")])
    rows = [
        {"image": f"{colour}-circle-40.png", "texts": [{"text": f"{colour} en", "lang": "en"},
                                                      {"text": f"{colour} de", "lang": "de", "origin": "translated"}],
         "split": split}
        for colour, split in (("red", "learn"), ("green", "learn"), ("black", "check"))
    ]  # fmt: skip
    path = str(lines("other", rows))
    settings = SourceSettings(path=path, name="mine", train="learn", val="check", langs=("de",))
    found = read(one, settings)
    assert [text.value for pair in found.train for text in pair.texts] == ["red", "red de", "green de"]
    assert found.sources[1] == "mine"
    assert any(note.detail.startswith("mine: texts not learnt from (other than data.langs de)") for note in found.notes)
    human = SourceSettings(path=path, train="learn", val="check", origins=("human",))
    assert {text.lang for pair in read(one, human).train for text in pair.texts} == {"en"}
    with pytest.raises(DataError, match=r"^mine: no train pairs: looked for split 'nothing'"):
        read(one, SourceSettings(path=path, name="mine", train="nothing", val="check"))


def test_lists_of_pairs_are_sources_too(shapes: Path) -> None:
    images = sorted(shapes.parent.glob("*-20.png"))[:4]
    pairs = {
        split: [Pair("x", (FileImage(image),), (Text(image.stem),)) for image in some]
        for split, some in (("train", images[:2]), ("val", images[2:]))
    }
    config = runs.DataConfig(sources=(SourceSettings(path=str(shapes)),))
    found = read_parts(config, parts_of(config, pairs, SourceOptions()))
    keys = [pair.key for pair in found.train]
    assert len(keys) == len(set(keys))
    assert {text.source for pair in found.train for text in pair.texts} == {0, 1}


def test_what_cannot_be_is_refused_before_anything_is_read(small: Any, small_synthesis: Any, shapes: Path) -> None:
    more = SourceSettings(path="nothing.jsonl", weight=0.3)
    for given, why in (
        ({"sources": (SourceSettings(path="", weight=0.3),)}, "has no path"),
        ({"chosen_on": "x"}, "data.chosen_on has no effect on a single source"),
        (
            {"sources": (more,), "chosen_on": "x"},
            "unknown source in data.chosen_on 'x'; choose from captions.jsonl, nothing",
        ),
        ({"sources": (more,), "mined": "mined.jsonl"}, "data.mined names the records of one source"),
        ({"sources": (SourceSettings(path="x", weight=0.6), SourceSettings(path="y", weight=0.5))}, "leaves nothing"),
    ):
        config = runs.DataConfig(**given)
        with pytest.raises(ConfigError, match=why):
            parts_of(config, str(shapes), SourceOptions())
    with pytest.raises(ConfigError, match="no source to train on"):
        parts_of(runs.DataConfig(), None, SourceOptions())
    with pytest.raises(ConfigError, match=r"several sources \(data.sources, --with\) for a generator; expected one"):
        small_synthesis(data=runs.DataConfig(sources=(more,)))
    fitted = small(
        fit=Part("cca"),
        loss=None,
        image=runs.SideSettings(Part("fake"), head=Part("linear")),
        text=runs.SideSettings(Part("fake"), head=Part("linear")),
    )
    with pytest.raises(ConfigError, match="a fit reads every record once, so weights have no effect"):
        runs.train(fitted, str(shapes), sources=[SourceSettings(path=str(shapes), weight=0.5)])
    for weight in (1.0, -0.1):
        with pytest.raises(ConfigError, match="above 0 and below 1"):
            SourceSettings(path="x", weight=weight)


def test_a_source_on_the_command_line(tmp_path: Path) -> None:
    assert parse_source("emoji/:0.3") == SourceSettings(path="emoji/", weight=0.3)
    assert parse_source("emoji/") == SourceSettings(path="emoji/")
    assert parse_source("C:emoji") == SourceSettings(path="C:emoji")
    odd = tmp_path / "pairs:0.5"
    odd.write_text("")
    assert parse_source(odd) == SourceSettings(path=str(odd))
    with pytest.raises(ConfigError, match="found the weight 30 of emoji; expected the share"):
        parse_source("emoji:30")
    assert labels_of([parse_source("a/x"), parse_source("b/x"), SourceSettings(path="c/x", name="y")]) == [
        "x",
        "x~2",
        "y",
    ]


def test_a_config_of_one_source_is_what_it_was(small: Any) -> None:
    assert not {"sources", "chosen_on"} & to_dict(small())["data"].keys()
    settings = SourceSettings(path="/home/me/emoji", images_root=Path("/home/me"), weight=0.25)
    config = small(data=runs.DataConfig(sources=(settings,), chosen_on="emoji"))
    for told in (config.without_paths(), config.identity()):
        assert told["data"]["sources"] == [{"name": "emoji", "weight": 0.25}]
        assert told["data"]["chosen_on"] == "emoji"


@pytest.fixture
def german(shapes: Path, tmp_path: Path) -> Path:
    """The same images in other files, with a German text each."""
    rows = []
    for colour, farbe in COLOURS.items():
        for form, gestalt in FORMS.items():
            for number, size in enumerate((20, 30, 40)):
                name = f"{colour}-{form}-{size}.png"
                shutil.copy(shapes.parent / name, tmp_path / name)
                split = "val" if number == 1 and form != "stripe" else "train"
                rows.append({"image": name, "text": f"ein {farbe} {gestalt}", "lang": "de", "split": split})
    (tmp_path / "german.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return tmp_path / "german.jsonl"


def test_a_run_measures_each_source_and_the_chosen_one_decides(
    small: Any, shapes: Path, german: Path, lines: Lines, tmp_path: Path
) -> None:
    dots = lines(
        "dots", [row(f"red-circle-{size}", f"dot {size}", "val" if size < 6 else "train") for size in range(3, 15)]
    )
    training = TrainingSettings(precision="32-true", epochs=2, batch_size=20, learning_rate=1e-2, tensorboard=False)
    data = runs.DataConfig(langs=("en", "de"), views=("full",), workers=1, chosen_on="german.jsonl")
    config = small(training=training, data=data)
    options = SourceOptions(lang="en")
    more = [str(german), SourceSettings(path=str(dots), name="dots", weight=0.25, lang="en")]
    found = runs.train(config, str(shapes), tmp_path / "out", sources=more, options=options, device="cpu")
    ways = [f"{way} R@{cut}" for way in ("i2t", "t2i") for cut in (1, 5, 10)]
    for name in ("score", *ways):
        assert found.scores[name] == found.scores[f"german.jsonl {name}"]
    assert {name.partition(" ")[0] for name in found.scores} == {
        "score",
        "i2t",
        "t2i",
        "captions.jsonl",
        "german.jsonl",
        "dots",
    }
    with (found.folder / "log.csv").open(encoding="utf-8") as stream:
        logged = list(csv.DictReader(stream))
    best = max(logged, key=lambda each: float(each["german.jsonl score"]))
    assert float(best["score"]) == float(best["german.jsonl score"])
    assert int(best["epoch"]) == found.fits[0].best_epoch
    assert {"captions.jsonl score", "dots t2i R@10"} <= set(logged[0])
    record = found.model.config.training
    assert [(each["name"], each["train"], each["train_texts"], each["val"]) for each in record["data"]["sources"]] == [
        ("captions.jsonl", 35, 105, 10), ("german.jsonl", 35, 35, 10), ("dots", 9, 9, 3),
    ]  # fmt: skip
    card = (found.model_folder / "README.md").read_text(encoding="utf-8")
    assert "source dots: 9 records with 9 texts for training, 25 % of each epoch, 3 with 3 for validation" in card
    assert f"| text → image | {found.scores['dots t2i R@1']:.1f} |" in card.partition("dots:\n")[2]
    assert "On the 13 validation records, all against all of a source (early stopping" in card
    shown = describe_model(found.model_folder).to_text().splitlines()
    told = next(line for line in shown if line.startswith("  sources "))
    assert told.endswith("captions.jsonl 35 and 10 records, german.jsonl 35 and 10 records, dots 9 and 3 records")
    report = runs.evaluate(found.model, str(german))
    assert (report.evaluation.images, report.split) == (10, "held-out")  # though its files have other names
    changed = [*more[:1], SourceSettings(path=str(dots), name="dots", weight=0.5, lang="en")]
    with pytest.raises(ConfigError, match=r"data.sources: .*0\.25.* -> .*0\.5"):
        runs.train(config, str(shapes), tmp_path / "out", sources=changed, options=options, device="cpu")


def test_a_cross_encoder_learns_from_several_sources(
    small_cross_encoder: Any, shapes: Path, german: Path, tmp_path: Path
) -> None:
    data = runs.DataConfig(langs=("en", "de"), views=("full",), workers=1)
    config = small_cross_encoder(epochs=1, data=data)
    found = runs.train(config, str(shapes), tmp_path / "out", sources=[german], device="cpu")
    assert found.records == {"train": 35, "val": 10}
    for name in ("score", "t2i R@1"):
        of_each = [found.scores[f"{source} {name}"] for source in ("captions.jsonl", "german.jsonl")]
        assert found.scores[name] == pytest.approx(np.mean(of_each), abs=0.01)


def test_languages_of_another_source_stand_in_for_a_records_own_texts(
    small: Any, shapes: Path, german: Path, tmp_path: Path
) -> None:
    policy = LanguagePolicy(back=OFF, other=0.5, original="en", of_record=True)
    data = runs.DataConfig(views=("full",), workers=1, language=policy)
    training = TrainingSettings(precision="32-true", epochs=1, batch_size=30, tensorboard=False)
    english = {"train": [], "val": []}  # type: dict[str, list[Pair]]
    for pair in runs.reading.open_any(str(shapes)):
        texts = tuple(text for text in pair.texts if text.lang == "en")
        english[str(pair.split)].append(Pair(pair.id, pair.images, texts))
    found = runs.train(small(data=data, training=training), english, tmp_path / "out", sources=[german], device="cpu")
    notes = {note.kind: note for note in found.notes}
    assert "no_other_language" not in notes  # every English text has a German one, of the other source
    assert notes["unmeasured_source"].examples == ("german.jsonl",)  # validation uses the originals alone
    weighted = [SourceSettings(path=str(german), weight=0.3)]
    with pytest.raises(ConfigError, match=r"source 2 has the weight 0\.3, and nothing of its own to show"):
        runs.train(small(data=data, training=training), english, tmp_path / "no", sources=weighted, device="cpu")
