"""Videos with captions out of photographs: does a model need several frames of them?

    python benchmarks/films.py flickr8k/ --out films --train 500 --val 150 --model base
    diptych eval films/msrvtt.json --split val --model base
    diptych train configs/cross_encoder_video.toml films/msrvtt.json --set data.val=held-out
    diptych train configs/cross_encoder.toml films/msrvtt.json --set data.val=held-out       # the middle frame alone
    python benchmarks/rerank.py films/msrvtt.json --split val --model base --reranker RUN/model --texts 500 --images 100

Each video shows two photographs, one after the other, under a slowly moving view; its captions are those of both. So
the frame in the middle holds what half of the captions say. Written as MSR-VTT is published, `msrvtt.json` with the
splits of the source, and the validation split once more as VATEX. With --model the captions of the validation split are
searched for among its videos, by four frames of each and by the frame in the middle.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from clips import film
from diptych.cli.shared import RichProgress
from diptych.core.files import write_json
from diptych.data.images import stream
from diptych.data.readers import SourceOptions, open_source
from diptych.evaluation import Positives, ranks_from_scores
from diptych.evaluation.metrics import recall_at
from diptych.models import DualEncoder, load
from diptych.models.embed import embed_pairs

SECONDS = 2.0  # a photograph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--out", type=Path, default=Path("films"))
    parser.add_argument("--train", type=int, default=500, help="videos")
    parser.add_argument("--val", type=int, default=150, help="videos")
    parser.add_argument("--model", help="a dual encoder to measure")
    options = parser.parse_args()
    content = {"videos": [], "sentences": []}
    for split, most in (("train", options.train), ("val", options.val)):
        pairs = [pair for pair in open_source(options.source, SourceOptions(split=split)) if pair.texts]
        chosen = np.random.default_rng(0).permutation(len(pairs))[: 2 * most].reshape(-1, 2)
        for number, places in enumerate(RichProgress().track(chosen, f"{split} videos", total=len(chosen))):
            name, scenes = f"{split}{number:05}", [pairs[place] for place in places]
            path = options.out / "videos" / f"{name}.mp4"
            if not path.exists():
                film(path, scenes, SECONDS)
            content["videos"].append({"video_id": name, "split": "validate" if split == "val" else split})
            texts = [text.value for pair in scenes for text in pair.texts if text.lang in (None, "en")]
            content["sentences"] += [{"video_id": name, "caption": text} for text in texts]
    write_json(options.out / "msrvtt.json", content)
    captions: dict[str, list[str]] = {}
    for sentence in content["sentences"]:
        captions.setdefault(sentence["video_id"], []).append(sentence["caption"])
    rows = [
        {"videoID": name, "enCap": texts, "chCap": []} for name, texts in captions.items() if name.startswith("val")
    ]
    write_json(options.out / "vatex_validation.json", rows)
    print(json.dumps({"videos": len(content["videos"]), "captions": len(content["sentences"])}))
    if options.model:
        print(json.dumps(measure(load(options.model), options.out / "msrvtt.json"), indent=1))


def measure(model: DualEncoder, source: Path) -> dict[str, dict[str, float]]:
    """text -> video R@k in percent, by the mean of four frames' vectors and by the frame in the middle alone."""
    pairs = embed_pairs(model, list(open_source(source, SourceOptions(split="val"))))
    batches = stream(pairs.image_refs, model.preprocess)
    middle = np.concatenate([model.encode_pixels(batch.pixels) for batch in batches])
    found = {}
    for name, videos in (("four frames", pairs.images), ("middle frame", middle)):
        positives = Positives.from_labels(pairs.owner, pairs.image_owner)
        ranks = ranks_from_scores(pairs.texts @ videos.T, positives)
        found[name] = {f"R@{k}": round(100 * float(recall_at(ranks, k).mean()), 1) for k in (1, 5, 10)}
    return found


if __name__ == "__main__":
    main()
