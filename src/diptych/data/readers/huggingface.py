"""Data sets of Hugging Face's `datasets`: a folder on this disk (read without that package), or a name on the hub.

A folder is one that `save_to_disk` wrote (Arrow files with a state.json), or one of Parquet, Arrow, CSV or JSON-lines
files ("shards"). Columns are recognised as in any table (`columns`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, DiptychError, Reason, first_line
from diptych.core.extras import needed_by
from diptych.core.registry import register
from diptych.core.types import Pair

from . import delimited, jsonl
from .arrow import arrow_pairs, read_parquet, with_class_names
from .files import file_split, table_files
from .options import normalise_split
from .reading import Reading
from .rows import RowReader
from .textfile import load_json


def is_saved(path: Path) -> bool:
    """Whether `save_to_disk` of `datasets` wrote this folder."""
    is_split = (path / "state.json").is_file() and (path / "dataset_info.json").is_file()
    return is_split or (path / "dataset_dict.json").is_file()


@register.reader("huggingface", "folder of a `datasets` set, or a name on the hub", by_name=True)
def read(reading: Reading) -> Iterator[Pair]:
    """Pairs of a folder saved by `save_to_disk`, of a folder of shards, or of a data set on the hub.

    Local data is read with pyarrow alone. A name on the hub needs the `datasets` package
    (MissingExtraError without it); code that comes with a data set is never run. Raises DataError
    when the hub cannot be reached or does not know the name.
    """
    if not reading.path.exists():
        yield from _from_hub(reading)
    elif is_saved(reading.path):
        yield from _saved(reading)
    else:
        yield from _shards(reading)


def _saved(reading: Reading) -> Iterator[Pair]:
    if not (reading.path / "dataset_dict.json").is_file():
        yield from _saved_split(reading, reading.path, None)
        return
    content = load_json(reading, reading.path / "dataset_dict.json")
    names = content.get("splits") if isinstance(content, dict) else None
    if not isinstance(names, list):
        raise DataError(f"{reading.path / 'dataset_dict.json'} has no list 'splits'; save the data set again")
    for name in names:
        yield from _saved_split(reading, reading.path / Path(str(name)).name, str(name))


def _saved_split(reading: Reading, folder: Path, name: str | None) -> Iterator[Pair]:
    state = load_json(reading, folder / "state.json")
    try:
        names = [Path(file["filename"]).name for file in state["_data_files"]]
        split = normalise_split(name or state.get("_split"))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / 'state.json'} is not as `datasets` writes it: no {error}") from error
    for file_name in names:
        yield from arrow_pairs(reading, folder / file_name, lambda: split)


def _shards(reading: Reading) -> Iterator[Pair]:
    if table_files(reading.path, (".parquet",)):
        yield from read_parquet(reading)
    elif files := table_files(reading.path, (".arrow",)):
        for path in files:
            yield from arrow_pairs(reading, path, partial(file_split, reading, path))
    elif table_files(reading.path, delimited.SUFFIXES):
        yield from delimited.read(reading)
    elif table_files(reading.path, jsonl.SUFFIXES):
        yield from jsonl.read(reading)
    else:
        raise DataError(f"{reading.path} has no parquet, arrow, csv or jsonl files", Reason.MISSING)


def _from_hub(reading: Reading) -> Iterator[Pair]:
    name = reading.path.as_posix()
    with needed_by(f"{name} is no folder here; a data set on the hub"):
        import datasets
    try:
        splits: Mapping[str, Any] = datasets.load_dataset(name, streaming=True)
        for split, dataset in splits.items():
            yield from _streamed(reading, name, split, dataset)
    except DiptychError:
        raise
    except Exception as error:  # its errors come from five packages, without a common base
        raise DataError(
            f"cannot read the data set {name!r} from the Hugging Face hub ({type(error).__name__}: "
            f"{first_line(error)}); check the name and the connection, or give a folder on this disk",
            Reason.MISSING,
        ) from error


def _streamed(reading: Reading, name: str, split: str, dataset: Any) -> Iterator[Pair]:
    import datasets

    classes: dict[str, list[str]] = {}
    for column, feature in (dataset.features or {}).items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
        elif isinstance(feature, datasets.ClassLabel):
            classes[column] = feature.names

    rows = ((f"{name} {split} row {number}", with_class_names(row, classes)) for number, row in enumerate(dataset))
    yield from RowReader(reading, Path(), lambda: normalise_split(split)).pairs(rows)
