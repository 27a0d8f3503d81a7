"""Tables of texts only: which columns hold the texts that ask, the texts that are found, and how related they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from diptych.core.errors import ConfigError, Reason
from diptych.core.types import Role, Text

from .options import SourceOptions, parse_scale
from .reading import Reading

# a column of queries and one of documents are read as such when both are there
USUAL_SIDES = (
    ("query", ("document", "positive", "passage", "answer", "text")),
    ("anchor", ("positive", "document")),
    ("question", ("answer", "passage", "context")),
    ("sentence1", ("sentence2",)),
    ("sentence_1", ("sentence_2",)),
    ("sentence_a", ("sentence_b",)),
    ("text1", ("text2",)),
    ("text_a", ("text_b",)),
    ("question1", ("question2",)),
    ("premise", ("hypothesis",)),
    ("s1", ("s2",)),
)
NEGATIVE_NAMES = ("negative", "negatives", "hard_negative", "hard_negatives")
LABEL_NAMES = (
    "label", "score", "relevance", "similarity", "similarity_score", "relatedness", "relatedness_score",
    "is_duplicate", "gain", "gold_label", "gold_score", "r",
)  # fmt: skip
# labels in words: what data sets of entailment, paraphrases and duplicates say
WORDS = {
    **dict.fromkeys(("true", "yes", "related", "relevant", "duplicate", "equivalent", "paraphrase", "entailment"), 1.0),
    **dict.fromkeys(("false", "no", "unrelated", "not_relevant", "not_duplicate", "not_equivalent"), 0.0),
    **dict.fromkeys(("not_paraphrase", "not_entailment", "neutral", "contradiction"), 0.0),
}


@dataclass(frozen=True, slots=True)
class Sides:
    """The columns of a table of texts only: its two sides. A row has documents, negatives, or both."""

    query: str
    document: str | None
    negative: str | None
    label: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(name for name in (self.query, self.document, self.negative, self.label) if name is not None)

    @property
    def are_of_entailment(self) -> bool:
        """Whether a premise asks: the numbers of such labels often begin with entailment as 0."""
        return self.query.lower() == "premise"

    def to_text(self) -> str:
        """Which column is which, for a note."""
        roles = {"query": self.query, "document": self.document, "negative": self.negative, "label": self.label}
        return ", ".join(f"{role} {name}" for role, name in roles.items() if name is not None)


def find_sides(
    names: Sequence[str],
    options: SourceOptions,
    named: Callable[[str], str],
    match: Callable[[Sequence[str], Iterable[str]], str | None],
) -> Sides | None:
    """The sides of a table with the columns `names`: those that the user named, else usual ones; None without.

    Raises ConfigError when only one of the two is named, or as `named` for a column that is not there.
    """
    query, document, negative = options.query_column, options.document_column, options.negative_column
    if query is None and document is None and negative is None and options.label_column is None:
        if options.text_columns:
            return None
        query, document = _usual(names, match)
        if query is None or document is None:
            return None
    else:
        usual = _usual(names, match)
        query, document = query or usual[0], document or (usual[1] if negative is None or query is None else None)
        if query is None or (document is None and negative is None):
            raise ConfigError("name both sides of a source of texts: --query-column and --document-column")
        query, document = named(query), document and named(document)
    negative = named(negative) if negative is not None else match(names, NEGATIVE_NAMES)
    label = named(options.label_column) if options.label_column is not None else match(names, LABEL_NAMES)
    chosen = [name for name in (query, document, negative, label) if name is not None]
    if len(set(chosen)) < len(chosen):
        raise ConfigError(f"one column cannot be two of query, document, negative and label: {', '.join(chosen)}")
    return Sides(query, document, negative, label)


def _usual(
    names: Sequence[str], match: Callable[[Sequence[str], Iterable[str]], str | None]
) -> tuple[str | None, str | None]:
    for asks, found in USUAL_SIDES:
        query, document = match(names, [asks]), match(names, found)
        if query is not None and document is not None:
            return query, document
    return None, None


class LabelReader:
    """Reads the labels of one source: numbers from 0, or of the scale that the user states."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        stated = reading.options.label_scale
        self._low, self._high = (0.0, math.inf) if stated is None else parse_scale(stated)

    def read(self, cell: Any, where: str, *, of_entailment: bool = False) -> float | None:
        """How far a label is above the lowest one, or None after skipping its row.

        Numbers `of_entailment` need a stated scale.
        """
        found = cell.strip() if isinstance(cell, str) else cell
        if isinstance(found, str) and found.lower() in WORDS and self._reading.options.label_scale is None:
            self._reading.note("label_in_words", "labels in words, read as 1 (related) or 0 (unrelated)", where)
            return WORDS[found.lower()]
        try:
            value = float(found)
        except (TypeError, ValueError):
            self._skip(where, "no label" if found in (None, "") else f"the label {str(found)[:40]!r} is no number")
            return None
        if not self._low <= value <= self._high:  # NaN is neither
            self._skip(where, f"the label {value:g} is outside the scale")
            return None
        if of_entailment and self._reading.options.label_scale is None:
            problem = (
                f"the label {value:g} of a premise and a hypothesis is a number, and 0 often stands for entailment"
            )
            wanted = "write entailment, neutral or contradiction, or state where 0 is unrelated with --label-scale"
            self._reading.skip(where, Reason.BAD_ROW, f"{problem}; {wanted}")
            return None
        return value - self._low

    def _skip(self, where: str, problem: str) -> None:
        if math.isinf(self._high):
            expected = "0 (unrelated) or more; state another scale with --label-scale, such as 1:5"
        else:
            expected = f"{self._low:g} to {self._high:g}"
        self._reading.skip(where, Reason.BAD_ROW, f"{problem}; expected {expected}")


def with_role(texts: Iterable[Text], role: Role, label: float | None = None) -> list[Text]:
    """The texts as queries, or as documents with a label."""
    return [replace(text, role=role, label=label) for text in texts]


def merged(known: Sequence[Text], more: Iterable[Text]) -> tuple[tuple[Text, ...], int]:
    """The texts of two rows of one query, each once, and how many documents have another label the second time.

    The first label is kept.
    """
    found: Mapping[Any, Text] = {(text.role, text.lang, text.item_key): text for text in known}
    kept = dict(found)
    conflicts = 0
    for text in more:
        first = kept.setdefault((text.role, text.lang, text.item_key), text)
        conflicts += first.label != text.label
    return tuple(kept.values()), conflicts
