"""`diptych search`."""

import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, validators

from diptych.core.errors import ConfigError
from diptych.core.file_names import escape, unescape
from diptych.core.files import write_bytes
from diptych.core.notes import CUT, Note, notes_json
from diptych.core.text import one_line, plain
from diptych.core.types import Hit
from diptych.data.image_inputs import SUFFIXES
from diptych.library import Library
from diptych.library import query as queries
from diptych.library.store import text_of
from diptych.library.view import TAKEN
from diptych.library.words import WORDS

from .outputs import PNG, check_file
from .places import Km, Place, narrowed
from .shared import Common, GeneratorAddress, LibraryFolder, ModelAddress, RerankerAddress

if TYPE_CHECKING:
    from diptych.library.reranker import Reranker

_MODEL = "The library's dual encoder, when it is no longer where it was: its name, folder or address."
_RERANKER = """Re-rank with this cross-encoder: base, which ships; a model folder; or blip:NAME_OR_FOLDER. Left out, it
is the one whose tokens the library holds, else the one that ships. Without --rerank, as many images as diptych rerank
fit found best."""
_DRAWN = 4  # images that stand for generated words: one alone may be a failure


def search(
    *words: str,
    library: LibraryFolder,
    image: Path | None = None,
    like: str | None = None,
    by_generated: str | None = None,
    generator: GeneratorAddress = "emoji",
    k: Annotated[int, Parameter(name=("--k", "-k"))] = 10,
    where: str | None = None,
    near: Place = None,
    km: Km = None,
    sort: Literal["score", "taken", "size"] = "score",
    model: Annotated[ModelAddress | None, Parameter(help=_MODEL)] = None,
    paths: bool = False,
    null: bool = False,
    preview: Annotated[list[str] | None, Parameter(consume_multiple=True, metavar="[FILE.png]")] = None,
    cut: bool = False,
    only_relevant: Annotated[bool, Parameter(negative=())] = False,
    calibration: Path | None = None,
    ocr: Annotated[bool, Parameter(negative=())] = False,
    rerank: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 0,
    reranker: Annotated[RerankerAddress | None, Parameter(help=_RERANKER)] = None,
    budget_ms: float | None = None,
    beta: float | None = None,
    common: Common = Common(),
) -> None:
    r"""Find images by words, by image, or by a sum of both.

    A sum is terms joined by + and -, with spaces around the sign; every term is words in quotes or an
    image's file name, perhaps with a weight. Keep the whole sum in single quotes, or give terms and
    signs as arguments of their own. Everything else is plain words.

    Examples:
        diptych search "a dog in the snow" --library ~/pictures.library
        diptych search --image holiday.jpg -k 5 --library ~/pictures.library --preview found.png
        diptych search '"red" + car.jpg - 0.5*"snow"' --library ~/pictures.library
        diptych search "a dog catches a red frisbee" --library ~/pictures.library --rerank 50
        diptych search "someone on a bike" --library captions.library
        diptych search --by-generated "a red apple" --generator runs/xmc-emoji/model --library all.library
        diptych search sunset --library all.library --where "width > height AND suffix = '.jpg'" --paths
        diptych search sunset --library all.library --near 35.34,25.13 --km 20
        diptych search sunset --library all.library --sort taken -k 50
        diptych search "a unicorn" --library all.library --only-relevant
        diptych search "gate 42" --library all.library --ocr
        diptych search sunset --library all.library --null | xargs -0 ls -l
        diptych search --library all.library -- "-5 degrees"

    Args:
        words: What to look for; words that begin with - go last, after --.
        image: Look for images like this file.
        like: Look for images like this one of the library, by its id; itself left out.
        by_generated: Draw images of these words, or from the embedding of this image file, and look for images like
            them (--seed draws others).
        k: How many images, 1 to 1,000.
        where: Only images for which this holds: comparisons of columns (= != < <= > >=, IN, BETWEEN, LIKE, IS NULL),
            joined by AND, OR and NOT; diptych library info lists the columns.
        sort: Order of the images that were found: best first; or the newest photo first, those without a date last; or
            that with most pixels first.
        paths: Print only the paths, one a line; line breaks in a name, and bytes that are not UTF-8, as \x0a, \xff.
        null: Print only the paths, each as it is on disk and with a NUL byte behind it, for xargs -0.
        preview: Thumbnails of what was found: as a contact sheet in a PNG file, or in the terminal.
        cut: Use the first 1,000 characters of a longer query instead of refusing it.
        only_relevant: Hide hits that hardly belong to the words, or to the image: those less probable than 97 of 100
            pairs that belong together. Nothing is shown where nothing of the kind is there.
        calibration: What --only-relevant judges by where the model comes with no calibration: the JSON file of diptych
            relate --calibrate.
        ocr: Find images by the words inside them too, where diptych index --ocr read them; both lists are joined by
            their ranks.
        rerank: Re-rank this many of the nearest images; 0 for none. Images without tokens get theirs now, which are
            kept (`diptych rerank prepare` makes those of all beforehand).
        budget_ms: Re-rank as many images as this many milliseconds allow.
        beta: Weight of the cosine beside the cross-encoder's score; by default what diptych rerank fit found.
    """
    queries.check_k(k)
    if null and common.json:
        raise ConfigError("found --null and --json; leave one out (--json --paths lists the paths too)")
    sheet, more_words = _sheet_file(preview)
    text = _asked_for([*words, *more_words], image, like, by_generated, cut)
    is_reranked = bool(rerank) or reranker is not None or budget_ms is not None
    if is_reranked and not text:
        raise ConfigError("only a search for words can be re-ranked; leave out --rerank, --reranker and --budget-ms")
    if only_relevant and (like is not None or by_generated is not None):
        raise ConfigError(
            "--only-relevant judges hits of words or of --image; leave it out with --like or --by-generated"
        )
    if ocr and not text:
        raise ConfigError("--ocr looks for words inside images; give words, or leave it out")
    if calibration is not None and not only_relevant:
        raise ConfigError("--calibration is what --only-relevant judges by; add --only-relevant")
    collection = Library.open(library, model, device=common.device)
    collection.reader.check_sort(sort)
    if like is None:
        collection.required_model()
    if is_reranked:
        found = _attach(collection, reranker, beta, common)
        rerank = rerank or (found.k if budget_ms is None else 0)
    drawn: Any = []
    notes: list[Note] = []
    among, placeless = narrowed(collection, where, near, km)
    if like is not None:
        hits = collection.like(like, k, among)
    elif by_generated is not None:
        from diptych import synthesis

        drawing = synthesis.load(generator, device=common.device)
        is_file = os.path.isfile(by_generated)  # noqa: PTH113 (pathlib raises for words longer than a name)
        draw = drawing.generate_like if is_file else drawing.generate
        drawn = draw([by_generated] * _DRAWN, seed=common.seed or 0)
        hits = collection.search(_mean_vector(collection, drawn), k, among)
    else:
        asked = image if image is not None else text
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", queries.QueryWarning)
            hits = collection.search(
                asked,
                k,
                among,
                rerank=rerank,
                budget_ms=budget_ms,
                only_relevant=only_relevant,
                calibration=calibration,
                ocr=ocr,
            )
        kinds = {
            queries.QueryWarning: "plain_words",
            queries.CutWarning: CUT,
            queries.UnknownWarning: "unknown_words",
            queries.UnseenWarning: "not_looked_at",
            queries.HiddenWarning: "hidden",
        }
        notes = [
            Note(kinds[one.category], getattr(one.message, "count", 1), str(one.message))
            for one in told
            if one.category in kinds
        ]
    undated: list[str] = []
    hits = collection.in_order(hits, sort, undated)
    notes += [Note("undated", 1, one) for one in undated]
    if among is not None and not hits and not collection.matching(among):
        notes.append(Note("nothing_passes", 1, collection.nothing_passes(among)))
    notes += [*collection.unfamiliar(), *(replace(one, detail=one.to_text()) for one in placeless)]
    title = text or by_generated or (f"like {like}" if like is not None else f"like {escape((image or Path()).name)}")
    for note in notes:
        common.progress().say(f"note: {note.detail}")
    if null or (paths and not common.json):
        _print_paths(hits, null, common)
    else:
        _print(hits, plain(title), paths, notes, common)
    if preview is not None:
        shown = [image.read_bytes()] if image is not None else [_png(one) for one in drawn]
        _preview(collection, hits, plain(title), shown, sheet, common)


def _asked_for(words: Sequence[str], image: Path | None, like: str | None, by_generated: str | None, cut: bool) -> str:
    """The words of the query, checked; "" when an image is asked for."""
    present = {"words": bool(words), "--image": image is not None, "--like": like is not None}
    present["--by-generated"] = by_generated is not None
    given = [name for name, is_given in present.items() if is_given]
    if len(given) > 1:
        raise ConfigError(f"found {' and '.join(given)}; expected one of them (a sum may name image files: --help)")
    if given and given[0] != "words":
        return ""
    return queries.check_text(queries.join(["-" if word == " -" else word for word in words]), cut=cut)


def _sheet_file(preview: list[str] | None) -> tuple[Path | None, list[str]]:
    """The file that --preview names, if any, and the words that merely stand behind it."""
    if preview is None:
        return None, []
    suffix = Path(preview[0]).suffix.lower() if preview else ""
    if suffix in PNG:
        check_file(Path(preview[0]), "--preview", PNG)
        return Path(preview[0]), preview[1:]
    if suffix in SUFFIXES:
        raise ConfigError(f"--preview {escape(preview[0])}: expected a file name that ends in .png")
    if not sys.stdout.isatty():
        raise ConfigError("--preview without a file needs a terminal; give it a name: --preview found.png")
    return None, preview


def _mean_vector(collection: Library, images: Any) -> Any:
    """The unit vector in the middle of several images'."""
    from diptych.core.cosine import normalise

    if collection.model is None:
        raise ConfigError("the library's model is not loaded, so an image cannot be searched for")
    return normalise(collection.model.encode_images(list(images)).mean(axis=0))


def _png(image: Any) -> bytes:
    from PIL import Image

    from diptych.library.rendering import png

    return png(Image.fromarray(image))


def _place(hit: Hit) -> str:
    """The path; of a moment, the video's and from when to when; of a text, the text itself."""
    if (text := text_of(hit.meta)) is not None:
        return f"{one_line(' '.join(text.split()))}  ({one_line(str(hit.meta['record']))})"
    if "video" not in hit.meta:
        words = f"  (in it: {hit.meta[WORDS]})" if WORDS in hit.meta else ""
        return one_line(hit.path or "") + words
    return f"{one_line(hit.meta['video'])}  {hit.meta['start']:.1f}-{hit.meta['end']:.1f} s"


def _day(hit: Hit) -> str:
    """The day that it was taken, where hits are in order of date and it says one."""
    return str(hit.meta.get(TAKEN, ""))[:10]


def _attach(collection: Library, named: str | None, beta: float | None, common: Common) -> "Reranker":
    """Load the cross-encoder whose tokens the library holds, and what was fitted for the two."""
    from diptych.library import tokens
    from diptych.models.cross_encoder import load_cross_encoder, shipped
    from diptych.runs import reranking

    named = named or tokens.remembered(collection.folder) or shipped.fitted_to(collection.card.fingerprint)
    if named is None:
        raise tokens.unnamed(collection.folder, _trained_here())

    found = reranking.reranker(
        collection.card.fingerprint,
        load_cross_encoder(named, device=common.device),
        beta=beta,
        named=collection.card.model,
    )
    collection.attach(found)
    return found


def _trained_here() -> str | None:
    """The folder of a cross-encoder that was trained in the working folder, if there is one."""
    from diptych.models.cross_encoder.folder import KIND
    from diptych.models.folder import model_kind

    return next((str(one) for one in sorted(Path("runs").glob("*/model")) if model_kind(one) == KIND), None)


def _print_paths(hits: list[Hit], null: bool, common: Common) -> None:
    """Only the paths: the bytes of each with a NUL behind it, or one a line in a form that has no line break."""
    paths = [hit.path for hit in hits if hit.path]
    if len(paths) < len(hits):
        common.progress().say(f"note: {len(hits) - len(paths)} of the {len(hits)} found have no path")
    if null:
        ended = [os.fsencode(unescape(path)) + b"\0" for path in paths]
    else:
        ended = [one_line(path).encode() + b"\n" for path in paths]
        if written := sum(one_line(path) != unescape(path) for path in paths):
            common.progress().say(
                f"note: {written} of the paths hold line breaks or bytes that are not UTF-8, printed as \\x0a or "
                "\\xff; --null prints them as they are"
            )
    sys.stdout.flush()
    sys.stdout.buffer.writelines(ended)
    sys.stdout.flush()


def _print(hits: list[Hit], query: str, paths: bool, notes: list[Note], common: Common) -> None:
    days = 12 if any(TAKEN in hit.meta for hit in hits) else 0  # characters
    lines = [f"{hit.rank + 1:>4}  {hit.score:6.3f}  {hit.id}  {_day(hit):{days}}{_place(hit)}" for hit in hits]
    scored_by = dict.fromkeys(hit.scored_by for hit in hits)
    if list(scored_by) not in ([], ["cosine"]):
        lines.append(f"ordered by {', then '.join(scored_by)}")
    found = [hit.path for hit in hits] if paths else [{**asdict(hit), "rank": hit.rank + 1} for hit in hits]
    told = {"notes": notes_json(notes)} if notes else {}
    common.show({"query": query, "hits": found, **told}, "\n".join(lines) or "nothing found")


def _preview(
    collection: Library, hits: list[Hit], title: str, query_images: list[bytes], sheet: Path | None, common: Common
) -> None:
    from diptych.library.rendering import Tile, contact_sheet, png

    found = [Tile(hit, collection.thumbnail(hit.id)) for hit in hits]
    if sheet is None:
        import shutil

        from diptych.library.rendering import preview

        print(preview(found, shutil.get_terminal_size().columns))
        return
    write_bytes(sheet, png(contact_sheet(title, found, query_images)))
    common.progress().say(f"contact sheet: {escape(str(sheet))}")
