"""Video captions as published: VATEX and MSR-VTT."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, Reason
from diptych.core.text import is_blank
from diptych.core.types import Skipped, Text
from diptych.data.readers.options import normalise_split

from .frames import SUFFIXES

_VATEX_ID = re.compile(r"(?P<name>.+)_(?P<start>\d{6})_(?P<end>\d{6})")


@dataclass(frozen=True)
class VideoPair:
    """A clip and the texts that describe it. `start` and `end` are seconds in the file; None is its end."""

    id: str
    video: Path
    texts: tuple[Text, ...]
    start: float = 0.0
    end: float | None = None
    split: str | None = None
    group: str | None = None


@dataclass
class VideoAnnotations:
    """An annotation file beside a folder of videos; `skipped` is filled while iterating.

    Args:
        file: VATEX (a list of {"videoID", "enCap", "chCap"}) or MSR-VTT ({"videos", "sentences"}).
        videos: folder of the video files.
        split: of all records, for VATEX, whose files hold one split each; "" reads it from the file's name.
    """

    file: Path
    videos: Path
    split: str = ""
    skipped: list[Skipped] = field(default_factory=list)

    def __iter__(self) -> Iterator[VideoPair]:
        """Yield a record for each clip whose video is there. Raises DataError for a file of neither kind."""
        self.skipped = []
        try:
            value = json.loads(self.file.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"cannot open {self.file}: {error.strerror or error}", Reason.MISSING) from error
        except ValueError as error:
            raise DataError(f"{self.file} is not JSON: {error}") from error
        if isinstance(value, dict) and isinstance(value.get("sentences"), list):
            return self._msrvtt(value)
        if isinstance(value, list) and value and isinstance(value[0], dict) and "videoID" in value[0]:
            return self._vatex(value)
        raise DataError(
            f"{self.file} is neither VATEX (a list with videoID) nor MSR-VTT (videos and sentences); check the file"
        )

    def _vatex(self, rows: Sequence[Any]) -> Iterator[VideoPair]:
        split = normalise_split(self.split or _split_in(self.file.stem))
        for row in rows:
            name = str(row.get("videoID", "")) if isinstance(row, dict) else ""
            video = self._find(name)
            if video is None:
                continue
            texts = [*self._texts(name, row.get("enCap", []), "en"), *self._texts(name, row.get("chCap", []), "zh")]
            # the published clips are cut already; a whole video is used between the times in its id
            cut = _VATEX_ID.fullmatch(name)
            whole = cut is not None and video.stem == cut["name"]
            start, end = (float(cut["start"]), float(cut["end"])) if whole and cut is not None else (0.0, None)
            yield VideoPair(name, video, tuple(texts), start, end, split)

    def _msrvtt(self, value: dict[str, Any]) -> Iterator[VideoPair]:
        texts: dict[str, list[Text]] = {}
        for sentence in value["sentences"]:
            name = str(sentence.get("video_id"))
            texts.setdefault(name, []).extend(self._texts(name, [sentence.get("caption", "")], "en"))
        known = {str(row.get("video_id")): row for row in value.get("videos", [])}
        for name in dict.fromkeys([*known, *texts]):
            video = self._find(name)
            if video is None:
                continue
            row = known.get(name, {})
            split = {"validate": "val"}.get(str(row.get("split")), row.get("split"))
            group = None if row.get("category") is None else str(row["category"])
            yield VideoPair(name, video, tuple(texts.get(name, ())), 0.0, None, normalise_split(split), group)

    def _texts(self, name: str, values: Iterable[Any], lang: str) -> list[Text]:
        """The texts that can be seen; the others are skipped."""
        texts = [Text(str(value).strip(), lang) for value in values]
        blank = sum(is_blank(text.value) for text in texts)
        self.skipped += [Skipped(name, Reason.EMPTY_TEXT, "empty caption")] * blank
        return [text for text in texts if not is_blank(text.value)]

    def _find(self, name: str) -> Path | None:
        """The file of a clip, by its id with any video suffix, or by the id of the whole video."""
        cut = _VATEX_ID.fullmatch(name)
        for stem in (name, *([cut["name"]] if cut else [])):
            if not stem or "/" in stem or "\\" in stem or stem.startswith("."):
                continue
            for suffix in sorted(SUFFIXES):
                path = self.videos / f"{stem}{suffix}"
                if path.is_file():
                    return path
        self.skipped.append(Skipped(name or "?", Reason.MISSING, f"no video of this name in {self.videos}"))
        return None


def _split_in(stem: str) -> str | None:
    for word in re.split(r"[^a-z]+", stem.lower()):
        if word in ("train", "training"):
            return "train"
        if word in ("val", "validation", "dev"):
            return "val"
        if word in ("test", "public"):
            return "test"
    return None
