"""Retrieval evaluation: arrays in, numbers out. It knows no model and reads no files.

embedded = Embeddings(image_vectors, text_vectors, owner)
evaluation = evaluate(embedded, parse_protocol("5fold"))
evaluation.scores.text_to_image.metrics["R@10"]
"""

from .bootstrap import Difference, Interval, Number, Resampling, Sample, Term, paired_difference
from .direction import Direction, Estimate, Ranking, Spread
from .embeddings import Embeddings
from .evaluate import Evaluation, LanguageScores, Scores, evaluate
from .metrics import CUTS, Metric, Summary, metric_table
from .positives import Positives, group_labels
from .protocols import PROTOCOLS, Bagged, Draw, First, Folds, Full, Protocol, parse_protocol
from .ranks import Ranks, ranks_from_embeddings, ranks_from_scores
from .report import Report
from .saved import SavedReport, parse_report, read_report
from .within import IMAGE_TO_IMAGE, TEXT_TO_TEXT, Items, Views, WithinEvaluation, evaluate_within

__all__ = [
    "CUTS",
    "IMAGE_TO_IMAGE",
    "PROTOCOLS",
    "TEXT_TO_TEXT",
    "Bagged",
    "Difference",
    "Direction",
    "Draw",
    "Embeddings",
    "Estimate",
    "Evaluation",
    "First",
    "Folds",
    "Full",
    "Interval",
    "Items",
    "LanguageScores",
    "Metric",
    "Number",
    "Positives",
    "Protocol",
    "Ranking",
    "Ranks",
    "Report",
    "Resampling",
    "Sample",
    "SavedReport",
    "Scores",
    "Spread",
    "Summary",
    "Term",
    "Views",
    "WithinEvaluation",
    "evaluate",
    "evaluate_within",
    "group_labels",
    "metric_table",
    "paired_difference",
    "parse_protocol",
    "parse_report",
    "ranks_from_embeddings",
    "ranks_from_scores",
    "read_report",
]
