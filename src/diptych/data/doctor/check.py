"""The check itself: one pass over the pairs that reads each image once and counts what it finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from diptych.core.errors import ConfigError
from diptych.core.protocols import SILENT, Progress
from diptych.core.text import plain
from diptych.core.threads import map_ahead
from diptych.core.types import BytesImage, FileImage, ImageRef, Origin, Pair, Role, Skipped
from diptych.data.images import DEFAULT_LIMITS, ImageLimits
from diptych.data.images.phash import MAX_RADIUS
from diptych.data.language import guess_language
from diptych.data.readers import Source

from .duplicates import TextUses, Use, find_duplicates
from .image_facts import ImageFacts, inspect_image
from .report import HUGE, NO_SPLIT, TINY, SourceProblem, SourceReport

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
) -> SourceReport:
    """Read every pair, image and text of `source` once and report on it.

    `count_tokens` and `max_tokens` are the tokenizer's; without both, cut texts are not counted.
    `near` is the largest number of the 64 bits of the perceptual hash in which near duplicates
    differ (0 to 15). Raises DataError when the source gives no pairs at all, ConfigError for a
    setting out of range.
    """
    if workers < 1 or not 0 <= near <= MAX_RADIUS:
        raise ConfigError(f"workers must be at least 1 and near 0 to {MAX_RADIUS} bits, found {workers} and {near}")
    report = SourceReport(source.name, source.format, source.options.split is not None, max_tokens=max_tokens)
    pairs, texts, images = PairCounts(report), TextCounts(report, count_tokens), ImageCounts(report)
    sides = SideCounts(report)
    listed, total = _listed(source)

    def to_inspect() -> Iterator[list[tuple[int, ImageRef]]]:
        for pair in listed:
            pairs.add(pair)
            texts.add(sides.new_texts(pair))
            yield images.add(pair)

    def inspect_all(fresh: list[tuple[int, ImageRef]]) -> Inspected:
        return [(image.name, place, inspect_image(image, limits)) for place, image in fresh]

    threads = map_ahead(inspect_all, to_inspect(), workers=workers, depth=8 * workers, name="doctor")
    for inspected in progress.track(threads, "checking", total):
        for name, place, facts in inspected:
            images.record(name, place, facts)
    texts.finish()
    report.duplicates, alike = find_duplicates(images.uses, images.facts, near)
    left_out = [SourceProblem(entry.reason.value, entry.name, entry.detail) for entry in source.skipped]
    report.left_out = Counter(entry.reason.value for entry in source.skipped)
    report.notes, report.columns = tuple(source.notes), tuple(map(plain, source.columns))
    report.problems = (*alike, *images.problems, *left_out, *pairs.problems, *sides.problems, *texts.problems)
    return report


def _listed(source: Source) -> tuple[Iterable[Pair], int | None]:
    """The pairs, and how many if they can be listed first: those with image bytes would not fit in memory."""
    pairs = iter(source)
    held: list[Pair] = []
    for pair in pairs:
        held.append(pair)
        if any(isinstance(image, BytesImage) for image in pair.images):
            return chain(held, pairs), None
    return held, len(held)


@dataclass(slots=True)
class PairCounts:
    """Counts splits, classes and ids."""

    report: SourceReport
    problems: list[SourceProblem] = field(default_factory=list)
    _groups: set[str] = field(default_factory=set)
    _ids: set[int] = field(default_factory=set)  # hashes of (id, split)

    def add(self, pair: Pair) -> None:
        """Count one pair; a document that only stands in the gallery is none."""
        if pair.is_gallery:
            return
        self.report.pairs += 1
        self.report.pairs_of_texts += not pair.images
        self.report.pairs_of_one_text += not pair.images and len(pair.texts) == 1
        self.report.splits[pair.split or NO_SPLIT] += 1
        own = hash((pair.id, pair.split))
        if pair.is_named and own in self._ids:
            self.report.repeated_ids += 1
            self.problems.append(SourceProblem("repeated_id", pair.id, "another pair of its split has this id"))
        self._ids.add(own)
        if not pair.texts:
            self.report.pairs_without_text += 1
            self.problems.append(SourceProblem("no_text", pair.id))
        if pair.group is not None:
            self.report.grouped_pairs += 1
            self._groups.add(pair.group)
            self.report.groups = len(self._groups)


@dataclass(slots=True)
class SideCounts:
    """Counts queries, documents and labels of records of texts only."""

    report: SourceReport
    problems: list[SourceProblem] = field(default_factory=list)
    _items: set[int] = field(default_factory=set)  # hashes of documents

    def new_texts(self, pair: Pair) -> Pair:
        """The pair without the documents that an earlier one has too, once its sides are counted."""
        documents, report = pair.documents, self.report
        if not documents:
            return pair
        report.queries += len(pair.queries)
        report.labels.update(f"{text.label:g}" for text in documents if text.label is not None)
        if pair.queries and not any(text.relevance > 0 for text in documents):
            report.queries_unrelated += len(pair.queries)
            self.problems.append(SourceProblem("unrelated", pair.id, "no document is related to this query"))
        fresh = [text for text in documents if hash(text.item_key) not in self._items]
        self._items.update(hash(text.item_key) for text in fresh)
        report.documents = len(self._items)
        return replace(pair, texts=(*pair.queries, *fresh))


@dataclass(slots=True)
class TextCounts:
    """Counts languages, texts of several pairs, and texts too long for the tokenizer."""

    AT_ONCE = 1024  # texts tokenized together

    report: SourceReport
    count_tokens: CountTokens | None
    problems: list[SourceProblem] = field(default_factory=list)
    documents: int = 0  # that came once each
    _uses: TextUses = field(default_factory=TextUses)
    _classes: set[str] = field(default_factory=set)
    _waiting: list[tuple[str, str]] = field(default_factory=list)  # (id of the pair, text)

    def __post_init__(self) -> None:
        if self.count_tokens is not None and self.report.max_tokens is not None:
            self.report.texts_cut = 0

    def add(self, pair: Pair) -> None:
        """Count the texts of one pair."""
        told = [text for text in pair.texts if text.field != CLASS and text.role is not Role.DOCUMENT]
        self.documents += sum(text.role is Role.DOCUMENT for text in pair.texts)
        for value in dict.fromkeys(text.value for text in told):
            if self._uses.add(value, pair.split):
                self.problems.append(SourceProblem("shared_text", pair.id, f"another pair has it: {value[:60]}"))
        self._classes.update(text.value for text in pair.texts if text.field == CLASS)
        for text in pair.texts:
            self.report.texts += 1
            self.report.languages_guessed += text.lang is None and not text.is_sound
            self.report.machine_texts += text.origin is not Origin.HUMAN
            self.report.languages[text.lang or (not text.is_sound and guess_language(text.value)) or "unknown"] += 1
            # a token is a byte or more and markers are two, so that few texts need the (slow) tokenizer
            most = None if text.is_sound else self.report.max_tokens
            if most is not None and len(text.value.encode()) + 2 > most:
                self._waiting.append((pair.id, text.value))
        if len(self._waiting) >= self.AT_ONCE:
            self._tokenize()

    def finish(self) -> None:
        """Tokenize what is waiting, and count what takes all texts."""
        self._tokenize()
        report = self.report
        report.distinct_texts = len(self._uses) + len(self._classes) + self.documents
        report.texts_across, report.texts_within = self._uses.shared()
        report.languages = Counter(dict(report.languages.most_common()))

    def _tokenize(self) -> None:
        limit, cut = self.report.max_tokens, self.report.texts_cut
        if self.count_tokens is not None and limit is not None and cut is not None and self._waiting:
            counts = self.count_tokens([text for _, text in self._waiting])
            for (identifier, text), tokens in zip(self._waiting, counts, strict=True):
                if tokens > limit:
                    cut += 1
                    detail = f"{tokens} tokens, the limit is {limit}: {text[:60]}"
                    self.problems.append(SourceProblem("text_cut", identifier, detail))
            self.report.texts_cut = cut
        self._waiting.clear()


@dataclass(slots=True)
class ImageCounts:
    """Counts images, and keeps the facts of each and its uses in pairs."""

    report: SourceReport
    uses: list[Use] = field(default_factory=list)
    facts: list[ImageFacts | None] = field(default_factory=list)
    problems: list[SourceProblem] = field(default_factory=list)
    _pairs: int = 0
    _places: dict[ImageRef, int] = field(default_factory=dict)

    def add(self, pair: Pair) -> list[tuple[int, ImageRef]]:
        """Note the images and spoken texts of one pair; those not seen before come back with their places."""
        fresh = []
        spoken = (FileImage(Path(text.value)) for text in pair.texts if text.is_sound)
        for image in (*pair.images, *spoken):
            place = None if isinstance(image, BytesImage) else self._places.get(image)
            if place is None:
                place = len(self.facts)
                self.facts.append(None)
                fresh.append((place, image))
                if not isinstance(image, BytesImage):  # which would be kept in memory
                    self._places[image] = place
            self.uses.append(Use(self._pairs, place, pair.split, image.name))
        self._pairs += 1
        self.report.images = len(self.facts)
        return fresh

    def record(self, name: str, place: int, facts: ImageFacts | Skipped) -> None:
        """Keep the facts of the image at `place`."""
        report = self.report
        if isinstance(facts, Skipped):
            report.unreadable[facts.reason.value] += 1
            self.problems.append(SourceProblem(facts.reason.value, facts.name, facts.detail))
            return
        self.facts[place] = facts
        if facts.seconds is not None:
            report.sounds += 1
            report.sound_seconds += facts.seconds
            report.longest_sound = max(report.longest_sound, facts.seconds)
            if facts.blank:
                report.blank += 1
                self.problems.append(SourceProblem("blank", name, "silent"))
            return
        size = f"{facts.width} x {facts.height} pixels"
        if min(facts.width, facts.height) < TINY:
            report.tiny += 1
            self.problems.append(SourceProblem("tiny", name, size))
        if facts.width * facts.height > HUGE:
            report.huge += 1
            self.problems.append(SourceProblem("huge", name, size))
        if facts.blank:
            report.blank += 1
            self.problems.append(SourceProblem("blank", name, "one flat colour"))
