"""The run's log in two forms, and its curve."""

import csv
import json
from pathlib import Path

from PIL import Image

from diptych.training.log import RunLog, draw_curve

ROWS = [{"epoch": n + 1, "loss": 2.0 / (n + 1), "score": 50.0 + n, "temperature": 0.05} for n in range(4)]


def read(folder: Path) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    with (folder / "log.csv").open(newline="", encoding="utf-8") as stream:
        return lines, [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]


def test_both_files_hold_the_same_rows_after_every_epoch(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for count, row in enumerate(ROWS, 1):
        log.add(row)
        jsonl, table = read(tmp_path)
        assert jsonl == table == ROWS[:count]


def test_going_on_drops_the_epochs_of_an_interrupted_future(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for row in ROWS:
        log.add(row)
    resumed = RunLog(tmp_path)
    resumed.restore(2)
    assert resumed.rows == ROWS[:2]
    resumed.add({"epoch": 3, "loss": 9.0, "score": 1.0, "extra": 7.0})
    jsonl, table = read(tmp_path)
    assert jsonl == table
    assert [row["loss"] for row in jsonl] == [2.0, 1.0, 9.0]


def test_a_log_that_is_not_there_is_an_empty_one(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.restore(5)
    assert log.rows == []


def test_the_curve_is_a_picture_that_shows_both_lines(tmp_path: Path) -> None:
    draw_curve(ROWS, tmp_path / "curve.png", "a title")
    assert (tmp_path / "curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with Image.open(tmp_path / "curve.png") as image:
        image.load()
        assert image.size == (840, 480)
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or []}
    assert {(0xB4, 0x53, 0x2A), (0x1F, 0x5A, 0x7A)} <= colours


def test_one_epoch_is_a_curve_too(tmp_path: Path) -> None:
    draw_curve(ROWS[:1], tmp_path / "curve.png", "")
    with Image.open(tmp_path / "curve.png") as image:
        image.load()
