"""Killed with SIGKILL wherever it may be, a run ends with the very same bytes as one that nothing stopped."""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.training import checkpoints  # noqa: E402
from diptych.training.engine import BEST, LAST  # noqa: E402

from .pair_run import PairRun  # noqa: E402

SCRIPT = Path(__file__).parent / "pair_run.py"
QUEUE = {"name": "instance_discrimination", "queue": 20}
EVERYTHING: dict[str, Any] = {
    "loss": {"name": "combined", "parts": [QUEUE, {"name": "adversarial"}]},
    "dropout": 0.3,
    "settings": {"epochs": 4, "batch_size": 6, "ema": 0.9, "accumulate": 2, "chunk": 2, "checkpoint_steps": 1},
}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lines(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "steps.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "pairs_per_second"} for line in found]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    torch.set_num_threads(1)
    PairRun(folder, **EVERYTHING).fit()
    return folder


def kill_once(folder: Path, seconds: float) -> bool:
    """Start the run, and kill it that long after it has begun to write; False when it ended before."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder.parent), json.dumps([{**EVERYTHING, "pause": 0.002}])],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        before = time.time_ns()
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            if (folder / LAST).exists() and (folder / LAST).stat().st_mtime_ns > before:
                break
            time.sleep(0.002)
        time.sleep(seconds)
    finally:
        process.kill()
    return process.wait() == -9


def test_killed_again_and_again_within_epochs(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "0"
    kills, places = 0, set()
    while kills < 3 and kill_once(folder, random.uniform(0, 0.3)):
        kills += 1
        facts = checkpoints.read(folder / LAST).facts  # never half a file
        places.add((facts["epoch"], facts["batch"]))
    assert kills >= 1
    result = PairRun(folder, **EVERYTHING).fit()
    assert result.epochs == 4
    assert sha256(folder / BEST) == sha256(whole / BEST)
    last, other = (checkpoints.read(each / LAST) for each in (folder, whole))
    assert torch.equal(last.random["cpu"], other.random["cpu"])
    for role in ("module", "average", "optimiser"):
        torch.testing.assert_close(getattr(last, role), getattr(other, role), rtol=0, atol=0)
    assert lines(folder) == lines(whole)


@pytest.mark.parametrize("stop", range(1, 40, 5))
def test_stopped_at_any_call_even_in_the_middle_of_writing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Every durable write and every pass through the towers is a place to die at."""
    from diptych.core import files

    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise KeyboardInterrupt

    replace = os.replace

    def replaced(*paths: Any) -> None:
        count()
        replace(*paths)

    monkeypatch.setattr(files.os, "replace", replaced)
    run = PairRun(tmp_path, **EVERYTHING)
    embed = run.embed

    def embedded(rows: Any) -> Any:
        if stop % 4 == 1:
            count()
        return embed(rows)

    run.trainer.objective.embed = embedded  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        run.fit()
    monkeypatch.undo()
    torch.manual_seed(4321)
    PairRun(tmp_path, **EVERYTHING).fit()
    assert sha256(tmp_path / BEST) == sha256(whole / BEST)
    assert lines(tmp_path) == lines(whole)
