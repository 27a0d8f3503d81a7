"""`diptych explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators

from diptych.core.errors import ConfigError
from diptych.core.extras import need
from diptych.core.files import write_bytes
from diptych.core.notes import Note, Notes

from .outputs import PNG, check_file
from .shared import Common, LibraryFolder, ModelAddress, RerankerAddress

if TYPE_CHECKING:
    from diptych.data.images import ImageInput
    from diptych.models import DualEncoder

_MODEL = """Dual encoder: a shipped model's name, a model folder, or the address of a pretrained one; base when left
out."""
_GRID, _WINDOW = 8, 2
_PHRASES = 3
_SHOWN_WORDS = 20  # printed; the figure and --json have all


def explain(
    text: str,
    image: Path | None = None,
    /,
    *,
    by: Literal["occlusion", "attention"] = "occlusion",
    model: Annotated[ModelAddress | None, Parameter(help=_MODEL)] = None,
    reranker: RerankerAddress | None = None,
    id: str = "",
    library: LibraryFolder | None = None,
    out: Path = Path("explained.png"),
    grid: Annotated[int, Parameter(validator=validators.Number(gte=2, lte=32))] = _GRID,
    window: Annotated[int, Parameter(validator=validators.Number(gte=1))] = _WINDOW,
    common: Common = Common(),
) -> None:
    """Show which regions of an image and which words of a text make them match, as a PNG.

    --by occlusion asks a dual encoder. Regions are covered and words left out, one after the other; what the cosine
    loses is how much the part matters. This is exact for any model; it encodes the image about (grid + window)^2
    times. Chinese, Japanese, Thai and others that are written without spaces go by characters, a text of more than
    60 words by several words at a time.

    --by attention asks a cross-encoder (--reranker, else the one that ships): which regions each word of the text
    attended to, and by how many nats the image made the word likelier. Large numbers speak for the match, negative ones
    against it.

    --by attention with --model asks a dual encoder's own parts: how its text transformer spreads its attention over
    the words, however many, and which regions of the last feature map of its image network raise the cosine
    (Grad-CAM). It takes one pass and PyTorch.

    Examples:
        diptych explain "a black dog runs over the grass" dog.jpg
        diptych explain "ein schwarzer Hund" dog.jpg --grid 12 --window 3 --json
        diptych explain "一只黑色的狗在草地上奔跑" dog.jpg --out why.png
        diptych explain "a red frisbee" photo.jpg --by attention --reranker runs/cross-encoder/model
        diptych explain "a red frisbee" photo.jpg --by attention --model runs/recipes/model
        diptych explain "a red frisbee" --library ~/pictures.library --id 3f2a91c07be44d10

    Args:
        text: The text.
        image: The image; or name one of a library by --id.
        by: Which way to explain: occlusion with --model, or attention with --reranker or --model.
        id: The id of an image in the library, as search prints it.
        out: The PNG to write.
        grid: Cells along each side of the image, for occlusion.
        window: Cells along each side of what is covered at once, for occlusion.
    """
    from diptych.models.cross_encoder import shipped

    check_file(out, "--out", PNG)
    if by == "attention":
        if reranker is None and (model is not None or not shipped.is_shipped()):
            need("torch", "diptych explain --by attention --model")
        if (grid, window) != (_GRID, _WINDOW):
            raise ConfigError("--grid and --window do nothing with --by attention; leave them out")
    elif reranker is not None:
        raise ConfigError("--reranker does nothing with --by occlusion; add --by attention, or leave it out")
    if (image is None) == (not id):
        raise ConfigError("expected an image, or --id with --library, and not both")
    if image and not image.exists() and Path(text).is_file():
        raise ConfigError(f"found the file {text} where the text was expected; the text comes first, then the image")
    shown = image or _in_library(library, id)
    if by == "attention" and model is None and reranker is None:
        reranker = shipped.NAME if shipped.is_shipped() else None
    if reranker is not None:
        _by_attention(text, shown, reranker, out, common)
    elif by == "attention":
        _by_own_attention(text, shown, model or "base", out, common)
    else:
        _by_occlusion(text, shown, model or "base", out, grid, window, common)


def _in_library(folder: Path | None, identifier: str) -> ImageInput:
    from diptych.library import Library

    if folder is None:
        raise ConfigError("--id needs --library, the folder that diptych index made")
    return Library.open(folder).image(identifier)


def _by_occlusion(text: str, image: ImageInput, model: str, out: Path, grid: int, window: int, common: Common) -> None:
    from diptych.data.images import name_of
    from diptych.inspection.explanation import draw_explanation
    from diptych.inspection.occlusion import explain as explain_by_occlusion
    from diptych.models import load, require_cosine

    encoder = load(model, device=common.device)
    require_cosine(encoder, "explain")
    found = explain_by_occlusion(encoder, image, text, grid=grid, window=window, progress=common.progress())
    write_bytes(out, draw_explanation(found, f"{Path(name_of(image)).name}, by {encoder.name}"))
    lines = [f"cosine {found.score:.3f}; without each word it loses:"]
    lines += [f"  {drop:+.3f}  {word}" for word, drop in zip(found.words, found.word_drops, strict=True)]
    lines += [f"  {drop:+.3f}  {phrase}" for phrase, drop in found.phrases[:_PHRASES]]
    notes = Notes(_unread(encoder, text))
    if found.together > 1:
        notes.add(
            "words_together",
            f"a long text, taken apart {found.together} words at a time; parts",
            count=len(found.words),
        )
    common.show(found.to_json() | {"file": str(out)}, "\n".join([*lines, str(out)]), notes)


def _unread(encoder: DualEncoder, text: str) -> tuple[Note, ...]:
    """A note where the text has more tokens than the model reads."""
    tower = encoder.text_tower
    if tower.max_tokens is None or (count := tower.count_tokens([text])[0]) <= tower.max_tokens:
        return ()
    detail = f"the model reads the first {tower.max_tokens} tokens of a text; not read"
    return (Note("cut", count - tower.max_tokens, detail),)


def _by_own_attention(text: str, image: ImageInput, model: str, out: Path, common: Common) -> None:
    from diptych.data.images import name_of
    from diptych.inspection.attention import attention_maps, draw_attention
    from diptych.models import load, require_cosine

    encoder = load(model, device=common.device)
    require_cosine(encoder, "explain")
    found = attention_maps(encoder, image, text)
    write_bytes(out, draw_attention(found, text, f"{Path(name_of(image)).name}, by {encoder.name}"))
    lines = [f"cosine {found.score:.3f}"]
    notes = Notes(_unread(encoder, text))
    if found.words is None:
        notes.add("no_attention", "the text side has no transformer whose attention could be shown")
    else:
        words = sorted(found.words, key=lambda word: -word[1])[:_SHOWN_WORDS]
        lines += [f"of the attention, {found.elsewhere:.0%} is on tokens that are no word; most of it is on:"]
        lines += [f"  {share:6.1%}  {word}" for word, share in words]
    if found.regions is None:
        notes.add("no_regions", "the image side has no square feature map whose regions could be shown")
    common.show(
        found.to_json() | {"text": text, "image": name_of(image), "file": str(out)},
        "\n".join([*lines, str(out)]),
        notes,
    )


def _by_attention(text: str, image: ImageInput, reranker: str, out: Path, common: Common) -> None:
    from diptych.data.images import name_of
    from diptych.models.cross_encoder import load_trained_cross_encoder
    from diptych.models.cross_encoder.explain import explain_match, overlay

    match = explain_match(load_trained_cross_encoder(reranker, device=common.device), image, text)
    write_bytes(out, overlay(image, match))
    value = {
        "text": match.text,
        "image": name_of(image),
        "h": match.score,
        "words": [{"word": one.word, "gain": one.gain, "regions": one.regions.tolist()} for one in match.words],
        "out": str(out),
    }
    lines = [f"  {one.word:16} {one.gain:+6.2f}" for one in match.words]
    notes = [Note("cut", match.unread, "word pieces at the end of the text that the cross-encoder does not read")]
    text = "\n".join([f"h = {match.score:.2f}; nats that the image adds to each word:", *lines, str(out)])
    common.show(value, text, notes if match.unread else ())
