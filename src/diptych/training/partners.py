"""Records that are hard for each other, brought together: the order of an epoch is arranged, nothing repeated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.shapes import Float, Int


@dataclass(frozen=True)
class Partners:
    """For each record the records that it should meet, the most wanted first, and how much of a batch is for them.

    A share of 1/2 gives each text one partner's text behind it, 3/4 three, 1/3 every other text one.
    """

    of: Sequence[Sequence[int]]  # by record number
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"the share of partners must be above 0 and below 1, found {self.share}")

    def wanted(self, count: int, draw: np.random.Generator) -> Int[np.ndarray, " n"]:
        """How many partners each of `count` texts is to bring, so that they are the share of all on average."""
        each = self.share / (1 - self.share)
        return np.floor(each + draw.random(count)).astype(np.int64)


@dataclass(frozen=True)
class Deal:
    """Texts dealt out over an epoch: when each comes, and which one of a record is due when.

    The epoch is the time from 0 to 1; of a record with c texts one comes in each c-th of it.
    """

    time: Float[np.ndarray, " m"]  # of each text
    owner: Int[np.ndarray, " m"]  # the record of each text
    by_owner: Int[np.ndarray, " m"]  # the texts, record by record, in the order of their parts
    first: Int[np.ndarray, " n"]  # where a record's texts start in `by_owner`
    count: Int[np.ndarray, " n"]  # texts of each record

    def due(self, record: int, time: float) -> int | None:
        """The text of a record whose part of the epoch has that time; None where it has no text at all."""
        count = int(self.count[record])
        return int(self.by_owner[self.first[record] + min(int(time * count), count - 1)]) if count else None

    def order(self) -> Int[np.ndarray, " m"]:
        """The texts by their times."""
        return np.argsort(self.time, kind="stable")

    def order_with(self, partners: Partners, draw: np.random.Generator) -> Int[np.ndarray, " m"]:
        """The texts by their times, each with its partners' texts right behind it.

        A partner's text is the one that is due then, so that every text stays in its own part of the
        epoch, and siblings as far apart as before. One that has come already does not come again: the
        partner next in the list is taken, if there is one.
        """
        return np.fromiter(self._with_partners(partners, draw), dtype=np.int64, count=len(self.time))

    def _with_partners(self, partners: Partners, draw: np.random.Generator) -> Iterator[int]:
        wanted = partners.wanted(len(self.time), draw)
        come = np.zeros(len(self.time), dtype=np.bool_)
        for text in self.order().tolist():
            if come[text]:
                continue
            come[text] = True
            yield text
            left = int(wanted[text])
            for record in partners.of[self.owner[text]] if left else ():
                partner = self.due(record, float(self.time[text]))
                if partner is None or come[partner]:
                    continue
                come[partner] = True
                yield partner
                left -= 1
                if not left:
                    break
