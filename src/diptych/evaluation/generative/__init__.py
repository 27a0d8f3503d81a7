"""Measures of generated images: arrays in, numbers out; none knows a model.

`distances` (Fréchet, kernel) and `neighbours` (copies, precision and recall) compare two sets of features, `text_match`
and `objects` ask whether an image shows what its text says, `diversity` how much images of one text differ, and
`intervals` says how sure a number is.

value = frechet_distance(real_features, generated_features)
share = r_precision(image_vectors, text_vectors, draw_pools(len(text_vectors)))
"""

from __future__ import annotations

from .distances import frechet_distance, frechet_from_moments, inception_score, kernel_distance
from .diversity import MapShape, deep_distances, own_spread
from .intervals import estimate_of_mean, grouped_jackknife
from .neighbours import Neighbours, nearest_by_distance, precision_recall
from .objects import (
    Agreement,
    Detector,
    ScoringDetector,
    Share,
    agreement,
    as_matrix,
    look,
    look_for_scores,
    mentioned,
    semantic_object_accuracy,
)
from .text_match import POOL, GeneratedImageRetrieval, draw_pools, r_precision, retrieval_by_generated_images

__all__ = [
    "POOL",
    "Agreement",
    "Detector",
    "GeneratedImageRetrieval",
    "MapShape",
    "Neighbours",
    "ScoringDetector",
    "Share",
    "agreement",
    "as_matrix",
    "deep_distances",
    "draw_pools",
    "estimate_of_mean",
    "frechet_distance",
    "frechet_from_moments",
    "grouped_jackknife",
    "inception_score",
    "kernel_distance",
    "look",
    "look_for_scores",
    "mentioned",
    "nearest_by_distance",
    "own_spread",
    "precision_recall",
    "r_precision",
    "retrieval_by_generated_images",
    "semantic_object_accuracy",
]
