"""Make the models that ship: `base`, and the re-ranker fitted to it.

    python benchmarks/base_model.py flickr8k/ --languages flickr8k-languages.jsonl --encoder MINILM --out runs/base \
        --with emoji/:0.2 --with recipes-zh/:0.05

FLICKR8K and `--languages` (of benchmarks/languages.py) hold the same photos. `--encoder` is a folder of MiniLM, which
teaches the words and is no part of the model; `--with` names further sources of the last training, each with its share.
5 % of the training photos, always the same ones, are held out of every step: on them each step chooses its epoch, and
the re-ranker is fitted. The validation split is not read.

Each step is a command of `diptych`, which is printed. A step that is finished is not repeated, and one that was
interrupted goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--languages", required=True, help="the same photos with captions in several languages")
    parser.add_argument("--encoder", required=True, help="folder of the English sentence encoder that teaches")
    parser.add_argument("--with", dest="sources", action="append", default=[], help="SOURCE:SHARE, further data")
    parser.add_argument("--out", type=Path, default=Path("runs/base"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out, seed = options.out, ("--seed", str(options.seed))
    english = f'text.tower.towers=["use", "hf:{options.encoder}"]'

    def model(step: str) -> Path:
        return out / step / "model"

    def train(step: str, config: str, data: str, *more: object, command: str = "train") -> None:
        if not (model(step) / "config.json").exists():
            diptych(command, CONFIGS / config, data, "--out", out / step, *seed, *more)

    def export(step: str, *more: object) -> Path:
        folder = out / f"{step}-int8"
        if not (folder / "config.json").exists():
            diptych("models", "export", model(step), "--out", folder, "--precision", "int8", *more)
        return folder

    train("heads", "base/heads.toml", options.data, "--set", english)
    late = "base/late_stages.toml"
    train("late-stages", late, options.data, "--set", english, "--set", f"init={model('heads')}")
    teacher = ("--teacher", f"sentence-transformers:{options.encoder}")
    train("words", "base/words.toml", options.languages, *teacher, command="distill")
    joined = f'text.tower.towers=["use", "model:{model("words")}"]'
    parts = ("--set", f"init={model('late-stages')}", "--set", joined)
    begins = ("--set", f"text.network.begins_as={model('words')}")
    train("joined", "base/joined.toml", options.languages, *further(options.sources, 1.0), *parts, *begins)
    before = "joined"
    for step, config, share in (("joined-stages", "base/joined_stages.toml", 0.75), ("base", "base.toml", 0.6)):
        goes_on = ("--set", f"init={model(before)}")
        train(step, config, options.languages, *further(options.sources, share), *goes_on)
        before = step
    ships = export("base", "--images", options.data)
    over = ("--set", f'image.tower="model-maps:{ships}"', "--set", f"model={ships}")
    train("reranker", "base/reranker.toml", options.data, *over)
    both = ("--model", ships, "--reranker", export("reranker"))
    diptych("rerank", "fit", options.data, "--split", "train", "--share", "0.05", *both)


def further(sources: list[str], share: float) -> list[str]:
    """The flags of further sources, with so much of their shares."""
    named = (source.rsplit(":", 1) for source in sources)
    return [word for path, weight in named for word in ("--with", f"{path}:{float(weight) * share:.2f}")]


def diptych(*words: object) -> None:
    command = ["diptych", *map(str, words)]
    print("$ " + " ".join(command), flush=True)
    ran = subprocess.run([sys.executable, "-m", *command])
    if ran.returncode:
        sys.exit(ran.returncode)


if __name__ == "__main__":
    main()
