"""What is on a map: points with their texts, languages, classes and images, for images and texts and for words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.core.errors import DataError
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32
from diptych.core.types import ImageRef, Pair
from diptych.data.images import decode, thumbnail
from diptych.models import DualEncoder, as_model, require_cosine
from diptych.models.embed import embed_pairs

from .project import Method, project, without_gap

_WORD = re.compile(r"[^\W\d_](?:[\w'’-]*[^\W_])?")
_THUMB = 96  # pixels, longer side


@dataclass(frozen=True)
class Point:
    """One thing on a map."""

    text: str
    kind: str  # "image", "text" or "word"
    lang: str | None = None
    group: str | None = None
    record: int = -1  # the image it is or, for a text, the first one of its record; -1 for none
    count: int = 1  # how often the word occurs


@dataclass(frozen=True)
class Map:
    """Points and where they lie, in [-1, 1]."""

    title: str
    points: tuple[Point, ...]
    places: Float32[np.ndarray, "n 2"]


@dataclass(frozen=True)
class Atlas:
    """The maps of one model on one source, and small JPEGs of the images (None where unreadable)."""

    title: str
    maps: tuple[Map, ...]
    thumbnails: tuple[bytes | None, ...]
    skipped: int


def make_atlas(
    encoder: DualEncoder | str | Path,
    pairs: Sequence[Pair],
    *,
    title: str,
    limit: int = 1000,
    words: int = 1500,
    least: int = 3,
    method: Method = "auto",
    keep_gap: bool = False,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Atlas:
    """Maps of at most `limit` records drawn at random, and of their `words` commonest words.

    A word must occur `least` times. Raises DataError when nothing can be shown.
    """
    encoder = as_model(encoder)
    require_cosine(encoder, "the map")
    chosen = _drawn(pairs, limit, seed)
    embedded = embed_pairs(encoder, chosen, progress=progress)
    if not len(embedded.images):
        raise DataError("no readable image with a text; there is nothing to put on a map")
    vectors = np.concatenate([embedded.images, embedded.texts])
    kinds = np.repeat([0, 1], [len(embedded.images), len(embedded.texts)]).astype(np.int64)
    images = [
        Point(embedded.ids[owner], "image", None, embedded.groups[owner], number)
        for number, owner in enumerate(embedded.image_owner)
    ]
    first = np.searchsorted(embedded.image_owner, np.arange(len(embedded.ids)))
    texts = [
        Point(value, "text", lang, embedded.groups[owner], int(first[owner]))
        for value, lang, owner in zip(embedded.values, embedded.languages, embedded.owner, strict=True)
    ]
    progress.say("laying out images and texts")
    joint = Map(
        "Images and texts",
        (*images, *texts),
        project(vectors if keep_gap else without_gap(vectors, kinds), method, seed),
    )
    maps = [joint, *_word_map(encoder, chosen, words, least, method, seed, progress)]
    thumbnails = tuple(_thumbnail(ref) for ref in progress.track(embedded.image_refs, "thumbnails"))
    return Atlas(title, tuple(maps), thumbnails, len(embedded.skipped))


def vocabulary(pairs: Sequence[Pair], most: int, least: int = 1) -> list[tuple[str, str | None, int]]:
    """(word, language, count) of the commonest words, in lower case; a word of two languages comes twice.

    Words are runs of letters, so scripts without spaces give whole phrases.
    """
    counts: Counter[tuple[str, str | None]] = Counter(
        (word.lower(), text.lang) for pair in pairs for text in pair.texts for word in _WORD.findall(text.value)
    )
    kept = [(word, lang, count) for (word, lang), count in counts.items() if count >= least]
    return sorted(kept, key=lambda one: (-one[2], one[0], one[1] or ""))[:most]


def _word_map(
    encoder: DualEncoder,
    pairs: Sequence[Pair],
    most: int,
    least: int,
    method: Method,
    seed: int,
    progress: Progress,
) -> list[Map]:
    """The words, each embedded alone through the text side; no map for fewer than two."""
    found = vocabulary(pairs, most, least)
    if len(found) < 2:
        return []
    vectors = encoder.encode_texts([word for word, _, _ in found], progress=progress)
    points = tuple(Point(word, "word", lang, count=count) for word, lang, count in found)
    progress.say("laying out words")
    return [Map("Words", points, project(vectors, method, seed))]


def _drawn(pairs: Sequence[Pair], limit: int, seed: int) -> list[Pair]:
    if len(pairs) <= limit:
        return list(pairs)
    chosen = np.sort(np.random.default_rng(seed).choice(len(pairs), limit, replace=False))
    return [pairs[number] for number in chosen]


def _thumbnail(ref: ImageRef) -> bytes | None:
    try:
        return thumbnail(decode(ref, at_least=_THUMB), _THUMB)
    except DataError:
        return None
