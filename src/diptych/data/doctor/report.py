"""What the doctor found, in words and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from diptych.core.notes import Note, note_lines, notes_json
from diptych.core.text import number

MAX_UNREADABLE = 0.05  # share of images
MAX_LEFT_OUT = 0.05  # share of rows
MAX_WITHOUT_TEXT = 0.10  # share of pairs
MAX_CUT = 0.20  # share of texts
MAX_NEAR_ACROSS = 0.01  # share of images; a few chance look-alikes are normal
MAX_REPEATED = 0.20  # share of images, and of texts, that come again
TINY = 32  # pixels in the shorter side
HUGE = 20_000_000  # pixels
NO_SPLIT = "none"
NO_COLUMNS = "; in a folder they stand in .txt files beside the images, a.txt beside a.jpg"
MOST_VALUES = 8  # of labels, counted one by one
MOST_COLUMNS = 40  # named when there is no text


@dataclass(frozen=True, slots=True)
class SourceProblem:
    """One problem: a line of the list that `--report` writes."""

    kind: str
    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Images with a partner, each counted once under the worst kind."""

    KINDS: ClassVar[tuple[str, ...]] = ("identical_across", "near_across", "identical_within", "near_within")

    identical_across: int = 0  # same bytes in another split
    near_across: int = 0  # looks the same as one in another split
    identical_within: int = 0  # same bytes in another pair of the same split
    near_within: int = 0  # looks the same as one of the same split


@dataclass(slots=True)
class SourceReport:
    """The state of one source, filled by `check`. Counts are of pairs, images or texts, as the names say."""

    source: str
    format: str
    one_split: bool  # the user asked for one split only
    pairs: int = 0
    splits: Counter[str] = field(default_factory=Counter)  # split -> pairs; "none" for pairs without
    images: int = 0  # inspected, each once
    texts: int = 0
    distinct_texts: int = 0
    texts_across: int = 0  # texts that a pair of another split has too
    texts_within: int = 0  # of the others, those that another pair of the same split has
    unreadable: Counter[str] = field(default_factory=Counter)  # reason -> images
    tiny: int = 0  # images with a shorter side under TINY pixels
    huge: int = 0  # readable images of more than HUGE pixels
    blank: int = 0  # images of one flat colour, silent sounds
    sounds: int = 0  # of the images, those that are files of sound
    sound_seconds: float = 0.0  # length of all sounds
    longest_sound: float = 0.0  # seconds
    duplicates: Duplicates = field(default_factory=Duplicates)
    repeated_ids: int = 0  # pairs with the id of an earlier one in their split
    pairs_without_text: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # reason -> rows or texts that the reader left out
    languages: Counter[str] = field(default_factory=Counter)  # code or "unknown" -> texts
    languages_guessed: int = 0  # texts whose language the source does not say
    texts_cut: int | None = None  # None: no tokenizer was asked
    max_tokens: int | None = None
    groups: int = 0
    grouped_pairs: int = 0
    problems: tuple[SourceProblem, ...] = field(repr=False, default=())
    machine_texts: int = 0  # translations and back-translations
    pairs_of_texts: int = 0  # pairs without an image
    pairs_of_one_text: int = 0  # of these, those with a single text
    queries: int = 0  # of sources of texts only, whose texts are of two sides
    documents: int = 0  # different ones, those that no query names too
    queries_unrelated: int = 0  # with no document that is related to them
    labels: Counter[str] = field(default_factory=Counter)  # of a query and a document: value -> how often
    columns: tuple[str, ...] = ()  # of a table, whatever they hold
    notes: tuple[Note, ...] = ()  # on how the source was read: what was joined, guessed or passed over

    @property
    def misleading(self) -> list[str]:
        """Reasons why training on this, or measuring with it, would mislead; empty when there is none."""
        reasons = [*self._too_little(), *self._id_reasons(), *self._image_reasons(), *self._side_reasons()]
        return [*reasons, *self._text_reasons()]

    def _too_little(self) -> list[str]:
        reasons = []
        if self.pairs < 2:
            reasons.append(f"{number(self.pairs, 'pair')}: there is nothing to tell apart")
        if self.grouped_pairs == self.pairs > 1 and self.groups == 1:
            reasons.append("all pairs are of a single class")
        named = {split for split in self.splits if split != NO_SPLIT}
        if named and not self.one_split:
            if "train" not in named:
                reasons.append(f"no train split; splits found: {', '.join(sorted(named))}")
            if not named - {"train"}:
                reasons.append("the val split is empty: nothing to measure progress on")
        return reasons

    def _id_reasons(self) -> list[str]:
        if not self.repeated_ids:
            return []
        have = "has" if self.repeated_ids == 1 else "have"
        return [f"{number(self.repeated_ids, 'pair')} {have} the id of another: an id does not say which is meant"]

    def _side_reasons(self) -> list[str]:
        if self.pairs_of_one_text == self.pairs > 0:
            return ["no record has two texts, and there are no images: nothing belongs together"]
        if not self.documents:
            return []
        reasons = []
        if self.queries == 1 or self.documents == 1:
            one = "query" if self.queries == 1 else "document"
            reasons.append(f"there is a single {one}: nothing to tell apart")
        if self.queries_unrelated > MAX_WITHOUT_TEXT * self.queries:
            share = _share(self.queries_unrelated, self.queries)
            reasons.append(f"{share} of the queries have no related document")
        return reasons

    def _image_reasons(self) -> list[str]:
        reasons = []
        unreadable = self.unreadable.total()
        if unreadable > MAX_UNREADABLE * self.images:
            reasons.append(f"{_share(unreadable, self.images)} of the images cannot be read")
        left_out = sum(count for reason, count in self.left_out.items() if reason != "empty_text")
        if left_out > MAX_LEFT_OUT * (self.pairs + left_out):
            reasons.append(f"{number(left_out, 'input')} left out beside {number(self.pairs, 'pair')}")
        if count := self.duplicates.identical_across:
            reasons.append(f"{_are(count, 'image')} identical to one in another split: results will be too good")
        if (count := self.duplicates.near_across) > MAX_NEAR_ACROSS * self.images:
            reasons.append(f"{_are(count, 'image')} nearly the same as one in another split: results will be too good")
        repeated = self.duplicates.identical_within
        if repeated > MAX_REPEATED * self.images:
            reasons.append(f"{_are(repeated, 'image')} in more than one pair: a right answer will count as wrong")
        return reasons

    def _text_reasons(self) -> list[str]:
        if not self.texts:
            if self.columns:
                listed = ", ".join(self.columns[:MOST_COLUMNS]) + (", ..." if len(self.columns) > MOST_COLUMNS else "")
                return [f"no texts at all; columns found: {listed}; name those that hold texts with --text-columns"]
            return ["no texts at all" + NO_COLUMNS]
        reasons = []
        if self.pairs_without_text > MAX_WITHOUT_TEXT * self.pairs:
            reasons.append(f"{_share(self.pairs_without_text, self.pairs)} of the pairs have no text")
        if self.distinct_texts == 1 < self.texts:
            reasons.append("all texts are the same")
        if self.texts_across > MAX_REPEATED * self.texts:
            reasons.append(f"{_are(self.texts_across, 'text')} in pairs of another split too: results will be too good")
        if self.texts_within > MAX_REPEATED * self.texts:
            texts = _are(self.texts_within, "text")
            reasons.append(f"{texts} in more than one pair: a right answer will count as wrong")
        if self.texts_cut is not None and self.texts_cut > MAX_CUT * self.texts:
            reasons.append(f"{_share(self.texts_cut, self.texts)} of the texts are cut at {self.max_tokens} tokens")
        return reasons

    def to_json(self) -> dict[str, Any]:
        """Everything but the list of problems, ready for `json.dumps`."""
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        content |= {"duplicates": asdict(self.duplicates), "notes": notes_json(self.notes)}
        return {**content, "problems": len(self.problems), "misleading": self.misleading}

    def to_text(self) -> str:
        """About a dozen lines for people."""
        lines = [
            f"{self.source} ({self.format}): {number(self.pairs, 'pair')}, "
            f"{number(self.images, 'image')}, {number(self.texts, 'text')}",
            f"  splits      {_counts(self.splits)}",
            f"  images      {self._images_line()}",
            *self._sound_lines(),
            *self._side_lines(),
            f"  duplicates  {self._duplicates_line()}",
            f"  texts       {self._texts_line()}",
        ]
        if self.texts:
            guessed = f"  ({self.languages_guessed:,} guessed)" if self.languages_guessed else ""
            lines.append(f"  languages   {_counts(self.languages)}{guessed}")
        if self.groups:
            lines.append(f"  classes     {self.groups:,} in {self.grouped_pairs:,} pairs")
        if self.left_out:
            lines.append(f"  left out    {_counts(self.left_out)}")
        lines += [f"  {line}" for line in note_lines(self.notes)]
        reasons = self.misleading
        if reasons:
            lines += ["training on this would mislead:", *(f"  - {reason}" for reason in reasons)]
        else:
            lines.append("nothing here would mislead training")
        return "\n".join(lines)

    def _sound_lines(self) -> list[str]:
        if not self.sounds:
            return []
        is_mixed = self.sounds + self.unreadable.total() < self.images
        others = f" of the {self.images:,} images" if is_mixed else ""
        length = f"{self.sound_seconds:,.1f} s in all, the longest {self.longest_sound:.1f} s"
        return [f"  sounds      {self.sounds:,}{others}, {length}"]

    def _side_lines(self) -> list[str]:
        if not self.documents:
            return []
        unrelated = f", {self.queries_unrelated:,} of them without a related document" if self.queries_unrelated else ""
        lines = [f"  sides       {self.queries:,} queries{unrelated}, {number(self.documents, 'different document')}"]
        if self.labels:
            shown = f"{self.labels.total():,}, of {len(self.labels)} different values from {_range(self.labels)}"
            if len(self.labels) <= MOST_VALUES:
                shown = _counts(self.labels)
            same = "; all are the same, so a loss on labels has no negatives" if len(self.labels) == 1 else ""
            lines.append(f"  labels      {shown}{same}")
        return lines

    def _images_line(self) -> str:
        if self.pairs_of_texts == self.pairs:
            return "none: texts only"
        unreadable = f"unreadable ({_counts(self.unreadable)})"
        counts = {unreadable: self.unreadable.total(), "tiny": self.tiny, "huge": self.huge, "blank": self.blank}
        found = [f"{count:,} {what}" for what, count in counts.items() if count]
        return ", ".join(found) or "all readable, of usual size"

    def _duplicates_line(self) -> str:
        found = [
            f"{count:,} {kind.replace('_', ' ')}" + (" splits" if kind.endswith("across") else " a split")
            for kind in Duplicates.KINDS
            if (count := getattr(self.duplicates, kind))
        ]
        if self.repeated_ids:
            found.append(f"{number(self.repeated_ids, 'pair')} with the id of another")
        if self.texts_across:
            found.append(f"{number(self.texts_across, 'text')} across splits")
        if self.texts_within:
            found.append(f"{number(self.texts_within, 'text')} of several pairs")
        return ", ".join(found) or "none"

    def _texts_line(self) -> str:
        if not self.texts:
            return "none"
        found = [f"{self.texts / self.pairs:.1f} a pair"]
        if self.pairs_without_text:
            found.append(f"{number(self.pairs_without_text, 'pair')} without")
        if self.machine_texts:
            found.append(f"{self.machine_texts:,} by machines")
        if self.texts_cut is not None:
            found.append(f"{self.texts_cut:,} ({_share(self.texts_cut, self.texts)}) cut at {self.max_tokens} tokens")
        return ", ".join(found)


def _share(count: int, total: int) -> str:
    return f"{100 * count / max(total, 1):.2g} %"


def _are(count: int, what: str) -> str:
    return number(count, what) + (" is" if count == 1 else " are")


def _range(labels: Iterable[str]) -> str:
    values = [float(label) for label in labels]
    return f"{min(values):g} to {max(values):g}"


def _counts(counts: Mapping[str, int]) -> str:
    """The commonest first; a long tail is summed up."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{name} {count:,}" for name, count in ranked[:8]]
    if len(ranked) > 8:
        shown.append(f"{len(ranked) - 8} others {sum(count for _, count in ranked[8:]):,}")
    return ", ".join(shown)
