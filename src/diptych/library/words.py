"""Images found by the words inside them, joined with the nearest images by the ranks of both.

Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009): the score of an image is the sum of 1 / (60 + rank) over the
lists that it is on. Either list has at least `DEPTH`, so that the best hit is the same however many are asked for. The
store's full-text search ranks by BM25; an image counts where its words hold at least a half of those that are looked
for, so that a common word alone finds nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from diptych.core.text import one_line
from diptych.core.types import Hit

WORDS = "words_in_image"  # in a hit's meta: what was read in it
SCORED_BY = "rank fusion of {} and words in images"
ALONE = "words in images"  # what a hit says that is on no other list
DEPTH = 50  # the least length of either list
_OFFSET = 60
_SHOWN = 200  # characters of a hit's words
_WORD = re.compile(r"\w+")


def words_of(text: str) -> set[str]:
    """The distinct words of a text, without capitals and accents, as the index has them."""
    split = unicodedata.normalize("NFKD", text.casefold())
    return set(_WORD.findall("".join(one for one in split if not unicodedata.combining(one))))


def holds_half(words: str, query: str) -> bool:
    """Whether an image's words hold at least a half of those of the query."""
    wanted = words_of(query)
    return bool(wanted) and 2 * len(wanted & words_of(words)) >= len(wanted)


def shown(words: str) -> str:
    """An image's words on one line, as a hit has them."""
    line = one_line(" ".join(words.split()))
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def fused(nearest: Sequence[Hit], worded: Sequence[Hit], k: int) -> list[Hit]:
    """The first k by the sum of 1 / (60 + rank) over both lists; equal ones as the first list has them, then the other.

    A hit by words has them in its meta already. Each hit says that its score is of both, and its cosine where it has
    one; without any hit by words the nearest stay as they are.
    """
    if not worded:
        return list(nearest)[:k]
    scores: defaultdict[str, float] = defaultdict(float)
    hits: dict[str, Hit] = {}
    for listed in (nearest, worded):
        for rank, hit in enumerate(listed, 1):
            scores[hit.id] += 1 / (_OFFSET + rank)
            known = hits.get(hit.id, hit)
            hits[hit.id] = replace(known, meta={**known.meta, **hit.meta})
    scored_by = SCORED_BY.format(nearest[0].scored_by if nearest else "cosine")
    found = []
    for rank, (identifier, score) in enumerate(sorted(scores.items(), key=lambda one: -one[1])[:k]):
        hit = hits[identifier]
        cosine = {"cosine": hit.score} if hit.scored_by == "cosine" else {}
        found.append(replace(hit, rank=rank, score=score, scored_by=scored_by, meta={**hit.meta, **cosine}))
    return found
