"""The check itself: one pass over the pairs, each image read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain

from diptych.core.errors import ConfigError
from diptych.core.protocols import SILENT, Progress
from diptych.core.text import plain
from diptych.core.types import BytesImage, ImageRef, Pair, Skipped
from diptych.data.images import DEFAULT_LIMITS, ImageLimits
from diptych.data.readers import Source

from .duplicates import find_duplicates
from .image_facts import Look, in_threads, look_at
from .near import MAX_RADIUS
from .report import Problem, Report
from .tally import CountTokens, Images, Pairs, Texts

# Bits. Of 200 photos saved again at quality 40 or at half size all differed by 4 or fewer; of the 24 million
# pairs of 7,000 photos, none but true duplicates by 6 or fewer, 23 by 10 or fewer.
NEAR = 6

Looked = list[tuple[str, int, Look | Skipped]]


def check(
    source: Source,
    *,
    progress: Progress = SILENT,
    limits: ImageLimits = DEFAULT_LIMITS,
    count_tokens: CountTokens | None = None,
    max_tokens: int | None = None,
    near: int = NEAR,
    workers: int = 2,
) -> Report:
    """Read every pair, image and text of `source` once and report on it.

    `count_tokens` and `max_tokens` are the tokenizer's; without both, cut texts are not counted.
    `near` is the largest number of the 64 bits of the perceptual hash in which near duplicates
    differ (0 to 15). Raises DataError when the source gives no pairs at all, ConfigError for a
    setting out of range.
    """
    if workers < 1 or not 0 <= near <= MAX_RADIUS:
        raise ConfigError(f"workers must be at least 1 and near 0 to {MAX_RADIUS} bits, found {workers} and {near}")
    pairs, texts, images = Pairs(), Texts(count_tokens, max_tokens), Images()
    listed, total = _listed(source)

    def to_look_at() -> Iterator[list[tuple[int, ImageRef]]]:
        for pair in listed:
            pairs.add(pair)
            texts.add(pair)
            yield images.add(pair)

    def look_at_all(fresh: list[tuple[int, ImageRef]]) -> Looked:
        return [(image.name, place, look_at(image, limits)) for place, image in fresh]

    for looked in progress.track(in_threads(look_at_all, to_look_at(), workers), "checking", total):
        for name, place, look in looked:
            images.record(name, place, look)
    texts.finish()
    return _report(source, pairs, texts, images, near)


def _listed(source: Source) -> tuple[Iterable[Pair], int | None]:
    """The pairs, and how many if they can be listed first: those with image bytes would not fit in memory."""
    pairs = iter(source)
    held: list[Pair] = []
    for pair in pairs:
        held.append(pair)
        if any(isinstance(image, BytesImage) for image in pair.images):
            return chain(held, pairs), None
    return held, len(held)


def _report(source: Source, pairs: Pairs, texts: Texts, images: Images, near: int) -> Report:
    duplicates, alike = find_duplicates(images.uses, images.looks, near)
    left_out = [Problem(entry.reason.value, entry.name, entry.detail) for entry in source.skipped]
    return Report(
        source=source.name,
        format=source.format,
        one_split=source.options.split is not None,
        pairs=pairs.count,
        splits=dict(pairs.splits),
        images=len(images.looks),
        texts=texts.count,
        distinct_texts=texts.distinct,
        texts_across=texts.shared[0],
        texts_within=texts.shared[1],
        unreadable=dict(images.unreadable),
        tiny=images.tiny,
        huge=images.huge,
        blank=images.blank,
        duplicates=duplicates,
        repeated_ids=pairs.repeated_ids,
        pairs_without_text=pairs.without_text,
        left_out=dict(Counter(entry.reason.value for entry in source.skipped)),
        languages=dict(texts.languages.most_common()),
        languages_guessed=texts.guessed,
        machine_texts=texts.by_machines,
        texts_cut=texts.cut if texts.count_tokens is not None and texts.max_tokens is not None else None,
        max_tokens=texts.max_tokens,
        groups=len(pairs.groups),
        grouped_pairs=pairs.grouped,
        notes=tuple(source.notes),
        columns=tuple(map(plain, source.columns)),
        problems=(*alike, *images.problems, *left_out, *pairs.problems, *texts.problems),
    )
