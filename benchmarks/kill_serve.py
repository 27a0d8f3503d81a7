"""Kill -9 while `diptych serve` takes writes: nothing acknowledged may be lost or doubled, and restart is quick.

    python benchmarks/kill_serve.py [--kills 200] [--clients 3] [--longest 3.0] [--folder DIR] [--model base]

The real server, with a real model, on loopback. Clients upload pictures, describe, delete and bring them back, each
one call after the other, so that the server works on several writes at once. It is killed at a random moment and
started again on the same library. In between this process opens the library and compares it with what was
acknowledged (a 200 that arrived): every uploaded picture is there once, with its bytes and the last description that
was acknowledged (or one under way), deleted ones are in the trash, undone ones are back, and `verify` finds no damage.
Restart is the time from starting the process, imports and model included, to the answer to a search; the time to the
first write that was acknowledged is told too.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image

sys.path.insert(0, str(Path(__file__).parent))  # the other benchmarks lie beside this file
from diptych.library import Library
from diptych.models import load
from kill_writes import Expected, Tally, compare, report
from serve_load import start_server

L = "/libraries/bench"
ACKNOWLEDGED = ("add", "patch", "delete", "undo")
PATIENCE = 120.0  # seconds


def picture(number: int) -> bytes:
    """A PNG that says which number it is, the same bytes every time."""
    noise = np.random.default_rng(number).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(noise).save(stream, "PNG")
    return stream.getvalue()


class Visitor(threading.Thread):
    """One client that writes until the server is gone. `hear` takes what it asked for and what was acknowledged."""

    def __init__(self, address: str, first: int, hear: Any) -> None:
        super().__init__(daemon=True)
        self.client = httpx.Client(base_url=address, timeout=PATIENCE)
        self.chance, self.number, self.hear = random.Random(first), first, hear
        self.live: list[str] = []
        self.wrong: list[str] = []

    def run(self) -> None:
        """Write until the connection breaks."""
        try:
            while True:
                self._write()
        except httpx.TransportError:
            self.client.close()

    def _write(self) -> None:
        kind = self.chance.choices(("add", "patch", "delete", "undo"), (6, 2, 2, 1))[0]
        if kind == "add" or not self.live:
            self._add(self.chance.choice((1, 1, 3)))
        elif kind == "patch":
            identifier, value = self.chance.choice(self.live), self.chance.randrange(10**9)
            self.hear({"op": "patching", "id": identifier, "value": value})
            if self._asked("PATCH", f"{L}/items/{identifier}", json={"meta": {"value": value}}) is not None:
                self.hear({"op": "patch", "id": identifier, "value": value})
        else:
            gone = self.chance.sample(self.live, min(len(self.live), self.chance.choice((1, 3))))
            self.hear({"op": "deleting", "ids": gone})
            deleted = self._asked("POST", f"{L}/items/delete", json={"ids": gone})
            if deleted is None:
                return
            self.hear({"op": "delete", "ids": gone})
            if kind == "undo":
                self.hear({"op": "undoing", "ids": gone})
                if self._asked("POST", f"{L}/undo", json={"token": deleted["undo"]}) is not None:
                    self.hear({"op": "undo", "ids": gone})
            else:
                self.live = [one for one in self.live if one not in gone]

    def _add(self, count: int) -> None:
        for _ in range(count):
            number, self.number = self.number, self.number + 1
            files = [("files", (f"{number}.png", picture(number)))]
            added = self._asked("POST", f"{L}/items", files=files, data={"meta": f'{{"number": {number}}}'})
            if added is not None:
                self.live.append(added["added"][0]["id"])
                self.hear({"op": "add", "ids": {self.live[-1]: number}})

    def _asked(self, method: str, path: str, **named: Any) -> Any:
        """The answer, once it was acknowledged; None when the server is too busy now."""
        answer = self.client.request(method, path, **named)
        if answer.status_code in (429, 503):
            time.sleep(0.2)
            return None
        if answer.status_code != 200:
            self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
            return None
        return answer.json()


@dataclass
class Seconds:
    """From starting the process, for each start."""

    to_search: list[float] = field(default_factory=list)
    to_write: list[float] = field(default_factory=list)  # the first that was acknowledged


def run_and_kill(
    folder: Path, seed: int, clients: int, after: float, expected: Expected, seconds: Seconds
) -> tuple[int, list[str]]:
    """Serve until the kill, `after` seconds after the first write: calls acknowledged, and wrong answers."""
    started = time.perf_counter()
    process, address = start_server(folder)
    httpx.post(f"{address}{L}/search", json={"text": "a dog"}, timeout=PATIENCE).raise_for_status()
    seconds.to_search.append(time.perf_counter() - started)
    lock, begun, heard = threading.Lock(), threading.Event(), 0

    def hear(line: dict[str, Any]) -> None:
        nonlocal heard
        with lock:
            expected.hear(line)
            heard += line["op"] in ACKNOWLEDGED
        if line["op"] in ACKNOWLEDGED:
            begun.set()

    visitors = [Visitor(address, (seed * 100 + at) * 1_000_000, hear) for at in range(clients)]
    for visitor in visitors:
        visitor.start()
    if not begun.wait(PATIENCE):
        sys.exit("no write was acknowledged")
    seconds.to_write.append(time.perf_counter() - started)
    time.sleep(after)
    process.kill()
    process.wait()
    for visitor in visitors:
        visitor.join()
    return heard, [wrong for visitor in visitors for wrong in visitor.wrong]


def run(folder: Path, options: argparse.Namespace) -> tuple[Tally, int, list[str], Seconds]:
    """All kills on one library: what went wrong, how many calls were acknowledged, answers that should not be."""
    chance = random.Random(options.seed)
    tally, expected, seconds, heard, wrong = Tally(), Expected(), Seconds(), 0, []
    model = load(options.model)
    Library.create(folder, model, options.model)
    for kill in range(options.kills):
        after = chance.uniform(0, options.longest)
        acknowledged, found = run_and_kill(folder, kill + 1, options.clients, after, expected, seconds)
        heard += acknowledged
        wrong += found
        tally.kills += 1
        library = Library.open(folder, model)
        compare(library, expected, tally, lambda vector, _: abs(np.linalg.norm(vector) - 1) < 1e-4, picture)
        state = f"restart {seconds.to_search[-1]:.2f} s, clean so far: {tally.is_clean and not wrong}"
        print(f"kill {tally.kills}: {len(expected.number)} pictures acknowledged, {len(expected.deleted)} deleted, "
              f"{state}", file=sys.stderr)  # fmt: skip
    tally.restarts = seconds.to_search
    return tally, heard, wrong, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--longest", type=float, default=3.0, help="seconds of writing before a kill, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="base")
    parser.add_argument("--folder", type=Path, help="where the library is made; a temporary folder by default")
    parser.add_argument("--slowest-restart", type=float, default=5.0, help="seconds that a restart may take")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        tally, heard, wrong, seconds = run(Path(temporary) / "library", options)
    slowest = f"{np.median(seconds.to_write):.2f} s, {max(seconds.to_write):.2f} s"
    print(f"first write acknowledged after a start: median and slowest {slowest}\n")
    report("writes over HTTP", tally, heard, options.slowest_restart, wrong)


if __name__ == "__main__":
    main()
