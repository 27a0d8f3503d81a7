"""Related and unrelated pairs drawn from records, and the scores of pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.core.errors import ConfigError, DataError
from diptych.core.types import FileImage, Pair, Role, Text
from diptych.data.pair_list import asked
from diptych.inspection.relating import DualScorer
from diptych.inspection.relating.fitting import drawn_pairs
from diptych.models import load


def record(name: str, *texts: str, images: int = 1, group: str | None = None) -> Pair:
    refs = tuple(FileImage(Path(f"{name}-{place}.jpg")) for place in range(images))
    return Pair(name, refs, tuple(map(Text, texts)), group=group)


def of(image: Any) -> str:
    return str(image.path).partition("-")[0]


def test_a_related_pair_is_of_one_record_and_an_unrelated_one_of_two() -> None:
    records = [record(f"r{n}", f"text {n}", f"other {n}") for n in range(40)]
    drawn = drawn_pairs(records, "image-text")
    assert len(drawn.right) == len(drawn.wrong) == 40
    half_of = dict(zip((of(pair.left) for pair in drawn.right), drawn.halves[0], strict=True))
    assert sum(half_of.values()) == 20
    for pair in drawn.right:
        assert of(pair.left)[1:] == str(pair.right).split()[1]
    for pair, half in zip(drawn.wrong, drawn.halves[1], strict=True):
        owner = f"r{str(pair.right).split()[1]}"
        assert owner != of(pair.left)
        assert half_of[owner] == half_of[of(pair.left)] == half  # no record stands on both sides of the check


def test_records_of_one_class_or_with_a_common_text_are_no_unrelated_pair() -> None:
    records = [record(f"r{n}", "a dog" if n % 2 else f"text {n}", group="ab"[n % 4 // 2]) for n in range(80)]
    drawn = drawn_pairs(records, "image-text")
    by_name = {one.id: one for one in records}
    assert drawn.wrong
    for pair in drawn.wrong:
        own = by_name[of(pair.left)]
        others = [one for one in records if one.texts[0].value == pair.right]
        assert pair.right != own.texts[0].value
        assert any(one.group != own.group for one in others)


def test_two_texts_of_a_record_are_never_the_same_text() -> None:
    records = [record(f"r{n}", f"a {n}", f"b {n}", f"a {n}", images=0) for n in range(30)]
    records.append(record("alone", "one text"))
    drawn = drawn_pairs(records, "text-text")
    assert len(drawn.right) == 30
    assert all(pair.left != pair.right for pair in drawn.right)
    assert all(str(pair.left).split()[1] == str(pair.right).split()[1] for pair in drawn.right)


def graded(query: str, *documents: tuple[str, float | None]) -> Pair:
    judged = [Text(text, role=Role.DOCUMENT, label=label) for text, label in documents]
    return Pair(query, (), (Text(query, role=Role.QUERY), *judged))


def test_labels_of_queries_and_documents_are_halved_at_the_middle_of_their_scale() -> None:
    records = [graded(f"q{n}", (f"near {n}", 5.0), (f"middle {n}", 2.5), (f"far {n}", 0.0)) for n in range(30)]
    records += [graded(f"q{n}", (f"far {n}", 1.0)) for n in range(30, 40)]
    records.append(Pair("gallery", (), (Text("never judged", role=Role.DOCUMENT),)))
    drawn = drawn_pairs(records, "text-text")
    assert drawn.unrelated == "labelled so"
    assert [str(one.left)[1:] for one in drawn.right] == [str(n) for n in range(30)]
    assert {str(one.right).split()[0] for one in drawn.right} == {"near", "middle"}
    assert len(drawn.wrong) == 40
    assert {str(one.right).split()[0] for one in drawn.wrong} == {"far"}
    assert all(str(one.left)[1:] == str(one.right).split()[1] for one in [*drawn.right, *drawn.wrong])


def test_what_is_partly_relevant_is_related() -> None:
    records = [graded(f"q{n}", (f"highly {n}", 2.0), (f"partly {n}", 1.0), (f"not {n}", 0.0)) for n in range(30)]
    drawn = drawn_pairs(records, "text-text")
    assert {str(one.right).split()[0] for one in drawn.right} == {"highly", "partly"}
    assert {str(one.right).split()[0] for one in drawn.wrong} == {"not"}


def test_documents_without_labels_are_related_and_those_of_others_are_not() -> None:
    drawn = drawn_pairs([graded(f"q{n}", (f"answer {n}", None)) for n in range(30)], "text-text")
    assert drawn.unrelated == "drawn at random"
    assert [str(one.right).split()[1] for one in drawn.right] == [str(one.left)[1:] for one in drawn.right]
    assert len(drawn.wrong) == 30
    assert all(str(one.right).split()[1] != str(one.left)[1:] for one in drawn.wrong)


def test_images_are_related_within_a_record_else_within_a_class() -> None:
    within = drawn_pairs([record(f"r{n}", images=2) for n in range(30)], "image-image")
    assert all(of(pair.left) == of(pair.right) and pair.left != pair.right for pair in within.right)
    classes = drawn_pairs([record(f"r{n}", group="abcd"[n % 4]) for n in range(40)], "image-image")
    assert len(classes.right) == 40  # each image once
    for pairs, alike in ((classes.right, True), (classes.wrong, False)):
        for pair in pairs:
            first, second = (int(of(side)[1:]) % 4 for side in (pair.left, pair.right))
            assert (first == second) == alike
            assert pair.left != pair.right


def test_the_score_of_a_pair_is_the_models_similarity(tiny_model: Any, shapes: Path, tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "tiny"))
    images = [shapes.parent / f"{colour}-circle-20.png" for colour in ("red", "blue", "red")]
    texts = ["a red circle", "ein Rund", "blue"]
    pairs = [asked(image, text) for image, text in zip(images, texts, strict=True)]
    for similarity in ("cosine", "l2", "order"):
        model.config = replace(model.config, similarity=similarity)
        there, found = DualScorer(model).scores(pairs)
        whole = model.similarity(images=model.encode_images(images), texts=model.encode_texts(texts))
        assert there.tolist() == [0, 1, 2]
        assert found[:, 0] == pytest.approx(np.diag(whole), abs=1e-5)
    with pytest.raises(ConfigError, match="compares an image with a text by order"):
        DualScorer(model).scores([asked("a", "b")])


def test_pairs_whose_image_cannot_be_read_are_named(tiny_model: Any, shapes: Path, tmp_path: Path) -> None:
    scorer = DualScorer(load(tiny_model(tmp_path / "tiny")))
    bad, good = shapes.parent / "bad.png", shapes.parent / "red-circle-20.png"
    pairs = [asked(bad, "a"), asked(good, "b"), asked(good, bad, where="pairs.csv:4")]
    skipped: list[Any] = []
    there, found = scorer.scores(pairs, skipped)
    assert (there.tolist(), found.shape) == ([1], (1, 1))
    assert [one.name for one in skipped] == [str(bad), "pairs.csv:4"]
    with pytest.raises(DataError, match="not an image"):
        scorer.scores(pairs)
