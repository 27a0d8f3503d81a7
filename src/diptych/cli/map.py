"""`diptych map`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from diptych.core.extras import need
from diptych.core.files import write_bytes
from diptych.data.readers import SourceOptions, open_source

from .outputs import HTML, PNG, check_file
from .shared import Common, ModelAddress
from .sources import Reading


def draw_map(
    source: str,
    /,
    *,
    model: ModelAddress = "base",
    out: Path = Path("map.html"),
    options: Reading = SourceOptions(),
    limit: Annotated[int, Parameter(validator=validators.Number(gte=2, lte=20_000))] = 1000,
    words: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=20_000))] = 1500,
    method: Literal["auto", "pacmap", "pca"] = "auto",
    keep_gap: bool = False,
    common: Common = Common(),
) -> None:
    """Lay out a model's space: images with texts, and the words of the texts, as an interactive page and a PNG.

    The page is one file that needs no network: drag, zoom, point at things, search, colour by kind,
    language or class. Small copies of the images are inside it.

    Examples:
        diptych map flickr8k/ --split val --out map.html
        diptych map recipes.jsonl --model runs/mine/model --limit 500 --method pca

    Args:
        source: File or folder of pairs.
        out: The page to write; the PNG gets the same name.
        limit: Records on the map, drawn at random from the source.
        words: Words on the map, the commonest; 0 for none.
        method: PaCMAP keeps neighbours near (extra [map]), PCA needs nothing; auto takes what is installed.
        keep_gap: Keep images and texts in two clusters. Else the mean of each is subtracted first, so that they mix.
    """
    if method == "pacmap":
        need("pacmap", "--method pacmap")
    need("matplotlib", "diptych map")
    from diptych.inspection.atlas import make_atlas
    from diptych.inspection.atlas_page import to_html, to_png
    from diptych.models import load

    check_file(out, "--out", HTML, source)
    check_file(out.with_suffix(".png"), "--out, for its image,", PNG)
    encoder = load(model, device=common.device)
    opened = open_source(source, options)
    atlas = make_atlas(
        encoder,
        list(opened),
        title=f"{encoder.name} on {opened.name}",
        limit=limit,
        words=words,
        method=method,
        keep_gap=keep_gap,
        seed=common.seed or 0,
        progress=common.progress(),
    )
    texts = [point.text for point in atlas.maps[0].points if point.kind == "text"]
    opened.notes.extend(encoder.cut_texts(texts))
    image = out.with_suffix(".png")
    write_bytes(out, to_html(atlas).encode("utf-8", "replace"))
    write_bytes(image, to_png(atlas))
    counts = {one.title: len(one.points) for one in atlas.maps}
    found = {"page": str(out), "image": str(image), "points": counts, "skipped": atlas.skipped}
    lines = [f"{title}: {count:,} points" for title, count in counts.items()]
    common.show(found, "\n".join([*lines, str(out), str(image)]), opened.notes)
