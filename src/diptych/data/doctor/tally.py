"""Counts over pairs, texts and images; the check feeds them pair by pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from diptych.core.types import BytesImage, ImageRef, Origin, Pair, Skipped
from diptych.data.language import guess_language

from .duplicates import TextUses, Use
from .image_facts import Look
from .report import HUGE, NO_SPLIT, TINY, Problem

CLASS = "class"  # the field of a text that only names the class of a pair: these are meant to repeat
CountTokens = Callable[[Sequence[str]], list[int]]


@dataclass(slots=True)
class Pairs:
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
class Texts:
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
class Images:
    """Which images there are, what was seen of each, and which could not be read."""

    uses: list[Use] = field(default_factory=list)
    looks: list[Look | None] = field(default_factory=list)
    unreadable: Counter[str] = field(default_factory=Counter)
    tiny: int = 0
    huge: int = 0
    blank: int = 0
    problems: list[Problem] = field(default_factory=list)
    _pairs: int = 0
    _places: dict[ImageRef, int] = field(default_factory=dict)

    def add(self, pair: Pair) -> list[tuple[int, ImageRef]]:
        """Note the images of one pair; returns those not seen before, with their places, to be looked at."""
        fresh = []
        for image in pair.images:
            place = None if isinstance(image, BytesImage) else self._places.get(image)
            if place is None:
                place = len(self.looks)
                self.looks.append(None)
                fresh.append((place, image))
                if not isinstance(image, BytesImage):  # which would be kept in memory
                    self._places[image] = place
            self.uses.append(Use(self._pairs, place, pair.split, image.name))
        self._pairs += 1
        return fresh

    def record(self, name: str, place: int, look: Look | Skipped) -> None:
        """Keep what was seen of the image at `place`."""
        if isinstance(look, Skipped):
            self.unreadable[look.reason.value] += 1
            self.problems.append(Problem(look.reason.value, look.name, look.detail))
            return
        self.looks[place] = look
        size = f"{look.width} x {look.height} pixels"
        if min(look.width, look.height) < TINY:
            self.tiny += 1
            self.problems.append(Problem("tiny", name, size))
        if look.width * look.height > HUGE:
            self.huge += 1
            self.problems.append(Problem("huge", name, size))
        if look.blank:
            self.blank += 1
            self.problems.append(Problem("blank", name, "one flat colour"))
