"""Dynamic batching: together when it can be, alone when it must be, never for nobody."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from diptych.serve.batching import Batcher
from diptych.serve.errors import ServeError


def run(scenario):
    return asyncio.run(scenario())


def test_what_arrives_together_is_worked_on_together_in_order() -> None:
    sizes = []

    def work(items):
        sizes.append(len(items))
        return [item * 2 for item in items]

    async def scenario():
        batcher = Batcher("t", work, max_batch=4, max_wait=0.01)
        results = await asyncio.gather(*(batcher.submit(number) for number in range(10)))
        await batcher.close()
        return results

    assert run(scenario) == [number * 2 for number in range(10)]
    assert sizes == [4, 4, 2]


def test_a_bad_input_harms_only_itself() -> None:
    calls = []

    def work(items):
        calls.append(list(items))
        if 3 in items:
            raise ValueError("three")
        return items

    async def scenario():
        batcher = Batcher("t", work, max_batch=8)
        return await batcher.submit_all([1, 2, 3, 4])

    results = run(scenario)
    assert [results[0], results[1], results[3]] == [1, 2, 4]
    assert isinstance(results[2], ValueError)
    assert calls == [[1, 2, 3, 4], [1], [2], [3], [4]]


@pytest.mark.parametrize("trouble", [SystemExit, KeyboardInterrupt, MemoryError])
def test_a_worker_survives_what_would_end_a_thread(trouble) -> None:
    def work(items):
        if items == ["bad"]:
            raise trouble
        return items

    async def scenario():
        batcher = Batcher("t", work, max_wait=0)
        with pytest.raises((RuntimeError, MemoryError)):
            await batcher.submit("bad")
        return await batcher.submit("good")

    assert run(scenario) == "good"


def test_too_few_results_are_a_defect_not_a_mix_up() -> None:
    async def scenario():
        return await Batcher("t", lambda items: items[:-1], max_wait=0).submit_all([1, 2])

    assert all(isinstance(one, RuntimeError) for one in run(scenario))


def test_a_full_queue_refuses_at_once() -> None:
    release = threading.Event()

    async def scenario():
        batcher = Batcher("t", lambda items: (release.wait(5), items)[1], max_batch=1, max_wait=0, queue=2)
        first = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(batcher.submit(number)) for number in (2, 3)]
        await asyncio.sleep(0.05)
        with pytest.raises(ServeError) as refused:
            await batcher.submit(4)
        release.set()
        return refused.value, await asyncio.gather(first, *waiting)

    refused, results = run(scenario)
    assert (refused.status, refused.retry_after) == (503, 1)
    assert results == [1, 2, 3]


def test_who_has_gone_is_not_worked_for() -> None:
    worked = []
    release = threading.Event()

    def work(items):
        worked.extend(items)
        release.wait(5)
        return items

    async def scenario():
        batcher = Batcher("t", work, max_batch=1, max_wait=0)
        first = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0.05)
        gone = asyncio.create_task(batcher.submit(2))
        await asyncio.sleep(0.05)
        gone.cancel()
        last = asyncio.create_task(batcher.submit(3))
        await asyncio.sleep(0.05)
        release.set()
        await asyncio.gather(first, last)

    run(scenario)
    assert worked == [1, 3]


def test_closing_finishes_what_was_accepted_and_takes_no_more() -> None:
    async def scenario():
        batcher = Batcher("t", lambda items: (time.sleep(0.05), items)[1], max_batch=1, max_wait=0)
        accepted = [asyncio.create_task(batcher.submit(number)) for number in range(4)]
        await asyncio.sleep(0)
        await batcher.close()
        with pytest.raises(ServeError):
            await batcher.submit(5)
        return await asyncio.gather(*accepted)

    assert run(scenario) == [0, 1, 2, 3]
