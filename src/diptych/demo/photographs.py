"""The demo on a folder of photographs: index, search by words and by image, re-rank, copies, words in images."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.extras import is_installed
from diptych.core.file_names import unescape
from diptych.core.protocols import SILENT, Progress
from diptych.core.text import number
from diptych.core.types import Hit
from diptych.data.readers import open_source
from diptych.library import Library, card
from diptych.library.query import HiddenWarning, QueryWarning
from diptych.library.relevant import BELONGS
from diptych.library.rendering import Tile, png, storyboard
from diptych.library.sources import survey
from diptych.library.words import WORDS, words_of

from .steps import Step, Steps

PHOTOGRAPHS = 1000  # indexed in some 20 seconds on two cores
QUERIES = (
    ("a smiling person", ""),
    ("ein Hund", "a dog"),
    ("comida en un plato", "food on a plate"),
    ("la mer et une plage", "the sea and a beach"),
    ("uma criança a brincar", "a child at play"),
    ("місто вночі", "a city at night"),
    ("赤い車", "a red car"),
    ("a flower", ""),
)  # query, what it means; empty where it is English
ABSENT = "an astronaut on the moon"
LETTERED = "a sign with words on it"
_CANDIDATES = 20  # re-ranked
_READ = 12  # images whose words are read: it takes seconds an image
_SHOWN = 3  # names in a line
_ROW = 6  # images in a row of the sheet


@dataclass(frozen=True)
class PhotoResult:
    """What the demo did with a folder of photographs."""

    folder: Path
    photographs: int  # in the library
    left: int  # in the folder, but not indexed, because there are more than were asked for
    library: Path
    sheet: Path
    found: str  # the query that found most; empty when none found anything
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "folder": str(self.folder),
            "photographs": self.photographs,
            "left": self.left,
            "library": str(self.library),
            "sheet": str(self.sheet),
            "steps": [asdict(step) for step in self.steps],
        }


def is_of_photographs(source: str) -> bool:
    """Whether a source is a folder of images without texts; one folder of images for each class counts, too."""
    if not Path(source).is_dir():
        return False
    opened = open_source(source)
    return opened.format == "classes" or (opened.format == "images" and not any(pair.texts for pair in opened))


def run_on_photographs(
    folder: Path,
    photographs: Path,
    *,
    most: int = PHOTOGRAPHS,
    told: Callable[[Step], None] = lambda step: None,
    progress: Progress = SILENT,
) -> PhotoResult:
    """Run the demo on a folder of photographs: a library and a contact sheet end up in `folder`.

    Args:
        folder: made if missing; a library that is there from an earlier run is used again.
        most: photographs that are indexed, spread evenly over the folder where it has more.
        told: called with each step when it is done.

    Raises DataError where there is no image, ConfigError for a `folder` inside of the photographs, whose own images
    would become some of them.
    """
    if photographs.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise ConfigError(f"--folder {str(folder)!r} lies inside of the photographs; give one elsewhere")
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(photographs, folder / "photographs", Steps(told), progress)
    left = run.index(most)
    hits = run.search_words()
    best = max(hits, key=lambda query: len(hits[query]))
    query = best if hits[best] else ""
    rows = [(query, found) for query, found in hits.items() if found]
    if query:
        rows.append(run.search_image(hits[query][0]))
    english = [asked for asked, meaning in QUERIES if not meaning]  # what the re-ranker reads
    rows.append(run.rerank(max(english, key=lambda asked: len(hits[asked]))))
    run.search_absent()
    run.copies()
    run.words()
    sheet = folder / "found.png"
    drawn = [(title, [Tile(hit, run.library.thumbnail(hit.id)) for hit in found[:_ROW]]) for title, found in rows]
    sheet.write_bytes(png(storyboard(drawn)))
    return PhotoResult(folder, len(run.library), left, run.place, sheet, query, tuple(run.steps.done))


@dataclass(eq=False)
class _Run:
    photographs: Path
    place: Path  # of the library
    steps: Steps
    progress: Progress
    _notes: list[str] = field(default_factory=list)  # on the searches of this step

    def __post_init__(self) -> None:
        is_there = card.exists(self.place)
        self.library = Library.open(self.place, "base") if is_there else Library.create(self.place, "base")

    def index(self, most: int) -> int:
        """Index the photographs, or a share of them; how many are left."""
        survey_of_all = survey(self.photographs)
        listed = list(survey_of_all.found)
        few = [listed[place * len(listed) // most] for place in range(most)] if len(listed) > most else []
        begun = time.monotonic()
        # a few are named one by one, so that others that the library holds already stay in it
        report = self.library.index([unescape(path) for path in few] if few else survey_of_all, progress=self.progress)
        if not report.found:
            reasons = ", ".join(f"{count} {reason}" for reason, count in report.reasons.items())
            raise DataError(f"none of the images in {self.photographs} could be read: {reasons}", Reason.NO_IMAGE)
        lines = [f"{number(report.found, 'photograph')} in the library, {report.added:,} of them new"]
        if report.embedded:
            lines[0] += f", {report.embedded / (time.monotonic() - begun):.0f} a second"
        lines += [f"skipped: {count} {reason}" for reason, count in report.reasons.items()]
        left = len(listed) - len(few) if few else 0
        if left:
            lines.append(f"the other {left:,} are left for the command, which takes all of them")
        if (others := len(self.library) - report.total) > 0:
            lines.append(f"{number(others, 'image')} of elsewhere in it, too, from an earlier run: found as well")
        self._end(f"Index {self.photographs}", ("index", self.photographs, *self._here), lines)
        return left

    def search_words(self) -> dict[str, list[Hit]]:
        """Everyday questions in several languages: the hits of each that belong to it."""
        hits = {query: self._asked(query, only_relevant=True) for query, _ in QUERIES}
        lines = []
        for query, meaning in QUERIES:
            asked = f"{query} ({meaning})" if meaning else query
            lines.append(f"{asked:44} -> {_named(hits[query])}")
        command = ("search", QUERIES[0][0], *self._here, "--only-relevant")
        self._end("Search by words", command, lines)
        return hits

    def search_image(self, asked: Hit) -> tuple[str, list[Hit]]:
        """Images like the first hit."""
        path = unescape(asked.path or "")
        hits = [hit for hit in self.library.search(Path(path), _ROW + 1) if hit.id != asked.id]
        lines = [f"like {Path(path).name} -> {_named(hits)}"]
        self._end("Search by an image", ("search", "--image", path, *self._here), lines)
        return f"like {Path(path).name}", hits

    def rerank(self, query: str) -> tuple[str, list[Hit]]:
        """The nearest images to a query, put in order anew by a model that looks at image and text together."""
        from diptych.models.cross_encoder import load_cross_encoder, shipped
        from diptych.runs.reranking import reranker

        self.library.attach(reranker(self.library.card.fingerprint, load_cross_encoder(shipped.default())))
        before = self._asked(query)
        after = self._asked(query, rerank=_CANDIDATES)
        lines = [
            f"{query}",
            f"  by two vectors:  {_named(before)}",
            f"  looked at again: {_named(after)}",
            _nothing(after),
        ]
        command = ("search", query, *self._here, "--rerank", str(_CANDIDATES))
        self._end(f"Look at the best {_CANDIDATES} again with the re-ranker", command, lines)
        return f"{query}, re-ranked", after

    def search_absent(self) -> None:
        """Something that is hardly there."""
        hits = self._asked(ABSENT, only_relevant=True, rerank=_CANDIDATES)
        command = ("search", ABSENT, *self._here, "--rerank", str(_CANDIDATES), "--only-relevant")
        lines = [f"{ABSENT} -> {_named(hits)}", _nothing(self._asked(ABSENT, rerank=_CANDIDATES))]
        self._end("Search for what is hardly there", command, lines)

    def copies(self) -> None:
        """Copies of one image."""
        found = self.library.duplicates(progress=self.progress)
        lines = [found.summary()]
        for group in found.groups[:_SHOWN]:
            lines += [f"{Path(copy.path).name}: {copy.how}, of {Path(group.best.path).name}" for copy in group.others]
        if (more := len(found.groups) - _SHOWN) > 0:
            lines.append(f"and {number(more, 'group')} more")
        self._end("Look for copies", ("library", "duplicates", *self._here), lines)

    def words(self) -> None:
        """Words inside the images that look most like having some, and a search for one of them."""
        title, command = "Read the words in images", ("index", self.photographs, *self._here, "--ocr")
        if not is_installed("rapidocr"):
            self._end(title, command, ["not done: it needs pip install 'diptych[ocr]'"])
            return
        from diptych.data.words import WordReader

        asked = [hit.id for hit in self._asked(LETTERED, _READ)]
        with WordReader() as reader:
            read = self.library.read_words(reader, among=asked, progress=self.progress)
        lines = [f"the {len(asked)} that look most like having words; the command takes all", read.to_text()]
        self._end(title, command, lines)
        words = {word for identifier in asked for word in words_of(self._read_in(identifier)) if word.isalpha()}
        if longest := max(words, key=lambda word: (len(word), word), default=""):
            hits = [hit for hit in self._asked(longest, ocr=True) if WORDS in hit.meta]
            shown = [f"{longest} -> {Path(hit.path or '').name}: {hit.meta[WORDS]}" for hit in hits[:_SHOWN]]
            self._end("Search for a word in an image", ("search", longest, *self._here, "--ocr"), shown)

    def _read_in(self, identifier: str) -> str:
        return str((self.library.get(identifier).photo or {}).get("words", ""))

    @property
    def _here(self) -> tuple[str | os.PathLike[str], ...]:
        return ("--library", self.place)

    def _asked(self, query: str, k: int = 10, **options: Any) -> list[Hit]:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", QueryWarning)
            hits = self.library.search(query, k, **options)
        notes = [one.message for one in told if issubclass(one.category, QueryWarning)]
        # how many were hidden is said by those that are shown
        self._notes += [f"note: {note}" for note in notes if not isinstance(note, HiddenWarning)]
        return hits

    def _end(self, title: str, command: Sequence[str | os.PathLike[str]], lines: Sequence[str]) -> None:
        self.steps.end(title, command, [*lines, *dict.fromkeys(self._notes)])
        self._notes.clear()


def _nothing(hits: Sequence[Hit]) -> str:
    """How probable the re-ranker finds it that nothing in the library matches."""
    said = hits[0].meta.get("nothing_matches") if hits else None
    return "" if said is None else f"  that nothing matches: {said:.0%}"


def _named(hits: Sequence[Hit]) -> str:
    """The names of the first hits, with the probability where one was judged; "nothing matches" without any."""
    shown = []
    for hit in hits[:_SHOWN]:
        name = Path(hit.path or hit.id).name
        shown.append(f"{name} ({hit.meta[BELONGS]:.0%})" if BELONGS in hit.meta else name)
    return ", ".join(shown) or "nothing matches"
