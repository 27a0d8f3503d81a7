"""Hours of ordinary use with bad inputs among it: does the server's memory grow, does it keep descriptors?

    python benchmarks/serve_soak.py LIBRARY [--minutes 30] [--rate 10] [--bad 0.05] [--json FILE]

Use a copy: images are added and deleted. Requests are sent at a fixed rate: searches by words and by an uploaded
image, pages, thumbnails, an addition with its deletion; a share of them is bad (the images of serve_bad.py,
broken JSON, ids that there are not). The first tenth of the time, at least a minute, is warm-up. The resident memory,
descriptors and number of the server's processes are noted every `--every` seconds. The verdict compares the median
memory of the first tenth after the warm-up with that of the last (target: within 20 MB), and the descriptors that
are open when nothing is asked, before and after.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from serve_bad import photo, saved, table
from serve_load import WORDS, start_server

GROWTH = 20.0  # MB
SPARE = 2  # descriptors that may come and go
SETTLE = 13.0  # seconds: kept connections are closed after ten
L = "/libraries/bench"
LARGE = 1_000_000  # bytes; larger bad images are for serve_bad.py


@dataclass(frozen=True)
class Sample:
    """The server's processes at one moment."""

    seconds: float  # since the load began
    rss_mb: float  # of all processes
    main_mb: float
    mapped_mb: float  # pages of files, such as weights and vectors, that the system may drop at any time; in rss_mb too
    descriptors: int  # of all processes
    processes: int


def family(pid: int) -> list[int]:
    """A process and all that came from it."""
    found, seen = [pid], 0
    while seen < len(found):
        for children in Path(f"/proc/{found[seen]}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except OSError:
                continue
        seen += 1
    return found


def sample(pid: int, seconds: float) -> Sample:
    """Look at /proc; processes that end meanwhile are left out."""
    sizes, mapped, descriptors = {}, 0.0, 0
    for one in family(pid):
        try:
            status = Path(f"/proc/{one}/status").read_text()
            descriptors += len(list(Path(f"/proc/{one}/fd").iterdir()))
            sizes[one] = _kilobytes(status, "VmRSS") / 1024
            mapped += _kilobytes(status, "RssFile") / 1024
        except (OSError, IndexError):
            continue
    total = round(sum(sizes.values()), 1)
    return Sample(round(seconds, 1), total, round(sizes[pid], 1), round(mapped, 1), descriptors, len(sizes))


def _kilobytes(status: str, name: str) -> int:
    return int(status.split(f"{name}:")[1].split()[0])


class Visitors:
    """Requests of all kinds, in their shares; counts the statuses of each kind."""

    def __init__(self, client: httpx.AsyncClient, bad: float) -> None:
        self.client, self.bad = client, bad
        self.statuses: dict[str, Counter[int]] = {}
        self.chance = random.Random(0)
        self.good = saved(photo(size=(320, 240)), "JPEG")
        self.ids: list[str] = []
        self.number = 0

    @functools.cached_property
    def broken(self) -> list[tuple[str, bytes]]:
        """Images that cannot be read."""
        return [(name, data) for name, (data, _) in table().items() if len(data) < LARGE]

    async def one(self) -> None:
        """One request, or two that belong together."""
        kinds: dict[str, tuple[float, Callable[[], Awaitable[httpx.Response]]]] = {
            "words": (60, self._words),
            "image": (8, self._image),
            "page": (10, self._page),
            "thumbnail": (16, self._thumbnail),
            "add and delete": (6, self._add),
        }
        kind = self.chance.choices(list(kinds), [share for share, _ in kinds.values()])[0]
        ask = kinds[kind][1]
        if self.chance.random() < self.bad:
            kind, ask = "bad", self.chance.choice([self._bad_image, self._bad_image, self._bad_json, self._bad_id])
        try:
            status = (await ask()).status_code
        except httpx.HTTPError:
            status = 0
        self.statuses.setdefault(kind, Counter())[status] += 1

    async def _words(self) -> httpx.Response:
        self.number += 1
        text = f"{' '.join(self.chance.choices(WORDS, k=4))} {self.number}"
        answer = await self.client.post(f"{L}/search", json={"text": text, "k": 20})
        if answer.status_code == 200:
            self.ids = [hit["id"] for hit in answer.json()["hits"]] or self.ids
        return answer

    async def _image(self) -> httpx.Response:
        return await self.client.post(f"{L}/search/image", files={"file": ("x.jpg", self.good)})

    async def _page(self) -> httpx.Response:
        return await self.client.get(f"{L}/items", params={"limit": 40})

    async def _thumbnail(self) -> httpx.Response:
        if not self.ids:
            return await self._words()
        return await self.client.get(f"{L}/items/{self.chance.choice(self.ids)}/thumbnail")

    async def _add(self) -> httpx.Response:
        self.number += 1
        fresh = self.good + b"%d" % self.number  # what follows the image makes it another file
        added = await self.client.post(f"{L}/items", files={"files": ("soak.jpg", fresh)})
        if added.status_code != 200 or added.json()["added"][0]["id"] is None:
            return added
        return await self.client.delete(f"{L}/items/{added.json()['added'][0]['id']}")

    async def _bad_image(self) -> httpx.Response:
        name, data = self.chance.choice(self.broken)
        return await self.client.post(f"{L}/search/image", files={"file": (name, data)})

    async def _bad_json(self) -> httpx.Response:
        body = self.chance.choice([b"{", b'{"text": 3}', b'{"text": ""}', b'{"vector": [NaN]}', b"\xff" * 500])
        return await self.client.post(f"{L}/search", content=body, headers={"Content-Type": "application/json"})

    async def _bad_id(self) -> httpx.Response:
        return await self.client.get(f"{L}/items/{self.chance.randrange(16**16):016x}")

    def failures(self) -> dict[str, int]:
        """Answers that are wrong: no answer or 500, and anything but success for what was good."""
        wrong: Counter[str] = Counter()
        for kind, seen in self.statuses.items():
            for status, count in seen.items():
                if status in (0, 500) or (kind != "bad" and status not in (200, 429, 503)):
                    wrong[f"{kind}: {status}"] += count
        return dict(wrong)


async def load(visitors: Visitors, rate: float, seconds: float, note: Callable[[float], None], every: float) -> None:
    """Requests at a fixed rate for so long; `note` is called now and then with the seconds that passed."""
    started, noted, tasks = time.monotonic(), 0.0, set()
    number = 0
    while (passed := time.monotonic() - started) < seconds:
        number += 1
        task = asyncio.create_task(visitors.one())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if passed >= noted:
            note(passed)
            noted = passed + every
        await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
    await asyncio.gather(*tasks)


async def soak(pid: int, address: str, options: argparse.Namespace) -> tuple[list[Sample], tuple[int, int], Visitors]:
    """Warm up, rest, run, rest: the samples of the run, the descriptors at both rests, and what was answered."""
    total = options.minutes * 60
    warm = max(total / 10, min(60.0, total / 2))
    samples: list[Sample] = []

    async def rested(seconds: float) -> tuple[Visitors, int]:
        limits = httpx.Limits(max_connections=16)
        async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits) as client:
            visitors = Visitors(client, options.bad)
            await load(visitors, options.rate, seconds, lambda at: samples.append(sample(pid, at)), options.every)
        await asyncio.sleep(SETTLE)
        return visitors, sample(pid, 0).descriptors

    _, before = await rested(warm)
    samples.clear()
    visitors, after = await rested(total - warm)
    return samples, (before, after), visitors


def growth(samples: list[Sample], read: Callable[[Sample], float] = lambda one: one.rss_mb) -> float:
    """Megabytes between the medians of the first and the last tenth."""
    part = max(1, len(samples) // 10)
    first, last = (statistics.median(read(one) for one in some) for some in (samples[:part], samples[-part:]))
    return last - first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=10, help="requests a second")
    parser.add_argument("--bad", type=float, default=0.05, help="share of bad inputs")
    parser.add_argument("--every", type=float, default=5, help="seconds between looks at memory")
    parser.add_argument("--json", type=Path, help="keep the samples and statuses here")
    options = parser.parse_args()
    process, address = start_server(options.library)
    try:
        samples, (before, after), visitors = asyncio.run(soak(process.pid, address, options))
        alive = process.poll() is None
    finally:
        process.terminate()
        process.wait()
    grown, wrong = growth(samples), visitors.failures()
    statuses = {
        kind: {str(status): n for status, n in sorted(seen.items())} for kind, seen in visitors.statuses.items()
    }
    good = alive and grown <= GROWTH and after <= before + SPARE and not wrong
    if options.json:
        told = {"minutes": options.minutes, "rate": options.rate, "bad": options.bad, "growth_mb": round(grown, 1),
                "descriptors_idle": [before, after], "wrong": wrong, "statuses": statuses,
                "samples": [asdict(one) for one in samples]}  # fmt: skip
        options.json.write_text(json.dumps(told, indent=1))
    count = sum(sum(seen.values()) for seen in visitors.statuses.values())
    print(json.dumps(statuses))
    pages = growth(samples, lambda one: one.mapped_mb)
    memory = (
        f"{samples[0].rss_mb:.0f} -> {samples[-1].rss_mb:.0f} MB, medians {grown:+.1f} (target {GROWTH:.0f}), of which "
        f"{pages:+.1f} are pages of files"
    )
    ended = "" if alive else "; the server died"
    print(f"{'ok  ' if good else 'MISS'} {options.minutes:g} minutes, {count:,} requests: memory {memory}; idle "
          f"descriptors {before} -> {after}; wrong answers {wrong or 0}{ended}")  # fmt: skip
    raise SystemExit(not good)


if __name__ == "__main__":
    main()
