"""Retrieval evaluation: arrays in, numbers out. It knows no model and reads no files.

embedded = Embeddings(image_vectors, text_vectors, owner)
evaluation = evaluate_embeddings(embedded, parse_protocol("5fold"))
evaluation.scores.text_to_image.metrics["R@10"]
"""

from .bootstrap import Addend, Number, Resampling, Sample, paired_difference
from .direction import Direction, Estimate
from .embeddings import Embeddings
from .evaluate import Evaluation, evaluate_embeddings
from .judged import DOCUMENT_TO_QUERY, QUERY_TO_DOCUMENT, JudgedEvaluation, JudgedTexts, evaluate_judged
from .metrics import CUTS, Summary, metric_table
from .positives import Positives, group_labels
from .protocols import PROTOCOLS, Bagged, First, Folds, Full, Protocol, parse_protocol
from .ranks import ranks_from_embeddings, ranks_from_scores
from .report import Report
from .saved import SavedReport, parse_report, read_report
from .within import IMAGE_TO_IMAGE, TEXT_TO_TEXT, Items, Views, WithinEvaluation, evaluate_within

__all__ = [
    "CUTS",
    "DOCUMENT_TO_QUERY",
    "IMAGE_TO_IMAGE",
    "PROTOCOLS",
    "QUERY_TO_DOCUMENT",
    "TEXT_TO_TEXT",
    "Addend",
    "Bagged",
    "Direction",
    "Embeddings",
    "Estimate",
    "Evaluation",
    "First",
    "Folds",
    "Full",
    "Items",
    "JudgedEvaluation",
    "JudgedTexts",
    "Number",
    "Positives",
    "Protocol",
    "Report",
    "Resampling",
    "Sample",
    "SavedReport",
    "Summary",
    "Views",
    "WithinEvaluation",
    "evaluate_embeddings",
    "evaluate_judged",
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
