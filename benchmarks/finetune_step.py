"""Fine-tuning a CLIP: our steps against a plain PyTorch loop of the same model and batch, and memory by chunks.

    python benchmarks/finetune_step.py
    python benchmarks/finetune_step.py --size small --json

The model is a CLIP of transformers with random weights, as large as ViT-B/32 (151 million; `--size small` is quick).
Both train it from the same weights on the same pairs: pixels of 8 bits that are normalised in the step, captions of 16
tokens (a new length costs either side some seconds once, while kernels are made for it). The plain loop is what a
script around the model does: token ids cut to the longest of the batch, the model's own features, the symmetric
cross-entropy with the learnt temperature, AdamW, and the loss read back at each step; LoRA is peft's on query and
value, as ours. Ours is the `Trainer` with the networks `joint_image` and `joint_text`, without its checkpoints. Between
two epochs, instead of a validation, ours hands over to a round of the plain loop, so that both meet the same state of
the machine; the first round of each is not counted. Target: at least 1.0 times the plain loop, full and LoRA.

Memory: peak resident memory of a process that trains `--batch` pairs at once, and of one that trains 8 times as many by
gradient caching (training.chunk = batch). Target: at most 1.2 times.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from diptych.core.registry import Part
from diptych.core.types import Text
from diptych.data.features import CachedRows, FeaturePairs
from diptych.encoders.pretrained import import_transformers
from diptych.losses.info_nce import InfoNCE
from diptych.models.heads import IdentityHead
from diptych.models.networks import Network, build_network
from diptych.models.side import Side
from diptych.training.batch_order import TextBatches
from diptych.training.engine import Trainer
from diptych.training.objectives import Contrastive
from diptych.training.settings import TrainingSettings
from diptych.training.two_sides import TwoSides

LENGTH, TOKENS, WORDS, RATE, DECAY = 77, 16, 49_000, 1e-5, 0.1
START, END = 49_406, 49_407
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SMALL = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
LORA = {"rank": 8, "alpha": 16.0, "dropout": 0.0}


def make_model(folder: Path, size: str) -> Path:
    """A CLIP with random weights, and files beside it that say how its inputs are made."""
    from tokenizers import Tokenizer, models

    transformers = import_transformers()
    torch.manual_seed(0)
    narrow = SMALL if size == "small" else {}
    text = {**narrow, "bos_token_id": START, "eos_token_id": END, "pad_token_id": END}
    config = transformers.CLIPConfig(text_config=text, vision_config=narrow)
    transformers.CLIPModel(config).save_pretrained(folder)
    vocabulary = {f"word{number}": number for number in range(START)}
    vocabulary |= {"<|startoftext|>": START, "<|endoftext|>": END}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))  # never used: rows of ids are made up
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=LENGTH)
    tokenizer.pad_token = tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(folder)
    prepared = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 224},
        "crop_size": {"height": 224, "width": 224},
        "image_mean": MEAN,
        "image_std": STD,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(prepared))
    return folder


def make_pairs(count: int) -> FeaturePairs:
    """Made-up images of 224 pixels, each with one caption of 16 tokens."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (count, 224 * 224 * 3), dtype=np.uint8)
    ids = np.full((count, LENGTH), -1, dtype=np.int32)
    for row in ids:
        row[:TOKENS] = [START, *draw.integers(0, WORDS, TOKENS - 2), END]
    numbers = np.arange(count)
    names = tuple(map(str, numbers))
    return FeaturePairs(
        images=(CachedRows(pixels, numbers),),
        texts=CachedRows(ids, numbers),
        written=tuple(Text(name) for name in names),
        image_owner=numbers,
        text_owner=numbers,
        ids=names,
        keys=names,
        image_keys=tuple(name.encode() for name in names),
        groups=(None,) * count,
    )


class Rows:
    """What a network asks of the tower below it."""

    def __init__(self, dim: int, vocabulary: int | None) -> None:
        self.dim, self.vocabulary = dim, vocabulary


def our_module(folder: Path, lora: bool) -> TwoSides:
    """Both sides of the model and the loss, as a run builds them."""
    options: dict[str, Any] = {"model": f"hf:{folder}", **({"lora": LORA} if lora else {})}
    sides = []
    for name, rows in (("joint_image", Rows(224 * 224 * 3, None)), ("joint_text", Rows(LENGTH, END + 1))):
        network: Network = build_network(Part(name, options), rows)
        network.start()
        sides.append(Side(network, IdentityHead(network.dim, network.dim)))
    return TwoSides(*sides, InfoNCE(0.07))


class Clock:
    """Seconds a step, of each round, in CPU time and by the wall."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def start(self) -> None:
        """A round begins."""
        self._from = time.process_time(), time.perf_counter()

    def stop(self, steps: int) -> None:
        """A round of so many steps ends."""
        self.cpu.append((time.process_time() - self._from[0]) / steps)
        self.wall.append((time.perf_counter() - self._from[1]) / steps)


class Plain(nn.Module):
    """The loop that a script around transformers runs."""

    def __init__(self, folder: Path, lora: bool, pairs: FeaturePairs, batch: int, precision: str, clock: Clock) -> None:
        super().__init__()
        model = import_transformers().CLIPModel.from_pretrained(folder)
        if lora:
            import peft

            wanted = peft.LoraConfig(
                r=int(LORA["rank"]),
                lora_alpha=LORA["alpha"],
                lora_dropout=LORA["dropout"],
                target_modules=["q_proj", "v_proj"],
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # what peft calls in transformers has a newer name
                model = peft.get_peft_model(model, wanted).base_model.model
            model.logit_scale.requires_grad_(True)
        self.model = model.train()
        self.pairs, self.batch, self.precision, self.clock = pairs, batch, precision, clock
        self.mean, self.std = (torch.tensor(values).reshape(1, 3, 1, 1) * 255 for values in (MEAN, STD))
        learning = [weight for weight in self.model.parameters() if weight.requires_grad]
        groups = [
            {"params": [weight for weight in learning if weight.ndim >= 2], "weight_decay": DECAY},
            {"params": [weight for weight in learning if weight.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=RATE)

    def embed(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Embeddings of some pairs."""
        pixels = torch.from_numpy(self.pairs.images[0][rows]).reshape(-1, 224, 224, 3).permute(0, 3, 1, 2)
        ids = torch.from_numpy(self.pairs.texts[rows])
        kept = ids >= 0
        longest = int(kept.sum(1).max())
        ids, kept = ids.where(kept, END)[:, :longest], kept[:, :longest].long()
        image = self.model.get_image_features(pixel_values=((pixels.float() - self.mean) / self.std).contiguous())
        text = self.model.get_text_features(input_ids=ids, attention_mask=kept)
        both = (getattr(each, "pooler_output", each) for each in (image, text))
        one, other = (normalize(each.float(), dim=-1) for each in both)
        return one, other

    def round(self) -> None:
        """One pass over the data."""
        order = np.random.default_rng(len(self.clock.cpu)).permutation(len(self.pairs.image_owner))
        self.clock.start()
        steps = len(order) // self.batch
        for rows in order[: steps * self.batch].reshape(steps, self.batch):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16-mixed"):
                images, texts = self.embed(rows)
                scores = images @ texts.T * self.model.logit_scale.exp()
                target = torch.arange(len(rows))
                loss = 0.5 * (cross_entropy(scores, target) + cross_entropy(scores.T, target))
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            loss.item()  # for the running mean that is printed
        self.clock.stop(steps)


def settings(batch: int, epochs: int, precision: str, chunk: int = 0) -> TrainingSettings:
    """The plain loop's optimiser, as ours."""
    return TrainingSettings(
        batch_size=batch,
        epochs=epochs,
        precision=precision,
        chunk=chunk,
        learning_rate=RATE,
        weight_decay=DECAY,
        schedule="constant",
        warmup=0.0,
        checkpoint_minutes=0,
        tensorboard=False,
    )


def our_trainer(module: TwoSides, pairs: FeaturePairs, folder: Path, how: TrainingSettings, **hooks: Any) -> Trainer:
    """The engine on the pairs, as a run makes it."""
    loss = module.loss
    order = TextBatches(pairs.image_owner, pairs.text_owner, batch_size=how.batch_size)
    objective = Contrastive(lambda rows: module.embed(pairs, rows, None), loss, how.chunk)
    trainer = Trainer(module, objective, order=order, settings=how, folder=folder, identity={}, device="cpu", **hooks)
    for name in ("save_last", "save_best", "load_best"):  # gigabytes on their way to the disk would slow the next round
        setattr(trainer._checkpoints, name, lambda *_: None)
    return trainer


def require_same_model(module: TwoSides, plain: Plain) -> None:
    """Both embed one batch alike, each by its own way of reading it."""
    rows = np.arange(2)
    pairs = plain.pairs
    with torch.no_grad():
        ours = (module.image(torch.from_numpy(pairs.images[0][rows])), module.text(torch.from_numpy(pairs.texts[rows])))
        for left, right in zip(ours, plain.embed(rows), strict=True):
            torch.testing.assert_close(left, right, atol=1e-4, rtol=0)


def compare(model: Path, lora: bool, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds a step of both."""
    pairs = make_pairs(options.batch * options.steps)
    clocks = {"plain": Clock(), "ours": Clock()}
    plain = Plain(model, lora, pairs, options.batch, options.precision, clocks["plain"])
    module = our_module(model, lora)
    require_same_model(module, plain)

    def hand_over() -> dict[str, float]:
        clocks["ours"].stop(options.steps)
        with torch.inference_mode(False), torch.enable_grad():
            plain.round()
        return {"score": 0.0}

    how = settings(options.batch, options.rounds + 1, options.precision)
    starts = {"validate": hand_over, "start_epoch": lambda _: clocks["ours"].start()}
    trainer = our_trainer(module, pairs, folder, how, **starts)
    trainer.fit()
    found: dict[str, Any] = {"what": "LoRA" if lora else "full"}
    for name, clock in clocks.items():
        found[name] = {"cpu_s_a_step": median(clock.cpu[1:]), "wall_s_a_step": median(clock.wall[1:])}
    for unit in ("cpu", "wall"):
        found[f"{unit}_ratio"] = found["plain"][f"{unit}_s_a_step"] / found["ours"][f"{unit}_s_a_step"]
    return found


def peak(model: Path, batch: int, chunk: int, precision: str) -> float:
    """Peak resident memory in MB of this process, after two steps."""
    pairs = make_pairs(2 * batch)
    how = settings(batch, 1, precision, chunk)
    with tempfile.TemporaryDirectory() as folder:
        our_trainer(our_module(model, False), pairs, Path(folder), how, validate=lambda: {"score": 0.0}).fit()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peak_elsewhere(model: Path, batch: int, chunk: int, options: argparse.Namespace) -> float:
    """As `peak`, of a process of its own."""
    command = [sys.executable, __file__, "--child", str(model), str(batch), str(chunk)]
    command += ["--precision", options.precision, "--threads", str(options.threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["vit-b-32", "small"], default="vit-b-32")
    parser.add_argument("--batch", type=int, default=8, help="pairs of a step (default 8)")
    parser.add_argument("--steps", type=int, default=4, help="steps of a round (default 4)")
    parser.add_argument("--rounds", type=int, default=2, help="counted rounds of each side (default 2)")
    parser.add_argument("--threads", type=int, default=2, help="of both sides (default 2)")
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="32-true", help="of both sides")
    parser.add_argument("--only", nargs="+", choices=["full", "lora", "memory"], default=["full", "lora", "memory"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.child:
        model, batch, chunk = options.child
        print(peak(Path(model), int(batch), int(chunk), options.precision))
        return
    found: dict[str, Any] = {"size": options.size, "batch": options.batch, "precision": options.precision, "steps": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "clip", options.size)
        for what in ("full", "lora"):
            if what in options.only:
                found["steps"].append(compare(model, what == "lora", options, folder / what))
        if "memory" in options.only:
            once = peak_elsewhere(model, options.batch, 0, options)
            chunked = peak_elsewhere(model, 8 * options.batch, options.batch, options)
            found["memory"] = {"once_mb": once, "eight_times_in_chunks_mb": chunked, "ratio": chunked / once}
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"CLIP {options.size}, {options.batch} pairs a step, {options.precision}, {options.threads} threads")
    for each in found["steps"]:
        ratios = f"{each['wall_ratio']:.2f} times the plain loop (CPU {each['cpu_ratio']:.2f})"
        times = ", ".join(f"{name} {each[name]['wall_s_a_step']:.2f} s" for name in ("plain", "ours"))
        print(f"{each['what']:5} {ratios}: {times} a step")
    if "memory" in found:
        memory = found["memory"]
        print(
            f"memory: {memory['once_mb']:,.0f} MB for {options.batch} pairs, "
            f"{memory['eight_times_in_chunks_mb']:,.0f} MB for {8 * options.batch} by chunks: "
            f"{memory['ratio']:.2f} times"
        )


if __name__ == "__main__":
    main()
