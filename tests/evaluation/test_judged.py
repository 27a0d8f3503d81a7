"""Queries and documents with labels: against ir-measures, SciPy, and by hand."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import AP, RR, P, Qrel, R, ScoredDoc, Success, nDCG
from scipy.stats import pearsonr, spearmanr

from diptych.core.errors import ConfigError, DataError
from diptych.evaluation import (
    DOCUMENT_TO_QUERY,
    QUERY_TO_DOCUMENT,
    JudgedTexts,
    Report,
    evaluate_judged,
    parse_protocol,
    parse_report,
)
from diptych.evaluation.bootstrap import Resampling, replicates, summarised
from diptych.evaluation.compare import compare_reports
from diptych.evaluation.correlation import Correlation


def judged(scores, labels) -> JudgedTexts:
    """Texts whose products are these scores (q, m); labels is {(query, document): label}, None for no label."""
    queries, documents = (np.array(side, dtype=np.int64) for side in zip(*labels, strict=True))
    return JudgedTexts(
        queries=np.eye(len(scores), dtype=np.float32),
        documents=np.ascontiguousarray(np.asarray(scores, dtype=np.float32).T),
        units=np.arange(len(scores)),
        query_of=queries,
        document_of=documents,
        labels=np.array([1.0 if label is None else label for label in labels.values()], dtype=np.float64),
        is_labelled=np.array([label is not None for label in labels.values()]),
    )


def numbers(evaluation, direction):
    return {name: estimate.value for name, estimate in evaluation.directions[direction].metrics.items()}


@st.composite
def qrels(draw):
    queries, documents = draw(st.integers(2, 5)), draw(st.integers(2, 12))
    order = draw(st.permutations(range(queries * documents)))
    places = st.tuples(st.integers(0, queries - 1), st.integers(0, documents - 1))
    labels = draw(st.dictionaries(places, st.integers(0, 3), min_size=1))
    return np.array(order).reshape(queries, documents), labels, draw(st.sampled_from([0, 1, 2, 3]))


@settings(max_examples=25, deadline=None)
@given(qrels())
def test_random_judgements_measure_as_ir_measures_does(task):
    scores, labels, least = task
    needed = max(least, 1)
    if max(labels.values()) < needed:
        with pytest.raises(DataError, match="no document is relevant"):
            evaluate_judged(judged(scores, labels), relevant_from=least, resamples=0)
        return
    found = evaluate_judged(judged(scores, labels), relevant_from=least, cuts=(1, 5, 10), resamples=0)
    for direction, flip in ((QUERY_TO_DOCUMENT, False), (DOCUMENT_TO_QUERY, True)):
        table = scores.T if flip else scores
        wanted = {(place[::-1] if flip else place): label for place, label in labels.items()}
        kept = {query for (query, _), label in wanted.items() if label >= needed}
        their_qrels = [Qrel(f"q{q}", f"d{d}", label) for (q, d), label in wanted.items() if q in kept]
        run = [ScoredDoc(f"q{q}", f"d{d}", float(table[q, d])) for q in kept for d in range(table.shape[1])]
        pairs = {AP(rel=needed): "mAP", RR(rel=needed): "MRR"}
        for k in (1, 5, 10):
            pairs |= {P(rel=needed) @ k: f"P@{k}", Success(rel=needed) @ k: f"R@{k}", R(rel=needed) @ k: f"share@{k}"}
        pairs |= {nDCG @ k: f"NDCG@{k}" for k in (5, 10)}
        theirs = ir_measures.calc_aggregate(list(pairs), their_qrels, run)
        ours = numbers(found, direction)
        for measure, name in pairs.items():
            assert ours[name] == pytest.approx(theirs[measure], abs=1e-6), (direction, name)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), min_size=3, max_size=12))
def test_correlations_of_values_that_count_several_times(rows):
    x, y, often = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    repeated = [np.repeat(side, often.astype(int)) for side in (x, y)]
    varies = len(repeated[0]) > 1 and all(len(set(side.tolist())) > 1 for side in repeated)
    for by_rank, reference in ((True, spearmanr), (False, pearsonr)):
        found = Correlation(x, y, by_rank=by_rank)(often)
        assert found == pytest.approx(reference(*repeated).statistic) if varies else np.isnan(found)


def test_correlations_of_scores_with_labels_and_their_replicates():
    generator = np.random.default_rng(0)
    scores, labels = generator.random((12, 12)), generator.integers(0, 6, 12).astype(float)
    found = evaluate_judged(judged(scores, {(n, n): labels[n] for n in range(12)}), resamples=50)
    own = scores.astype(np.float32).diagonal().astype(np.float64)
    assert found.correlations["spearman"].value == pytest.approx(100 * spearmanr(own, labels).statistic)
    assert found.correlations["pearson"].value == pytest.approx(100 * pearsonr(own, labels).statistic)
    number = found.labelled.numbers["spearman"]
    [counts] = Resampling(12, 4, seed=1).counts()
    wanted = [100 * spearmanr(np.repeat(own, row), np.repeat(labels, row)).statistic for row in counts]
    assert replicates([number], Resampling(12, 4, seed=1))[0] == pytest.approx(wanted)


def test_labels_by_hand_and_what_is_not_measured():
    scores = [[0.9, 0.8, 0.1, 0.7], [0.1, 0.2, 0.3, 0.4], [0.5, 0.4, 0.3, 0.2]]
    labels = {(0, 1): 2, (0, 2): 1, (1, 3): None, (2, 0): 0}
    found = evaluate_judged(judged(scores, labels), resamples=0)
    ours = numbers(found, QUERY_TO_DOCUMENT)
    assert (found.queries, found.documents, found.records, found.alone) == (3, 4, 3, 1)
    assert ours["R@1"] == 0.5  # query 1 finds its own first, query 0 document 1 on the second place
    assert ours["share@5"] == 1.0
    assert ours["MRR"] == pytest.approx((1 / 2 + 1) / 2)
    assert ours["mAP"] == pytest.approx(((1 / 2 + 2 / 4) / 2 + 1) / 2)
    assert "by label: above 0" in str(Report(found, "one", "", "texts"))
    unlabelled = evaluate_judged(judged(scores, dict.fromkeys(labels)), resamples=0)
    assert "no pair has one: all pairs of the source are relevant" in str(Report(unlabelled, "one", "", "texts"))
    assert unlabelled.correlations == {}
    higher = evaluate_judged(judged(scores, labels), relevant_from=2, resamples=0)
    assert numbers(higher, QUERY_TO_DOCUMENT)["mAP"] == pytest.approx(1 / 2)
    assert numbers(higher, QUERY_TO_DOCUMENT)["NDCG@5"] == pytest.approx(
        (2 / np.log2(3) + 1 / np.log2(5)) / (2 + 1 / np.log2(3))
    )
    assert higher.alone == 2


def test_a_saved_report_has_the_same_numbers():
    generator = np.random.default_rng(3)
    labels = {(q, d): int(label) for q in range(6) for d, label in enumerate(generator.integers(0, 3, 9))}
    reports = []
    for name in ("one", "two"):
        found = evaluate_judged(judged(generator.random((6, 9)), labels), relevant_from=2, resamples=20)
        report = Report(found, name, "", "texts")
        reports.append(parse_report(report.to_json(ranks=True), name, name))
        read = {name: summarised(number) for name, number in reports[-1].numbers.items()}
        told = {f"{side} {name}": value for side in found.directions for name, value in numbers(found, side).items()}
        told |= {"rsum": report.rsum, **report.correlations}
        assert read == pytest.approx(told, abs=1e-6)
        page = str(report)
        assert "by label: 2 or more" in page
        assert "every query against every document" in page
    cells = compare_reports(reports).runs["two"]
    assert {"rsum", "spearman", "pearson", f"{QUERY_TO_DOCUMENT} share@5"} <= cells.keys()


def test_what_cannot_be_measured_is_refused():
    labels = {(0, 0): 1, (1, 1): 2}
    square = judged(np.eye(2), labels)
    with pytest.raises(ConfigError, match="by the protocol full; found first:1"):
        evaluate_judged(square, parse_protocol("first:1"))
    with pytest.raises(DataError, match="the highest label is 2, and relevant are labels of 3 or more"):
        evaluate_judged(square, relevant_from=3)
    with pytest.raises(DataError, match="1 query and 2 different documents; there must be two or more"):
        evaluate_judged(judged(np.ones((1, 2)), {(0, 0): 1}))
