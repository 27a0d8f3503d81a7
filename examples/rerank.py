"""Re-rank the hits of a search by a cross-encoder: python examples/rerank.py [LIBRARY RERANKER QUERY].

RERANKER is the model folder of a run of configs/cross_encoder.toml. Without arguments a tiny one is trained first.
"""

import sys

from tiny import shapes

import diptych

if len(sys.argv) == 4:
    library, reranker, query, beta = diptych.Library.open(sys.argv[1]), sys.argv[2], sys.argv[3], None
else:
    folder, query, beta = shapes(), "a yellow square", 0.0
    library = diptych.Library.create("images.library", "base")
    library.index([folder])
    config = {
        "name": "tiny",
        "kind": "cross-encoder",
        "vocabulary": 100,
        "image": {"tower": "fake-maps"},
        "network": {"width": 32, "layers": 2, "heads": 2, "dropout": 0.0, "word_dropout": 0.0, "region_keep": 1.0},
        "training": {"epochs": 40, "batch_size": 16, "learning_rate": 5e-3},
    }
    reranker = diptych.train(config, folder / "pairs.csv", "runs/tiny").model_folder

hits = library.search(query, k=50)
for hit in diptych.rerank(query, hits, reranker, model=library.card.model, beta=beta)[:5]:
    print(f"{hit.rank + 1}. {hit.score:.2f}  {hit.path}")
