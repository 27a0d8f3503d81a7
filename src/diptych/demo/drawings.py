"""The demo on pairs: check, measure, fit heads, measure again, index, search.

On OpenMoji drawings with names in 14 languages that come with pip, or on a user's own source.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.core.errors import DataError, LibraryError, Reason
from diptych.core.files import write_bytes
from diptych.core.protocols import SILENT, Progress
from diptych.core.types import FileImage, Hit, Pair
from diptych.data import doctor
from diptych.data.readers import open_source
from diptych.data.readers.openmoji import ATTRIBUTION, iter_openmoji
from diptych.data.splits import HELD_OUT, divide
from diptych.evaluation import Embeddings, evaluate_embeddings
from diptych.library import Library
from diptych.library.rendering import Tile, can_draw, png, storyboard
from diptych.models import DualEncoder, load
from diptych.models.embed import embed_pairs

from .steps import Step, Steps

if TYPE_CHECKING:
    from diptych.data.doctor import SourceReport

DRAWINGS = 800  # of 1,652: what fits in a minute or so on two cores
CONFIG = Path(__file__).with_name("fit.toml")
LEAST = 20  # pairs that something can be fitted to
PER_ROW = 6  # images shown for each search

EMOJI_SEARCHES = (
    ("en", "a big red heart", ""),
    ("en", "a slice of pizza with cheese", ""),
    ("de", "ein müdes Gesicht", "a tired face"),
    ("fr", "un chat qui rit", "a laughing cat"),
    ("es", "un coche de policía", "a police car"),
    ("it", "un mazzo di fiori", "a bunch of flowers"),
    ("pt", "um peixe no mar", "a fish in the sea"),
    ("ru", "музыкальный инструмент", "a musical instrument"),
    ("tr", "karlı bir dağ", "a snowy mountain"),
    ("ja", "おいしい寿司", "delicious sushi"),
    ("zh", "下雨天的雨伞", "an umbrella on a rainy day"),
    ("ko", "생일 케이크", "a birthday cake"),
)  # language, query, what it means


@dataclass(frozen=True)
class Recall:
    """R@10 in percent, text to image, of one language before and after fitting."""

    language: str
    texts: int
    before: float
    after: float


@dataclass(frozen=True)
class Search:
    """One search: the query and its hits."""

    language: str
    query: str
    meaning: str  # in English; empty when it is English, a user's own, or an image
    hits: tuple[Hit, ...]
    names: tuple[str, ...]  # of the hits: their first text, else the file's name


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured, and where its files are."""

    folder: Path
    pairs: int
    checked: SourceReport
    gallery: int  # held-out images that each text was searched among
    recalls: tuple[Recall, ...]
    model: str
    library: Path
    searches: tuple[Search, ...]
    sheet: Path
    attribution: str
    steps: tuple[Step, ...]

    @property
    def chance(self) -> float:
        """R@10 in percent of an order by chance."""
        return chance(self.gallery)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "folder": str(self.folder),
            "pairs": self.pairs,
            "misleading": list(self.checked.misleading),
            "gallery": self.gallery,
            "recall_at_10": [vars(recall) for recall in self.recalls],
            "model": self.model,
            "library": str(self.library),
            "searches": [
                {
                    "language": shown.language,
                    "query": shown.query,
                    "hits": [{"path": hit.path, "score": round(hit.score, 4)} for hit in shown.hits],
                }
                for shown in self.searches
            ],
            "sheet": str(self.sheet),
            "attribution": self.attribution,
            "steps": [asdict(step) for step in self.steps],
        }


def run(
    folder: Path,
    *,
    source: str = "",
    drawings: int = DRAWINGS,
    seed: int = 0,
    told: Callable[[Step], None] = lambda step: None,
    progress: Progress = SILENT,
) -> DemoResult:
    """Run the demo in `folder`: images, config, model, library and a contact sheet end up there.

    Args:
        folder: made if missing; what is there from an earlier run is used again.
        source: any source of pairs; empty means the OpenMoji drawings.
        drawings: how many drawings to use.
        told: called with each step when it is done.

    Raises DataError for a source that cannot be read, MissingExtraError without the [demo] packages.
    """
    folder.mkdir(parents=True, exist_ok=True)
    steps = Steps(told)
    spec = Path(source) if source else _drawn(folder, drawings, progress)
    if not source:
        steps.end(f"Draw {drawings} emojis and list them with their names in 14 languages: {spec}")
    opened = open_source(spec)
    # flat drawings share outlines: only equal ones count as duplicates there
    checked = doctor.check(opened, progress=progress, near=doctor.NEAR if source else 0)
    pairs = list(opened)
    near = () if source else ("--near", "0")
    steps.end("Check the pairs", ("data", "check", spec, *near), checked.to_text().splitlines())
    model = load("base")
    with_texts = [pair for pair in pairs if pair.texts]
    recalls: tuple[Recall, ...] = ()
    gallery = 0
    if len(with_texts) >= LEAST:
        model, recalls, gallery = _fit(model, with_texts, spec, folder, seed, steps, progress)
    else:
        steps.end(
            "Fit nothing", (), [f"{len(with_texts)} pairs with a text are fewer than {LEAST}: base stays as it is"]
        )
    library = _index(folder / "library", spec, model, progress)
    named = model.folder if recalls else "base"
    lines = [f"{len(library)} images"]
    steps.end("Index the images", ("index", spec, "--library", library.folder, "--model", named), lines)
    searches = _searches(library, pairs, bool(source))
    sheet = folder / "found.png"
    sheet.write_bytes(_storyboard(library, searches))
    first = ("--image",) * (searches[0].language == "image")
    steps.end(
        "Search in many languages, and by image",
        ("search", *first, searches[0].query, "--library", library.folder),
        [*map(_described, searches), f"all of it in one picture: {sheet}"],
    )
    return DemoResult(
        folder,
        len(pairs),
        checked,
        gallery,
        recalls,
        str(model.folder),
        library.folder,
        searches,
        sheet,
        "" if source else ATTRIBUTION,
        tuple(steps.done),
    )


def chance(count: int) -> float:
    """R@10 in percent among so many images, in an order by chance."""
    return min(100.0, 1000 / count)


def _described(shown: Search) -> str:
    asked = f"{shown.query} ({shown.meaning})" if shown.meaning else shown.query[-44:]
    return f"{shown.language:8} {asked:44} -> {', '.join(shown.names[:3])}"


def _drawn(folder: Path, drawings: int, progress: Progress) -> Path:
    """Draw the OpenMoji images and list them with their names in one JSONL file, as a user would."""
    lines = []
    for pair in iter_openmoji(folder / "images", limit=drawings, progress=progress):
        (image,) = pair.images
        names = {f"caption_{text.lang}": text.value for text in pair.texts if text.field == "caption"}
        row = {
            "id": pair.id,
            "image": str(Path(image.name).relative_to(folder)),
            "split": pair.split,
            "group": pair.group,
        }
        lines.append(json.dumps({**row, **names}, ensure_ascii=False))
    path = folder / "emoji.jsonl"
    write_bytes(path, ("\n".join(lines) + "\n").encode())
    return path


def _fit(
    base: DualEncoder, pairs: list[Pair], spec: Path, folder: Path, seed: int, steps: Steps, progress: Progress
) -> tuple[DualEncoder, tuple[Recall, ...], int]:
    """Compute heads on cached features of the training pairs; measure on held-out pairs before and after."""
    from diptych.runs import DataConfig, read_config, train

    path, out, usual = folder / CONFIG.name, folder / "run", DataConfig()
    split = divide(pairs, usual.train, usual.val, usual.val_share)  # as `diptych train` does it
    count = len(split["val"])
    held = usual.val if any(pair.split == usual.val for pair in pairs) else HELD_OUT

    def measured(name: str, found: dict[str, tuple[int, float]]) -> None:
        whole = f"R@10 of a text among {count} held-out images: {found['all'][1]:.1f} % (chance {chance(count):.0f} %)"
        title = "Measure the model as it is" if name == "base" else "Measure again"
        steps.end(title, ("eval", spec, "--split", held, "--model", name), [whole])

    before = _recall(base, split["val"], progress)
    measured("base", before)
    write_bytes(path, CONFIG.read_bytes())
    fitted: DualEncoder = train(read_config(path, seed=seed), split, out, progress=progress).model
    seeded = ("--seed", str(seed)) if seed else ()
    lines = [f"{len(split['train'])} pairs; the model: {out / 'model'}"]
    steps.end("Fit heads to the other pairs", ("train", path, spec, "--out", out, *seeded), lines)
    after = _recall(fitted, split["val"], progress)
    recalls = tuple(Recall(language, texts, before[language][1], recall) for language, (texts, recall) in after.items())
    measured(str(out / "model"), after)
    return fitted, recalls, count


def _recall(model: DualEncoder, pairs: Sequence[Pair], progress: Progress) -> dict[str, tuple[int, float]]:
    """Texts and text-to-image R@10 (percent) of each language."""
    found = embed_pairs(model, pairs, progress=progress)
    measured = evaluate_embeddings(
        Embeddings(found.images, found.texts, found.owner, found.languages, image_owner=found.image_owner),
        resamples=0,
        cuts=(10,),
    )
    whole = 100 * measured.scores.text_to_image.metrics["R@10"].value
    by_language = {
        row.language or "?": (row.texts, 100 * row.scores.text_to_image.metrics["R@10"].value)
        for row in measured.languages
    }
    return {**by_language, "all": (measured.texts, whole)}


def _index(folder: Path, source: Path, model: DualEncoder, progress: Progress) -> Library:
    try:
        library = Library.open(folder, model)
    except LibraryError:  # none yet, or one of another model from an earlier run
        shutil.rmtree(folder, ignore_errors=True)
        library = Library.create(folder, model, str(model.folder))
    library.index([source], progress=progress)
    return library


def _searches(library: Library, pairs: Sequence[Pair], own: bool) -> tuple[Search, ...]:
    queries: list[tuple[str, str, str]] = list(EMOJI_SEARCHES)
    if own:
        texts = [text for pair in pairs for text in pair.texts[:1]][:: max(1, len(pairs) // 12)]
        queries = [(text.lang or "", text.value[:200], "") for text in texts[:12]]
    titled = [(image.name, pair.texts[0].value) for pair in pairs if pair.texts for image in pair.images]
    called = {str(Path(name).absolute()): title for name, title in titled}

    def ask(language: str, query: str | Path, meaning: str = "") -> Search:
        hits = tuple(library.search(query, PER_ROW))
        names = tuple(called.get(hit.path or "", Path(hit.path or hit.id).name) for hit in hits)
        return Search(language, str(query), meaning, hits, names)

    shown = [ask(*each) for each in queries]
    paths = [image.path for pair in pairs for image in pair.images[:1] if isinstance(image, FileImage)]
    for path in paths[:: max(1, len(paths) // 2)][:2]:
        shown.append(ask("image", path))
    if not shown:
        raise DataError("nothing to search for: the source has neither texts nor image files", Reason.EMPTY_TEXT)
    return tuple(shown)


def _storyboard(library: Library, searches: Sequence[Search]) -> bytes:
    """All searches as rows of one PNG."""
    rows = []
    for shown in searches:
        found = [Tile(hit, library.thumbnail(hit.id)) for hit in shown.hits]
        if shown.language == "image":
            title = f"like {shown.names[0]}" if shown.names else "like this image"
        else:
            title = _title(shown)
        rows.append((title, found))
    return png(storyboard(rows))


def _title(shown: Search) -> str:
    """The query and what it means; the meaning alone where no font here has the query's script."""
    if shown.meaning and not can_draw(shown.query):
        return f"[asked in {shown.language}: {shown.meaning}]"
    note = ": ".join(part for part in (shown.language, shown.meaning) if part)
    return f"{shown.query}   [{note}]" if note else shown.query
