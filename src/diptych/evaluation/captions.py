"""How good captions are: BLEU-4 and CIDEr by their libraries, over words in small letters without punctuation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from diptych.core.errors import DataError
from diptych.core.extras import need

_WHAT = "scoring captions"
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def words_of(text: str) -> str:
    """The words in small letters, one blank between them: what both measures compare."""
    return " ".join(_WORD.findall(text.lower()))


def bleu4(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU-4 in percent (sacrebleu, no smoothing) against all references of each image."""
    _check(captions, references)
    sacrebleu = need("sacrebleu", _WHAT)
    most = max(map(len, references))
    # sacrebleu takes one stream a reference number; an image with fewer has None there
    streams = [
        [words_of(texts[number]) if number < len(texts) else None for texts in references] for number in range(most)
    ]
    found = sacrebleu.corpus_bleu(
        [words_of(caption) for caption in captions], streams, tokenize="none", smooth_method="none"
    )
    return float(found.score)


def cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr (pycocoevalcap; 10 is the most, the field prints it times 100 as percent of 1.0 = 100).

    Word weights come from the references themselves, so it depends on the collection.
    """
    _check(captions, references)
    module = need("pycocoevalcap.cider.cider", _WHAT)
    right = {number: [words_of(text) for text in texts] for number, texts in enumerate(references)}
    given = {number: [words_of(caption)] for number, caption in enumerate(captions)}
    score, _ = module.Cider().compute_score(right, given)
    return float(score)


def _check(captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if len(captions) != len(references) or not captions:
        raise DataError(f"found {len(captions)} captions for {len(references)} images; expected one each")
    if not all(references):
        raise DataError("an image has no reference text; leave it out")
