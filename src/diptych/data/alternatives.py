"""Language as regularisation (X-MRS, arXiv 2012.01345): replace a text by a paraphrase or by another language."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diptych.core.config import stated_without
from diptych.core.errors import ConfigError, DataError
from diptych.core.notes import Note
from diptych.core.shapes import Int
from diptych.core.types import Origin, Pair, Text

RowNumbers = Int[np.ndarray, " b"]


@dataclass(frozen=True)
class LanguagePolicy:
    """How often a text is replaced by another of the same meaning; 0.5 and 0.5 in X-MRS, 0 and 0 for never."""

    back: float = 0.5  # probability of replacing the original by one of its back-translations
    other: float = 0.5  # probability of then replacing the text by another language
    original: str = ""  # language of the originals (ISO 639-1); empty: whichever comes first in a record
    others: tuple[str, ...] = ()  # languages to replace by; empty: all there are
    translated: bool = True  # whether machine translations count as texts in another language
    # whether a text may also be replaced by texts of its record that are no translation of it, such as captions that
    # people wrote from the image in another language; needs `original`
    of_record: bool = False
    # with `of_record`: and by texts that translate another original of the record, so that a language into which one
    # of five captions was translated is drawn as often as others
    whole_record: bool = False

    def __post_init__(self) -> None:
        for name in ("back", "other"):
            if not 0 <= getattr(self, name) <= 1:
                found = getattr(self, name)
                raise ConfigError(f"language policy: {name} must be a probability from 0 to 1, found {found}")
        if self.of_record and not self.original:
            raise ConfigError('language policy: of_record needs the language of the originals, as in original = "en"')
        if self.whole_record and not self.of_record:
            raise ConfigError("language policy: whole_record adds to of_record; set of_record = true as well")

    def stated(self) -> dict[str, Any]:
        """The settings; a policy of before has no `whole_record`."""
        return stated_without(self, "whole_record")


class TextAlternatives:
    """For each text that a person wrote: the rows of its back-translations and of the same in other languages.

    Row numbers count all texts of the data in their order. `originals` are the rows of one epoch: of the texts of
    one record with one meaning, those by people in the policy's language or, where it has none in it, in the
    language of the first; and one text for each meaning that only machines wrote. A text without alternatives
    is never replaced. With the policy's `of_record`, meanings that a record has in other languages alone have no
    original where it has originals in the policy's language; their texts stand for each of these. With `whole_record`
    so do the texts in other languages of all these originals.

    Args:
        owner: record of each text.
        texts: every text, in the order of the rows.
        policy: what counts as an alternative, and how often one is taken.
    """

    def __init__(self, owner: Sequence[int] | Int[np.ndarray, " m"], texts: Sequence[Text], policy: LanguagePolicy):
        if len(owner) != len(texts):
            raise DataError(f"expected one owner for each text, found {len(owner)} owners of {len(texts)} texts")
        self.policy = policy
        back: list[list[int]] = [[] for _ in texts]
        other: dict[str | None, list[list[int]]] = defaultdict(lambda: [[] for _ in texts])
        originals: list[int] = []
        groups = _by_meaning(owner, texts)
        for rows in _of_record(groups, owner, texts, policy) if policy.of_record else groups:
            chosen = _originals(rows, texts, policy.original)
            originals += chosen
            for row in chosen:
                for alternative in rows:
                    if _is_back(texts[alternative], texts[row]):
                        back[row].append(alternative)
                    elif _is_other(texts[alternative], texts[row], policy):
                        other[texts[alternative].lang][row].append(alternative)
        self.originals: RowNumbers = np.array(sorted(originals), dtype=np.int64)
        self._back = _Lists(back)
        self._other = {lang: _Lists(lists) for lang, lists in other.items()}
        # nth[i, row] for i < languages[row] is the number of the i-th language that the row's text exists in
        present = np.array([lists.count > 0 for lists in self._other.values()], dtype=bool)
        present = present.reshape(len(self._other), len(texts))
        self._languages: RowNumbers = present.sum(axis=0)
        self._nth: Int[np.ndarray, "l m"] = np.argsort(~present, axis=0, kind="stable")

    @classmethod
    def of_pairs(cls, pairs: Iterable[Pair], policy: LanguagePolicy) -> TextAlternatives:
        """For the texts of `pairs`, one after the other."""
        listed = [(number, text) for number, pair in enumerate(pairs) for text in pair.texts]
        return cls([number for number, _ in listed], [text for _, text in listed], policy)

    def draw(self, text_rows: RowNumbers, generator: np.random.Generator) -> RowNumbers:
        """A row for each of `text_rows`: the text itself, a paraphrase, or the text in another language.

        First, with probability `policy.back`, one of its back-translations, all equally likely; then, with
        probability `policy.other`, one of the languages that it is there in, all equally likely, and one of
        its texts in that. Five numbers a row are drawn in any case, so that the generator's state after a
        batch depends only on the size of the batch.
        """
        chance = generator.random((5, len(text_rows)))
        drawn = np.array(text_rows, dtype=np.int64)
        back = (chance[0] < self.policy.back) & (self._back.count[text_rows] > 0)
        drawn[back] = self._back.pick(text_rows[back], chance[1][back])
        other = (chance[2] < self.policy.other) & (self._languages[text_rows] > 0)
        nth = _index(chance[3], self._languages[text_rows])
        for number, lists in enumerate(self._other.values()):
            mine = other.copy()
            mine[other] = self._nth[nth[other], text_rows[other]] == number
            drawn[mine] = lists.pick(text_rows[mine], chance[4][mine])
        return drawn

    def notes(self) -> list[Note]:
        """A note for each kind of replacement that the policy asks for and that some originals do not have."""
        rows, policy = self.originals, self.policy
        wanted = (
            ("no_back_translation", policy.back, self._back.count, "back-translation"),
            ("no_other_language", policy.other, self._languages, "text in another language that the policy takes"),
        )
        lacking = [(kind, int((count[rows] == 0).sum()), what) for kind, share, count, what in wanted if share]
        of = f"of {len(rows):,} training texts, without a"
        return [Note(kind, count, f"{of} {what}") for kind, count, what in lacking if count]

    def back_translations(self, row: int) -> list[int]:
        """Rows of the back-translations of the text at `row`."""
        return self._back.of(row)

    def in_other_languages(self, row: int) -> dict[str | None, list[int]]:
        """Language -> rows of the same in that language."""
        return {lang: rows for lang, lists in self._other.items() if (rows := lists.of(row))}


def originals_of(pairs: Sequence[Pair], policy: LanguagePolicy | None) -> list[Pair]:
    """Pairs with the texts that a model is measured by: their originals, where a policy has others in training."""
    if policy is None:
        return list(pairs)
    found, start = [], 0
    originals = set(TextAlternatives.of_pairs(pairs, policy).originals.tolist())
    for pair in pairs:
        texts = tuple(text for row, text in enumerate(pair.texts, start) if row in originals)
        start += len(pair.texts)
        found.append(replace(pair, texts=texts))
    return found


class _Lists:
    """Lists of rows, one for each text, in one array."""

    def __init__(self, lists: Sequence[Sequence[int]]) -> None:
        self.count: RowNumbers = np.array([len(rows) for rows in lists], dtype=np.int64)
        self._start: RowNumbers = np.cumsum(self.count) - self.count
        self._flat: RowNumbers = np.array([row for rows in lists for row in rows], dtype=np.int64)

    def of(self, row: int) -> list[int]:
        start = int(self._start[row])
        return [int(found) for found in self._flat[start : start + int(self.count[row])]]

    def pick(self, rows: RowNumbers, chance: np.ndarray) -> RowNumbers:
        """One of each (non-empty) list; `chance` is uniform in [0, 1)."""
        return np.asarray(self._flat[self._start[rows] + _index(chance, self.count[rows])])


def _index(chance: np.ndarray, count: RowNumbers) -> RowNumbers:
    """floor(chance * count), always below count in spite of rounding; 0 where count is 0."""
    return np.asarray(np.minimum((chance * count).astype(np.int64), np.maximum(count - 1, 0)))


def _by_meaning(owner: Sequence[int] | Int[np.ndarray, " m"], texts: Sequence[Text]) -> Iterable[list[int]]:
    """Rows of one record that say the same, in order; a text without a stated meaning is alone."""
    groups: dict[tuple[int, str, int], list[int]] = defaultdict(list)
    for row, (record, text) in enumerate(zip(owner, texts, strict=True)):
        key = (int(record), "row", row) if text.meaning is None else (int(record), text.field, text.meaning)
        groups[key].append(row)
    return groups.values()


def _of_record(
    groups: Iterable[list[int]],
    owner: Sequence[int] | Int[np.ndarray, " m"],
    texts: Sequence[Text],
    policy: LanguagePolicy,
) -> Iterable[list[int]]:
    """The groups, with more texts for those in which a person wrote one in the policy's language.

    Added to each of a record are the record's groups without that language, and with `whole_record` the texts in other
    languages of all its groups.
    """
    lang = policy.original
    whole: dict[int, list[list[int]]] = defaultdict(list)
    loose: dict[int, list[list[int]]] = defaultdict(list)
    for rows in groups:
        record = int(owner[rows[0]])
        if any(texts[row].lang == lang and texts[row].origin is Origin.HUMAN for row in rows):
            whole[record].append(rows)
        elif any(texts[row].lang == lang for row in rows):
            yield rows
        else:
            loose[record].append(rows)
    for record, found in whole.items():
        others = [row for rows in loose.pop(record, ()) for row in rows]
        if policy.whole_record:
            others += [row for rows in found for row in rows if texts[row].lang != lang]
        yield from (list(dict.fromkeys([*rows, *others])) for rows in found)
    for found in loose.values():
        yield from found


def _originals(rows: Sequence[int], texts: Sequence[Text], lang: str) -> list[int]:
    by_people = [row for row in rows if texts[row].origin is Origin.HUMAN]
    if not by_people:
        return [rows[0]]
    wanted = [row for row in by_people if lang and texts[row].lang == lang]
    return wanted or [row for row in by_people if texts[row].lang == texts[by_people[0]].lang]


def _is_back(text: Text, original: Text) -> bool:
    return text.origin is Origin.BACK_TRANSLATED and text.lang == original.lang and text is not original


def _is_other(text: Text, original: Text, policy: LanguagePolicy) -> bool:
    if text.lang == original.lang or text.origin is Origin.BACK_TRANSLATED:
        return False
    allowed = policy.translated or text.origin is Origin.HUMAN
    return allowed and (not policy.others or text.lang in policy.others)
