"""The check itself: one pass over the pairs, each image read once, and what is counted on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from diptych.core.errors import ConfigError
from diptych.core.protocols import SILENT, Progress
from diptych.core.text import plain
from diptych.core.threads import map_ahead
from diptych.core.types import BytesImage, ImageRef, Origin, Pair, Skipped
from diptych.data.images import DEFAULT_LIMITS, ImageLimits
from diptych.data.language import guess_language
from diptych.data.readers import Source

from .duplicates import MAX_RADIUS, TextUses, Use, find_duplicates
from .image_facts import ImageFacts, inspect_image
from .report import HUGE, NO_SPLIT, TINY, Problem, Report

# Bits. Of 200 photos saved again at quality 40 or at half size all differed by 4 or fewer; of the 24 million
# pairs of 7,000 photos, none but true duplicates by 6 or fewer, 23 by 10 or fewer.
NEAR = 6

Inspected = list[tuple[str, int, ImageFacts | Skipped]]
CLASS = "class"  # the field of a text that only names the class of a pair: these are meant to repeat
CountTokens = Callable[[Sequence[str]], list[int]]


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
    pairs, texts, images = PairCounts(), TextCounts(count_tokens, max_tokens), ImageCounts()
    listed, total = _listed(source)

    def to_inspect() -> Iterator[list[tuple[int, ImageRef]]]:
        for pair in listed:
            pairs.add(pair)
            texts.add(pair)
            yield images.add(pair)

    def inspect_all(fresh: list[tuple[int, ImageRef]]) -> Inspected:
        return [(image.name, place, inspect_image(image, limits)) for place, image in fresh]

    threads = map_ahead(inspect_all, to_inspect(), workers=workers, depth=8 * workers, name="doctor")
    for inspected in progress.track(threads, "checking", total):
        for name, place, facts in inspected:
            images.record(name, place, facts)
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


def _report(source: Source, pairs: PairCounts, texts: TextCounts, images: ImageCounts, near: int) -> Report:
    duplicates, alike = find_duplicates(images.uses, images.facts, near)
    left_out = [Problem(entry.reason.value, entry.name, entry.detail) for entry in source.skipped]
    return Report(
        source=source.name,
        format=source.format,
        one_split=source.options.split is not None,
        pairs=pairs.count,
        splits=dict(pairs.splits),
        images=len(images.facts),
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


@dataclass(slots=True)
class PairCounts:
    """Splits, classes and ids."""

    count: int = 0
    without_text: int = 0
    grouped: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    groups: set[str] = field(default_factory=set)
    repeated_ids: int = 0  # pairs whose id one of the same split came with before
    problems: list[Problem] = field(default_factory=list)
    _ids: set[int] = field(default_factory=set)  # hashes of (id, split)

    def add(self, pair: Pair) -> None:
        """Count one pair."""
        self.count += 1
        self.splits[pair.split or NO_SPLIT] += 1
        own = hash((pair.id, pair.split))
        if pair.is_named and own in self._ids:
            self.repeated_ids += 1
            self.problems.append(Problem("repeated_id", pair.id, "another pair of its split has this id"))
        self._ids.add(own)
        if not pair.texts:
            self.without_text += 1
            self.problems.append(Problem("no_text", pair.id))
        if pair.group is not None:
            self.grouped += 1
            self.groups.add(pair.group)


@dataclass(slots=True)
class TextCounts:
    """Languages, texts of several pairs, and texts too long for the tokenizer."""

    AT_ONCE = 1024  # texts tokenized together

    count_tokens: CountTokens | None
    max_tokens: int | None
    count: int = 0
    cut: int = 0
    guessed: int = 0
    by_machines: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    _uses: TextUses = field(default_factory=TextUses)
    _classes: set[str] = field(default_factory=set)
    _waiting: list[tuple[str, str]] = field(default_factory=list)  # (id of the pair, text)

    def add(self, pair: Pair) -> None:
        """Count the texts of one pair."""
        for value in dict.fromkeys(text.value for text in pair.texts if text.field != CLASS):
            if self._uses.add(value, pair.split):
                self.problems.append(Problem("shared_text", pair.id, f"another pair has it: {value[:60]}"))
        self._classes.update(text.value for text in pair.texts if text.field == CLASS)
        for text in pair.texts:
            self.count += 1
            self.guessed += text.lang is None
            self.by_machines += text.origin is not Origin.HUMAN
            self.languages[text.lang or guess_language(text.value) or "unknown"] += 1
            if self._may_be_cut(text.value):
                self._waiting.append((pair.id, text.value))
        if len(self._waiting) >= self.AT_ONCE:
            self.finish()

    @property
    def distinct(self) -> int:
        """How many different texts there are."""
        return len(self._uses) + len(self._classes)

    @property
    def shared(self) -> tuple[int, int]:
        """Texts that are in another split too, and of the others those of several pairs of their split."""
        return self._uses.shared()

    def finish(self) -> None:
        """Tokenize what is waiting."""
        if self.count_tokens is None or self.max_tokens is None or not self._waiting:
            return
        counts = self.count_tokens([text for _, text in self._waiting])
        for (identifier, text), tokens in zip(self._waiting, counts, strict=True):
            if tokens > self.max_tokens:
                self.cut += 1
                detail = f"{tokens} tokens, the limit is {self.max_tokens}: {text[:60]}"
                self.problems.append(Problem("text_cut", identifier, detail))
        self._waiting.clear()

    def _may_be_cut(self, text: str) -> bool:
        """False for nearly all texts without the (slow) tokenizer: a token is a byte or more, markers are two."""
        if self.count_tokens is None or self.max_tokens is None:
            return False
        return len(text.encode()) + 2 > self.max_tokens


@dataclass(slots=True)
class ImageCounts:
    """Which images there are, the facts of each, and which could not be read."""

    uses: list[Use] = field(default_factory=list)
    facts: list[ImageFacts | None] = field(default_factory=list)
    unreadable: Counter[str] = field(default_factory=Counter)
    tiny: int = 0
    huge: int = 0
    blank: int = 0
    problems: list[Problem] = field(default_factory=list)
    _pairs: int = 0
    _places: dict[ImageRef, int] = field(default_factory=dict)

    def add(self, pair: Pair) -> list[tuple[int, ImageRef]]:
        """Note the images of one pair; returns those not seen before, with their places, to be inspected."""
        fresh = []
        for image in pair.images:
            place = None if isinstance(image, BytesImage) else self._places.get(image)
            if place is None:
                place = len(self.facts)
                self.facts.append(None)
                fresh.append((place, image))
                if not isinstance(image, BytesImage):  # which would be kept in memory
                    self._places[image] = place
            self.uses.append(Use(self._pairs, place, pair.split, image.name))
        self._pairs += 1
        return fresh

    def record(self, name: str, place: int, facts: ImageFacts | Skipped) -> None:
        """Keep the facts of the image at `place`."""
        if isinstance(facts, Skipped):
            self.unreadable[facts.reason.value] += 1
            self.problems.append(Problem(facts.reason.value, facts.name, facts.detail))
            return
        self.facts[place] = facts
        size = f"{facts.width} x {facts.height} pixels"
        if min(facts.width, facts.height) < TINY:
            self.tiny += 1
            self.problems.append(Problem("tiny", name, size))
        if facts.width * facts.height > HUGE:
            self.huge += 1
            self.problems.append(Problem("huge", name, size))
        if facts.blank:
            self.blank += 1
            self.problems.append(Problem("blank", name, "one flat colour"))
