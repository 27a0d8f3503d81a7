"""Parquet and Arrow files. A row is a record; its image is bytes, Hugging Face's {bytes, path}, or a path.

    image: {bytes: ..., path: "1.jpg"}   caption: ["A dog runs.", "A running dog."]   label: 3

Columns are recognised by their names and what they hold (`columns`). Rows are read in small batches.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.core.errors import Reason
from diptych.core.registry import register
from diptych.core.types import Pair

from .files import file_split, source_files
from .reading import Reading
from .rows import RowReader

if TYPE_CHECKING:
    import pyarrow as pa

Split = Callable[[], str | None]

BATCH = 64  # rows: images come along, so a batch may be tens of megabytes


@register.reader("parquet", "Parquet files with image bytes or paths")
def read_parquet(reading: Reading) -> Iterator[Pair]:
    """One Pair a row of each .parquet file.

    A file that is not Parquet, or is damaged, is skipped. Raises ConfigError or DataError, with the
    columns found, when a needed column is not there.
    """
    import pyarrow.parquet as pq

    for path in source_files(reading, (".parquet",)):
        with _damage_skipped(reading, path, "Parquet"), pq.ParquetFile(path) as file:
            split = partial(file_split, reading, path)
            yield from batch_pairs(reading, path, file.schema_arrow, file.iter_batches(BATCH), split)


def arrow_pairs(reading: Reading, path: Path, split: Split) -> Iterator[Pair]:
    """Pairs of one Arrow stream file, as `datasets` saves them; anything else is skipped."""
    import pyarrow as pa

    damage = _damage_skipped(reading, path, "an Arrow stream")
    with damage, pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
        yield from batch_pairs(reading, path, stream.schema, stream, split)


@contextlib.contextmanager
def _damage_skipped(reading: Reading, path: Path, what: str) -> Iterator[None]:
    """Around reading a file: one that is damaged, or not what it seems, is skipped from there on."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError) as error:
        reading.skip(path.name, Reason.TRUNCATED, f"cannot be read as {what}: {error}")


def batch_pairs(
    reading: Reading, path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch], split: Split
) -> Iterator[Pair]:
    """Pairs of record batches with one schema."""
    rows = RowReader(reading, path.parent, split)
    rows.check(schema.names, str(path))
    classes = class_names(schema)
    name = str(path.relative_to(reading.path)) if path.is_relative_to(reading.path) else path.name
    name = path.name if name == "." else name
    yield from rows.pairs(_named_rows(reading, name, batches, classes))


def _named_rows(
    reading: Reading, name: str, batches: Iterator[pa.RecordBatch], classes: dict[str, list[str]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows that can be decoded, each with its place."""
    for number, row in enumerate(_rows(batches)):
        where = f"{name} row {number}"
        if row is None:
            reading.skip(where, Reason.BAD_ROW, "a text is not UTF-8")
        else:
            yield where, with_class_names(row, classes)


def _rows(batches: Iterator[pa.RecordBatch]) -> Iterator[dict[str, Any] | None]:
    """The rows as dictionaries; None for one whose strings cannot be decoded."""
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH):
            part = batch.slice(start, BATCH)
            try:
                yield from part.to_pylist()
            except UnicodeDecodeError:  # raised before the first row is out
                yield from (_row(part, number) for number in range(part.num_rows))


def _row(batch: pa.RecordBatch, number: int) -> dict[str, Any] | None:
    try:
        return dict(batch.slice(number, 1).to_pylist()[0])
    except UnicodeDecodeError:
        return None


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Column -> names of its classes, where `datasets` noted them in the file."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: feature["names"]
            for name, feature in features.items()
            if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def with_class_names(row: Mapping[str, Any], classes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The row with the names of its classes in place of their numbers."""
    row = dict(row)
    for column, names in classes.items():
        number = row.get(column)
        if isinstance(number, int) and 0 <= number < len(names):
            row[column] = names[number]
    return row
