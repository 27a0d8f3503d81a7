"""Slow, obvious versions of the ranking and of every metric, written from their definitions."""

import math

import numpy as np


def rank_positions(scores, relevant):
    """Ranks of the relevant items of one query, by sorting with every tie broken against them."""
    order = sorted(range(len(scores)), key=lambda item: (-scores[item], relevant.get(item, 0.0)))
    return [(place, relevant[item]) for place, item in enumerate(order) if item in relevant]


def metrics(scores, relevant, k):
    """Every per-query metric of one query, from the sorted list."""
    order = sorted(range(len(scores)), key=lambda item: (-scores[item], relevant.get(item, 0.0)))
    found = [item in relevant for item in order]
    first = found.index(True) + 1
    precisions = [sum(found[: place + 1]) / (place + 1) for place in range(len(order)) if found[place]]
    earned = sum(relevant.get(item, 0.0) / math.log2(place + 2) for place, item in enumerate(order[:k]))
    best = sorted(relevant.values(), reverse=True)[:k]
    ideal = sum(gain / math.log2(place + 2) for place, gain in enumerate(best))
    return {
        "recall": float(any(found[:k])),
        "precision": sum(found[:k]) / k,
        "first": float(first),
        "reciprocal": 1 / first,
        "average_precision": float(np.mean(precisions)),
        "ndcg": earned / ideal,
    }
