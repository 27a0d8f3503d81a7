"""Which rows meet in which batch. Every order is a function of seed and epoch, so that a resumed run is exact.

`TextBatches` shows every text once an epoch, `ImageBatches` every image; `GroupedBatches` puts several texts of a
record into one batch; `RandomBatches` draws records without end; `MixedBatches` makes some batches of one modality;
`RelatedBatches` shows given pairs of texts. `HardNegatives` puts records that are hard to tell apart into one batch.
All of them give `BatchRows`.

Nothing of an order is saved: a resumed run calls `epoch(number)` again and passes over the batches that its checkpoint
counts (`Trainer._batches_left` in `training/engine.py`).
"""

from .grouped import GroupedBatches, NearRecords, RandomBatches
from .related import RelatedBatches
from .rows import ACROSS, IMAGES, TEXTS, BatchOrder, BatchRows, SecondRows
from .same_modality import CLASS, ImageBatches, MixedBatches, PairShares
from .shares import SourceShares, check_weights
from .text_batches import EpochOrder, HardNegatives, Substitute, TextBatches

__all__ = [
    "ACROSS",
    "CLASS",
    "IMAGES",
    "TEXTS",
    "BatchOrder",
    "BatchRows",
    "EpochOrder",
    "GroupedBatches",
    "HardNegatives",
    "ImageBatches",
    "MixedBatches",
    "NearRecords",
    "PairShares",
    "RandomBatches",
    "RelatedBatches",
    "SecondRows",
    "SourceShares",
    "Substitute",
    "TextBatches",
    "check_weights",
]
