"""Whether an ordinary client is served while hundreds of slow connections are held open.

    python benchmarks/serve_slow.py LIBRARY [--slow 500] [--requests 300]

A third of the slow connections say nothing, a third send their headers a letter a second, a third send a
body a letter a second; those that the server ends come again. Target: the ordinary client gets >= 99%.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import time
from collections import Counter
from pathlib import Path

from serve_load import Connections, resident, start_server

TARGET = 0.99
HEAD = b"POST /libraries/bench/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


async def slow(host: str, port: int, kind: int, ended: Counter[str]) -> None:
    """One slow connection after another, until cancelled."""
    name = ("silent", "slow headers", "slow body")[kind]
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                await _dribble(reader, writer, kind)
            finally:
                writer.close()
            ended[name] += 1
        await asyncio.sleep(0.1)


async def _dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: int) -> None:
    if kind == 2:
        writer.write(HEAD + b"Content-Length: 500\r\n\r\n")
    elif kind == 1:
        writer.write(HEAD + b"X-Slow: ")
    while not reader.at_eof():
        if kind:
            writer.write(b"x")
            await writer.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(1024), 1)


async def measure(address: str, count: int, requests: int) -> tuple[Counter[int], list[float], Counter[str]]:
    """Statuses and times of the ordinary client, and how many slow connections the server ended."""
    ended: Counter[str] = Counter()
    client = Connections(address)
    slow_ones = [asyncio.create_task(slow(client.host, client.port, at % 3, ended)) for at in range(count)]
    await asyncio.sleep(3)
    statuses: Counter[int] = Counter()
    seconds = []
    for number in range(requests):
        started = time.perf_counter()
        try:
            body = b'{"text": "a dog %d"}' % number
            status = await asyncio.wait_for(client.post("/libraries/bench/search", body), 10)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            status = 0
        statuses[status] += 1
        seconds.append(time.perf_counter() - started)
        await asyncio.sleep(0.05)
    for one in slow_ones:
        one.cancel()
    await asyncio.gather(*slow_ones, return_exceptions=True)
    client.close()
    return statuses, seconds, ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--slow", type=int, default=500)
    parser.add_argument("--requests", type=int, default=300)
    options = parser.parse_args()
    process, address = start_server(options.library)
    try:
        before = resident(process)
        statuses, seconds, ended = asyncio.run(measure(address, options.slow, options.requests))
        after = resident(process)
    finally:
        process.terminate()
        process.wait()
    share = statuses[200] / options.requests
    print(f"{options.slow} slow connections; the server ended {dict(ended)}")
    median, worst = statistics.median(seconds) * 1e3, max(seconds)
    print(f"ordinary client: {dict(statuses)}, median {median:.0f} ms, worst {worst:.2f} s")
    print(f"memory {before} -> {after} MB")
    print(f"{'ok  ' if share >= TARGET else 'MISS'} {share:.1%} (target {TARGET:.0%})")


if __name__ == "__main__":
    main()
