"""Read a format of your own: python examples/own_reader.py holiday.album, lines of `image.jpg = a text`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import diptych
from diptych.core.errors import Reason
from diptych.core.types import FileImage
from diptych.data.readers import Reading


@diptych.register.reader("album", detects=lambda path: path.suffix == ".album")
def read(reading: Reading) -> Iterator[diptych.Pair]:
    """A pair for each line; images lie beside the file."""
    for line in reading.path.read_text(encoding="utf-8").splitlines():
        image, _, text = (part.strip() for part in line.partition("="))
        if text:
            yield diptych.Pair(image, (FileImage(reading.path.parent / image),), (diptych.Text(text),), None)
        else:
            reading.skip(line, Reason.BAD_ROW, "expected image = text")


source = diptych.open_source(Path(sys.argv[1]))
for pair in source:
    print(pair.id, [text.value for text in pair.texts])
print(f"{len(source.skipped)} lines left out")
