"""Training on cached features with a GRU: our engine's steps against a classic VSE++ training loop.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --rounds 3 --precisions bf16-mixed --json

Both train the very same modules from the same weights on the same made-up data: 3,808 numbers a picture in a
float16 file, captions of about 11 words from a vocabulary of 8,000 whose frequencies fall as in real text.
The classic loop is written from its description: a DataLoader over single captions, words looked up one by
one, lists padded in a loop, the hinge on the hardest negative of the batch, clipping, Adam, and the loss read
back at each step. Ours is the `Trainer` with the objective `Contrastive`, the loss `max_hinge` and the same
optimiser; between two epochs, instead of a validation, it hands over to a round of the classic loop, so that
both meet the same state of the machine. The first round of each is not counted.

Both run in one process on `--threads` threads. The CPU seconds are what counts on a machine that others use
too; the wall clock is printed beside them. `--precisions` says what ours computes in; classic is 32 bits.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, Dataset

from diptych.losses import Embedded
from diptych.losses.max_hinge import MaxHinge
from diptych.training.batch_order import BatchRows, TextBatches
from diptych.training.engine import Trainer
from diptych.training.objectives import Contrastive
from diptych.training.settings import TrainingSettings

FEATURES, WORDS, WORD_WIDTH, WIDTH, BATCH, TEXTS = 3808, 8000, 300, 1024, 128, 5
MARGIN, RATE, CLIP = 0.2, 2e-4, 2.0


class Towers(nn.Module):
    """A linear map of features, and a GRU read at the last word; both of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Linear(FEATURES, WIDTH)
        self.words = nn.Embedding(WORDS + 1, WORD_WIDTH)
        self.gru = nn.GRU(WORD_WIDTH, WIDTH, batch_first=True)

    def embed_images(self, features: Tensor) -> Tensor:
        """(b, 3808) -> (b, 1024)."""
        return normalize(self.image(features).float(), dim=1)

    def embed_texts(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(b, longest) word numbers -> (b, 1024)."""
        packed = pack_padded_sequence(self.words(tokens), lengths, batch_first=True, enforce_sorted=False)
        return normalize(self.gru(packed)[1][0].float(), dim=1)


@dataclass(frozen=True)
class Data:
    """The same captions twice: as text for the classic loop, and as padded rows of word numbers for ours."""

    images: np.ndarray  # (n, 3808) float16, memory-mapped
    captions: list[str]
    vocabulary: dict[str, int]
    tokens: np.ndarray  # (5 n, longest) int32, memory-mapped, 0 beyond the end
    lengths: np.ndarray


def make_data(folder: Path, images: int) -> Data:
    draw = np.random.default_rng(0)
    stored = np.lib.format.open_memmap(folder / "images.npy", "w+", np.float16, (images, FEATURES))
    stored[:] = draw.standard_normal((images, FEATURES)).clip(0)
    lengths = draw.poisson(9, TEXTS * images) + 2  # 11 on average
    tokens = np.lib.format.open_memmap(folder / "tokens.npy", "w+", np.int32, (len(lengths), int(lengths.max())))
    often = 1 / np.arange(1, WORDS + 1)
    for row, length in zip(tokens, lengths, strict=True):
        row[:length] = draw.choice(WORDS, int(length), p=often / often.sum()) + 1
    vocabulary = {f"word{number}": number for number in range(1, WORDS + 1)}
    captions = [" ".join(f"Word{n}" for n in row[:length]) for row, length in zip(tokens, lengths, strict=True)]
    for array in (stored, tokens):
        array.flush()
    read = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "tokens"))
    images_read, tokens_read = read
    return Data(images_read, captions, vocabulary, tokens_read, lengths)


@dataclass
class Clock:
    """Seconds a step, of each round, in CPU time and by the wall; and the CPU time of named parts."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)

    def start(self) -> None:
        """A round begins."""
        self._from = time.process_time(), time.perf_counter()

    def stop(self, steps: int) -> None:
        """A round of so many steps ends."""
        self.cpu.append((time.process_time() - self._from[0]) / steps)
        self.wall.append((time.perf_counter() - self._from[1]) / steps)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens within towards `name`."""
        before = time.process_time()
        yield
        self.parts[name] = self.parts.get(name, 0.0) + time.process_time() - before


class Captions(Dataset):
    """One caption and its picture at a time, as the classic loop reads them."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data.captions)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        image = torch.from_numpy(np.asarray(self.data.images[number // TEXTS], dtype=np.float32))
        words = self.data.captions[number].lower().split()
        return image, torch.tensor([self.data.vocabulary[word] for word in words])


def collate(items: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Sorted by length, stacked and padded in a loop."""
    items.sort(key=lambda item: len(item[1]), reverse=True)
    images, captions = zip(*items, strict=True)
    lengths = [len(caption) for caption in captions]
    padded = torch.zeros(len(captions), max(lengths), dtype=torch.int64)
    for row, caption in enumerate(captions):
        padded[row, : lengths[row]] = caption
    return torch.stack(images), padded, torch.tensor(lengths)


class Classic:
    """The loop that public VSE++ code runs."""

    def __init__(self, towers: Towers, data: Data, clock: Clock) -> None:
        self.towers = towers
        self.optimiser = torch.optim.Adam(towers.parameters(), lr=RATE)
        self.loader = DataLoader(Captions(data), BATCH, shuffle=True, collate_fn=collate, drop_last=True)
        self.clock = clock

    def round(self) -> None:
        """One pass over the data."""
        self.towers.train()
        self.clock.start()
        batches = iter(self.loader)
        for _ in range(len(self.loader)):
            with self.clock.part("read and collate"):
                images, captions, lengths = next(batches)
            with self.clock.part("forward"):
                loss = hardest(self.towers.embed_images(images), self.towers.embed_texts(captions, lengths))
            self.optimiser.zero_grad()
            with self.clock.part("backward"):
                loss.backward()
            with self.clock.part("clip"):
                nn.utils.clip_grad_norm_(self.towers.parameters(), CLIP)
            with self.clock.part("update"):
                self.optimiser.step()
            loss.item()  # for the running mean that is printed
        self.clock.stop(len(self.loader))


def hardest(images: Tensor, texts: Tensor) -> Tensor:
    """The hinge on the hardest negative, siblings and all."""
    scores = images @ texts.T
    partner = scores.diagonal().view(-1, 1)
    itself = torch.eye(len(scores), dtype=torch.bool)
    to_text = (MARGIN + scores - partner).clamp(min=0).masked_fill(itself, 0)
    to_image = (MARGIN + scores - partner.T).clamp(min=0).masked_fill(itself, 0)
    return to_text.max(1)[0].sum() + to_image.max(0)[0].sum()


class Ours:
    """The engine on the same data."""

    def __init__(self, towers: Towers, data: Data, clock: Clock, classic: Classic, folder: Path, **how: Any) -> None:
        self.towers, self.data, self.clock, self.classic = towers, data, clock, classic
        texts = np.arange(len(data.captions))
        self.plan = TextBatches(np.arange(len(data.images)), texts // TEXTS, batch_size=BATCH)
        settings = TrainingSettings(
            batch_size=BATCH,
            learning_rate=RATE,
            weight_decay=0.0,
            optimiser="adam",
            schedule="constant",
            warmup=0.0,
            clip=CLIP,
            **how,
        )
        self.trainer = Trainer(
            towers,
            Contrastive(self.embed, MaxHinge(MARGIN, warmup_epochs=0)),
            self.hand_over,
            self.plan,
            settings,
            folder,
            identity={},
            start_epoch=lambda _: clock.start(),
            device="cpu",
        )
        for owner, method, name in (
            (self.trainer.objective, "backward", "forward and backward"),
            (self.trainer.optimiser, "step", "update"),
        ):
            setattr(owner, method, self._timed(getattr(owner, method), name))

    def embed(self, rows: BatchRows) -> Embedded:
        """Rows of the files -> embeddings."""
        lengths = self.data.lengths[rows.text]
        images = torch.from_numpy(np.asarray(self.data.images[rows.image], dtype=np.float32))
        tokens = torch.from_numpy(self.data.tokens[rows.text, : lengths.max()])
        texts = self.towers.embed_texts(tokens, torch.from_numpy(lengths))
        return Embedded(self.towers.embed_images(images), texts, torch.from_numpy(rows.owner))

    def hand_over(self) -> dict[str, float]:
        """What the engine takes for a validation."""
        self.clock.stop(self.plan.batches)
        with torch.inference_mode(False), torch.enable_grad():
            self.classic.round()
        return {"score": 0.0}

    def _timed(self, method: Any, name: str) -> Any:
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.clock.part(name):
                return method(*arguments, **options)

        return timed


def compare(data: Data, precision: str, rounds: int, folder: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    towers = Towers()
    clocks = {"classic": Clock(), "ours": Clock()}
    classic = Classic(copy.deepcopy(towers), data, clocks["classic"])
    ours = Ours(
        towers, data, clocks["ours"], classic, folder, precision=precision, epochs=rounds + 1, tensorboard=False
    )
    require_same_model(ours, classic)
    ours.trainer.fit()
    steps = (rounds + 1) * ours.plan.batches
    found: dict[str, Any] = {"precision": precision}
    for name, clock in clocks.items():
        found[name] = {
            "cpu_ms_a_step": 1e3 * median(clock.cpu[1:]),
            "wall_ms_a_step": 1e3 * median(clock.wall[1:]),
            "parts_cpu_ms": {part: 1e3 * seconds / steps for part, seconds in clock.parts.items()},
        }
    for unit in ("cpu", "wall"):
        found[f"{unit}_ratio"] = found["classic"][f"{unit}_ms_a_step"] / found["ours"][f"{unit}_ms_a_step"]
    return found


def require_same_model(ours: Ours, classic: Classic) -> None:
    """Both sides embed one batch alike, each by its own way of reading it."""
    rows = next(iter(ours.plan.epoch(0)))
    captions = Captions(ours.data)
    with torch.no_grad():
        images, padded, lengths = collate([captions[int(number)] for number in rows.text])
        theirs = classic.towers.embed_images(images), classic.towers.embed_texts(padded, lengths)
        own = ours.embed(rows)
    order = np.argsort(-ours.data.lengths[rows.text], kind="stable")
    for left, right in zip(theirs, (own.image[order], own.text[order]), strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=0)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256, help="pictures, with 5 captions each (default 256)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of each side (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="of both sides (default 1)")
    parser.add_argument("--precisions", nargs="+", default=["32-true", "bf16-mixed"], help="of ours")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(Path(folder), options.images)
        found = [compare(data, each, options.rounds, Path(folder) / each) for each in options.precisions]
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for each in found:
        print(
            f"ours in {each['precision']}: {each['cpu_ratio']:.2f}x the classic loop (wall {each['wall_ratio']:.2f}x)"
        )
        for name in ("classic", "ours"):
            side = each[name]
            parts = ", ".join(f"{part} {spent:.0f}" for part, spent in side["parts_cpu_ms"].items())
            print(f"  {name:8}{side['cpu_ms_a_step']:6.0f} ms CPU a step (wall {side['wall_ms_a_step']:.0f}): {parts}")


if __name__ == "__main__":
    main()
