"""Captions of videos as published: VATEX and MSR-VTT, each one JSON file beside a folder of videos.

VATEX is a list: `[{"videoID": "Ptf_2VRj-V0_000122_000132", "enCap": ["A man skis."], "chCap": ["..."]}, ...]`.
The id ends in the seconds of the clip. Either the clip is a file of that name, or the whole video is.

MSR-VTT is `{"videos": [{"video_id": "video0", "split": "train", "category": 9}, ...], "sentences": [{"video_id":
"video0", "caption": "a man sings"}, ...]}`.

Videos lie beside the JSON file, in `videos/` beside it, or in `--images-root`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, Reason
from diptych.core.registry import register
from diptych.core.types import Pair, Text
from diptych.data.video import SUFFIXES, VideoImage

from .cells import strings
from .options import SPLITS, normalise_split
from .reading import Reading
from .textfile import head, load_json

_VATEX_ID = re.compile(r"(?P<name>.+)_(?P<start>\d{6})_(?P<end>\d{6})")


def looks_like_videos(path: Path) -> bool:
    """Whether the file starts like VATEX or MSR-VTT."""
    start = head(path).lstrip(b"\xef\xbb\xbf \r\n\t")
    return b'"videoID"' in start if start.startswith(b"[") else b'"video_id"' in start


@register.reader("videos", "captions of videos: VATEX or MSR-VTT, a JSON file and the videos' folder")
def read(reading: Reading) -> Iterator[Pair]:
    """One Pair a clip whose video is there, with all of its captions.

    The split of VATEX is in its file's name ("vatex_training_v1.0.json"). Raises DataError for a file of neither kind.
    """
    content = load_json(reading, reading.path)
    if isinstance(content, dict) and isinstance(content.get("sentences"), list):
        return _msrvtt(reading, content)
    if isinstance(content, list) and content and isinstance(content[0], dict) and "videoID" in content[0]:
        return _vatex(reading, content)
    raise DataError(
        f"{reading.path} is neither VATEX (a list with videoID) nor MSR-VTT (videos and sentences); check the file"
    )


def _vatex(reading: Reading, rows: Sequence[Any]) -> Iterator[Pair]:
    words = re.split(r"[^a-z]+", reading.path.stem.lower())
    split = "test" if "public" in words else next((SPLITS[word] for word in words if word in SPLITS), None)
    for row in rows:
        name = str(row.get("videoID", "")) if _is_object(row) else ""
        video = _video(reading, name)
        if video is not None:
            texts = (*_texts(reading, row, "enCap", "en"), *_texts(reading, row, "chCap", "zh"))
            yield Pair(name, (video,), texts, split)


def _msrvtt(reading: Reading, content: Mapping[str, Any]) -> Iterator[Pair]:
    texts: dict[str, list[Text]] = {}
    for sentence in filter(_is_object, content["sentences"]):
        texts.setdefault(str(sentence.get("video_id")), []).extend(_texts(reading, sentence, "caption", "en"))
    known = {str(row.get("video_id")): row for row in filter(_is_object, content.get("videos", []))}
    for name in dict.fromkeys([*known, *texts]):
        video = _video(reading, name)
        if video is not None:
            row = known.get(name, {})
            split = "val" if row.get("split") == "validate" else normalise_split(row.get("split"))
            group = None if row.get("category") is None else str(row["category"])
            yield Pair(name, (video,), tuple(texts.get(name, ())), split, group)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _texts(reading: Reading, row: Mapping[str, Any], key: str, lang: str) -> list[Text]:
    name = str(row.get("videoID") or row.get("video_id"))
    return reading.texts(name, strings(row.get(key)), lang=lang)


def _video(reading: Reading, name: str) -> VideoImage | None:
    """The clip by its id with any video suffix, or its part of the whole video; None after skipping it."""
    root = reading.options.images_root
    folders = [root] if root is not None else [reading.path.parent, reading.path.parent / "videos"]
    cut = _VATEX_ID.fullmatch(name)
    for stem in (name, *([cut["name"]] if cut else [])):
        if not stem or "/" in stem or "\\" in stem or stem.startswith("."):
            continue
        for path in (folder / f"{stem}{suffix}" for folder in folders for suffix in sorted(SUFFIXES)):
            if path.is_file():
                is_part = cut is not None and stem == cut["name"]
                return VideoImage(path, *map(float, cut.groups()[1:])) if cut and is_part else VideoImage(path)
    detail = f"no video of this name in {' or '.join(map(str, folders))}; name their folder with --images-root"
    reading.skip(name or "?", Reason.MISSING, detail)
    return None
