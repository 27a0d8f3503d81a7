"""What searches, pages, additions and memory take in one library, in one run; a line of JSON for `scale_model.py`.

    python benchmarks/many_items.py LIBRARY --from FOLDER --items 100000 --vectors-only
    python benchmarks/scale.py LIBRARY [--json results.jsonl] [--only search pages memory cold add]

Times are CPU time, whatever else the machine does, but for additions and the map, which are by the clock.

- search: the time of a search beside FAISS alone, with the same index and as many cells, for the ten nearest; recall of
  both against the exact search; the same among 1, 10 and 50 % of the images. Queries are vectors of the library with
  noise. Without an index (see `diptych library tune`) FAISS alone is IndexFlat.
- pages: 100 images that pass a filter, the first time and again.
- memory: what `diptych serve` has in memory of its own after searches, filters, pages and the map (RssAnon: without
  the vectors, which are mapped from a file).
- cold: from the start of Python to the first answer of a process that opens the library and searches by a vector.
- add: one addition after the other while another process searches 20 times a second. It changes the library: 200 small
  images more, which are deleted in the end.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image

from diptych.core.cosine import normalise
from diptych.library import Library, NewItem, Prepared
from diptych.library.view import accelerator, exact

PARTS = ("search", "pages", "memory", "cold", "add")
K, QUERIES, NOISE = 10, 60, 0.3
FILTERS = {"1": "album = 'album 7'", "10": "number >= 0 AND album LIKE 'album _'", "50": "album < 'album 55'"}
PACE, ADDITIONS = 20, 200  # searches a second; images
Result = dict[str, Any]


def milliseconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    begun = clock()
    work()
    return 1e3 * (clock() - begun)


def of_children() -> float:
    """CPU seconds of the processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def queries(library: Library, count: int) -> np.ndarray:
    base, chance = library.opened.snapshots.newest().base, np.random.default_rng(5)
    rows = np.sort(chance.choice(len(base), count, replace=False))
    noise = normalise(chance.normal(size=(count, base.vectors.shape[1])).astype(np.float32))
    return normalise(base.vectors[rows] + NOISE * noise).astype(np.float32)


def search(library: Library) -> Result:
    import faiss

    base, asked = library.opened.snapshots.newest().base, queries(library, QUERIES)
    opened = accelerator.opened_index(base)
    if opened is None:
        index, parameters = faiss.IndexFlatIP(base.vectors.shape[1]), None
        index.add(base.vectors)
        name = "exact"
    else:
        index, choice = opened
        parameters = faiss.SearchParametersIVF(nprobe=choice.probes(index.nlist))
        name = str(choice)
    truth = [set(base.ids[exact.top_k(base.vectors, one[np.newaxis], [K])[0][0]].astype(str)) for one in asked]
    ours, alone, recalls, recalls_alone = [], [], [], []
    for query, right in zip(asked, truth, strict=True):
        found: list[Any] = []
        ours.append(milliseconds(lambda query=query, found=found: found.extend(library.search(query, K))))
        recalls.append(len({hit.id for hit in found} & right) / K)
        rows: list[Any] = []
        alone.append(
            milliseconds(lambda query=query, rows=rows: rows.append(index.search(query[None], K, params=parameters)))
        )
        recalls_alone.append(len(set(base.ids[rows[0][1][0]].astype(str)) & right) / K)
    del index
    result = {
        "index": name,
        "search_ms": statistics.median(ours),
        "faiss_ms": statistics.median(alone),
        "recall": float(np.mean(recalls)),
        "faiss_recall": float(np.mean(recalls_alone)),
    }
    for share, where in FILTERS.items():
        passing = base.find(library.matching(where))
        first = milliseconds(lambda where=where: library.search(asked[0], K, where))
        taken, recalls = [], []
        for query in asked[:20]:
            found = []
            taken.append(
                milliseconds(
                    lambda query=query, where=where, found=found: found.extend(library.search(query, K, where))
                )
            )
            rows, _ = exact.top_k(base.vectors, query[np.newaxis], [K], passing)[0]
            recalls.append(len({hit.id for hit in found} & set(base.ids[rows].astype(str))) / K)
        result |= {
            f"filter{share}_rows": len(passing),
            f"filter{share}_first_ms": first,
            f"filter{share}_ms": statistics.median(taken),
            f"filter{share}_recall": float(np.mean(recalls)),
        }
    return result


def pages(library: Library) -> Result:
    where = FILTERS["10"]
    first = milliseconds(lambda: library.items(where, limit=100))
    cursors = [f"{at << 60:016x}" for at in range(1, 15)]
    again = [milliseconds(lambda one=one: library.items(where, cursor=one, limit=100)) for one in cursors]
    plain = [milliseconds(lambda one=one: library.items(cursor=one, limit=100)) for one in cursors]
    medians = {"page_ms": statistics.median(again), "page_unfiltered_ms": statistics.median(plain)}
    return {"page_first_ms": first, **medians}


def memory(library: Library) -> Result:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "diptych", "serve", "--library", f"l={library.folder}", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
                while True:
                    try:
                        client.get("/libraries/l")
                        break
                    except httpx.TransportError:
                        time.sleep(0.5)
                for vector in queries(library, 20):
                    client.post("/libraries/l/search", json={"vector": vector.tolist(), "k": 50}).raise_for_status()
                for where in FILTERS.values():
                    client.get("/libraries/l/items", params={"where": where, "limit": 100}).raise_for_status()
                opened = milliseconds(
                    lambda: client.get("/libraries/l/map", params={"format": "binary"}), time.perf_counter
                )
                size = len(client.get("/libraries/l/map", params={"format": "binary"}).content)
            about = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            own = next(int(line.split()[1]) / 1e3 for line in about if line.startswith("RssAnon:"))
        finally:
            process.terminate()
    return {"serve_mb": own, "map_ms": opened, "map_bytes": size}


COLD = """
import sys, numpy as np
from diptych.library import Library
library = Library.open(sys.argv[1])
print(len(library.search(np.eye(library.card.dim, dtype=np.float32)[0], 10)))
"""


def cold(library: Library) -> Result:
    command = [sys.executable, "-c", COLD, str(library.folder)]
    taken = [
        milliseconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), of_children)
        for _ in range(5)
    ]
    return {"cold_ms": statistics.median(taken)}


SEARCHES = """
import sys, time, numpy as np
from diptych.library import Library
library, asked = Library.open(sys.argv[1]), np.load(sys.argv[2])
print("ready", flush=True)
while True:
    for query in asked:
        begun = time.monotonic()
        library.search(query, 10)
        time.sleep(max(0.0, 1 / float(sys.argv[3]) - time.monotonic() + begun))
"""


def images() -> Iterator[NewItem]:
    chance = np.random.default_rng(time.time_ns())
    for number in range(ADDITIONS):
        stream = io.BytesIO()
        PIL.Image.fromarray(chance.integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(stream, "JPEG")
        yield NewItem(stream.getvalue(), name=f"added {number}.jpg")


def add(library: Library) -> Result:
    asked = queries(library, QUERIES)
    file = library.folder.parent / "scale-queries.npy"
    np.save(file, asked)
    command = [sys.executable, "-c", SEARCHES, str(library.folder), str(file), str(PACE)]
    taken, ids = [], []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            for item, vector in zip(images(), np.resize(asked, (ADDITIONS, asked.shape[1])), strict=True):
                made = Prepared(vector, item.data, 32, 24)
                new = NewItem(item.data, name=item.name, prepared=made)
                taken.append(
                    milliseconds(
                        lambda new=new: ids.extend(one.id for one in library.add([new]).items), time.perf_counter
                    )
                )
        finally:
            process.terminate()
            file.unlink()
    library.delete(ids)
    return {"add_p50_ms": statistics.median(taken), "add_p99_ms": float(np.quantile(taken, 0.99))}


MADE: dict[str, Callable[[Library], Result]] = dict(zip(PARTS, (search, pages, memory, cold, add), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--json", type=Path, help="a file to which a line is added")
    options = parser.parse_args()
    library = Library.open(options.library)
    result: Result = {"items": len(library), "dim": library.card.dim, "load": os.getloadavg()[0]}
    for part in options.only:
        result |= MADE[part](library)
        print(json.dumps(result), file=sys.stderr)
    about = library.info()
    snapshot = sum(path.stat().st_size for path in library.snapshot().folder.iterdir())
    result |= {"bytes_on_disk": about.bytes_on_disk, "snapshot_bytes": snapshot}
    for name, value in result.items():
        print(f"{name}: {value:,.4g}" if isinstance(value, float) else f"{name}: {value}")
    if options.json is not None:
        with options.json.open("a") as stream:
            stream.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
