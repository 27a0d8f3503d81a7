"""Index a folder of images once, then search it in words: python examples/search_a_folder.py [FOLDER [QUERY]]."""

import sys
from pathlib import Path

from tiny import shapes

import diptych

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else shapes()
query = sys.argv[2] if len(sys.argv) > 2 else "ein roter Kreis"

place = Path("images.library")
library = diptych.Library.open(place) if place.exists() else diptych.Library.create(place, "base")
report = library.index([folder])  # only what is new or has changed is embedded
print(f"{len(library)} images, {report.added} of them new")

for hit in library.search(query, k=3):
    print(f"{hit.rank + 1}. {hit.score:.2f}  {hit.path}")
