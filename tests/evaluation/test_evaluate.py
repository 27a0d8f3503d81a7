import numpy as np
import pytest

from diptych.core.cosine import normalise
from diptych.core.errors import DataError
from diptych.evaluation import (
    Bagged,
    Embeddings,
    First,
    Folds,
    Positives,
    Resampling,
    evaluate_embeddings,
    metric_table,
    paired_difference,
    ranks_from_scores,
)


def collection(images=60, per_image=3, dimension=16, noise=0.4, seed=0, languages=()):
    generator = np.random.default_rng(seed)
    image_vectors = normalise(generator.normal(size=(images, dimension)))
    owner = np.repeat(np.arange(images), per_image)
    texts = normalise(image_vectors[owner] + noise * generator.normal(size=(len(owner), dimension)))
    return Embeddings(image_vectors, texts, owner, languages)


def values(direction):
    return {name: estimate.value for name, estimate in direction.metrics.items()}


def test_both_directions_by_hand():
    images = np.eye(3, dtype=np.float32)
    # Image 0 has a good and a bad text, image 1 a good one, image 2 one that looks like image 0.
    texts = normalise(np.array([[1, 0, 0], [0, 1, 0.1], [0, 1, 0], [1, 0, 0.5]], dtype=np.float32))
    scores = evaluate_embeddings(Embeddings(images, texts, np.array([0, 0, 1, 2])), resamples=0).scores

    assert scores.image_to_text.metrics["R@1"].value == 1.0  # the best of image 0's two texts counts
    assert scores.image_to_text.metrics["mAP"].value == pytest.approx((np.mean([1, 2 / 4]) + 1 + 1) / 3)
    assert scores.text_to_image.metrics["R@1"].value == 0.5
    # Text 1 finds image 1 and then 2; image 0 scores 0 and is third. Text 3 finds image 0, then its own.
    assert scores.text_to_image.metrics["meanR"].value == (1 + 3 + 1 + 2) / 4
    assert scores.text_to_image.metrics["medR"].value == 1.5
    assert scores.rsum.value == pytest.approx(100 * (1 + 1 + 1 + 0.5 + 1 + 1))


def test_full_is_the_metric_table_on_the_whole_score_matrix():
    pool = collection()
    scores = evaluate_embeddings(pool, resamples=0).scores
    matrix = pool.images @ pool.texts.T
    for direction, square, labels in (
        (scores.image_to_text, matrix, (np.arange(60), pool.owner)),
        (scores.text_to_image, matrix.T, (pool.owner, np.arange(60))),
    ):
        ranks = ranks_from_scores(square, Positives.from_labels(*labels))
        assert values(direction) == pytest.approx({n: m.of(ranks) for n, m in metric_table().items()})


def test_the_task_is_named_by_its_sizes():
    evaluation = evaluate_embeddings(collection(), Folds(3, 20), resamples=0)
    to_text = evaluation.scores.image_to_text

    assert (evaluation.protocol.name, evaluation.draws, evaluation.images, evaluation.texts) == (
        "folds:3x20",
        3,
        60,
        180,
    )
    assert (to_text.gallery.min, to_text.queries.min, to_text.positives.mean) == (60, 20, 3.0)
    assert evaluation.scores.text_to_image.positives.max == 1


def test_folds_are_the_mean_of_the_folds_evaluated_alone():
    pool = collection()
    together = evaluate_embeddings(pool, Folds(3, 20), resamples=0).scores
    alone = [
        evaluate_embeddings(pool.only((pool.owner >= start) & (pool.owner < start + 20)), resamples=0).scores
        for start in (0, 20, 40)
    ]

    for name, estimate in together.text_to_image.metrics.items():
        folds = [scores.text_to_image.metrics[name].value for scores in alone]
        assert estimate.value == pytest.approx(np.mean(folds)), name
        assert estimate.deviation == pytest.approx(np.std(folds)), name
    assert together.rsum.value == pytest.approx(np.mean([scores.rsum.value for scores in alone]))


def test_a_smaller_gallery_is_easier():
    pool = collection(noise=0.8)
    recall = [
        evaluate_embeddings(pool, protocol, resamples=0).scores.text_to_image.metrics["R@1"].value
        for protocol in (None, First(30), Bagged(30, 6))
    ]

    assert recall[0] < recall[1] < recall[2]


def test_intervals_hold_their_number_and_can_be_left_out():
    scores = evaluate_embeddings(collection(noise=0.8), resamples=200).scores
    for direction in (scores.image_to_text, scores.text_to_image):
        for name, estimate in direction.metrics.items():
            assert estimate.interval.low <= estimate.value <= estimate.interval.high, name
            assert estimate.deviation is None
    assert scores.rsum.interval.low < scores.rsum.value < scores.rsum.interval.high
    assert evaluate_embeddings(collection(), resamples=0).scores.rsum.interval is None


@pytest.mark.parametrize("protocol", [None, Folds(3, 20), Bagged(5, 20)])
def test_the_same_seed_gives_the_same_report(protocol):
    once, again = (evaluate_embeddings(collection(), protocol, resamples=50, seed=7).scores for _ in range(2))

    assert once.image_to_text.metrics == again.image_to_text.metrics
    assert once.rsum == again.rsum


@pytest.mark.filterwarnings("error")
def test_only_images_in_some_draw_are_resampled():
    sparse = evaluate_embeddings(collection(noise=0.8), Bagged(2, 4), resamples=300).scores
    assert 4 <= sparse.units <= 8
    first = evaluate_embeddings(collection(noise=0.8), First(20), resamples=100).scores
    pool = collection(noise=0.8)
    alone = evaluate_embeddings(pool.only(pool.owner < 20), resamples=100).scores
    assert first.units == 20
    assert first.text_to_image.metrics == alone.text_to_image.metrics


def test_the_order_of_the_texts_changes_nothing():
    pool = collection(noise=0.7)
    order = np.random.default_rng(1).permutation(len(pool.texts))
    shuffled = Embeddings(pool.images, pool.texts[order], pool.owner[order])

    before, after = evaluate_embeddings(pool, resamples=0).scores, evaluate_embeddings(shuffled, resamples=0).scores

    assert values(before.text_to_image) == pytest.approx(values(after.text_to_image))
    assert values(before.image_to_text) == pytest.approx(values(after.image_to_text))


def test_images_without_texts_are_left_out_and_counted():
    pool = collection(images=10)
    lonely = Embeddings(np.concatenate([pool.images, pool.images[:4]]), pool.texts, pool.owner)

    evaluation = evaluate_embeddings(lonely, resamples=0)

    assert evaluation.records_without_texts == 4
    assert values(evaluation.scores.text_to_image) == values(
        evaluate_embeddings(pool, resamples=0).scores.text_to_image
    )


def test_group_relevance_counts_every_image_of_the_class():
    images = np.eye(4, dtype=np.float32)
    texts = images[[1, 0, 3, 2]]  # every text looks like the other image of its class
    owner = np.arange(4)

    by_pair = evaluate_embeddings(Embeddings(images, texts, owner), resamples=0)
    by_group = evaluate_embeddings(Embeddings(images, texts, owner, groups=np.array([5, 5, 9, 9])), resamples=0)

    assert (by_pair.relevance, by_pair.scores.text_to_image.metrics["R@1"].value) == ("pair", 0.0)
    assert (by_group.relevance, by_group.scores.text_to_image.metrics["R@1"].value) == ("group", 1.0)
    assert by_group.scores.text_to_image.positives.mean == 2


def test_each_language_is_ranked_against_its_own_images():
    languages = ("en", "de", None) * 40 + ("en", "en", "en") * 20
    pool = collection(languages=languages)
    rows = evaluate_embeddings(pool, resamples=0, made_for=frozenset({"en"})).languages

    assert [row.language for row in rows] == ["en", "de", None]
    assert [(row.images, row.texts) for row in rows] == [(60, 100), (40, 40), (40, 40)]
    assert [row.made_for for row in rows] == [True, False, None]
    german = np.array(languages, dtype=object) == "de"
    alone = evaluate_embeddings(pool.only(german), resamples=0).scores
    assert values(rows[1].scores.text_to_image) == values(alone.text_to_image)
    english = rows[0].scores.text_to_image.metrics["R@10"].value
    wanted = 100 * alone.text_to_image.metrics["R@10"].value / english
    assert rows[1].percent_of_reference["text_to_image"] == pytest.approx(wanted)
    assert rows[0].percent_of_reference["text_to_image"] == 100


def test_without_english_there_is_nothing_to_be_a_percentage_of():
    rows = evaluate_embeddings(collection(languages=("de", "fr", "de") * 60), resamples=0).languages

    assert [row.percent_of_reference["text_to_image"] for row in rows] == [None, None]
    assert [row.made_for for row in rows] == [None, None]


def test_one_language_makes_no_table():
    assert evaluate_embeddings(collection(languages=("en",) * 180), resamples=0).languages == ()


def test_two_runs_can_be_paired_on_rsum_and_on_every_metric():
    better, worse = (evaluate_embeddings(collection(noise=noise), resamples=0).scores for noise in (0.5, 0.7))
    resampling = Resampling(better.units, 300)

    difference = paired_difference(worse.rsum_number, better.rsum_number, resampling)

    assert difference.value == pytest.approx(better.rsum.value - worse.rsum.value)
    assert difference.interval.low > 0
    for name, number in better.text_to_image.numbers.items():
        one = paired_difference(worse.text_to_image.numbers[name], number, resampling)
        wanted = better.text_to_image.metrics[name].value - worse.text_to_image.metrics[name].value
        assert one.value == pytest.approx(wanted), name


def test_other_cuts_leave_rsum_out():
    scores = evaluate_embeddings(collection(), cuts=(1, 3), resamples=20).scores

    assert scores.rsum is None
    assert {"R@1", "R@3", "NDCG@3", "P@1", "P@3"} < set(scores.image_to_text.metrics)
    assert "R@5" not in scores.image_to_text.metrics


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"owner": np.array([0, 1])}, "2 owners"),
        ({"owner": np.array([0, 1, 9])}, "owner is not one of"),
        ({"owner": np.array([0, -1, 1])}, "owner is not one of"),
        ({"languages": ("en",)}, "1 languages"),
        ({"groups": np.array([1])}, "1 groups"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, message):
    parts = {
        "images": np.eye(2, 3, dtype=np.float32),
        "texts": np.eye(3, dtype=np.float32),
        "owner": np.array([0, 1, 1]),
    }
    with pytest.raises(DataError, match=message):
        Embeddings(**(parts | change))


def test_no_texts_at_all_are_refused():
    empty = Embeddings(np.eye(2, dtype=np.float32), np.empty((0, 2), np.float32), np.empty(0, np.int64))
    with pytest.raises(DataError, match="nothing to evaluate"):
        evaluate_embeddings(empty)


def test_another_similarity_ranks_both_ways_by_it() -> None:
    """The order similarity is not symmetric: pictures are always its left side."""
    draw = np.random.default_rng(4)
    images, texts = draw.normal(size=(9, 5)).astype(np.float32), draw.normal(size=(18, 5)).astype(np.float32)
    owner = np.repeat(np.arange(9), 2)
    found = evaluate_embeddings(Embeddings(images, texts, owner), resamples=0, cuts=(1,), similarity="order").scores
    beyond = np.maximum(np.abs(texts)[None] - np.abs(images)[:, None], 0)
    scores = -(beyond**2).sum(2)
    to_image = np.mean([scores[:, text].argmax() == owner[text] for text in range(18)])
    to_text = np.mean([owner[scores[image].argmax()] == image for image in range(9)])
    assert found.text_to_image.metrics["R@1"].value == pytest.approx(to_image)
    assert found.image_to_text.metrics["R@1"].value == pytest.approx(to_text)
