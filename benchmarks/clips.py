"""Videos out of photographs, found by the photographs' captions: which clip, and which moment of it.

    python benchmarks/clips.py flickr8k/ --split val --folder clips-demo --clips 40

Each clip shows five photographs for five seconds each, while the view moves slowly across them. The clips are indexed
as any folder of videos would be (`diptych index FOLDER --videos`), then every caption is asked for. A hit's moment is
right when it overlaps the time in which the caption's photograph is shown by more than half.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from diptych.cli.shared import RichProgress
from diptych.core.files import write_bytes
from diptych.core.types import Pair
from diptych.data.images import decode
from diptych.data.readers import SourceOptions, open_source
from diptych.data.video import MomentPlan
from diptych.library import Library
from diptych.library.rendering import Tile, contact_sheet, png
from diptych.models import load

SCENES, SECONDS, RATE, SIZE = 5, 5.0, 8, 224  # photographs a clip, seconds each, frames a second, pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="base")
    parser.add_argument("--folder", type=Path, default=Path("clips-demo"))
    parser.add_argument("--clips", type=int, default=40)
    options = parser.parse_args()
    pairs = [pair for pair in open_source(options.source, SourceOptions(split=options.split)) if pair.texts]
    chosen = np.random.default_rng(0).permutation(len(pairs))[: SCENES * options.clips]
    scenes = [[pairs[i] for i in part] for part in chosen.reshape(-1, SCENES)]
    progress = RichProgress()
    for number, scene in enumerate(progress.track(scenes, "making clips", total=len(scenes))):
        film(options.folder / "clips" / f"clip-{number:03}.mp4", scene)
    library = Library.create(options.folder / "clips.library", load(options.model))
    started = time.perf_counter()
    report = library.index_videos([options.folder / "clips"], plan=MomentPlan(SECONDS), progress=progress)
    spent = time.perf_counter() - started
    table = {**measure(library, scenes), "clips": len(scenes), "moments": report.added, "indexing_seconds": spent}
    print(json.dumps(table, indent=1))
    draw(library, scenes, options.folder / "found.png")


def film(path: Path, scene: Sequence[Pair], seconds: float = SECONDS) -> None:
    """A real MP4 of the photographs, so many seconds each, under a slowly moving view."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width = stream.height = SIZE
        stream.pix_fmt, stream.bit_rate = "yuv420p", 1_500_000
        for pair in scene:
            for frame in moving(decode(pair.images[0]), round(seconds * RATE)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def moving(picture: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """The frames of one scene: a window of four fifths of the picture that moves from one corner to the other."""
    import PIL.Image

    image = PIL.Image.fromarray(picture)
    width, height = image.width * 0.8, image.height * 0.8
    for number in range(count):
        part = number / (count - 1)
        left, top = part * (image.width - width), part * (image.height - height)
        box = (left, top, left + width, top + height)
        yield np.asarray(image.resize((SIZE, SIZE), PIL.Image.Resampling.BILINEAR, box=box))


def measure(library: Library, scenes: Sequence[Sequence[Pair]]) -> dict[str, float]:
    """Shares of the captions whose clip, and whose moment, come first or among the first five."""
    found = {name: [] for name in ("clip R@1", "clip R@5", "moment R@1", "moment R@5")}
    for number, scene in enumerate(scenes):
        for place, pair in enumerate(scene):
            for text in pair.texts:
                hits = library.search(text.value, 5)
                clips = [Path(hit.meta["video"]).stem == f"clip-{number:03}" for hit in hits]
                moments = [clip and overlaps(hit.meta, place) for clip, hit in zip(clips, hits, strict=True)]
                for k in (1, 5):
                    found[f"clip R@{k}"].append(any(clips[:k]))
                    found[f"moment R@{k}"].append(any(moments[:k]))
    return {name: round(100 * float(np.mean(values)), 1) for name, values in found.items()} | {
        "captions": len(found["clip R@1"])
    }


def overlaps(moment: dict[str, float], place: int) -> bool:
    """Whether more than half of a moment is within the scene."""
    start, end = place * SECONDS, (place + 1) * SECONDS
    shared = min(moment["end"], end) - max(moment["start"], start)
    return shared > 0.5 * (moment["end"] - moment["start"])


def draw(library: Library, scenes: Sequence[Sequence[Pair]], path: Path) -> None:
    """A contact sheet of one search."""
    text = scenes[0][0].texts[0].value
    write_bytes(
        path,
        png(contact_sheet(text, [Tile(hit, library.thumbnail(hit.id)) for hit in library.search(text, 6)])),
    )


if __name__ == "__main__":
    main()
