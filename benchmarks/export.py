"""An exported CLIP of ViT-B/32's size beside the same model in plain PyTorch, and a cold search by words with it.

    python benchmarks/export.py [--threads 2] [--rounds 5] [--keep FOLDER]

The model has random weights and the architecture of openai/clip-vit-base-patch32, made on the spot by transformers.
PyTorch runs it as its documentation says: evaluation mode, `inference_mode`, whole batches of 32 prepared images, and
32 texts padded to the longest. The export runs the same pixels and the same texts, tokenising included on both sides.
Rounds alternate, the fastest of each counts, and what is printed is the ratio. Quality: the smallest cosine to the
original, the mean of the set taken off. Cold: `diptych search` as a process of its own, and whether it imported torch.
Targets: fp32 1.2 times PyTorch on images, int8 1.5 times, fp32 cosine 0.9999, cold search 1.5 s without torch.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from diptych.data.images import prepare
from diptych.encoders.inputs import normalise_pixels
from diptych.encoders.pretrained import import_transformers
from diptych.models import DualEncoder, load
from diptych.models.exporting import PRECISIONS, export_model

BATCH, COLD, SIDE = 32, 5, 224
RUN = ["-c", "import sys; from diptych.cli.app import run; sys.exit(run(sys.argv[1:]))"]
TARGETS = {"fp32": 1.2, "int8": 1.5}
COSINE_TARGET, COLD_TARGET = 0.9999, 1.5
WORDS = ("a man in a blue shirt is standing on a ladder cleaning the window", "of an old house near the sea")


def make_model(folder: Path) -> None:
    """A CLIP as large as ViT-B/32, with a small tokenizer."""
    import torch
    from tests.joint_models import MEAN, STD, save_clip_tokenizer

    transformers = import_transformers()
    torch.manual_seed(0)
    tokenizer = save_clip_tokenizer(folder, 77)
    config = transformers.CLIPConfig()  # whose defaults are ViT-B/32
    config.text_config.bos_token_id, config.text_config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    transformers.CLIPModel(config).eval().save_pretrained(folder)
    sides = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    steps = {"do_resize": True, "do_center_crop": True, "do_rescale": True, "do_normalize": True, "resample": 3}
    said = {"image_processor_type": "CLIPImageProcessor", **sides, **steps, "image_mean": MEAN, "image_std": STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))


def fastest(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Seconds of the fastest round of each, in turn; the first round of all warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    return {name: min(found[1:]) for name, found in seconds.items()}


def least_cosine(found: np.ndarray, wanted: np.ndarray) -> float:
    """The smallest cosine of two rows after the mean of the set is taken off."""
    one, other = found - found.mean(axis=0), wanted - wanted.mean(axis=0)
    return float(((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min())


def plain(folder: Path, pixels: np.ndarray, texts: list[str], original: DualEncoder) -> dict[str, Callable[[], Any]]:
    """The model in a plain loop of its own library."""
    import torch

    transformers = import_transformers()
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    planes = torch.from_numpy(normalise_pixels(pixels, original.preprocess))

    @torch.inference_mode()
    def images() -> Any:
        return torch.nn.functional.normalize(model.get_image_features(pixel_values=planes).pooler_output, dim=-1)

    @torch.inference_mode()
    def words() -> Any:
        inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        return torch.nn.functional.normalize(model.get_text_features(**inputs).pooler_output, dim=-1)

    return {"images": images, "texts": words}


def cold_search(model: Path, folder: Path) -> tuple[float, bool]:
    """Median seconds of a search by words as a process of its own; whether it imported torch."""
    photos, library = folder / "photos", folder / "library"
    photos.mkdir()
    for number, colour in enumerate(("red", "green", "blue", "white", "black")):
        Image.new("RGB", (300 + number, 200), colour).save(photos / f"{colour}.jpg")
    index = [*RUN, "index", str(photos), "--library", str(library), "--model", str(model), "--quiet"]
    subprocess.run([sys.executable, *index], check=True, stdout=subprocess.DEVNULL)
    search = [*RUN, "search", "a red wall", "--library", str(library)]
    seconds = []
    for _ in range(COLD):
        started = time.perf_counter()
        subprocess.run([sys.executable, *search], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    asked = [sys.executable, "-X", "importtime", *search]
    traced = subprocess.run(asked, check=True, capture_output=True, text=True).stderr
    imported = {line.rpartition("|")[2].strip() for line in traced.splitlines()}
    return statistics.median(seconds), "torch" in imported


def cpu_name() -> str:
    """As Linux states it, and whether it multiplies bytes in one instruction (VNNI)."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    has_vnni = "vnni" in found.get("flags", "")
    return f"{found.get('model name', platform.processor())}, {'with' if has_vnni else 'without'} VNNI"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="write the models here and leave them")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        measure(arguments.keep or Path(temporary), arguments.threads, arguments.rounds)


def measure(folder: Path, threads: int, rounds: int) -> None:
    """Print the tables; exit code 1 where a target is missed."""
    import torch

    torch.set_num_threads(threads)
    source = folder / "clip"
    source.mkdir(parents=True, exist_ok=True)
    make_model(source)
    original = load(f"hf:{source}", device="cpu")
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (BATCH, 9, 9, 3), dtype=np.uint8)
    shapes = [(200 + 5 * number, 400 - 4 * number) for number in range(BATCH)]
    photos = [
        np.asarray(Image.fromarray(one).resize(shape[::-1], Image.Resampling.BICUBIC))
        for one, shape in zip(small, shapes, strict=True)
    ]
    pixels = np.stack([prepare(photo, original.preprocess) for photo in photos])
    words = " ".join(WORDS).split()
    texts = [" ".join(words[number % 7 : number % 7 + 4 + number % 11]) for number in range(BATCH)]
    works = {"PyTorch": plain(source, pixels, texts, original)}
    wanted = {"images": original.encode_pixels(pixels), "texts": original.encode_texts(texts)}
    rows: dict[str, list[str]] = {}
    least: dict[str, float] = {}
    for precision in PRECISIONS:
        out = folder / precision
        config, _ = export_model(original, out, precision=precision)
        model = DualEncoder(out, config, threads=threads, device="cpu")
        found = {"images": model.encode_pixels(pixels), "texts": model.encode_texts(texts)}
        cosines = {side: least_cosine(found[side], wanted[side]) for side in found}
        least[precision] = min(cosines.values())
        size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
        rows[precision] = [f"{size:.0f}", *(f"{value:.5f}" for value in cosines.values())]
        works[precision] = {
            "images": lambda model=model: model.encode_pixels(pixels),
            "texts": lambda model=model: model.encode_texts(texts),
        }
    speeds = {side: fastest({name: work[side] for name, work in works.items()}, rounds) for side in wanted}
    print(f"{cpu_name()}; {threads} threads; batches of {BATCH}\n")
    print("| | images/s | x PyTorch | texts/s | x PyTorch | MB | cosine images | cosine texts |")
    print("|---|---|---|---|---|---|---|---|")
    ratios: dict[str, float] = {}
    for name in works:
        cells = []
        for side in wanted:
            seconds, base = speeds[side][name], speeds[side]["PyTorch"]
            cells += [f"{BATCH / seconds:.1f}", f"{base / seconds:.2f}"]
        ratios[name] = speeds["images"]["PyTorch"] / speeds["images"][name]
        print(f"| {name} | {' | '.join([*cells, *rows.get(name, ['', '', ''])])} |")
    seconds, heavy = cold_search(folder / "fp32", Path(tempfile.mkdtemp(dir=folder)))
    print(f"\ncold search by words, fp32: {seconds:.2f} s, torch {'imported' if heavy else 'not imported'}")
    good = all(ratios[name] >= target for name, target in TARGETS.items())
    good = good and least["fp32"] >= COSINE_TARGET and seconds <= COLD_TARGET and not heavy
    print(f"targets: fp32 1.2x, int8 1.5x, cosine {COSINE_TARGET}, cold {COLD_TARGET} s: {'met' if good else 'missed'}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
