"""`diptych explain`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from diptych.core.files import write_bytes
from diptych.core.notes import Notes

from .outputs import PNG, check_file
from .shared import Common

COMMON = Common()
_PHRASES = 3


def explain(
    image: Path,
    text: str,
    /,
    *,
    model: str = "base",
    out: Path = Path("why.png"),
    grid: Annotated[int, Parameter(validator=validators.Number(gte=2, lte=32))] = 8,
    window: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 2,
    common: Common = COMMON,
) -> None:
    """Show which regions of a picture and which words of a text make them match, as a PNG.

    Regions are painted over and words left out, one after the other; what the cosine loses is how much
    the part matters. This is exact for any model, at the price of about (grid + window)^2 looks at the picture.
    Chinese, Japanese, Thai and others that are written without spaces go by characters, a text of more than 60
    words by several words at a time.

    For example:

        diptych explain dog.jpg "a black dog runs over the grass" --out why.png

        diptych explain dog.jpg "ein schwarzer Hund" --grid 12 --window 3 --json

        diptych explain dog.jpg "一只黑色的狗在草地上奔跑"

    Args:
        image: The picture.
        text: The text.
        model: A shipped model's name, or a model folder.
        out: The PNG to write.
        grid: Cells along each side of the picture.
        window: Cells along each side of what is painted over at once.
    """
    from diptych.inspection.explanation import draw_explanation
    from diptych.inspection.occlusion import explain as taken_apart
    from diptych.models import load, require_cosine

    check_file(out, "--out", PNG)
    encoder = load(model)
    require_cosine(encoder, "explain")
    found = taken_apart(encoder, image, text, grid=grid, window=window, progress=common.progress())
    write_bytes(out, draw_explanation(found, f"{image.name}, seen by {encoder.name}"))
    lines = [f"cosine {found.score:.3f}; without each word it loses:"]
    lines += [f"  {drop:+.3f}  {word}" for word, drop in zip(found.words, found.word_drops, strict=True)]
    lines += [f"  {drop:+.3f}  {phrase}" for phrase, drop in found.phrases[:_PHRASES]]
    notes = Notes()
    if found.together > 1:
        notes.add(
            "words_together",
            f"a long text, taken apart {found.together} words at a time; parts",
            count=len(found.words),
        )
    tower = encoder.text_tower
    if tower.max_tokens is not None and (count := tower.count_tokens([text])[0]) > tower.max_tokens:
        notes.add(
            "cut",
            f"the model reads the first {tower.max_tokens} tokens of a text; not read",
            count=count - tower.max_tokens,
        )
    common.show(found.to_json() | {"file": str(out)}, "\n".join([*lines, str(out)]), notes)
