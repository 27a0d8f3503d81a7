"""The pairs of a source to measure on, the texts to draw, and the real images to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from diptych.core.errors import DataError, Reason
from diptych.core.protocols import SILENT, Preprocess, Progress
from diptych.core.shapes import Int64, UInt8
from diptych.core.types import ImageRef, Pair, Skipped, Text
from diptych.data.images import stream
from diptych.data.readers import Source, SourceOptions, normalise_split, open_source

from .image_store import room_for

_TRIED = 32  # pixels that an image is read at to see whether it can be read
_NAMED = 3  # unreadable images that a remark names
_HELD_OUT = ("val", "test")  # in this order, where no split is named


@dataclass(frozen=True)
class ChosenSplits:
    """The pairs to measure on, those that the generator learnt from, and what was chosen without being asked."""

    source: Source
    split: str  # "" for the whole source
    pairs: Sequence[Pair]
    training: Sequence[Pair]
    remarks: tuple[str, ...]


def choose_splits(spec: str, options: SourceOptions, train_split: str) -> ChosenSplits:
    """Read a source and take its split to measure on: the one that is named, else val, else test, else everything.

    `train_split` is what the generator learnt from; "" for none. Raises DataError for a named split that is not there.
    """
    if options.split is not None:
        source = open_source(spec, options)
        pairs, split = list(source), normalise_split(options.split) or ""
        everything = pairs if not train_split else list(open_source(spec, replace(options, split=None)))
    else:
        source = open_source(spec, options)
        everything = list(source)
        there = {pair.split for pair in everything}
        split = next((one for one in _HELD_OUT if one in there), "")
        pairs = [pair for pair in everything if pair.split == split] if split else everything
    wanted = normalise_split(train_split)
    training = [pair for pair in everything if wanted is not None and pair.split == wanted]
    remarks = []
    if options.split is None and split != "val":
        chosen = (
            f"its split {split}" if split else f"all {len(pairs):,} pairs, which the generator may have learnt from"
        )
        remarks.append(f"{source.name} has no split val, and none was named: measured on {chosen}")
    if wanted is not None and not training:
        remarks.append(f"{source.name} has no split {wanted}: nothing is said about copies of training images")
    if training and (wanted == split or not split):
        remarks.append(f"the pairs of the split {wanted} are among those measured: they are no held-out pairs")
    return ChosenSplits(source, split, pairs, training, tuple(remarks))


@dataclass(frozen=True)
class Prompt:
    """One text to draw, and the pair (by its place) that it is of."""

    text: Text
    pair: int


@dataclass(frozen=True)
class RealImages:
    """Real images at the generator's size; `owner[i]` is the place of the pair that image i is of."""

    pixels: UInt8[np.ndarray, "n h w 3"]
    owner: Int64[np.ndarray, " n"]
    refs: tuple[ImageRef, ...]
    skipped: tuple[Skipped, ...] = ()
    there: int = 0  # images that the pairs have, where fewer were drawn

    @property
    def first(self) -> Int64[np.ndarray, " p"]:
        """The first image of each pair that has one, in the order of the pairs."""
        return np.unique(self.owner, return_index=True)[1].astype(np.int64)

    def remarks(self, what: str) -> list[str]:
        """What was left out of the images of the pairs, counted and named."""
        found = []
        if (drawn := len(self.pixels) + len(self.skipped)) < self.there:
            found.append(
                f"{drawn:,} of {self.there:,} {what} images are used, drawn by the seed: no more fit in memory"
            )
        if self.skipped:
            named = "; ".join(f"{one.name}: {one.detail}" for one in self.skipped[:_NAMED])
            found.append(f"{len(self.skipped):,} {what} images cannot be read and are left out ({named})")
        return found

    def only(self, kept: Int64[np.ndarray, " k"]) -> RealImages:
        """Those at these places."""
        return RealImages(self.pixels[kept], self.owner[kept], tuple(self.refs[place] for place in kept))


def choose_prompts(pairs: Sequence[Pair], lang: str, limit: int, seed: int, fields: Sequence[str] = ()) -> list[Prompt]:
    """At most `limit` texts of one language, every pair once before any comes again; drawn by the seed.

    Texts of unknown language count as any; `fields` keeps only those of these fields. An empty `lang` takes all.
    Raises DataError when there is none, naming what there is.
    """
    generator = np.random.default_rng(seed)
    by_pair: list[list[Text]] = []
    for pair in pairs:
        texts = texts_to_draw(pair, lang, fields) if pair.images else []
        by_pair.append([texts[place] for place in generator.permutation(len(texts))])
    order = generator.permutation(len(pairs))
    chosen = [
        Prompt(by_pair[place][turn], int(place))
        for turn in range(max(map(len, by_pair), default=0))
        for place in order
        if turn < len(by_pair[place])
    ][:limit]
    if not chosen:
        languages = sorted({text.lang or "unknown" for pair in pairs for text in pair.texts}) or ["none"]
        known = sorted({text.field for pair in pairs for text in pair.texts}) or ["none"]
        raise DataError(
            f"no texts to draw in {lang or 'any language'}; languages found: {', '.join(languages)}; "
            f"fields: {', '.join(known)}",
            Reason.EMPTY_TEXT,
        )
    return chosen


def givable(prompts: Sequence[Prompt], pairs: Sequence[Pair], given: str) -> tuple[list[Prompt], list[str]]:
    """The prompts that a generator can be given, and remarks: of images ("image"), those that can be read."""
    if given == "text":
        return list(prompts), []
    places = list(dict.fromkeys(one.pair for one in prompts))
    tried = stream([pairs[place].images[0] for place in places], Preprocess(_TRIED))
    bad = {places[index]: problem for batch in tried for index, problem in batch.skipped}
    kept = [one for one in prompts if one.pair not in bad]
    remarks = ["the generator was given the first image of each pair in place of a text"]
    if bad:
        names = "; ".join(f"{one.name}: {one.detail}" for one in list(bad.values())[:_NAMED])
        remarks.append(f"{len(bad):,} images cannot be read and were not given to the generator ({names})")
    return kept, remarks


def texts_to_draw(pair: Pair, lang: str, fields: Sequence[str]) -> list[Text]:
    """The texts of a pair in one language ("" for all; unknown ones count as any) and of these fields."""
    return [
        text for text in pair.texts if (not lang or text.lang in (lang, None)) and (not fields or text.field in fields)
    ]


def read_real_images(
    pairs: Sequence[Pair], size: int, *, most: int | None = None, seed: int = 0, progress: Progress = SILENT
) -> RealImages:
    """All images of the pairs squashed to `size` pixels squared, or `most` of them drawn by the seed.

    Unreadable ones are left out and named. Raises DataError when none is left.
    """
    listed = [(place, ref) for place, pair in enumerate(pairs) for ref in pair.images]
    there = len(listed)
    if most is not None and there > most:
        kept = np.sort(np.random.default_rng(seed).choice(len(listed), most, replace=False))
        listed = [listed[place] for place in kept]
    pixels = room_for((len(listed), size, size, 3))
    indices: list[int] = []
    skipped: list[Skipped] = []
    batches = stream([ref for _, ref in listed], Preprocess(size))
    for batch in progress.track(batches, "batches of real images", -(-len(listed) // 32)):
        pixels[len(indices) : len(indices) + len(batch.indices)] = batch.pixels
        indices += batch.indices
        skipped += [problem for _, problem in batch.skipped]
    if not indices:
        raise DataError("there is no readable real image to compare with", Reason.NO_IMAGE)
    owner = np.array([listed[index][0] for index in indices], dtype=np.int64)
    refs = tuple(listed[index][1] for index in indices)
    return RealImages(pixels[: len(indices)], owner, refs, tuple(skipped), there)
