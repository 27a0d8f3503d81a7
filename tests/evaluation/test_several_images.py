"""Several images a record and several texts a record, in every measure: against code that is slow and obvious."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.cosine import normalise
from diptych.evaluation import Bagged, Embeddings, First, Folds, Items, evaluate_embeddings, evaluate_within
from diptych.evaluation.pair_scores import Gallery, pair_scores, with_shuffled_texts


def collection(records, seed, *, languages=False):
    generator = np.random.default_rng(seed)
    image_owner, owner = (np.repeat(np.arange(records), generator.integers(1, 4, records)) for _ in range(2))
    centres = generator.normal(size=(records, 6))
    images, texts = (normalise(centres[who] + generator.normal(size=(len(who), 6))) for who in (image_owner, owner))
    spoken = tuple(generator.choice(["en", "de"], len(owner))) if languages else ()
    return Embeddings(images, texts, owner, spoken, image_owner=image_owner)


def slow_recalls(queries, query_records, gallery, gallery_records, k):
    """For each query: whether one of its record's items is among the k best."""
    found = []
    for query, record in zip(queries, query_records, strict=True):
        scores = gallery @ query
        order = sorted(range(len(gallery)), key=lambda item: -scores[item])
        found.append(any(gallery_records[item] == record for item in order[:k]))
    return found


@given(st.integers(2, 15), st.integers(0, 9999))
@settings(max_examples=25, deadline=None)
def test_every_image_is_a_query_and_every_image_of_the_record_is_right(records, seed):
    one = collection(records, seed)
    found = evaluate_embeddings(one, resamples=0)
    image_side, text_side = (one.images, one.image_owner), (one.texts, one.owner)
    assert (found.records, found.images, found.texts) == (records, len(one.images), len(one.texts))
    assert found.units == records
    for direction, queries, gallery in (
        (found.scores.image_to_text, image_side, text_side),
        (found.scores.text_to_image, text_side, image_side),
    ):
        assert direction.queries.min == len(queries[0])
        assert direction.gallery.min == len(gallery[0])
        for k in (1, 5, 10):
            assert direction.metrics[f"R@{k}"].value == pytest.approx(np.mean(slow_recalls(*queries, *gallery, k)))


def test_by_hand():
    # Record 0 has images at 0 and 90 degrees and a text at 80; record 1 an image and a text at 50.
    at = lambda *degrees: np.array([(np.cos(np.radians(d)), np.sin(np.radians(d))) for d in degrees], dtype=np.float32)  # noqa: E731
    one = Embeddings(at(0, 90, 50), at(80, 50), np.array([0, 1]), image_owner=np.array([0, 0, 1]))
    found = evaluate_embeddings(one, resamples=0).scores
    assert found.text_to_image.metrics["R@1"].value == 1.0
    assert found.text_to_image.positives.max == 2
    assert found.image_to_text.metrics["R@1"].value == pytest.approx(2 / 3)  # the image at 0 finds the text at 50
    assert found.text_to_image.metrics["mAP"].value == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)


def test_one_image_a_record_gives_what_it_always_gave():
    one = collection(40, 3)
    first = np.searchsorted(one.image_owner, np.arange(40))
    plain = Embeddings(one.images[first], one.texts, one.owner)
    said = Embeddings(one.images[first], one.texts, one.owner, image_owner=np.arange(40))
    for protocol in (None, First(20), Folds(2, 20), Bagged(4, 10)):
        scores = [evaluate_embeddings(each, protocol, resamples=50).scores for each in (plain, said)]
        assert scores[0].text_to_image.metrics == scores[1].text_to_image.metrics
        assert scores[0].image_to_text.metrics == scores[1].image_to_text.metrics


@pytest.mark.parametrize("protocol", [First(7), Folds(2, 6), Bagged(5, 9)])
def test_protocols_draw_records_with_what_belongs_to_them(protocol):
    one = collection(14, 1)
    for number, draw in enumerate(protocol.draws(one.image_owner, one.owner, seed=2)):
        of_images, of_texts = one.image_owner[draw.images], one.owner[draw.texts]
        assert set(of_images) == set(of_texts)
        if isinstance(protocol, Bagged):
            assert of_images.tolist() == of_texts.tolist()
            assert len(set(of_images)) == len(of_images) == 9
        else:
            start = number * protocol.size
            assert sorted(set(of_images)) == list(range(start, start + protocol.size))
            assert len(of_images) == np.isin(one.image_owner, of_images).sum()
            assert len(of_texts) == np.isin(one.owner, of_texts).sum()


def test_bags_reach_every_image():
    one = collection(14, 1)
    bags = Bagged(80, 9).draws(one.image_owner, one.owner, seed=0)
    assert {int(image) for bag in bags for image in bag.images} == set(range(len(one.images)))


def test_a_language_alone_keeps_all_images_of_the_records_that_speak_it():
    one = collection(12, 5, languages=True)
    found = evaluate_embeddings(one, resamples=0)
    for row in found.languages:
        spoken = {int(owner) for owner, lang in zip(one.owner, one.languages, strict=True) if lang == row.language}
        assert row.records == len(spoken)
        assert row.images == int(np.isin(one.image_owner, list(spoken)).sum())


def test_the_bootstrap_draws_records():
    # Three records of which one has 50 images, all found: by images nothing would ever change much, by records it does.
    images = np.concatenate([np.tile([[1.0, 0, 0]], (50, 1)), [[0, 1.0, 0], [0, 1.0, 0.1]]]).astype(np.float32)
    texts = np.eye(3, dtype=np.float32)
    one = Embeddings(images, texts, np.arange(3), image_owner=np.array([0] * 50 + [1, 2]))
    found = evaluate_embeddings(one, resamples=400).scores
    assert found.units == 3
    low = found.image_to_text.metrics["R@1"].interval.low
    assert low < 0.5  # a resample without record 0


def test_images_by_their_class_are_all_ranked():
    one = collection(8, 2)
    labels = (np.arange(8) % 2)[one.image_owner]
    found = evaluate_within(Items(one.images, labels, one.image_owner, "image_to_image", "group"), resamples=20)
    assert (found.records, found.images, found.units) == (8, len(one.images), 8)
    assert found.directions["image_to_image"].queries.min == len(one.images)


def slow_scores(one, gallery, k):
    """The mean over the images of a text's record of 2 cos - r(image) - r(text)."""

    def near(vector, record, others, records):
        cosines = sorted(float(vector @ other) for other, own in zip(others, records, strict=True) if own != record)
        return np.mean(cosines[-k:])

    found = []
    for text, record in zip(one.texts, one.owner, strict=True):
        images = one.images[one.image_owner == record]
        around_text = near(text, record, gallery.images, gallery.image_records)
        found.append(
            np.mean(
                [
                    2 * float(image @ text) - near(image, record, gallery.texts, gallery.text_records) - around_text
                    for image in images
                ]
            )
        )
    return found


def test_pair_scores_are_the_mean_over_a_records_images():
    drawn = collection(20, 4)
    one = Embeddings(drawn.images, drawn.texts, drawn.owner, image_owner=drawn.image_owner)
    gallery = Gallery.drawn(one, most=15, seed=1)
    assert pair_scores(one, gallery, k=3) == pytest.approx(slow_scores(one, gallery, 3), abs=1e-5)
    cosines = [
        float(np.mean(one.images[one.image_owner == who] @ text))
        for text, who in zip(one.texts, one.owner, strict=True)
    ]
    assert pair_scores(one, None) == pytest.approx(cosines, abs=1e-6)
    moved = with_shuffled_texts(one, 1)
    assert (moved.owner != one.owner).all()
    assert moved.owner.max() < 20
