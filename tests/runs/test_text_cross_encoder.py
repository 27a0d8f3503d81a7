"""A text cross-encoder, trained from the command line on pairs of texts, and the same scores without PyTorch."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the [train] extra")

import torch
from tests.conftest import write_tiny_model

import diptych
from diptych.cli.app import run as command
from diptych.core.config import Part
from diptych.core.errors import ConfigError, DataError
from diptych.core.protocols import SILENT
from diptych.core.types import Pair, Text
from diptych.encoders.export import GraphSpec, trace
from diptych.encoders.graphs import write
from diptych.encoders.onnx_session import start_session
from diptych.encoders.text.tokens import TokenTower, train_tokenizer
from diptych.models.text_cross_encoder import PairTokens, TextCrossEncoder, load_text_cross_encoder
from diptych.models.text_cross_encoder.network import build_pair_network
from diptych.runs.text_reranking import fit_text_reranker

NAMES = {"dog": "hound", "cat": "kitten", "boat": "ship", "horse": "pony", "child": "kid", "man": "fellow"}
NUMBERS = dict(
    zip(
        ["one", "two", "three", "four", "five", "six", "seven", "eight"],
        ["uno", "due", "tre", "quattro", "cinque", "sei", "sette", "otto"],
        strict=True,
    )
)
BOTH = [(f"{name} {number}", f"the {NAMES[name]} {NUMBERS[number]}") for name in NAMES for number in NUMBERS]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("\n".join(["query\tdocument", *("\t".join(both) for both in BOTH)]) + "\n")
    return path


@pytest.fixture(scope="module")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beir")
    (folder / "qrels").mkdir()
    for name, side in (("queries", 0), ("corpus", 1)):
        lines = [json.dumps({"_id": f"{name[0]}{number}", "text": both[side]}) for number, both in enumerate(BOTH)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    rows = ["query-id\tcorpus-id\tscore", *(f"q{number}\tc{number}\t1" for number in range(len(BOTH)))]
    (folder / "qrels" / "train.tsv").write_text("\n".join(rows))
    return folder


def settings(model: Any, **changes: Any) -> dict[str, Any]:
    return {
        "name": "p",
        "kind": "text-cross-encoder",
        "model": str(model),
        "text": {
            "tower": {"name": "wordpiece", "max_tokens": 8, "min_count": 1},
            "network": {"name": "transformer", "width": 32, "layers": 1, "heads": 2, "dropout": 0.0},
        },
        "objective": {"negatives": 15},
        "data": {"val": "held-out", "val_share": 0.2},
        "training": {"epochs": 20, "batch_size": 8, "learning_rate": 5e-3, "precision": "32-true"},
        **changes,
    }


@pytest.fixture(scope="module")
def taught(pairs: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return diptych.train(settings(tiny), str(pairs), tmp_path_factory.mktemp("run"), device="cpu")


def test_it_learns_which_document_answers(taught: Any) -> None:
    model = taught.model
    documents = ["the kitten due", "the pony due", "the hound due", "the kid due"]
    assert model.score("dog two", documents).argmax() == 2
    assert model.score("child two", documents).argmax() == 3
    assert taught.scores["t2t R@1"] > 25  # of 10 documents or fewer


def test_documents_of_a_corpus_are_no_records_and_no_wrong_texts_of_their_queries(
    beir: Path, tiny: Path, tmp_path: Path
) -> None:
    once = {"epochs": 1, "batch_size": 8, "precision": "32-true"}
    run = diptych.train(settings(tiny, training=once), str(beir), tmp_path / "run", device="cpu")
    assert sum(run.records.values()) == len(BOTH)
    assert not [note for note in run.notes if "a right answer will count as wrong" in note.detail]


def test_two_texts_are_judged_by_both_models(taught: Any, pairs: Path, tiny: Path, tmp_path: Path, capsys: Any) -> None:
    file, models = tmp_path / "mine.json", ("--model", tiny, "--reranker", taught.model.folder)
    fit = ["relate", "--calibrate", pairs, "--calibration", file, *models, "--quiet"]
    assert command([str(word) for word in fit]) == 3
    assert "expected 20 or more of each" in capsys.readouterr().err  # of the few records that training held out
    labelled = tmp_path / "labelled.csv"
    wrong = [document for _, document in BOTH[9:] + BOTH[:9]]
    rows = [f"{query},{document},1\n{query},{other},0" for (query, document), other in zip(BOTH, wrong, strict=True)]
    labelled.write_text("\n".join(["text1,text2,label", *rows]))
    fit = ["relate", "--calibrate-pairs", labelled, "--calibration", file, *models, "--quiet"]
    assert command([str(word) for word in fit]) == 0
    capsys.readouterr()
    ask = ["relate", "dog two", "the hound due", "--calibration", file, *models, "--json", "--quiet"]
    assert command([str(word) for word in ask]) == 0
    (found,) = json.loads(capsys.readouterr().out)["pairs"]
    assert found["match"] == pytest.approx(float(taught.model.score("dog two", ["the hound due"])[0]), abs=1e-4)
    made = json.loads(file.read_text())["kinds"]["text-text"]
    evidence = made["weights"][0] * found["match"] + made["weights"][1] * found["cosine"] + made["bias"]
    assert found["probability"] == pytest.approx(1 / (1 + np.exp(-evidence)), abs=1e-4)
    assert command(["relate", "a.jpg", "b", *map(str, models)]) == 2
    assert "reads two texts" in capsys.readouterr().err


def test_one_that_was_trained_on_yes_or_no_has_a_probability_of_its_own(taught: Any, tiny: Path) -> None:
    folder, config = taught.model.folder, taught.model.config
    (ranks,) = diptych.relate("dog two", "the hound due", model=tiny, reranker=folder)
    assert (ranks.related, ranks.probability) == (None, None)
    binary = TextCrossEncoder(folder, dataclasses.replace(config, objective="binary"))
    (found,) = diptych.relate("dog two", "the hound due", model=tiny, reranker=binary)
    assert found.probability == pytest.approx(1 / (1 + np.exp(-found.scores[0])), abs=1e-5)


def test_batches_give_what_single_pairs_give(taught: Any) -> None:
    texts = ["dog two", "the hound due", "a", "the kid otto and the kid otto and the kid"]
    rows, others = np.array([0, 0, 0, 1]), np.array([1, 2, 3, 0])
    together = taught.model.score_pairs(texts, rows, others)
    alone = [taught.model.score(texts[row], [texts[other]])[0] for row, other in zip(rows, others, strict=True)]
    assert together == pytest.approx(alone, abs=1e-4)
    assert taught.model.score("dog two", []).shape == (0,)


class Totals(type(SILENT)):  # type: ignore[misc]
    """Notes how many steps are announced."""

    def __init__(self) -> None:
        self.found: list[int | None] = []

    def track(self, items: Any, label: str, total: int | None = None) -> Any:
        self.found.append(total)
        return items


def test_pairs_of_the_same_words_are_scored_once(taught: Any) -> None:
    documents = [f"the {name} {number}" for name in NAMES.values() for number in NUMBERS.values()] * 3
    totals = Totals()
    queries, others = np.zeros(len(documents), dtype=np.int64), np.arange(1, len(documents) + 1)
    scores = taught.model.score_pairs(["dog two", *documents], queries, others, progress=totals)
    assert totals.found == [1]  # 48 different pairs, 64 at once
    assert scores[:48].tolist() == scores[48:96].tolist() == scores[96:].tolist()
    assert scores[:48] == pytest.approx([taught.model.score("dog two", [one])[0] for one in documents[:48]], abs=1e-4)


class SharedWords(TextCrossEncoder):
    """Scores a pair by the words that both texts have: a text with itself most."""

    fingerprint = "shared"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def score_pairs(self, texts: Any, queries: Any, others: Any, *, progress: Any = None) -> Any:
        words = [set(text.split()) for text in texts]
        pairs = zip(queries, others, strict=True)
        return np.array([len(words[one] & words[other]) for one, other in pairs], dtype=np.float32)


def test_a_text_is_no_candidate_of_its_own_where_there_are_few(tiny: Path, tmp_path: Path) -> None:
    pairs = [
        Pair(name, (), (Text(f"{name} {other} one"), Text(f"two {other} {name}"))) for name, other in NAMES.items()
    ]
    fitted = fit_text_reranker(str(tiny), SharedWords(tmp_path), pairs)
    assert set(fitted.pair.fitted["text_to_text R@1 by K"].values()) == {100.0}
    assert fitted.pair.beta == 0  # the cosine is not needed to keep each text behind the others


@pytest.mark.parametrize(
    "part",
    [
        Part("transformer", {"width": 16, "layers": 1, "heads": 2}),
        Part("gru", {"embedding": 8, "hidden": 8}),
        Part("bag", {"width": 8}),
    ],
    ids=lambda part: part.name,
)
def test_the_graph_scores_rows_of_any_length_as_the_network_does(part: Part, tmp_path: Path) -> None:
    texts = ["a dog runs", "the cat sits on the mat", "one"]
    pairs = PairTokens(TokenTower(train_tokenizer(texts, "wordpiece", min_count=1), 9))
    network = build_pair_network(part, pairs).eval()
    rows = pairs.embed(texts, texts[::-1]).astype(np.int64)
    graph = trace(GraphSpec(network, torch.from_numpy(rows[:2]), outputs=("score",), free=(0, 1)))
    write(tmp_path, {"scorer": graph})
    session = start_session(tmp_path / "scorer.onnx", device="cpu")
    longest = int((rows >= 0).sum(1).max())
    for shown in (rows, rows[:, :longest], rows[1:2]):
        with torch.inference_mode():
            expected = network(torch.from_numpy(shown)).numpy()
        (found,) = session.run(None, {"features": np.ascontiguousarray(shown)})
        assert found == pytest.approx(expected, abs=2e-3)  # large matrices are stored in 16 bits


def test_an_interrupted_run_ends_with_the_same_model(taught: Any, pairs: Path, tiny: Path) -> None:
    again = diptych.train(settings(tiny), str(pairs), taught.folder, device="cpu")
    assert again.model.fingerprint == load_text_cross_encoder(taught.model_folder).fingerprint


def test_binary_learns_degrees_and_refuses_what_it_cannot_read(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "graded.csv"
    rows = [f"{one},{other},{2 + number % 3}" for number, (one, other) in enumerate(BOTH)]
    table.write_text("\n".join(["sentence1,sentence2,score", *rows]) + "\n")
    config = tmp_path / "pairs.toml"
    config.write_text(
        f'name = "p"\nkind = "text-cross-encoder"\nmodel = "{tiny}"\n[text]\n'
        'tower = {name = "wordpiece", max_tokens = 8, min_count = 1}\n'
        'network = {name = "transformer", width = 16, layers = 1, heads = 2}\n'
        '[objective]\nname = "binary"\nnegatives = 2\n[data]\nval = "held-out"\nval_share = 0.2\n'
        "[training]\nepochs = 1\nbatch_size = 20\n"
    )
    line = ["train", str(config), str(table), "--out", str(tmp_path / "out"), "--quiet"]
    assert command([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert load_text_cross_encoder(found["model"]).config.objective == "binary"
    assert command([*line[:3], "--out", str(tmp_path / "no"), "--set", 'text.tower="words"', "--quiet"]) == 2
    assert 'set text.tower = "wordpiece"' in capsys.readouterr().err
    with pytest.raises(ConfigError, match="objective"):
        diptych.train(settings(tiny, objective={"name": "ranked"}), str(table), tmp_path / "no")
    lonely = tmp_path / "lonely.csv"
    lonely.write_text("query,document\na dog,a hound\n")
    with pytest.raises(DataError):
        diptych.train(settings(tiny), str(lonely), tmp_path / "no")


def test_it_re_ranks_what_a_dual_encoder_found(
    taught: Any, pairs: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(taught.model_folder)
    line = ["eval", str(pairs), "--model", str(tiny), "--reranker", folder, "--bootstrap", "0", "--quiet", "--json"]
    assert command(line) == 4  # not fitted yet
    assert f"diptych rerank fit PAIRS --model {tiny} --reranker {folder}" in capsys.readouterr().err
    assert command(["rerank", "fit", str(pairs), "--model", str(tiny), "--reranker", folder, "--quiet"]) == 0
    assert "text to text: score + " in capsys.readouterr().out
    assert command(line) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"]["name"].startswith("model, the best ")
    assert [note["count"] for note in found["notes"] if note["kind"] == "reranker_fitted_on"] == [found["records"]]
    again = found["query_to_document"]["metrics"]["R@1"]["value"]
    assert command([*line, "--rerank", "5", "--beta", "100000"]) == 0  # the cosine decides
    assert json.loads(capsys.readouterr().out)["query_to_document"]["metrics"]["R@1"]["value"] < again


def test_re_rankers_of_texts_say_what_they_cannot_do(
    taught: Any, pairs: Path, tiny: Path, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(taught.model_folder)
    line = ["eval", str(shapes), "--model", str(tiny), "--reranker", folder, "--beta", "1", "--quiet"]
    assert command(line) == 2
    assert "re-ranks texts that are found by texts; set --modality text-text" in capsys.readouterr().err
    assert command(["eval", str(pairs), "--model", str(tiny), "--rerank", "5", "--quiet"]) == 2
    assert "name one, or leave them out" in capsys.readouterr().err
    assert command(["eval", str(pairs), "--model", str(tiny), "--reranker", str(tiny), "--quiet"]) == 4
    assert "expected a text cross-encoder" in capsys.readouterr().err
