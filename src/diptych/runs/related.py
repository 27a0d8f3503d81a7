"""Which pairs of texts a loss learns from, where the source has two sides: queries and documents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.core.errors import ConfigError, DataError
from diptych.core.notes import Notes
from diptych.core.shapes import Float
from diptych.data.features import FeaturePairs
from diptych.data.related import RelatedTexts
from diptych.training.batch_order import RelatedBatches

from .config import DualEncoderConfig

UNRELATED = "unrelated_pairs"  # kind of a note


@dataclass(frozen=True)
class RelatedPairs:
    """Pairs to learn from. `labels` are parts of the largest label, from 0 to 1; None where all pairs are related."""

    texts: RelatedTexts
    labels: Float[np.ndarray, " p"] | None

    def batches(self, batch_size: int, seed: int) -> RelatedBatches:
        """Every pair once an epoch."""
        texts = self.texts
        return RelatedBatches(texts.first, texts.second, texts.owner, self.labels, batch_size=batch_size, seed=seed)


def related_pairs(
    training: FeaturePairs, config: DualEncoderConfig, needs_labels: bool, notes: Notes
) -> RelatedPairs | None:
    """The queries with the documents to learn from; None where the texts have no roles.

    A loss with labels takes all pairs; another one those that are related, and the others are noted.
    Raises DataError where the loss cannot learn from them.
    """
    related, loss = training.related, config.loss.name if config.loss else ""
    if related is None:
        if needs_labels:
            raise DataError(
                f"the loss {loss!r} learns from two sides with labels, and this source has no sides; name their "
                "columns: --query-column, --document-column and --label-column"
            )
        if config.query is not None:
            raise DataError(
                "[query] is a side for queries, and this source has no queries and documents; leave it out, or name "
                "their columns: --query-column and --document-column"
            )
        return None
    if config.data.language is not None or config.data.together:
        raise ConfigError("data.language and data.together have no effect on queries and documents; leave them out")
    if needs_labels:
        if not related.are_graded:
            raise DataError(
                f"all {len(related)} pairs of training texts have one label, and the loss {loss!r} learns from related "
                "and unrelated ones; add pairs with the label 0 (or a column of negatives), or choose a loss such as "
                "info_nce"
            )
        return RelatedPairs(related, related.relevance / related.relevance.max())
    chosen = related.is_related(config.pairs.relevant_from)
    if not chosen.any():
        raise DataError(
            f"none of the {len(related)} pairs of training texts is related; check the labels, or lower "
            f"pairs.relevant_from, which is {config.pairs.relevant_from:g}"
        )
    if not chosen.all():
        detail = f"training pairs with a label of unrelated texts, which the loss {loss} does not learn from"
        notes.add(UNRELATED, detail, count=int((~chosen).sum()))
    return RelatedPairs(related.only(chosen), None)


def require_several_texts(validation: FeaturePairs) -> None:
    """Raise DataError where no validation record has two texts, so that none finds another one."""
    if not (np.bincount(validation.text_owner) > 1).any():
        raise DataError(
            f"none of the {validation.records} validation records has two texts, so there is nothing to find among "
            "them; give records of several texts, or a source of queries and documents"
        )
