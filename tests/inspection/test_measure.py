"""What a measurement says of itself."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from diptych.data.readers import open_source
from diptych.inspection.measure import FEW, Task, measure


@pytest.mark.parametrize(("records", "said"), [(2, "100%"), (15, "67%"), (20, "")])
def test_so_few_records_that_they_say_little_are_noted_once(
    records: int, said: str, shapes: Path, small_model: Path, tmp_path: Path
) -> None:
    table = tmp_path / "pairs.csv"
    files = sorted(shapes.parent.glob("*-*.png"))[:records]
    with table.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("image", "caption"), *((file, file.stem) for file in files)])
    source = open_source(table)
    for _ in range(2):  # as two models are compared
        report = measure(str(small_model), source, Task(resamples=0)).report
    found = [note for note in report.notes if note.kind == FEW]
    assert [note.count for note in found] == [records] * bool(said)
    assert all(f"an R@10 of {said} " in note.detail for note in found)
