"""Everything of a dual encoder with weights to learn: both sides and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import nn

from diptych.core.shapes import Int, Shaped
from diptych.data.features import FeaturePairs
from diptych.losses import IMAGE, TEXT, Embedded, Loss
from diptych.models.side import Side
from diptych.training.batch_order import TEXTS, BatchRows


class TwoSides(nn.Module):
    """Both sides and the loss; a batch of rows in, embeddings out.

    Args:
        image, text: rows of a tower to embeddings.
        loss: None where the heads are computed in one step.
        query: a side of their own for texts that ask, the first of each pair of texts.
    """

    def __init__(self, image: Side, text: Side, loss: Loss | None, query: Side | None = None) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.loss = loss
        self.query = query

    def embed(self, pairs: FeaturePairs, rows: BatchRows, groups: Int[np.ndarray, " n"] | None) -> Embedded:
        """Embeddings of a batch, with the record and the class of each row.

        In a batch within one modality both of each pair go through the same side: the first is given as the image,
        the second as the text.
        """
        device = next(self.parameters()).device

        def rows_of(row: np.ndarray, view: np.ndarray) -> torch.Tensor:
            if rows.loaded is not None:
                return cast(torch.Tensor, rows.loaded.take(row, view))
            return torch.from_numpy(images_under_views(pairs, row, view)).to(device)

        def images(row: np.ndarray, view: np.ndarray) -> torch.Tensor:
            # an image with several texts in the batch is embedded once, unless there are few such images
            distinct, first, place = np.unique(row * len(pairs.images) + view, return_index=True, return_inverse=True)
            # a batch norm takes its statistics from the whole batch, so with one no row is left out
            if 2 * len(distinct) > len(row) or _learns_norms(self.image):
                return cast(torch.Tensor, self.image(rows_of(row, view)))
            embedded: torch.Tensor = self.image(rows_of(row[first], view[first]))
            return embedded[torch.from_numpy(place).to(device)]

        def texts(row: np.ndarray, side: Side) -> torch.Tensor:
            return cast(torch.Tensor, side(torch.from_numpy(pairs.texts[row]).to(device)))

        sides = (IMAGE, TEXT)
        if rows.second is None:
            both = images(rows.image, rows.view), texts(rows.text, self.text)
        elif rows.kind == TEXTS:
            sides = (TEXT, TEXT)
            both = texts(rows.text, self.query or self.text), texts(rows.second.row, self.text)
        else:
            sides = (IMAGE, IMAGE)
            both = images(rows.image, rows.view), images(rows.second.row, rows.second.view)
        return Embedded(
            *both,
            torch.from_numpy(rows.owner).to(device),
            None if groups is None else torch.from_numpy(groups[rows.owner]).to(device),
            torch.from_numpy(np.stack([rows.image, rows.text], axis=1)).to(device) if rows.second is None else None,
            sides,
            None if rows.label is None else torch.from_numpy(rows.label).float().to(device),
        )


def images_under_views(
    pairs: FeaturePairs, image: Int[np.ndarray, " b"], view: Int[np.ndarray, " b"]
) -> Shaped[np.ndarray, "b f"]:
    """The features of each image under the view that was drawn for it."""
    found = pairs.images[0][image]
    for number, stored in enumerate(pairs.images[1:], 1):
        here = view == number
        if here.any():
            found[here] = stored[image[here]]
    return found


def class_numbers(groups: Sequence[str | None]) -> Int[np.ndarray, " n"] | None:
    """Classes as numbers in order of their names, -1 for a record without one; None when no record has one."""
    names = sorted({group for group in groups if group is not None})
    if not names:
        return None
    number = {name: place for place, name in enumerate(names)}
    return np.array([-1 if group is None else number[group] for group in groups], dtype=np.int64)


def _learns_norms(side: nn.Module) -> bool:
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training for part in side.modules())
