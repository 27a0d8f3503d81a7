"""Measures of generated pictures: arrays in, numbers out. One measure a file; none knows a model.

value = frechet_distance(real_features, generated_features)
share = r_precision(picture_vectors, text_vectors, draw_pools(len(text_vectors)))
"""

from __future__ import annotations

from .diversity import MapShape, deep_distances, own_spread
from .frechet import frechet_distance, frechet_from_moments
from .inception import inception_score
from .jackknife import grouped_jackknife
from .kernel import KernelDistance, kernel_distance
from .manifold import Coverage, precision_recall
from .means import estimate_of_mean
from .neighbours import Neighbours, nearest_by_distance
from .objects import Detector, ObjectAccuracy, mentioned, semantic_object_accuracy
from .r_precision import POOL, draw_pools, r_precision
from .through_images import GeneratedImageRetrieval, retrieval_by_generated_images

__all__ = [
    "POOL",
    "Coverage",
    "Detector",
    "GeneratedImageRetrieval",
    "KernelDistance",
    "MapShape",
    "Neighbours",
    "ObjectAccuracy",
    "deep_distances",
    "draw_pools",
    "estimate_of_mean",
    "frechet_distance",
    "frechet_from_moments",
    "grouped_jackknife",
    "inception_score",
    "kernel_distance",
    "mentioned",
    "nearest_by_distance",
    "own_spread",
    "precision_recall",
    "r_precision",
    "retrieval_by_generated_images",
    "semantic_object_accuracy",
]
