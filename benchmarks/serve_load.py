"""How many text searches a served library answers a second, and what happens at ten times that.

    python benchmarks/serve_load.py [--rows 100000] [--seconds 20] [--rate 60] [--keep FOLDER]

A library of `rows` random unit vectors (the default model's width; thumbnails left out) is served by
`diptych serve` in a process of its own, on loopback. Clients send different sentences at a fixed rate
(open loop: a request is sent when its time has come, whether or not earlier ones were answered).

Three runs: at `--rate`; at the most that still comes back in time (found by doubling); at ten times that.
Targets: 60 requests/s at p99 <= 200 ms; at 10x only 200, 429 and 503, at least 80% of the most in good
answers, and memory that does not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.cosine import normalise
from diptych.library import Library
from diptych.library.store.rows import Row
from diptych.models import load

P99_TARGET, RATE_TARGET, GOODPUT_TARGET = 0.200, 60.0, 0.8
WORDS = ["dog", "cat", "child", "man", "woman", "horse", "ball", "boat", "car", "mountain", "street", "snow", "beach"]


@dataclass
class Outcome:
    """What one run saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # of good answers
    wall: float = 0.0

    @property
    def good(self) -> float:
        """Good answers a second."""
        return self.statuses[200] / self.wall

    def p(self, share: float) -> float:
        """The time within which this share of the good answers came."""
        return float(np.quantile(self.seconds, share)) if self.seconds else float("nan")


def make_library(folder: Path, rows: int) -> None:
    """Random rows, written as an indexing run would."""
    model = load("base")
    library = Library.create(folder, model, "base")
    rng = np.random.default_rng(0)
    with library.opened.writing() as store:
        for start in range(0, rows, 20_000):
            count = min(20_000, rows - start)
            vectors = normalise(rng.normal(size=(count, model.dim)))
            store.write([_row(start + at, vector) for at, vector in enumerate(vectors)])
        library.opened.view.refresh()


def _row(number: int, vector: np.ndarray) -> Row:
    return Row(f"{number:016x}", f"/none/{number}.jpg", "/none", f"{number:032x}", 1, 0, 640, 480, vector)


def start_server(folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """The server's process and address."""
    command = [
        sys.executable,
        "-m",
        "diptych",
        "serve",
        "--library",
        f"bench={folder}",
        "--port",
        "0",
        "--json",
        "--quiet",
    ]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True)
    printed = ""
    assert process.stdout is not None
    while not printed.rstrip().endswith("}"):
        line = process.stdout.readline()
        if not line:
            raise SystemExit("the server did not start")
        printed += line
    return process, str(json.loads(printed)["address"])


def resident(process: subprocess.Popen[str]) -> int:
    """Megabytes that a process holds."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


class Connections:
    """Keep-alive connections that speak just enough HTTP; made when needed, reused when free."""

    def __init__(self, address: str) -> None:
        self.host, _, port = address.removeprefix("http://").partition(":")
        self.port = int(port)
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: bytes) -> int:
        """Send a request; its status, once the answer is read.

        A kept connection that the server closes meanwhile is replaced by a new one, as every client does.
        """
        while self._free:
            try:
                return await self._post(*self._free.pop(), path, body)
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise
            except OSError:
                continue
        return await self._post(*await asyncio.open_connection(self.host, self.port), path, body)

    async def _post(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes) -> int:
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        self._free.append((reader, writer))
        return int(head[9:12])

    def close(self) -> None:
        """Close those that are free."""
        for _, writer in self._free:
            writer.close()


def sentences() -> Any:
    """Sentences that do not come twice, so that nothing is answered from memory."""
    rng = np.random.default_rng(os.getpid())
    for number in itertools.count():
        yield f"{' '.join(rng.choice(WORDS, 5))} {number}"


async def run(address: str, rate: float, seconds: float, asked: Any) -> Outcome:
    """Send at a fixed rate for so long; wait for all answers."""
    outcome, connections = Outcome(), Connections(address)
    started = time.perf_counter()

    async def one() -> None:
        body = json.dumps({"text": next(asked), "k": 20}).encode()
        sent = time.perf_counter()
        try:
            status = await asyncio.wait_for(connections.post("/libraries/bench/search", body), 30)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            status = 0
        outcome.statuses[status] += 1
        if status == 200:
            outcome.seconds.append(time.perf_counter() - sent)

    tasks = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one()))
    outcome.wall = time.perf_counter() - started
    await asyncio.gather(*tasks)
    connections.close()
    return outcome


def show(name: str, rate: float, outcome: Outcome, memory: int) -> None:
    told = ", ".join(f"{status}: {count}" for status, count in sorted(outcome.statuses.items()))
    print(f"| {name} | {rate:.0f} | {outcome.good:.1f} | {outcome.p(0.5) * 1e3:.0f} | {outcome.p(0.99) * 1e3:.0f} "
          f"| {told} | {memory} |", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=RATE_TARGET)
    parser.add_argument("--keep", type=Path, help="make the library here, and use it again next time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary) / "library"
        if not (folder / "library.json").exists():
            make_library(folder, options.rows)
        process, address = start_server(folder)
        try:
            asyncio.run(measure(process, address, options))
        finally:
            process.terminate()
            process.wait()


async def measure(process: subprocess.Popen[str], address: str, options: argparse.Namespace) -> None:
    asked = sentences()
    await run(address, 20, 3, asked)
    print("| run | asked/s | good/s | p50 ms | p99 ms | answers | RSS MB |\n|---|---|---|---|---|---|---|")
    steady = await run(address, options.rate, options.seconds, asked)
    show("steady", options.rate, steady, resident(process))
    most, rate = steady.good, options.rate
    while rate < 5_000:
        rate *= 1.5
        found = await run(address, rate, options.seconds / 4, asked)
        show("looking for the most", rate, found, resident(process))
        most = max(most, found.good)
        if found.statuses.keys() - {200} or found.p(0.99) > 1:
            break
    before = resident(process)
    flood = await run(address, 10 * most, options.seconds, asked)
    after = resident(process)
    show("ten times the most", 10 * most, flood, after)
    calm = await run(address, options.rate, options.seconds / 4, asked)
    show("afterwards", options.rate, calm, resident(process))
    verdicts = {
        f"p99 {steady.p(0.99) * 1e3:.0f} ms at {options.rate:.0f}/s (target {P99_TARGET * 1e3:.0f})": steady.p(0.99)
        <= P99_TARGET,
        "only 200, 429, 503 at 10x": not flood.statuses.keys() - {200, 429, 503},
        f"goodput {flood.good / most:.0%} of the most (target {GOODPUT_TARGET:.0%})": flood.good
        >= GOODPUT_TARGET * most,
        f"memory {before} -> {after} MB": after - before <= 50,
    }
    print("\n".join(f"{'ok  ' if good else 'MISS'} {name}" for name, good in verdicts.items()))


if __name__ == "__main__":
    main()
