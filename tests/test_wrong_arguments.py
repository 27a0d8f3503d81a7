"""What `import diptych` says of wrong arguments: one line of the `DiptychError` tree, and nothing is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diptych
from diptych.core.checks import several
from diptych.core.errors import ConfigError, DataError, DiptychError, ModelError
from diptych.data.readers import SourceOptions

pytestmark = pytest.mark.unchecked
VECTORS = np.eye(4, dtype=np.float32)


@pytest.fixture(scope="module")
def library(small_model: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> diptych.Library:
    made = diptych.Library.create(tmp_path_factory.mktemp("wrong") / "library", small_model)
    assert made.index(shapes).added == 45  # one path needs no list around it
    return made


CALLS: dict[str, tuple[Callable[[], Any], type[DiptychError], str]] = {
    "model": (lambda: diptych.load(3), ConfigError, "found 3; expected the name of a shipped model"),  # type: ignore[arg-type]
    "no model": (lambda: diptych.load(""), ModelError, "found no name of a model; expected base"),
    "source": (lambda: diptych.open_source(None), ConfigError, "found None; expected the path"),  # type: ignore[arg-type]
    "no source": (lambda: diptych.open_source(""), DataError, "found no name of a source"),
    "options": (lambda: diptych.open_source("x.csv", {"split": "val"}), ConfigError, "found dict"),  # type: ignore[arg-type]
    "library": (lambda: diptych.Library.open(3), ConfigError, "found 3; expected the folder"),  # type: ignore[arg-type]
    "its model": (lambda: diptych.Library.create("x", 3), ConfigError, "found 3; expected a model"),  # type: ignore[arg-type]
    "words as arrays": (lambda: diptych.evaluate(images=["a"], texts=["b"]), DataError, "is not an .n, d. array"),
    "one vector": (lambda: diptych.evaluate(images=VECTORS[0], texts=VECTORS), DataError, "images=ndarray"),
    "widths": (lambda: diptych.evaluate(images=VECTORS, texts=VECTORS[:, :2]), DataError, "same number of columns"),
    "owners": (
        lambda: diptych.evaluate(images=VECTORS, texts=VECTORS, owner=[0, 1.5, 2, 3]),
        DataError,
        "owner=list is not a list of whole numbers",
    ),
    "models": (lambda: diptych.compare("base", "x.csv"), ConfigError, "found 1 models"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_argument_gets_one_line(name: str) -> None:
    call, kind, message = CALLS[name]
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


SIDE = {"tower": "fake", "head": "linear"}
CONFIG = {"name": "x", "image": SIDE, "text": SIDE, "loss": "info_nce", "dim": 4}
TRAINING: dict[str, tuple[Any, Any, str]] = {
    "config": (None, "x.csv", "found None; expected a config"),
    "source": ({}, 3, "found 3; expected the path of a source, a Source, or a list of Pairs"),
    "no pairs": ({}, [3], "found 3; expected the path of a source"),
    "paths": ({}, ["pairs.csv"], "found 'pairs.csv'; expected the path of a source"),
    "splits": ({}, {"training": []}, "found pairs of the splits training; expected train and val"),
}


@pytest.mark.parametrize("name", TRAINING)
def test_training_refuses_what_it_cannot_read(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    config, source, message = TRAINING[name]
    with pytest.raises(ConfigError, match=message):
        diptych.train(None if config is None else CONFIG, source, tmp_path / "run")


def test_a_file_is_no_folder_of_a_run(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file is a file; expected the folder of a run"):
        diptych.train(CONFIG, "x.csv", tmp_path / "file")


def test_pairs_of_ones_own_hold_paths_and_words(shapes: Path, small_model: Path) -> None:
    files = sorted(shapes.parent.glob("red-*.png"))[:4]
    pairs = [diptych.Pair(file.name, [file], [f"number {at}"], "val") for at, file in enumerate(files)]  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="found 3; expected texts of a Pair"):
        diptych.evaluate(small_model, [diptych.Pair("1", (), (3,))])  # type: ignore[arg-type]
    report = diptych.evaluate(small_model, pairs, split="val", resamples=0)
    assert report.evaluation.texts == report.evaluation.images == 4


def test_embeddings_are_compared_by_their_cosine_whatever_their_length() -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 20, 8)).astype(np.float32)
    lengths = np.linspace(0.1, 9, 20, dtype=np.float32)[:, None]
    plain = diptych.evaluate(images=vectors[0], texts=vectors[1], resamples=0)
    longer = diptych.evaluate(images=vectors[0] * lengths, texts=vectors[1], resamples=0)
    assert plain.rsum == longer.rsum


def test_a_library_refuses_wrong_arguments(library: diptych.Library) -> None:
    asked: Any = library
    vector = np.ones(library.card.dim, dtype=np.float32)
    for call, message in (
        (lambda: asked.index(3), "found 3; expected a path"),
        (lambda: asked.index(["x"], options={"prune": False}), "found dict; expected IndexOptions"),
        (lambda: asked.search(None), "found None; expected words"),
        (lambda: asked.search(["red"]), "found list; expected words"),
        (lambda: asked.search("red", k="3"), "found '3'; expected a whole number as k"),
        (lambda: asked.search("red", k=2.5), "found 2.5; expected a whole number as k"),
        (lambda: asked.search("red", where=3), "found 3; expected a filter"),
        (lambda: asked.search("red", rerank="10"), "found '10'; expected a whole number as rerank"),
        (lambda: asked.search(0 * vector), "the vector is all zero"),
        (lambda: asked.search(np.array(["a"])), "the vector holds values of type <U1"),
        (lambda: asked.search_many(vector[None], [1]), "expected unit length"),
        (lambda: asked.search_many(vector[None], [1, 2]), "1, .* and 2 counts"),
        (lambda: asked.like(3), "found 3; expected the id"),
        (lambda: asked.items(limit="3"), "found '3'; expected a whole number as limit"),
        (lambda: asked.facets("widht"), "no column 'widht'; .*did you mean 'width'"),
        (lambda: asked.delete([3]), "found 3; expected the id"),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


def test_one_id_or_path_is_not_taken_for_its_letters(library: diptych.Library) -> None:
    identifier = library.items().items[0].id
    assert library.delete(identifier).ids == (identifier,)
    path = library.items().items[0].path
    assert len(library.remove(path).ids) == 1  # not all that is below "/", its first letter


def test_a_reader_takes_one_column_alone() -> None:
    assert SourceOptions(text_columns="title").text_columns == ("title",)  # type: ignore[arg-type]


def test_several_names_the_one_that_is_wrong() -> None:
    assert several("a", str, "words") == ["a"]
    assert several(iter(["a", "b"]), str, "words") == ["a", "b"]
    with pytest.raises(ConfigError, match="found b'a'; expected words"):
        several(b"a", str, "words")


def test_generating_needs_words_and_a_whole_seed(trained_generator: Any) -> None:
    for texts, seed, message in ((None, 0, "found None; expected a text"), ("a", -1, "seed must be at least 0")):
        with pytest.raises(ConfigError, match=message):
            diptych.generate(texts, trained_generator.model, seed=seed)  # type: ignore[arg-type]


def test_reranking_needs_words_and_images(cross_encoder_run: Any, small_model: Path) -> None:
    for query, candidates, kind, message in (
        ("", ["nope.png"], DataError, "the query is empty"),
        ("red", ["nope.png"], DataError, "cannot open nope.png"),
        ("red", 3, ConfigError, "found 3; expected hits of a search"),
    ):
        with pytest.raises(kind, match=message):
            diptych.rerank(query, candidates, cross_encoder_run.model, model=small_model, beta=1.0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="found None; expected a cross-encoder"):
        diptych.rerank("red", ["nope.png"], None, model=small_model, beta=1.0)  # type: ignore[arg-type]


def test_the_module_of_a_model_takes_what_its_inputs_give(small_model: Path, shapes: Path) -> None:
    module = diptych.load(small_model).torch()
    file = sorted(shapes.parent.glob("red-*.png"))[0]
    images, texts = module.image_inputs(file), module.text_inputs("a red circle")  # one needs no list around it
    image, text = module(images, texts)
    assert image.shape == text.shape == (1, module.image.head.linear.out_features)
    with pytest.raises(ConfigError, match="found list; expected a tensor, as text_inputs gives it"):
        module.encode_text(["a red circle"])
