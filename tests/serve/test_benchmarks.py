"""The parts of the benchmarks that decide: a library made quickly is a good one, growth and failures are seen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from diptych.core.cosine import normalise
from diptych.library import Library

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_a_library_of_many_items_is_whole_and_finds_its_photos(benchmarks, site, tmp_path, rng) -> None:
    import many_items

    photos = [
        many_items.Photo(f"{at}.jpg", PIL.Image.fromarray(rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)), vector)
        for at, vector in enumerate(normalise(rng.normal(size=(5, site.encoder.dim))))
    ]
    library = Library.create(tmp_path / "many", site.encoder)
    many_items.fill(library, photos, 103, 0.1)
    assert len(library) == 103
    assert library.verify().problems == ()
    hits = library.search(photos[3].vector, 20)
    assert {hit.meta["photo"] for hit in hits} == {"3.jpg"}
    assert len({hit.meta["number"] for hit in hits}) == 20
    with PIL.Image.open(library.original(hits[0].id)) as image:
        assert max(image.size) == many_items.SIDE
        assert image.size == (hits[0].meta["width"], hits[0].meta["height"])


def test_the_soak_sees_memory_that_grows_and_answers_that_are_wrong(benchmarks) -> None:
    import serve_soak

    def samples(sizes: list[float]) -> list[Any]:
        return [serve_soak.Sample(at, size, size, size / 2, 9, 1) for at, size in enumerate(sizes)]

    assert serve_soak.growth(samples([100.0, 500.0, 100.0] * 10)) == 0  # peaks are no growth
    assert serve_soak.growth(samples(list(range(100)))) == 90
    assert serve_soak.growth(samples(list(range(100))), lambda one: one.mapped_mb) == 45
    visitors = serve_soak.Visitors(None, 0.05)
    visitors.statuses = {"words": Counter({200: 9, 503: 1}), "bad": Counter({415: 3, 422: 2, 404: 1})}
    assert visitors.failures() == {}
    visitors.statuses = {"words": Counter({200: 9, 404: 1}), "bad": Counter({415: 3, 500: 2, 0: 1})}
    assert visitors.failures() == {"words: 404": 1, "bad: 500": 2, "bad: 0": 1}


def test_the_soak_looks_at_all_processes(benchmarks) -> None:
    import serve_soak

    alone = serve_soak.sample(os.getpid(), 0.0)
    program = [sys.executable, "-c", "print('up', flush=True); input()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()  # it is up, and has memory of its own
        both = serve_soak.sample(os.getpid(), 1.0)
        assert child.pid in serve_soak.family(os.getpid())
        child.communicate(b"\n")
    assert both.processes == alone.processes + 1
    assert both.descriptors > alone.descriptors
    assert both.rss_mb > both.main_mb > 0
    assert both.rss_mb > both.mapped_mb > 0


@pytest.mark.slow
def test_the_server_killed_again_and_again() -> None:
    """The benchmark with its 200 kills, in small."""
    command = [sys.executable, BENCHMARKS / "kill_serve.py", "--kills", "2", "--longest", "2"]
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS.parent / "src")}
    done = subprocess.run([*command, "--slowest-restart", "60"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
