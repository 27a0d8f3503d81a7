"""`diptych train` on texts alone and on images alone: every config of configs/texts and configs/images, to the end."""

import csv
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the [train] extra")

import diptych
from diptych.cli.app import run
from diptych.core.errors import ModelError

CONFIGS = Path(__file__).parents[2] / "configs"
QUICK = [
    "training.epochs=1",
    "training.batch_size=40",
    "data.val_share=0.3",
    "dim=32",
    "training.tensorboard=false",
    "training.precision=32-true",
]
NARROW = {  # in place of large or downloaded parts
    "bag": ["text.network.width=16"],
    "gru": ["text.network.embedding=8", "text.network.hidden=16", 'loss={name="cosent"}'],
    "transformer": ["text.network.width=16", "text.tower.vocabulary=200"],
}
SLOW = [pytest.param(each, marks=pytest.mark.slow) for each in ("bag", "transformer")]  # otherwise as gru
FAKE = ["text.tower=fake", "text.head=linear"]


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 questions, each with an answer of label 4, one of 1, and one of 0."""
    path = tmp_path_factory.mktemp("questions") / "questions.csv"
    names = [f"{colour} {thing}" for colour in ["red", "blue", "green", "wet", "old", "new"] for thing in "abcdefghij"]
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["query", "document", "label"])
        for number, name in enumerate(names):
            other = names[(number + 11) % 60]
            table.writerows([[f"where is {name}", f"here is {name}", 4], [f"where is {name}", f"some {name[:-1]}", 1]])
            table.writerow([f"where is {name}", f"that is {other}", 0])
    return path


@pytest.fixture(scope="module")
def class_folders(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 45 images of shapes in folders of their colours, without texts."""
    folder = tmp_path_factory.mktemp("classes") / "images"
    for path in shapes.parent.glob("*-*-*.png"):
        colour = folder / path.name.partition("-")[0]
        colour.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, colour)
    return folder


def train(config: str, source: Path, out: Path, *changes: str, show: str = "--json") -> int:
    settings = [part for change in (*QUICK, *changes) for part in ("--set", change)]
    return run(["train", str(CONFIGS / config), str(source), "--out", str(out), "--device", "cpu", show, *settings])


@pytest.mark.parametrize("name", ["pairs", "contrastive", "cross_entropy", "gru", *SLOW])
def test_every_config_of_texts_trains(
    name: str, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(f"texts/{name}.toml", questions, tmp_path / "out", *NARROW.get(name, FAKE)) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["records"]["train"] + report["records"]["val"] == 60
    assert set(report["scores"]) == {"score", "q2d R@1", "q2d R@5", "q2d R@10", "spearman"}
    unrelated = [note["count"] for note in report["notes"] if note["kind"] == "unrelated_pairs"]
    labelled = name in ("contrastive", "cross_entropy", "gru")
    assert unrelated == ([] if labelled else [report["records"]["train"]])
    model = diptych.load(report["model"])
    vectors = model.encode_texts(["where is red a", "here is red a"])
    assert vectors @ vectors.T == pytest.approx(model.similarity(vectors, vectors), abs=1e-5)
    assert (model.config.logit_bias is not None) == (name == "cross_entropy")
    if name == "cross_entropy":  # its training says how likely two texts are related
        assert run(["relate", "where is red a", "here is red a", "--model", report["model"], "--json"]) == 0
        (answer,) = json.loads(capsys.readouterr().out)["pairs"]
        logit = model.config.logit_scale * float(vectors[0] @ vectors[1]) + model.config.logit_bias
        assert answer["probability"] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-4)
    with pytest.raises(ModelError, match="has no image side: it was trained on texts alone"):
        model.encode_images([])


def test_the_scores_are_those_of_the_saved_model(questions: Path, tmp_path: Path) -> None:
    """R@1 of documents by their queries, and Spearman's correlation, the slow way."""
    from scipy.stats import spearmanr

    from diptych import runs

    assert train("texts/cosent.toml", questions, tmp_path / "out", *FAKE) == 0
    model = diptych.load(tmp_path / "out" / "model")
    stated = model.config.training["validation"]
    held = runs.read_splits(runs.DataConfig(val_share=0.3), str(questions)).val
    documents = [text.value for pair in held for text in pair.documents]
    gallery = list(dict.fromkeys(documents))
    queries = model.encode_texts([pair.queries[0].value for pair in held])
    scores = queries @ model.encode_texts(gallery).T
    hits, judged = 0, []
    for row, pair in zip(scores, held, strict=True):
        hits += gallery[row.argmax()] in {text.value for text in pair.documents if text.relevance}
        judged += [(row[gallery.index(text.value)], text.relevance) for text in pair.documents]
    assert stated["q2d R@1"] == pytest.approx(100 * hits / len(held), abs=100 / len(held) + 0.01)
    assert stated["spearman"] == pytest.approx(100 * spearmanr(*zip(*judged, strict=True)).statistic, abs=1)


def test_queries_may_have_a_side_of_their_own(
    questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = ["text.network.width=16", "query.network.width=16", "training.epochs=4"]
    assert train("texts/two_towers.toml", questions, tmp_path / "out", *narrow) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    folder = tmp_path / "out" / "model"
    model, texts = diptych.load(folder), ["where is red a", "here is red a"]
    apart = model.encode_queries(texts)
    assert np.abs(apart - model.encode_texts(texts)).max() > 0.01
    module = model.torch()
    assert module.encode_query(module.text_inputs(texts)).detach().numpy() == pytest.approx(apart, abs=2e-3)
    assert run(["eval", str(questions), "--model", str(folder), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)["query_to_document"]["metrics"]["R@1"]["value"]
    assert 100 * measured == pytest.approx(scores["q2d R@1"], abs=0.01)
    assert run(["relate", *texts, "--model", str(folder), "--json"]) == 0
    cosine = json.loads(capsys.readouterr().out)["pairs"][0]["cosine"]
    assert cosine == pytest.approx(float(apart[0] @ model.encode_texts(texts[1])[0]), abs=1e-4)
    library = str(tmp_path / "library")
    assert run(["index", str(questions), "--texts", "--library", library, "--model", str(folder), "--quiet"]) == 0
    capsys.readouterr()
    assert run(["index", str(questions.parent), "--library", library]) == 4
    assert "has no image side" in capsys.readouterr().err
    assert run(["search", texts[0], "--library", library, "-k", "1", "--json"]) == 0
    (hit,) = json.loads(capsys.readouterr().out)["hits"]
    documents = [row.split(",")[1] for row in questions.read_text().splitlines()[1:]]
    assert hit["score"] == pytest.approx(float((model.encode_texts(documents) @ apart[0]).max()), abs=1e-3)
    saved = json.loads((folder / "config.json").read_text())
    assert saved["query"]["network"] == {"name": "bag", "width": 16, "dropout": 0.1}
    assert train("texts/two_towers.toml", questions, tmp_path / "more", f"init={folder}") == 2
    assert "trained from scratch; leave out init" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["classes", "instances"])
def test_every_config_of_images_trains(
    name: str, class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = ["image.tower=fake", "image.head=linear"]
    assert train(f"images/{name}.toml", class_folders, tmp_path / "out", *narrow) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["scores"]) == {"score", "i2i R@1", "i2i R@5", "i2i R@10"}
    model = diptych.load(report["model"])
    paths, module = sorted(class_folders.rglob("*.png"))[:2], model.torch()
    vectors = module.encode_image(module.image_inputs(paths)).detach().numpy()
    assert vectors == pytest.approx(model.encode_images(paths), abs=2e-3)
    with pytest.raises(ModelError, match="has no text side: it was trained on images alone"):
        model.encode_texts("a red circle")
    assert train(f"images/{name}.toml", class_folders, tmp_path / "out", *narrow, show="--quiet") == 0
    command = shlex.split(capsys.readouterr().out.rpartition("next: diptych ")[2].splitlines()[0])
    assert run([*command, "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)["image_to_image"]["metrics"]["R@1"]["value"]
    if name == "classes":
        assert 100 * measured == pytest.approx(report["scores"]["i2i R@1"], abs=0.01)


@pytest.mark.parametrize(
    ("config", "changes", "code", "message"),
    [
        (
            "texts/cosent.toml",
            ["pairs.across=1"],
            2,
            'image.tower = "none" takes no images, and the pairs',
        ),
        ("texts/cosent.toml", ["image.head=mlp"], 2, "the image side is none, so it takes no network, no head"),
        ("texts/cosent.toml", ["pairs.by=class"], 2, "learns from pairs of texts with labels"),
        ("texts/two_towers.toml", ["query.tower=use"], 2, "queries go through the tower of [text]"),
        ("texts/pairs.toml", ["pairs.relevant_from=9"], 3, "pairs of training texts is related; check the labels"),
        ("images/classes.toml", ["data.together=2"], 2, "data.together has no effect on pairs of images alone"),
        ("images/classes.toml", [], 3, "found 0 classes among the"),
    ],
)
def test_what_cannot_be_learnt_from(
    config: str,
    changes: list[str],
    code: int,
    message: str,
    questions: Path,
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = questions if "texts" in config else shapes
    fake = FAKE if "texts" in config else ["image.tower=fake", "image.head=linear"]
    assert train(config, source, tmp_path / "out", *fake, *changes) == code
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_pairs_that_are_all_related_have_nothing_to_tell_apart(
    questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [line for line in questions.read_text().splitlines() if not line.endswith((",0", ",1"))]
    table = tmp_path / "all.csv"
    table.write_text("\n".join(rows))
    assert train("texts/contrastive.toml", table, tmp_path / "out", *FAKE) == 3
    assert "have one label, and the loss 'contrastive' learns from related and" in capsys.readouterr().err
    plain = tmp_path / "paraphrases.jsonl"
    plain.write_text("".join(json.dumps({"texts": [f"one {n}", f"two {n}"]}) + "\n" for n in range(30)))
    command = ["train", str(CONFIGS / "texts" / "cosent.toml"), str(plain), "--texts-only", "--text-columns", "texts"]
    assert run([*command, "--out", str(tmp_path / "out"), "--set", "text.tower=fake", "--set", "text.head=linear"]) == 3
    assert "learns from two sides with labels, and this source has no sides" in capsys.readouterr().err
    command[1] = str(CONFIGS / "texts" / "pairs.toml")
    assert run([*command, "--out", str(tmp_path / "out"), "--set", "text.tower=fake", "--set", "text.head=linear"]) == 0
    hint = shlex.split(capsys.readouterr().out.rpartition("next: diptych ")[2].splitlines()[0])
    assert run(hint) == 0  # a flag without a value is repeated without one
    command[1] = str(CONFIGS / "texts" / "two_towers.toml")
    assert run([*command, "--out", str(tmp_path / "two")]) == 3
    assert "[query] is a side for queries, and this source has no queries and documents" in capsys.readouterr().err


def test_the_captions_of_images_are_texts_of_one_meaning(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("texts/pairs.toml", shapes, tmp_path / "out", *FAKE) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["scores"]) == {"score", "t2t R@1", "t2t R@5", "t2t R@10"}
    command = ["eval", str(shapes), "--split", "val", "--model", report["model"], "--modality", "text-text", "--json"]
    assert run(command) == 0
    measured = json.loads(capsys.readouterr().out)["text_to_text"]["metrics"]["R@1"]["value"]
    assert 100 * measured == pytest.approx(report["scores"]["t2t R@1"], abs=0.01)
