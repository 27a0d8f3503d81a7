"""Embed images and texts, and say which text is nearest: python examples/embed_and_compare.py [IMAGE ...]."""

import sys
from pathlib import Path

from tiny import shapes

import diptych

files = sys.argv[1:] or sorted(shapes().glob("*-circle-60.png"))
texts = ["a red circle", "ein blauer Kreis", "un círculo verde", "a dog on a beach"]

model = diptych.load("base")
images = model.encode_images(files)  # (n, 512), unit length
scores = model.similarity(images=images, texts=model.encode_texts(texts))  # (n, 4), higher is nearer

for file, row in zip(files, scores, strict=True):
    print(f"{Path(file).name:24} {row.max():.2f}  {texts[row.argmax()]}")
