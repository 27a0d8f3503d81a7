"""Train a small CLIP with open_clip's own training loop, and measure it by open_clip's evaluation and by ours.

python benchmarks/open_clip_parity.py flickr8k/                    # about 10 minutes on two quiet cores
python benchmarks/open_clip_parity.py SOURCE --epochs 2 --records 1000 --out parity

The model is a narrow ViT CLIP of the real architecture (`open_clip.CLIP`), trained by `open_clip_train.train` on the
source's training split, one random caption of an image an epoch, and saved as open_clip saves. Then R@1, R@5 and R@10
of its validation split, the same images and texts each time:

    get_clip_metrics     open_clip's own validation: the first caption of each image alone
    CLIP_benchmark       zeroshot_retrieval of LAION's CLIP_benchmark, by its formula: all captions
    open_clip:FOLDER     `diptych eval` of that folder
    hf:FOLDER            `diptych eval` of the same weights as a CLIP of transformers

Exit code 1 where more than --queries queries (0) differ. They may differ where two texts are equal: open_clip's order
among equal scores is arbitrary, ours counts a tie against the model; the number of such texts is printed. hf:FOLDER
also differs where an image is cut to a square and an odd margin is left: the libraries round its half in opposite ways.
The weights are for measuring only: they are nothing to search with.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import diptych
from diptych.core.types import FileImage, Pair, Text
from diptych.data.readers import SourceOptions, open_source
from diptych.encoders.compat import import_torchvision
from diptych.encoders.pretrained import import_transformers

import_torchvision()
import open_clip  # noqa: E402
import torch  # noqa: E402
from open_clip_train.scheduler import cosine_lr  # noqa: E402
from open_clip_train.train import get_clip_metrics, train_one_epoch  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

MODEL = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": 4, "width": 192, "patch_size": 8},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 192, "heads": 3, "layers": 3},
}
CUTS = (1, 5, 10)
MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD


@dataclass(frozen=True)
class Captioned:
    """An image file and its captions."""

    image: Path
    texts: tuple[str, ...]


def captioned(pairs: Sequence[Pair], lang: str = "") -> list[Captioned]:
    """Each pair's first image with its texts; with `lang`, those in it."""
    found = []
    for pair in pairs:
        texts = tuple(text.value for text in pair.texts if not lang or text.lang in (lang, None))
        if texts and pair.images:
            found.append(Captioned(Path(pair.images[0].path), texts))  # type: ignore[attr-defined]
    return found


class Batches:
    """What open_clip's loop iterates over: its own transform and tokenizer, one random caption an image."""

    def __init__(self, rows: Sequence[Captioned], tokenizer: Any, size: int, batch_size: int, seed: int) -> None:
        self.rows, self.tokenizer, self.batch_size, self.seed = rows, tokenizer, batch_size, seed
        self.transform = open_clip.image_transform(size, is_train=True, mean=MEAN, std=STD)
        self.num_batches = len(rows) // batch_size
        self.num_samples = self.num_batches * batch_size
        self.epoch = 0
        self.dataloader = self
        self.images = [Image.open(row.image).convert("RGB") for row in rows]

    def set_epoch(self, epoch: int) -> None:
        """Called by the loop before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Any:
        draw = np.random.default_rng((self.seed, self.epoch))
        torch.manual_seed(self.seed + self.epoch)
        order = draw.permutation(len(self.rows))[: self.num_samples].reshape(self.num_batches, -1)
        for batch in order:
            texts = [self.rows[at].texts[draw.integers(len(self.rows[at].texts))] for at in batch]
            yield torch.stack([self.transform(self.images[at]) for at in batch]), self.tokenizer(texts)


def train(rows: Sequence[Captioned], config: dict[str, Any], epochs: int, batch_size: int, seed: int = 0) -> Any:
    """A CLIP of this config, trained by `open_clip_train.train.train_one_epoch`."""
    torch.manual_seed(seed)
    model = open_clip.CLIP(**config, output_dict=True)
    open_clip.set_model_preprocess_cfg(
        model, {"size": config["vision_cfg"]["image_size"], "mean": MEAN, "std": STD, "interpolation": "bicubic",
                "resize_mode": "shortest"},
    )  # fmt: skip
    tokenizer = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])
    batches = Batches(rows, tokenizer, config["vision_cfg"]["image_size"], batch_size, seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
    steps = epochs * batches.num_batches
    scheduler = cosine_lr(optimiser, 1e-3, steps // 10 + 1, steps)
    args = Namespace(
        accum_freq=1, batch_size=batch_size, device="cpu", distill=False, distributed=False, epochs=epochs,
        grad_clip_norm=1.0, horovod=False, log_every_n_steps=10, precision="fp32", save_logs=False, rank=0,
        skip_scheduler=False, wandb=False, world_size=1, checkpoint_path="", local_rank=0, val_frequency=0,
    )  # fmt: skip
    for epoch in range(epochs):
        begun = time.perf_counter()
        train_one_epoch(model, {"train": batches}, open_clip.ClipLoss(), epoch, optimiser, None, scheduler, None, args)
        print(f"epoch {epoch + 1}/{epochs}: {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    return model.eval()


def save_open_clip(model: Any, config: dict[str, Any], folder: Path) -> Path:
    """The folder that open_clip loads: open_clip_config.json and its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    importlib.import_module("open_clip.push_to_hf_hub").save_config_for_hf(
        model, folder / "open_clip_config.json", config
    )
    return folder


def save_transformers(model: Any, config: dict[str, Any], folder: Path) -> Path:
    """The same weights as a CLIP of transformers, with its tokenizer and image processor."""
    transformers = import_transformers()
    folder.mkdir(parents=True, exist_ok=True)
    vision, text = config["vision_cfg"], config["text_cfg"]
    own = open_clip.SimpleTokenizer(context_length=text["context_length"])
    named = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {named.get(token, token): number for token, number in own.encoder.items()}
    tokenizer = transformers.CLIPTokenizer(
        vocab=vocabulary, merges=[tuple(pair) for pair in own.bpe_ranks], model_max_length=text["context_length"]
    )
    tokenizer.save_pretrained(folder)
    made = transformers.CLIPConfig(
        projection_dim=config["embed_dim"],
        vision_config={
            "hidden_size": vision["width"], "num_hidden_layers": vision["layers"], "hidden_act": "gelu",
            "num_attention_heads": vision["width"] // vision.get("head_width", 64),
            "intermediate_size": 4 * vision["width"], "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
        },
        text_config={
            "hidden_size": text["width"], "num_hidden_layers": text["layers"], "hidden_act": "gelu",
            "num_attention_heads": text["heads"], "intermediate_size": 4 * text["width"],
            "vocab_size": text["vocab_size"], "max_position_embeddings": text["context_length"],
            "bos_token_id": own.sot_token_id, "eos_token_id": own.eot_token_id,
        },
    )  # fmt: skip
    clip = transformers.CLIPModel(made).eval()
    clip.load_state_dict(renamed(model.state_dict()), strict=True)
    clip.save_pretrained(folder)
    said = {
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "resample": 3, "do_center_crop": True,
        "size": {"shortest_edge": vision["image_size"]}, "do_rescale": True, "do_normalize": True,
        "crop_size": {"height": vision["image_size"], "width": vision["image_size"]}, "do_convert_rgb": True,
        "image_mean": MEAN, "image_std": STD,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


def renamed(state: dict[str, Any]) -> dict[str, Any]:
    """open_clip's names as those of transformers; its joint query, key and value matrix in three."""
    found = {
        "logit_scale": state["logit_scale"],
        "visual_projection.weight": state["visual.proj"].T.contiguous(),
        "text_projection.weight": state["text_projection"].T.contiguous(),
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
    }
    norms = {"visual.ln_pre": "vision_model.pre_layrnorm", "visual.ln_post": "vision_model.post_layernorm",
             "ln_final": "text_model.final_layer_norm"}  # fmt: skip
    parts = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
             "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}  # fmt: skip
    for key, value in state.items():
        name, kind = key.rpartition(".")[::2]
        if name in norms:
            found[f"{norms[name]}.{kind}"] = value
        side, block, rest = key.partition("transformer.resblocks.")
        if not block:
            continue
        number, _, part = rest.partition(".")
        layer = f"{'vision' if side else 'text'}_model.encoder.layers.{number}."
        if part.startswith("attn.in_proj_"):
            kind = part.removeprefix("attn.in_proj_")
            for letter, piece in zip("qkv", value.chunk(3), strict=True):
                found[f"{layer}self_attn.{letter}_proj.{kind}"] = piece.contiguous()
        else:
            part, _, kind = part.rpartition(".")
            found[f"{layer}{parts[part]}.{kind}"] = value
    return found


@torch.inference_mode()
def features(folder: Path, rows: Sequence[Captioned]) -> tuple[Any, Any, list[int]]:
    """Unit vectors of images and of all texts by open_clip's transform and tokenizer, and the image of each text."""
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    images = [transform(Image.open(row.image)) for row in rows]
    texts = [text for row in rows for text in row.texts]
    owner = [at for at, row in enumerate(rows) for _ in row.texts]
    parts = range(0, len(images), 64)
    made = torch.cat([model.encode_image(torch.stack(images[at : at + 64]), normalize=True) for at in parts])
    said = [model.encode_text(tokenizer(texts[at : at + 256]), normalize=True) for at in range(0, len(texts), 256)]
    return made, torch.cat(said), owner


def first_captions(images: Any, texts: Any, owner: Sequence[int], scale: float) -> dict[str, float]:
    """`open_clip_train.train.get_clip_metrics` with the first caption of each image, in percent."""
    first = [owner.index(at) for at in range(len(images))]
    found = get_clip_metrics(images, texts[first], scale)
    return {f"{way} R@{cut}": 100 * float(found[f"{name}_R@{cut}"]) for way, name in
            (("i2t", "image_to_text"), ("t2i", "text_to_image")) for cut in CUTS}  # fmt: skip


def clip_benchmark(images: Any, texts: Any, owner: Sequence[int]) -> dict[str, float]:
    """CLIP_benchmark's zeroshot_retrieval: queries with a right item among their k highest scores, in percent."""
    scores = texts @ images.T
    positive = torch.zeros(scores.shape, dtype=torch.bool)
    positive[torch.arange(len(texts)), torch.tensor(owner)] = True
    found = {}
    for way, score, right in (("i2t", scores.T, positive.T), ("t2i", scores, positive)):
        for cut in CUTS:
            chosen = torch.topk(score, min(cut, score.shape[1]), dim=1)[1]
            found[f"{way} R@{cut}"] = 100 * float((torch.gather(right, 1, chosen).sum(1) > 0).float().mean())
    return found


def ours(address: str, rows: Sequence[Captioned]) -> dict[str, float]:
    """`diptych eval` of the same images and texts, in percent."""
    pairs = [Pair(str(row.image), (FileImage(row.image),), tuple(map(Text, row.texts)), split="val") for row in rows]
    report = diptych.evaluate(address, pairs, resamples=0)
    ways = (("i2t", report.image_to_text), ("t2i", report.text_to_image))
    return {f"{way} R@{cut}": 100 * side[f"R@{cut}"] for way, side in ways for cut in CUTS}


def compare(folder: Path, converted: Path, rows: Sequence[Captioned]) -> dict[str, dict[str, dict[str, float]]]:
    """Protocol -> who measured -> R@k in percent."""
    images, texts, owner = features(folder, rows)
    first = [Captioned(row.image, row.texts[:1]) for row in rows]
    scale = math.exp(4.0)  # any: a rank does not depend on it
    found = {
        "first caption": {"get_clip_metrics": first_captions(images, texts, owner, scale)},
        "all captions": {"CLIP_benchmark": clip_benchmark(images, texts, owner)},
    }
    for protocol, chosen in (("first caption", first), ("all captions", list(rows))):
        found[protocol] |= {f"open_clip:{folder.name}": ours(f"open_clip:{folder}", chosen),
                            f"hf:{converted.name}": ours(f"hf:{converted}", chosen)}  # fmt: skip
    return found


def widest_gap(found: dict[str, dict[str, dict[str, float]]], rows: Sequence[Captioned]) -> float:
    """The largest difference of ours from open_clip's, in queries."""
    gaps = []
    for protocol, by in found.items():
        reference, *others = by.values()
        texts = len(rows) if protocol == "first caption" else sum(len(row.texts) for row in rows)
        for other in others:
            gaps += [abs(other[name] - value) / 100 * (len(rows) if name[:3] == "i2t" else texts)
                     for name, value in reference.items()]  # fmt: skip
    return max(gaps)


def main() -> int:
    """Train, save, convert, measure; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--records", type=int, default=0, help="of the training split; 0 is all")
    parser.add_argument("--lang", default="", help="of the captions; all when left out")
    parser.add_argument("--queries", type=int, default=0, help="of ours that may differ from open_clip's")
    parser.add_argument("--out", type=Path, help="folder to keep both models in")
    told = parser.parse_args()
    splits = {name: open_source(told.source, SourceOptions(split=name)) for name in ("train", "val")}
    training, rows = (captioned(list(source), told.lang) for source in splits.values())
    training = training[: told.records or None]
    begun = time.perf_counter()
    model = train(training, MODEL, told.epochs, told.batch_size)
    seconds = time.perf_counter() - begun
    with tempfile.TemporaryDirectory() as temporary:
        place = told.out or Path(temporary)
        folder = save_open_clip(model, MODEL, place / "open-clip")
        found = compare(folder, save_transformers(model, MODEL, place / "transformers"), rows)
    gap = widest_gap(found, rows)
    texts = [text for row in rows for text in row.texts]
    print(f"{len(training):,} images, {told.epochs} epochs, {seconds:.0f} s; measured on {len(rows):,} images with "
          f"{len(texts):,} texts, {len(texts) - len(set(texts)):,} of them repeated\n")  # fmt: skip
    names = [f"{way} R@{cut}" for way in ("i2t", "t2i") for cut in CUTS]
    print("| protocol | measured by | " + " | ".join(names) + " |\n|---|---|" + "---:|" * len(names))
    for protocol, by in found.items():
        for who, row in by.items():
            print(f"| {protocol} | {who} | " + " | ".join(f"{row[name]:.2f}" for name in names) + " |")
    print(f"\nwidest gap: {gap:.0f} queries")
    return int(round(gap) > told.queries)


if __name__ == "__main__":
    sys.exit(main())
