import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.cosine import normalise
from diptych.core.errors import DataError
from diptych.evaluation import (
    IMAGE_TO_IMAGE,
    TEXT_TO_TEXT,
    Bagged,
    Folds,
    Items,
    Positives,
    Report,
    Views,
    evaluate_within,
    ranks_from_embeddings,
)

from . import twins


def texts_of(images=20, per_image=3, dimension=8, noise=0.5, seed=0):
    generator = np.random.default_rng(seed)
    owner = np.repeat(np.arange(images), per_image)
    centres = generator.normal(size=(images, dimension))
    vectors = normalise(centres[owner] + noise * generator.normal(size=(len(owner), dimension)))
    return Items(vectors, owner, owner, TEXT_TO_TEXT, "pair")


def values(evaluation):
    (direction,) = evaluation.directions.values()
    return {name: estimate.value for name, estimate in direction.metrics.items()}


def test_captions_of_one_image_find_each_other_by_hand():
    # Texts at 0, 10, 50 and 70 degrees; the first two are of image 0, the others of image 1.
    angles = np.radians([0, 10, 50, 70])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    owner = np.array([0, 0, 1, 1])

    found = evaluate_within(Items(vectors, owner, owner, TEXT_TO_TEXT, "pair"), resamples=0, cuts=(1,))

    # 0 finds 10; 10 finds 0; 50 finds 70 (20 away; 10 is 40 away); 70 finds 50.
    assert values(found)["R@1"] == 1.0
    (direction,) = found.directions.values()
    assert (direction.gallery.max, direction.queries.max, direction.positives.max) == (3, 4, 1)
    # Moved to 36 degrees, the third is nearer to 10 (26) than to 70 (34): found second, and 70 still finds it.
    angles[2] = np.radians(36)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    moved = values(evaluate_within(Items(vectors, owner, owner, TEXT_TO_TEXT, "pair"), resamples=0, cuts=(1,)))
    assert (moved["R@1"], moved["meanR"]) == (0.75, 1.25)


def test_a_wrong_copy_of_the_query_counts_against():
    vectors = np.array([[1, 0], [1, 0], [0.8, 0.6]], dtype=np.float32)
    owner = np.array([0, 1, 0])  # text 1 says the same as text 0, but of another image
    found = evaluate_within(Items(vectors, owner, owner, TEXT_TO_TEXT, "pair"), resamples=0, cuts=(1,))

    assert found.alone == 1  # text 1 has no other text of its image: in the gallery, but no query
    assert values(found)["R@1"] == 0.0  # 0 finds the copy first; 2 finds two texts tied, the wrong one before
    assert values(found)["meanR"] == 2.0


@given(seed=st.integers(0, 10_000), duplicates=st.booleans())
@settings(max_examples=30, deadline=None)
def test_ranks_among_themselves_are_those_of_the_slow_twin(seed, duplicates):
    generator = np.random.default_rng(seed)
    vectors = normalise(generator.normal(size=(12, 3)))
    if duplicates:
        vectors[generator.integers(0, 12, 4)] = vectors[0]
    labels = generator.integers(0, 4, 12)
    queries = np.array([at for at in range(12) if (labels == labels[at]).sum() > 1], dtype=np.int64)
    if not len(queries):
        return
    ranks = ranks_from_embeddings(
        vectors[queries], vectors, Positives.among(labels, queries), itself=queries, block_scores=25
    )

    for place, query in enumerate(queries):
        others = [at for at in range(12) if at != query]
        # Equal vectors must tie to the last bit in the twin as well.
        scores = [float(vectors[at].astype(np.float64) @ vectors[query].astype(np.float64)) for at in others]
        relevant = {at: 1.0 for at, other in enumerate(others) if labels[other] == labels[query]}
        wanted = [rank for rank, _ in twins.rank_positions(scores, relevant)]
        assert ranks.ranks[ranks.offsets[place] : ranks.offsets[place + 1]].tolist() == wanted
    assert ranks.gallery == 11


def test_a_query_that_is_relevant_to_itself_is_refused():
    vectors = np.eye(3, dtype=np.float32)
    with pytest.raises(DataError, match="query 0 is relevant to itself"):
        ranks_from_embeddings(vectors, vectors, Positives.from_labels(np.arange(3), np.arange(3)), itself=np.arange(3))


def test_classes_of_pictures_and_protocols():
    items = texts_of(images=30, per_image=2)
    pictures = Items(items.vectors, items.labels, np.arange(60), IMAGE_TO_IMAGE, "group")
    whole = evaluate_within(pictures, resamples=0)
    folds = evaluate_within(pictures, Folds(3, 20), resamples=50)
    bags = [evaluate_within(pictures, Bagged(2, 40), resamples=20, seed=3) for _ in range(2)]

    assert (whole.images, whole.texts, whole.modality) == (60, 0, "image-image")
    assert values(folds)["R@1"] >= values(whole)["R@1"]
    assert values(bags[0]) == values(bags[1])


def test_views_ask_for_their_own_picture():
    images = np.eye(4, dtype=np.float32)
    views = Views(images[[0, 1, 2, 3, 1, 0]], np.array([0, 1, 2, 3, 0, 1]))  # two are mistaken for each other
    items = Items(images, np.arange(4), np.arange(4), IMAGE_TO_IMAGE, "view", views)

    found = evaluate_within(items, resamples=0, cuts=(1,))

    assert values(found)["R@1"] == pytest.approx(4 / 6)
    (direction,) = found.directions.values()
    assert (direction.gallery.max, direction.queries.max) == (4, 6)


def test_one_text_an_image_leaves_nothing_to_find():
    items = texts_of(per_image=1)
    with pytest.raises(DataError, match="nothing to find"):
        evaluate_within(items)
    with pytest.raises(DataError, match="protocol bagged:2x5"):
        evaluate_within(texts_of(), Bagged(2, 5))  # which draws one text an image


def test_the_report_speaks_of_one_direction():
    evaluation = evaluate_within(texts_of(), resamples=20)
    report = Report(evaluation, model="base", model_fingerprint="f00d", source="s")

    record, page = report.to_json(), report.table()

    assert record["modality"] == "text-text"
    assert record["rsum"] is None
    assert "image_to_text" not in record
    assert record["text_to_text"]["queries"]["max"] == 60
    assert "- text → text: 60 queries, gallery of 59, 2 positives a query" in page
    assert "left out of its own ranking" in page
