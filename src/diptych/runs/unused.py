"""What a training has in its source and does not learn from, or not wholly: each named and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from diptych.core.errors import ConfigError
from diptych.core.notes import Notes
from diptych.core.types import Pair, Skipped

from .config import DataConfig

OTHER_SPLIT, OTHER_TEXT, CUT = "other_split", "other_text", "cut_text"  # kinds of notes


def note_other_splits(notes: Notes, pairs: Sequence[Pair], chosen: Mapping[str, Sequence[Pair]]) -> None:
    """Note records that are neither trained on nor validated with."""
    left = Counter(pair.split for pair in pairs)
    left.subtract(pair.split for some in chosen.values() for pair in some)
    for split, count in left.items():
        if count:
            of = f"of the split {split!r}" if split else "without a split, beside others that have one"
            notes.add(OTHER_SPLIT, f"records {of}, neither trained on nor validated with", count=count)


def note_other_texts(notes: Notes, pairs: Sequence[Pair], data: DataConfig) -> None:
    """Note texts in other languages, or of other parts, than the config asks for."""
    texts = [text for pair in pairs for text in pair.texts]
    selection = data.selection()
    left = [text.value for text in texts if not selection.takes(text)]
    if left:
        asked = [f"{name} {', '.join(few)}" for name, few in (("langs", data.langs), ("fields", data.fields)) if few]
        why = f"other than data.{' and data.'.join(asked)}" if asked else "empty"
        notes.add(OTHER_TEXT, f"texts not learnt from ({why})", *left[:3], count=len(left))


def note_cut(notes: Notes, texts: Sequence[str], count: Callable[[Sequence[str]], list[int]], most: int | None) -> None:
    """Note texts of more tokens than are read."""
    if most is None:
        return
    cut = [text for text, tokens in zip(texts, count(texts), strict=True) if tokens > most]
    if cut:
        notes.add(
            CUT, f"training texts cut after {most} tokens", *(f"{text[:40]}..." for text in cut[:3]), count=len(cut)
        )


def refuse_unused(data: DataConfig, kind: str) -> None:
    """Raise ConfigError for a setting that this kind of training would not look at."""
    plain = DataConfig()
    for name in ("language", "mined", "together"):
        if getattr(data, name) != getattr(plain, name):
            raise ConfigError(f"data.{name} has no effect on {kind}; leave it out")


def left_out(skipped: Sequence[Skipped]) -> str:
    """`2 inputs were left out: not_an_image 1 (bad.png), empty_text 1 (7)`; nothing for none."""
    if not skipped:
        return ""
    reasons: dict[str, list[str]] = {}
    for skip in skipped:
        reasons.setdefault(skip.reason.value, []).append(skip.name)
    said = [
        f"{reason} {len(names):,} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for reason, names in reasons.items()
    ]
    return f"{len(skipped):,} inputs were left out: {', '.join(said)}"
