"""Indexing with a pretrained joint model against a plain loop of the model's own library, taking turns.

    python benchmarks/joint_index.py FOLDER [--limit 320] [--rounds 3] [--threads 2] [--library hf open_clip]

The model is a CLIP of ViT-B/32's size with random weights, made on the spot by transformers and by open_clip. The
baseline is what their documentation shows: open each file with Pillow, their own preprocessing, a batch of 32, the
image side in inference mode; nothing is stored. Indexing through Diptych loads the same weights from a folder, and also
hashes, makes thumbnails, writes and flushes. The target is at least as many images a second; the CPU time of both
is shown too, because it depends less on what else the machine does.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diptych
from diptych.data.images import SUFFIXES
from diptych.encoders.pretrained import import_transformers
from diptych.library import IndexOptions, Library
from diptych.models import DualEncoder

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tokenizer that the tests train

TARGET = 1.0
BATCH = 32
Loop = Callable[[list[Path]], int]  # embeds the files, and says how many


def transformers_model(folder: Path) -> Loop:
    """A CLIP of transformers in a folder, and a plain loop over it."""
    import torch
    from PIL import Image
    from tests.joint_models import MEAN, STD, save_clip_tokenizer

    transformers = import_transformers()
    tokenizer = save_clip_tokenizer(folder, 77)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = transformers.CLIPConfig(text_config=ids)  # its defaults are ViT-B/32
    transformers.CLIPModel(config).eval().save_pretrained(folder)
    size = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}, "resample": 3}
    stated = {"image_processor_type": "CLIPImageProcessor", "image_mean": MEAN, "image_std": STD, **size}
    flags = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")
    (folder / "preprocessor_config.json").write_text(json.dumps(stated | dict.fromkeys(flags, True)))
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)

    def loop(paths: list[Path]) -> int:
        found = 0
        for start in range(0, len(paths), BATCH):
            images = [Image.open(path).convert("RGB") for path in paths[start : start + BATCH]]
            with torch.inference_mode():
                features = model.get_image_features(**processor(images=images, return_tensors="pt"))
            found += len(getattr(features, "pooler_output", features))
        return found

    return loop


def open_clip_model(folder: Path) -> Loop:
    """A CLIP of open_clip in a folder, and a plain loop over it."""
    import_transformers()  # repairs torchvision
    import open_clip
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32")
    model.eval()
    folder.mkdir(parents=True)
    stated = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": model.visual.preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(stated))
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")

    def loop(paths: list[Path]) -> int:
        found = 0
        for start in range(0, len(paths), BATCH):
            images = [preprocess(Image.open(path)) for path in paths[start : start + BATCH]]
            with torch.inference_mode():
                found += len(model.encode_image(torch.stack(images)))
        return found

    return loop


LIBRARIES = {"hf": transformers_model, "open_clip": open_clip_model}


def indexing(model: DualEncoder, paths: list[Path], workers: int) -> int:
    """Index the files into a new library, and say how many it embedded."""
    with tempfile.TemporaryDirectory() as folder:
        library = Library.create(Path(folder) / "library", model)
        return library.index(paths, options=IndexOptions(batch_size=BATCH, workers=workers)).embedded


def timed(work: Callable[[], int], count: int) -> tuple[float, float]:
    """Seconds by the clock and of the CPU. Stops the benchmark when fewer images were embedded."""
    started, used = time.perf_counter(), time.process_time()
    if (found := work()) != count:
        sys.exit(f"{found} of {count} images were embedded; give photos that are all readable and all different")
    return time.perf_counter() - started, time.process_time() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=320, help="photos")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch, in both")
    parser.add_argument("--workers", type=int, default=2, help="decoding threads of the indexing")
    parser.add_argument("--library", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    found = (path for path in sorted(arguments.folder.rglob("*")) if path.suffix.lower() in SUFFIXES)
    paths = list(itertools.islice(found, arguments.limit))
    missed = False
    print(f"{len(paths)} photos of {arguments.folder}, {arguments.threads} threads, batches of {BATCH}\n")
    print(
        "| library | round | own loop, images/s (CPU s) | indexing, images/s (CPU s) | ratio |\n|---|---|---|---|---|"
    )
    for name in arguments.library:
        with tempfile.TemporaryDirectory() as temporary:
            loop = LIBRARIES[name](Path(temporary) / "model")
            model = diptych.load(f"{name}:{Path(temporary) / 'model'}")
            some = paths[:BATCH]
            timed(lambda loop=loop, some=some: loop(some), len(some))  # warms up, as the next
            timed(lambda model=model, some=some: indexing(model, some, arguments.workers), len(some))
            ratios = []
            for number in range(1, arguments.rounds + 1):
                own: Any = timed(lambda loop=loop: loop(paths), len(paths))
                ours: Any = timed(lambda model=model: indexing(model, paths, arguments.workers), len(paths))
                ratios.append(own[0] / ours[0])
                cells = [f"{len(paths) / clock:.1f} ({cpu:.1f})" for clock, cpu in (own, ours)]
                print(f"| {name} | {number} | {' | '.join(cells)} | {ratios[-1]:.3f} |", flush=True)
            median = statistics.median(ratios)
            print(f"| {name} | median | | | {median:.3f} ({'met' if median >= TARGET else 'missed'}) |", flush=True)
            missed = missed or median < TARGET
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
