"""A process that writes pictures one by one, and says what was acknowledged: made to be killed, see kill.py.

    python benchmarks/item_writer.py LIBRARY SEED

Each line on stdout is JSON: {"op": "add" | "patch" | "delete" | "undo", ...}, written once the call has returned.
The vectors are made of the numbers of the pictures, so that no model is needed and each can be checked.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.protocols import Preprocess
from diptych.library import Library, NewItem, Prepared, card

DIM = 64
THUMB = b"\xff\xd8\xff" + b"small" + b"\xff\xd9"


class Numbered:
    """Stands for a model whose pictures are numbers: only its name and fingerprint are asked for."""

    name = "numbered"
    fingerprint = "0123456789abcdef" * 2
    dim = DIM
    preprocess = Preprocess(size=32)

    def encode_pixels(self, pixels: Any) -> Any:
        """Never asked for."""
        raise NotImplementedError("every picture comes prepared")

    encode_texts = encode_images = encode_pixels


def vector(number: int) -> np.ndarray:
    return normalise(np.random.default_rng(number).normal(size=DIM).astype(np.float32))


def picture(number: int) -> NewItem:
    """Bytes that say which number it is."""
    prepared = Prepared(vector(number), THUMB, 4, 3)
    return NewItem(b"picture %d" % number, f"{number}.jpg", meta={"number": number}, prepared=prepared)


def opened(folder: Path) -> Library:
    return Library.open(folder) if card.exists(folder) else Library.create(folder, Numbered())


def main() -> None:
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    chance = random.Random(seed)
    library = opened(folder)
    live: list[str] = []
    number = seed * 1_000_000

    def say(**what: Any) -> None:
        print(json.dumps(what), flush=True)

    library.search(vector(1), 1)
    library.items(limit=1)  # opens the store, for writing too
    say(op="started")
    while True:
        kind = chance.choices(("add", "patch", "delete", "undo"), (6, 2, 2, 1))[0]
        if kind == "add" or not live:
            count = chance.choice((1, 1, 1, 4))
            numbers = list(range(number, number + count))
            number += count
            added = library.add([picture(one) for one in numbers])
            live += [item.id for item in added.items]
            say(op="add", ids={item.id: item.meta["number"] for item in added.items})
        elif kind == "patch":
            identifier, value = chance.choice(live), chance.randrange(10**9)
            say(op="patching", id=identifier, value=value)
            library.patch(identifier, meta={"value": value})
            say(op="patch", id=identifier, value=value)
        else:
            gone = chance.sample(live, min(len(live), chance.choice((1, 3))))
            say(op="deleting", ids=gone)
            deletion = library.delete(gone)
            say(op="delete", ids=list(deletion.ids))
            if kind == "undo":
                say(op="undoing", ids=gone)
                say(op="undo", ids=list(library.undo(deletion).restored))
            else:
                live = [one for one in live if one not in gone]


if __name__ == "__main__":
    main()
