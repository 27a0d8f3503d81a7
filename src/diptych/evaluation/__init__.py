"""Retrieval evaluation: arrays in, numbers out. It knows no model and reads no files.

embedded = Embedded(image_vectors, text_vectors, owner)
evaluation = evaluate(embedded, parse_protocol("5fold"))
evaluation.scores.text_to_image.metrics["R@10"]
"""

from .bootstrap import Difference, Interval, Number, Resampling, Sample, Term, paired_difference
from .evaluate import Direction, Embedded, Estimate, Evaluation, LanguageScores, Scores, Spread, evaluate
from .metrics import CUTS, Metric, Summary, metric_table
from .positives import Positives, group_labels
from .protocols import PROTOCOLS, Bagged, Draw, First, Folds, Full, Protocol, parse_protocol
from .ranks import Ranks, ranks_from_embeddings, ranks_from_scores
from .report import Report

__all__ = [
    "CUTS",
    "PROTOCOLS",
    "Bagged",
    "Difference",
    "Direction",
    "Draw",
    "Embedded",
    "Estimate",
    "Evaluation",
    "First",
    "Folds",
    "Full",
    "Interval",
    "LanguageScores",
    "Metric",
    "Number",
    "Positives",
    "Protocol",
    "Ranks",
    "Report",
    "Resampling",
    "Sample",
    "Scores",
    "Spread",
    "Summary",
    "Term",
    "evaluate",
    "group_labels",
    "metric_table",
    "paired_difference",
    "parse_protocol",
    "ranks_from_embeddings",
    "ranks_from_scores",
]
