"""Kill -9 at random moments of indexing: nothing acknowledged may be lost, nothing twice, nothing broken.

    python benchmarks/kill.py [FOLDER] [--model base] [--limit 2000] [--kills 50]

Without FOLDER, images of noise are made. An indexing process reports each batch once it is acknowledged. It is
killed at a random moment and started again on the same library, until `--kills` kills; when a run finishes first, the
library is started afresh. After each kill this process opens the library and checks: every acknowledged path is
there, no path or id twice, all vectors finite and of length 1, and searching works. At the end of each library one
undisturbed run must complete it.
"""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.data.images import SUFFIXES
from diptych.library import Library
from diptych.library.maintenance import HARMLESS
from diptych.models import load

CHILD = """
import sys
from pathlib import Path
import lancedb  # takes a second: the clock starts after it, so that kills hit indexing
import numpy as np
from diptych.library import Library, card
from diptych.library import IndexOptions
from diptych.models import load

folder, pictures, model, commit = sys.argv[1:]
encoder = load(model, threads=1)
encoder.encode_images([np.zeros((8, 8, 3), np.uint8)])  # so does its first picture
library = (Library.open if card.exists(Path(folder)) else Library.create)(folder, encoder)
def acknowledge(paths):
    print(*paths, sep="\\n", flush=True)
print("started", flush=True)
library.index([pictures], options=IndexOptions(commit_rows=int(commit)), acknowledge=acknowledge)
print("finished", flush=True)
"""


@dataclass
class Tally:
    """What happened over all kills."""

    kills: int = 0
    lost: int = 0
    twice: int = 0
    broken: int = 0
    completed: int = 0
    incomplete: int = 0
    acknowledged: list[int] = field(default_factory=list)  # at each kill
    restarts: list[float] = field(default_factory=list)  # seconds to open the library and answer a search

    @property
    def is_clean(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.lost or self.twice or self.broken or self.incomplete)


def run(arguments: list[str], kill_after: float | None) -> tuple[list[str], bool]:
    """Run the child, perhaps killed some seconds after it began to index: acknowledged paths, and if it finished."""
    process = subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, text=True)
    lines: list[str] = []
    begun = threading.Event()

    def listen() -> None:
        for line in process.stdout or ():
            if line.endswith("\n"):  # a killed process may leave half a line
                lines.append(line.rstrip("\n"))
            begun.set()
        begun.set()

    listener = threading.Thread(target=listen)
    listener.start()
    begun.wait()
    if kill_after is not None:
        deadline = time.monotonic() + kill_after
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    process.wait()
    listener.join()
    if process.returncode not in (0, -signal.SIGKILL):
        sys.exit("the indexing process failed by itself; see above")
    finished = "finished" in lines
    if kill_after is None and not finished:
        sys.exit("the undisturbed run did not finish")
    return [line for line in lines if line not in ("started", "finished")], finished


def check(folder: Path, model: object, acknowledged: set[str], tally: Tally) -> int:
    """Open the library as a user would, count what is wrong, return how many pictures it has."""
    begun = time.perf_counter()
    library = Library.open(folder, model)  # type: ignore[arg-type]
    if len(library):
        library.search(np.ones(library.card.dim, np.float32), 1)
    tally.restarts.append(time.perf_counter() - begun)
    verdict = library.verify()
    kinds = verdict.kinds
    paths = {library.snapshot().row(row)["path"] for row in range(len(library))}
    tally.lost += len(acknowledged - paths)
    tally.twice += kinds.get("duplicate_id", 0) + kinds.get("duplicate_path", 0)
    # the thumbnails of a batch that was dropped are left over until the next run or compaction
    harmless = {*HARMLESS, "duplicate_id", "duplicate_path"}
    tally.broken += sum(count for kind, count in kinds.items() if kind not in harmless)
    if len(library) and not library.search(np.ones(library.card.dim, np.float32), 3):
        tally.broken += 1
    return len(library)


def make_noise(folder: Path, count: int) -> Path:
    """A folder of images, no two alike."""
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((320, 240)).save(folder / f"{number:05d}.jpg")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="photos; images of noise are made when left out")
    parser.add_argument("--model", default="base")
    parser.add_argument("--limit", type=int, default=2000, help="photos")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument(
        "--commit", type=int, default=64, help="pictures of a batch; small, to kill more often near a commit"
    )
    parser.add_argument("--longest", type=float, default=4.0, help="seconds of indexing before a kill, at most")
    parser.add_argument("--slowest-restart", type=float, default=5.0, help="seconds that a restart may take")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    model = load(arguments.model)
    tally = Tally()
    with tempfile.TemporaryDirectory() as temporary:
        pictures = Path(temporary) / "pictures"
        pictures.mkdir()
        source = arguments.folder or make_noise(Path(temporary) / "noise", arguments.limit)
        found = (path for path in sorted(source.rglob("*")) if path.suffix.lower() in SUFFIXES)
        for path in itertools.islice(found, arguments.limit):
            (pictures / path.name).symlink_to(path.resolve())
        total = len(list(pictures.iterdir()))
        for attempt in itertools.count():
            folder = Path(temporary) / f"library-{attempt}"
            child = [str(folder), str(pictures), arguments.model, str(arguments.commit)]
            acknowledged: set[str] = set()
            finished = False
            while tally.kills < arguments.kills and not finished:
                news, finished = run(child, chance.uniform(0, arguments.longest))
                acknowledged |= set(news)
                if not finished:
                    tally.kills += 1
                    tally.acknowledged.append(len(acknowledged))
                if (folder / "library.json").exists():
                    here = check(folder, model, acknowledged, tally)
                    print(f"kill {tally.kills}: {len(acknowledged)} acknowledged, {here} there", file=sys.stderr)
            run(child, None)
            whole = check(folder, model, acknowledged, tally)
            tally.completed += 1
            tally.incomplete += whole != total
            if tally.kills >= arguments.kills:
                break
    print(f"| {total} photos, batches of {arguments.commit} | |\n|---|---|")
    print(f"| kills | {tally.kills} |")
    print(f"| acknowledged when killed | {min(tally.acknowledged)} to {max(tally.acknowledged)} |")
    print(f"| acknowledged pictures lost | {tally.lost} |")
    print(f"| rows twice | {tally.twice} |\n| other damage | {tally.broken} |")
    middle, slowest = np.median(tally.restarts or [0]), max(tally.restarts, default=0)
    print(f"| opened and searched again after, median and slowest | {middle:.2f} s, {slowest:.2f} s |")
    print(f"| libraries completed by the next run | {tally.completed - tally.incomplete} of {tally.completed} |")
    print(f"\n{'nothing was lost, doubled or broken' if tally.is_clean else 'FAILED'}")
    sys.exit(0 if tally.is_clean and slowest < arguments.slowest_restart else 1)


if __name__ == "__main__":
    main()
