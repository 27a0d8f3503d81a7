"""Finds the reader for a file or folder, by its name and its first bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.registry import entries, names
from diptych.data.image_walk import is_image_file, is_sound_file

from . import (
    beir,
    coco,
    cub,
    delimited,
    drawn,
    flickr,
    huggingface,
    jsonl,
    karpathy,
    narratives,
    recipe1m,
    sts,
    videos,
    webdataset,
)
from .files import table_files
from .options import SPLITS


def detect(path: Path, encoding: str | None = None) -> str:
    """Name of the reader for `path`: the first registered one whose `detects(path)` says so, else by name and content.

    Raises DataError when there is nothing there, or nothing in it; ConfigError when it is none of the formats.
    """
    for name, entry in entries("reader").items():
        if "detects" in entry.facts and path.exists() and entry.load().facts["detects"](path):
            return name
    if path.is_dir():
        return _detect_folder(path)
    if not path.is_file():
        message = f"no file or folder {path} (for a name on the Hugging Face hub, add --format huggingface)"
        raise DataError(message, Reason.MISSING)
    return _detect_file(path, encoding)


def _detect_file(path: Path, encoding: str | None) -> str:
    name = path.name.lower()
    if path.stat().st_size == 0:
        raise DataError(f"{path} is an empty file")
    layers = (recipe1m.LAYER1, recipe1m.LAYER2, recipe1m.LAYER2_PLUS)
    formats: tuple[tuple[str, tuple[str, ...], Callable[[Path], object]], ...] = (
        ("sts", (".csv", ".tsv", ".txt"), sts.find),
        ("narratives", jsonl.SUFFIXES, narratives.looks_like_narratives),
        ("recipes", jsonl.SUFFIXES, jsonl.looks_like_recipes),
        ("jsonl", jsonl.SUFFIXES, Path.is_file),
        ("webdataset", webdataset.ENDINGS, Path.is_file),
        ("parquet", (".parquet",), Path.is_file),
        ("flickr", (".txt", ".token"), flickr.find),
        ("csv", delimited.SUFFIXES, Path.is_file),
        ("csv", (".txt",), lambda table: delimited.looks_like_table(table, encoding)),
        ("recipe1m", layers, lambda layer: layer.name.lower() in layers),
        ("coco", (".json",), coco.find),
        ("karpathy", (".json",), karpathy.looks_like_karpathy),
        ("videos", (".json",), videos.looks_like_videos),
        ("images", ("",), is_image_file),
        ("sounds", ("",), is_sound_file),
    )
    for reader, endings, matches in formats:
        if name.endswith(endings) and matches(path):
            return reader
    if name.endswith((".zip", ".7z", ".rar")):
        raise ConfigError(f"{path} is a packed archive; unpack it and give the folder")
    raise ConfigError(f"cannot tell what {path} is; name it with --format, one of {', '.join(names('reader'))}")


def _detect_folder(path: Path) -> str:
    if not any(path.iterdir()):
        raise DataError(f"{path} is an empty folder", Reason.NO_IMAGE)
    tables = (
        ("drawn", lambda: drawn.is_drawn(path)),
        ("cub", lambda: cub.is_cub(path)),
        ("beir", lambda: beir.is_beir(path)),
        ("sts", lambda: sts.find(path)),
        ("flickr", lambda: flickr.find(path)),
        ("recipe1m", lambda: (path / recipe1m.LAYER1).is_file()),
        ("recipes", lambda: (path / jsonl.RECIPES).is_file()),
        ("huggingface", lambda: huggingface.is_saved(path)),
        ("karpathy", lambda: karpathy.find(path)),
        ("coco", lambda: coco.find(path)),
        ("webdataset", lambda: table_files(path, webdataset.ENDINGS)),
        ("parquet", lambda: table_files(path, (".parquet",))),
        ("huggingface", lambda: table_files(path, (".arrow",))),
        ("narratives", lambda: narratives.find(path)),
        ("csv", lambda: table_files(path, delimited.SUFFIXES)),
        ("jsonl", lambda: table_files(path, jsonl.SUFFIXES)),
    )
    for name, matches in tables:
        if matches():
            return name
    return _detect_image_folder(path)


def _detect_image_folder(path: Path) -> str:
    """Class folders have images below every first-level folder, none above, and no captions beside them."""
    if _holds_images(path):
        return "images"
    outer = [child for child in sorted(path.iterdir()) if child.is_dir() and not child.name.startswith(".")]
    folders = outer
    if folders and all(child.name.lower() in SPLITS for child in folders):
        folders = [inner for child in folders for inner in sorted(child.iterdir()) if inner.is_dir()]
    filled = [folder for folder in folders if _holds_images(folder)]
    if not filled and any(map(_holds_sounds, (path, *outer, *folders))):
        return "sounds"
    captioned = any(file.suffix.lower() == ".txt" for folder in filled for file in folder.iterdir())
    return "classes" if len(filled) > 1 and not captioned else "images"


def _holds_sounds(folder: Path) -> bool:
    return any(is_sound_file(file) for file in folder.iterdir() if not file.name.startswith("."))


def _holds_images(folder: Path) -> bool:
    return any(is_image_file(file) for file in folder.iterdir() if not file.name.startswith("."))
