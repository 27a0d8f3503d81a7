"""Whether files of weights are whole, before a library reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diptych.core.errors import ModelError
from diptych.encoders.hub import GET, OTHER_WEIGHTS, SAFE_WEIGHTS, weights_file

_MOST_HEADER = 100_000_000  # bytes, as the format itself allows


def check_whole(file: Path, address: str = "") -> None:
    """Raise ModelError for safetensors that were cut off, by their own header; other files cannot be told.

    `address` is what `diptych models get` fetches the file by.
    """
    if file.suffix in SAFE_WEIGHTS and (problem := _cut(file)):
        remedy = f"fetch it again: {GET} {address}" if address else "copy it again"
        raise ModelError(f"{file} is not whole ({problem}); {remedy}")


def check_folder(folder: Path, address: str = "") -> None:
    """Raise ModelError where a folder has no weights, lacks one of several files of them, or has one that was cut."""
    fetch = f"fetch the rest: {GET} {address}" if address else "copy the folder again"
    if weights_file(folder) is None:
        raise ModelError(f"{folder} has no weights; {fetch}")
    for index in sorted(folder.glob("*.index.json")):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ModelError(f"{index} cannot be read ({error}); copy the folder again") from error
        if missing := sorted(shard for shard in shards if not (folder / shard).is_file()):
            raise ModelError(f"{folder} lacks {len(missing)} of {len(shards)} files of weights ({missing[0]}); {fetch}")
    for file in sorted(folder.glob("*.safetensors")):
        check_whole(file, address)


def stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of each file of weights and settings in a folder: another stamp, another model."""
    found = sorted(file for file in folder.iterdir() if file.suffix in (*SAFE_WEIGHTS, *OTHER_WEIGHTS, ".json"))
    return tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in found)


def header_of(file: Path) -> dict[str, Any]:
    """The header of a safetensors file: `dtype`, `shape` and `data_offsets` of each tensor, by name.

    Raises ModelError for a file that has none.
    """
    try:
        return _header(file)[0]
    except ValueError as error:
        raise ModelError(f"{file} is not whole ({error})") from error


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """The header, and where the values begin. Raises ValueError, with what is wrong.

    Format: the header's length as a little-endian 64-bit number, the header as JSON, the values.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, _MOST_HEADER):
            raise ValueError(f"{size:,} bytes")
        try:
            header = json.loads(stream.read(length))
            return {name: value for name, value in header.items() if name != "__metadata__"}, 8 + length
        except (ValueError, AttributeError) as error:
            raise ValueError("its header is no JSON") from error


def _cut(file: Path) -> str:
    """What is wrong with the length of a safetensors file; "" for nothing."""
    try:
        header, begin = _header(file)
        expected = begin + max((int(value["data_offsets"][1]) for value in header.values()), default=0)
    except ValueError as error:
        return str(error)
    except (KeyError, TypeError, IndexError):
        return "its header names no places"
    size = file.stat().st_size
    return "" if size == expected else f"{size:,} of {expected:,} bytes"
