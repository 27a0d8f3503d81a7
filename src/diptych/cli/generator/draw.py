"""`diptych generator draw`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from diptych.cli.outputs import PNG, check_file, check_folder
from diptych.cli.shared import Common, GeneratorAddress
from diptych.core.errors import ConfigError

_MOST_IN_GRID = 1_024
_MOST = 1_000_000


def draw(
    *texts: str,
    generator: GeneratorAddress = "emoji",
    n: Annotated[int, Parameter(name=("-n", "--n"))] = 8,
    out: Path | None = None,
    folder: Path | None = None,
    to: str = "",
    like: tuple[Path, ...] = (),
    lang: str = "",
    common: Common = Common(),
) -> None:
    """Draw small images from words, or from the embedding of an image.

    One row a text; the images of a column start from the same noise, so that the same words in several languages
    can be compared side by side. With --to a row goes from one text to the other in n steps of one noise. With
    --folder every image becomes a file of its own, written as it is made, however many there are; when it is
    interrupted, the same command continues.

    Examples:
        diptych generator draw "a red apple" -n 8 --seed 1 --out grid.png
        diptych generator draw "a red apple" --to "a green apple" -n 9 --out between.png
        diptych generator draw "red heart" "rotes Herz" "corazón rojo" --out languages.png
        diptych generator draw "a red apple" -n 10000 --folder apples/
        diptych generator draw --like apple.jpg --generator runs/x-mrs-image/model --out like.png

    Args:
        texts: What the images should show.
        n: Images of each text.
        out: One PNG with all images; grid.png when left out.
        folder: Folder for one PNG an image, instead of a grid.
        to: Text to go to, in n steps.
        like: An image; the generator is given its embedding, which X-MRS's generators can read. Repeat for several.
        lang: Language of the texts (ISO 639-1), to be warned if the text tower does not know it.
    """
    import warnings

    from diptych.synthesis import UnknownLanguageWarning, image_files, load

    if not texts and not like:
        raise ConfigError('expected a text, such as: diptych generator draw "a red apple"')
    if like and (to or folder):
        raise ConfigError("--like draws a grid of images that are like one; leave out --to and --folder")
    if not 1 <= n <= _MOST:
        raise ConfigError(f"-n must be from 1 to {_MOST:,} images of each text, found {n}")
    if to and len(texts) != 1:
        raise ConfigError(f"--to goes from one text to another; found {len(texts)} texts to start from")
    if to and n < 2:
        raise ConfigError("--to needs -n of at least 2: both ends")
    if folder and out:
        raise ConfigError("give --out for a grid, or --folder for single files, not both")
    if folder and to:
        raise ConfigError("--to draws a grid; leave out --folder")
    if not folder and (count := n * (len(texts) + len(like))) > _MOST_IN_GRID:
        raise ConfigError(
            f"{count:,} images are too many for one grid (at most {_MOST_IN_GRID:,}); write them to --folder"
        )
    path = out or Path("grid.png")
    if folder:
        check_folder(folder, "--folder")
    else:
        check_file(path, "--out", PNG)
    loaded = load(generator, device=common.device)
    progress = common.progress()
    seed = common.seed or 0
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UnknownLanguageWarning)
        loaded.check([*texts, *([to] if to else [])], lang)
    for each in told:
        progress.say(f"warning: {each.message}")
    for text in texts:
        if unread := loaded.unread_words(text):
            progress.say(
                f"note: only the first {loaded.config.text.max_words} words are read one by one; not these: "
                f"{' '.join(unread)}"
            )
    if folder:
        count = image_files.write_folder(loaded, texts, n, folder, seed=seed, progress=progress)
        where, shown = str(folder), f"{count} images in {folder}"
    else:
        count = image_files.write_grid(loaded, texts, n, path, seed=seed, to=to, like=like)
        where, shown = str(path), f"{count} images in {path}"
    value = {
        "model": loaded.config.name,
        "texts": [*texts, *([to] if to else [])],
        **({"like": [str(one) for one in like]} if like else {}),
        "seed": seed,
        "images": count,
        "size": loaded.size,
        "path": where,
    }
    common.show(value, shown)
