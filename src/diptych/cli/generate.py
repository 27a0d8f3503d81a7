"""`diptych generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from diptych.core.errors import ConfigError

from .outputs import PNG, check_file, check_folder
from .shared import Common

_MOST_IN_GRID = 1_024
_MOST = 1_000_000


def generate(
    *texts: str,
    model: str = "emoji",
    n: Annotated[int, Parameter(name=("-n", "--n"))] = 8,
    out: Path | None = None,
    folder: Path | None = None,
    to: str = "",
    lang: str = "",
    common: Common = Common(),
) -> None:
    """Make small pictures from words.

    One row a text, each column with the same noise, so that the same words in several languages can be
    compared side by side. With --to a row goes from one text to the other in n steps of one noise. With
    --folder every picture becomes a file of its own, written as it is made, however many there are; an
    interrupted command goes on.

    For example:

        diptych generate "a red apple" -n 8 --seed 1 --out grid.png

        diptych generate "a red apple" --to "a green apple" -n 9 --out between.png

        diptych generate "red heart" "rotes Herz" "corazón rojo" --out languages.png

        diptych generate "a red apple" -n 10000 --folder apples/

    Parameters
    ----------
    texts
        What the pictures should show.
    model
        A shipped generator by name, or a folder that `diptych train` wrote.
    n
        Pictures of each text.
    out
        One PNG with all pictures; grid.png when left out.
    folder
        Folder for one PNG a picture, instead of a grid.
    to
        Text to go to, in n steps.
    lang
        Language of the texts (ISO 639-1), to be warned if the text tower does not know it.
    """
    import warnings

    from diptych.synthesis import UnknownLanguageWarning, load, writing

    if not texts:
        raise ConfigError('expected a text, such as: diptych generate "a red apple"')
    if not 1 <= n <= _MOST:
        raise ConfigError(f"-n must be from 1 to {_MOST:,} pictures of each text, found {n}")
    if to and len(texts) != 1:
        raise ConfigError(f"--to goes from one text to another; found {len(texts)} texts to start from")
    if to and n < 2:
        raise ConfigError("--to needs -n of at least 2: both ends")
    if folder and out:
        raise ConfigError("give --out for a grid, or --folder for single files, not both")
    if folder and to:
        raise ConfigError("--to draws a grid; leave out --folder")
    if not folder and n * len(texts) > _MOST_IN_GRID:
        raise ConfigError(
            f"{n * len(texts):,} pictures are too many for one grid (at most {_MOST_IN_GRID:,}); write them to --folder"
        )
    path = out or Path("grid.png")
    if folder:
        check_folder(folder, "--folder")
    else:
        check_file(path, "--out", PNG)
    generator = load(model)
    progress = common.progress()
    seed = common.seed or 0
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UnknownLanguageWarning)
        generator.check([*texts, *([to] if to else [])], lang)
    for each in told:
        progress.say(f"warning: {each.message}")
    for text in texts:
        if unread := generator.unread_words(text):
            progress.say(
                f"note: regions look at the first {generator.config.text.max_words} words; not at: {' '.join(unread)}"
            )
    if folder:
        count = writing.write_folder(generator, texts, n, folder, seed=seed, progress=progress)
        where, shown = str(folder), f"{count} pictures in {folder}"
    else:
        count = writing.write_grid(generator, texts, n, path, seed=seed, to=to)
        where, shown = str(path), f"{count} pictures in {path}"
    value = {
        "model": generator.config.name,
        "texts": [*texts, *([to] if to else [])],
        "seed": seed,
        "pictures": count,
        "size": generator.size,
        "path": where,
    }
    common.show(value, shown)
