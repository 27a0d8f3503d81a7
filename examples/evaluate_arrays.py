"""Measure embeddings that were made elsewhere: python examples/evaluate_arrays.py [EMBEDDINGS.npz]."""

import sys

import numpy as np

import diptych

if len(sys.argv) > 1:  # arrays `images` (n, d), `texts` (m, d) and `owner` (m): the image that each text is of
    arrays = np.load(sys.argv[1])
    images, texts, owner = arrays["images"], arrays["texts"], arrays["owner"]
else:  # five noisy texts for each of 100 random images
    draw = np.random.default_rng(0)
    images, owner = draw.normal(size=(100, 64)), np.repeat(np.arange(100), 5)
    texts = images[owner] + 2 * draw.normal(size=(500, 64))

report = diptych.evaluate(images=images, texts=texts, owner=owner, name="mine")
print(report)  # the table, with 95 % intervals
print(f"text to image: R@10 {report.text_to_image['R@10']:.3f}; rsum {report.rsum:.1f}")
