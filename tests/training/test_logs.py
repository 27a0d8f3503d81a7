"""The logs of a run: lines a few steps, rows an epoch, TensorBoard, the curve."""

import builtins
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.training import logs  # noqa: E402
from diptych.training.engine import RUN_FILES, remove_run  # noqa: E402
from diptych.training.logs import STEPS, EpochLog, StepLog, draw_curve  # noqa: E402

from .pair_run import PairRun  # noqa: E402

INFO_NCE = {"name": "info_nce"}


class Told:
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def track(self, items: Any, label: str, total: int | None = None) -> Any:
        yield from items

    def say(self, message: str) -> None:
        self.lines.append(message)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / STEPS).read_text(encoding="utf-8").splitlines()]


def test_a_line_every_few_steps(tmp_path: Path) -> None:
    run = PairRun(tmp_path, loss=INFO_NCE, settings={"log_steps": 4, "clip": 1e-3, "accumulate": 2, "batch_size": 6})
    objective, losses = run.trainer.objective, []
    backward = objective.backward

    def watched(*arguments: Any) -> torch.Tensor:
        losses.append(backward(*arguments))
        return losses[-1]

    objective.backward = watched  # type: ignore[method-assign]
    run.fit()
    found = lines(tmp_path)
    assert [line["step"] for line in found] == [4, 8, 12, 16]  # of 3 epochs of 12 batches, two a step
    assert [(line["epoch"], line["batch"]) for line in found] == [(1, 8), (2, 4), (2, 12), (3, 8)]
    assert [line["learning_rate"] for line in found] == [run.settings.rate_at(step, 18) for step in (3, 7, 11, 15)]
    assert [line["loss"] for line in found] == pytest.approx(
        [float(sum(losses[2 * s - 2 : 2 * s]) / 2) for s in (4, 8, 12, 16)]
    )
    assert all(line["gradient_norm"] > 1e-2 for line in found)  # before clipping
    assert all(line["pairs_per_second"] > 0 for line in found)


def test_no_lines_when_none_are_wanted(tmp_path: Path) -> None:
    PairRun(tmp_path, loss=INFO_NCE, settings={"log_steps": 0, "epochs": 1}).fit()
    assert not (tmp_path / STEPS).exists()


def test_lines_of_an_interrupted_run_and_half_lines_are_removed(tmp_path: Path) -> None:
    log = StepLog(tmp_path, 0)
    for step in (1, 2, 3):
        log.add({"step": step})
    log.close()
    with (tmp_path / STEPS).open("a") as stream:
        stream.write('{"step": 1, "lo')
    again = StepLog(tmp_path, 2)
    again.add({"step": 9})
    again.close()
    assert lines(tmp_path) == [{"step": 1}, {"step": 2}, {"step": 9}]


def test_tensorboard_has_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the [train] extra")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    PairRun(tmp_path, loss=INFO_NCE, settings={"tensorboard": True, "log_steps": 2}).fit()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("step/loss")]
    assert found == [(line["step"], pytest.approx(line["loss"])) for line in lines(tmp_path)]
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    scores = [(event.step, event.value) for event in events.Scalars("epoch/score")]
    assert scores == [(5 * row["epoch"], pytest.approx(row["score"])) for row in rows]
    assert {"epoch/temperature", "epoch/learning_rate", "step/gradient_norm"} <= set(events.Tags()["scalars"])


def test_without_tensorboard_it_says_so_once_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    told = Told()
    run = PairRun(tmp_path, loss=INFO_NCE, settings={"tensorboard": True}, progress=told)
    assert run.fit().epochs == 3
    assert [line for line in told.lines if "TensorBoard" in line] == [
        "no TensorBoard files: its package is not installed; run: pip install tensorboard"
    ]
    assert not (tmp_path / "tensorboard").exists()


def test_removing_a_run_leaves_what_is_not_the_runs(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    PairRun(tmp_path, loss=INFO_NCE, settings={"tensorboard": True, "epochs": 1}).fit()
    (tmp_path / ".last.safetensors.abc.tmp").write_text("half")
    assert {path.name for path in tmp_path.iterdir()} > {*RUN_FILES, "tensorboard"}
    remove_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_what_a_kill_left_half_written_is_swept_away(tmp_path: Path) -> None:
    half = tmp_path / ".last.safetensors.abc.tmp"
    half.write_text("half")
    PairRun(tmp_path, loss=INFO_NCE, settings={"epochs": 1}).fit()
    assert not half.exists()


ROWS = [{"epoch": n + 1, "loss": 2.0 / (n + 1), "score": 50.0 + n, "temperature": 0.05} for n in range(4)]


def epoch_logs(folder: Path) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    with (folder / "log.csv").open(newline="", encoding="utf-8") as stream:
        return lines, [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]


def test_both_files_hold_the_same_rows_after_every_epoch(tmp_path: Path) -> None:
    log = EpochLog(tmp_path)
    for count, row in enumerate(ROWS, 1):
        log.add(row)
        jsonl, table = epoch_logs(tmp_path)
        assert jsonl == table == ROWS[:count]


def test_going_on_drops_the_epochs_of_the_interrupted_run(tmp_path: Path) -> None:
    log = EpochLog(tmp_path)
    for row in ROWS:
        log.add(row)
    resumed = EpochLog(tmp_path)
    resumed.restore(2)
    assert resumed.rows == ROWS[:2]
    resumed.add({"epoch": 3, "loss": 9.0, "score": 1.0, "extra": 7.0})
    jsonl, table = epoch_logs(tmp_path)
    assert jsonl == table
    assert [row["loss"] for row in jsonl] == [2.0, 1.0, 9.0]


def test_a_log_that_is_not_there_is_an_empty_one(tmp_path: Path) -> None:
    log = EpochLog(tmp_path)
    log.restore(5)
    assert log.rows == []


def test_the_curve_is_an_image_that_shows_both_lines(tmp_path: Path) -> None:
    draw_curve(ROWS, tmp_path / "curve.png", "a title")
    assert (tmp_path / "curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with Image.open(tmp_path / "curve.png") as image:
        image.load()
        assert image.size == (840, 480)
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or []}
    assert {(0xB4, 0x53, 0x2A), (0x1F, 0x5A, 0x7A)} <= colours


def test_the_curve_is_drawn_once_where_epochs_are_short_and_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def draw(rows: Any, path: Path, title: str) -> None:
        drawn.append(len(rows))
        draw_curve(rows, path, title)

    monkeypatch.setattr(logs, "draw_curve", draw)
    PairRun(tmp_path, loss=INFO_NCE, settings={}).fit()
    assert drawn == [3]  # of all three epochs, at the end
    PairRun(tmp_path, loss=INFO_NCE, settings={}).fit()
    assert drawn == [3]  # the run is complete, and so is its curve
    (tmp_path / "curve.png").unlink()  # as if killed before it was drawn
    PairRun(tmp_path, loss=INFO_NCE, settings={}).fit()
    assert drawn == [3, 3]
    monkeypatch.setattr(logs, "_BETWEEN_CURVES", 0.0)
    PairRun(tmp_path / "slow", loss=INFO_NCE, settings={}).fit()
    assert drawn == [3, 3, 1, 2, 3]


def test_one_epoch_is_a_curve_too(tmp_path: Path) -> None:
    draw_curve(ROWS[:1], tmp_path / "curve.png", "")
    with Image.open(tmp_path / "curve.png") as image:
        image.load()
