"""Two processes are as one: the same curve, the same weights, one writer."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.errors import ConfigError  # noqa: E402
from diptych.training import checkpoints  # noqa: E402
from diptych.training.distributed import launch, launched, rank_rows  # noqa: E402
from diptych.training.engine import BEST, LAST, RUN_FILES  # noqa: E402
from diptych.training.settings import TrainingSettings  # noqa: E402

from .pair_run import PairRun  # noqa: E402

SCRIPT = Path(__file__).parent / "pair_run.py"
COMBINED = [{"name": "instance_discrimination", "queue": 16}, {"name": "adversarial", "weight": 5.0}]
RUNS: list[dict[str, Any]] = [
    {"loss": {"name": "info_nce"}, "settings": {"clip": 0.5}},
    {"loss": {"name": "info_nce"}, "settings": {"chunk": 3, "clip": 0.5}},
    {"loss": {"name": "combined", "parts": COMBINED}, "settings": {"chunk": 4, "ema": 0.9, "accumulate": 2}},
    {"loss": {"name": "info_nce"}, "settings": {"clip": 0.5}, "norm": True},
    {"loss": {"name": "info_nce"}, "settings": {"chunk": 3}, "extra": 0.7},
    # through DistributedDataParallel, which sums the gradients during the backward pass
    {"loss": {"name": "info_nce"}, "settings": {"clip": 0.5}, "direct": True},
    {"loss": {"name": "info_nce"}, "settings": {"accumulate": 2, "ema": 0.9}, "direct": True, "norm": True},
]
DIRECT_WITH_DROPOUT = {**RUNS[-1], "dropout": 0.3, "settings": {"checkpoint_steps": 2}}
WITH_DROPOUT = {**RUNS[2], "dropout": 0.3, "settings": {**RUNS[2]["settings"], "checkpoint_steps": 2, "accumulate": 1}}

ALL = [*RUNS, *(run | stop for run in (WITH_DROPOUT, DIRECT_WITH_DROPOUT) for stop in ({}, {"stop": 8}))]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of the runs in two processes that torchrun started."""
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(SCRIPT), str(folder), json.dumps(ALL)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def steps(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("number", range(len(RUNS)))
def test_the_same_curve_and_weights_as_one_process_with_the_same_global_batch(
    two: Path, tmp_path: Path, number: int
) -> None:
    PairRun(tmp_path, **RUNS[number]).fit()
    one_curve, two_curve = steps(tmp_path), steps(two / str(number))
    assert len(one_curve) == len(two_curve) >= 9
    for name in ("loss", "gradient_norm", "learning_rate"):
        left, right = ([line[name] for line in curve] for curve in (one_curve, two_curve))
        assert left == pytest.approx(right, abs=1e-4)
    losses = [line["loss"] for line in one_curve]
    assert max(losses) - min(losses) > 0.05  # a curve, not a line
    one_best, two_best = (checkpoints.read(folder / BEST) for folder in (tmp_path, two / str(number)))
    assert one_best.facts["best_score"] == pytest.approx(two_best.facts["best_score"], abs=1e-4)
    for name, value in one_best.module.items():
        torch.testing.assert_close(value, two_best.module[name], atol=1e-4, rtol=0)


def test_only_one_process_writes(two: Path) -> None:
    assert {path.name for path in (two / "0").iterdir()} == set(RUN_FILES)
    assert [line["step"] for line in steps(two / "0")] == list(range(1, 16))


def test_each_process_draws_its_own_random_numbers_and_both_are_kept(two: Path) -> None:
    random = checkpoints.read(two / "0" / LAST).random["cpu"]
    assert random.shape[0] == 2
    assert not torch.equal(random[0], random[1])


@pytest.mark.parametrize("first", [len(RUNS), len(RUNS) + 2])
def test_interrupted_within_an_epoch_both_go_on_exactly(two: Path, first: int) -> None:
    whole, interrupted = two / str(first), two / str(first + 1)
    assert (whole / BEST).read_bytes() == (interrupted / BEST).read_bytes()
    left, right = (checkpoints.read(folder / LAST) for folder in (whole, interrupted))
    assert torch.equal(left.random["cpu"], right.random["cpu"])
    for role in ("module", "average", "optimiser"):
        torch.testing.assert_close(getattr(left, role), getattr(right, role), rtol=0, atol=0)


def test_a_run_of_two_processes_is_not_taken_up_by_one(two: Path) -> None:
    with pytest.raises(ConfigError, match="processes: 2 -> 1"):
        PairRun(two / "0", **RUNS[0]).fit()


@pytest.mark.parametrize(("rows", "parts"), [(7, [(0, 3), (3, 5), (5, 7)]), (3, [(0, 1), (1, 2), (2, 3)])])
def test_rows_are_shared_evenly(rows: int, parts: list[tuple[int, int]]) -> None:
    fabrics = [SimpleNamespace(world_size=3, global_rank=rank) for rank in range(3)]
    assert [rank_rows(rows, fabric) for fabric in fabrics] == [slice(*part) for part in parts]


def test_fewer_rows_than_processes() -> None:
    with pytest.raises(ConfigError, match=r"a batch of 2 pair\(s\) cannot be shared by 3 processes"):
        rank_rows(2, SimpleNamespace(world_size=3, global_rank=0))


def test_what_the_launcher_started_is_known_and_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched() == (1, 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert launched() == (4, 2)
    with pytest.raises(ConfigError, match=r"training\.devices is 3, but the launcher started 4; set it to 0"):
        launch("cpu", TrainingSettings(devices=3))
    with pytest.raises(ConfigError, match=r"training\.nodes is 3, but the launcher started 2"):
        launch("cpu", TrainingSettings(nodes=3))
