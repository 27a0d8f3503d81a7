"""Writes a study: every image drawn or read, encoded, and shuffled into the page."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL.Image

from diptych.core import fingerprint
from diptych.core.errors import ConfigError, DataError, LimitError, Reason
from diptych.core.files import atomic_write, write_json
from diptych.core.protocols import SILENT, Preprocess, Progress
from diptych.core.shapes import UInt8
from diptych.data.images import prepare

from ..generators.generator import SEED_STRIDE, generate_all
from .study import KEY, PAGE, QUESTIONS, Study, StudySettings
from .systems import ChosenTexts, System

DEFAULTS = StudySettings()
_CHUNK = 64  # texts drawn at once
_NAMED = 3  # texts that a remark names


def make_study(
    folder: Path,
    systems: Sequence[System],
    chosen: ChosenTexts,
    settings: StudySettings = DEFAULTS,
    *,
    progress: Progress = SILENT,
) -> Study:
    """Write the page for raters and its key into a folder.

    Texts of which a system cannot make an image are left out, named, and replaced by the next ones. Memory does not
    grow with the number of texts. Raises ConfigError when the folder holds a page, which answers may be out for, and
    DataError when no text is left.
    """
    page, key = folder / PAGE, folder / KEY
    if page.exists():
        raise ConfigError(
            f"{folder} holds a rating page already, and answers to it can be read with its {KEY} alone; choose another "
            "--out, or delete the folder"
        )
    making = _Making(systems, chosen, settings)
    with atomic_write(page) as stream:
        study = making.write(stream, progress)
        write_json(key, study.to_json())
    return study


class _Making:
    """One study while it is made."""

    def __init__(self, systems: Sequence[System], chosen: ChosenTexts, settings: StudySettings) -> None:
        self._systems, self._chosen, self._settings = systems, chosen, settings
        self._wanted = min(settings.texts, len(chosen.texts))
        self._draw = np.random.default_rng(settings.seed)
        self._size = settings.size
        self._failed: list[str] = []  # "TEXT (SYSTEM: why)"
        self._alike = 0  # texts of which two systems have the same image
        self._remarks = list(chosen.remarks)

    def write(self, stream: IO[bytes], progress: Progress) -> Study:
        """Write the page into a stream, and say what is on it."""
        script = _part("page.js")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        page = _part("page.html").replace("@POLICY@", f"sha256-{digest}").replace("@SCRIPT@", script)
        head, rest = page.split("@TEXTS@")
        middle, tail = rest.split("@STUDY@")
        texts, places, prints = [], [], []
        stream.write(head.encode())
        for text, images in progress.track(self._complete(), "texts", total=self._wanted):
            order = self._draw.permutation(len(images))
            encoded = [_encoded(images[place]) for place in order]
            item = {"text": text, "lang": self._chosen.lang, "images": [_uri(data) for data in encoded]}
            stream.write(f'<script type="application/json">{_json(item)}</script>\n'.encode())
            self._alike += len(set(encoded)) < len(encoded)
            texts.append(text)
            places.append(tuple(map(int, order)))
            prints.append(fingerprint.of_bytes(text.encode(), *encoded))
        if not texts:
            raise DataError(f"no text has an image of every system: {self._failed[0]}", Reason.NO_IMAGE)
        settings = self._settings
        orders = [self._order(len(texts)) for _ in range(settings.raters)]
        asked = {"questions": [QUESTIONS.get(name, name) for name in settings.questions], "orders": orders}
        study_id = fingerprint.combined([*prints, fingerprint.of_json(asked)])[:16]
        stream.write(f"{middle}{_json({'id': study_id, **asked})}{tail}".encode())
        return Study(
            study_id,
            tuple(system.name for system in self._systems),
            settings.questions,
            settings.raters,
            tuple(texts),
            tuple(places),
            self._size,
            settings.seed,
            self._all_remarks(len(texts)),
        )

    def _order(self, texts: int) -> list[list[Any]]:
        """The texts in the order of one rater, each with the order of its images on the screen."""
        systems = len(self._systems)
        return [[int(text), self._draw.permutation(systems).tolist()] for text in self._draw.permutation(texts)]

    def _complete(self) -> Iterator[tuple[str, list[UInt8[np.ndarray, "h w 3"]]]]:
        """Texts with an image of every system, all of one size, until there are enough."""
        done, start, turn = 0, 0, 0
        while done < self._wanted and start < len(self._chosen.texts):
            texts = self._chosen.texts[start : start + min(_CHUNK, self._wanted - done)]
            seed = self._settings.seed + turn * SEED_STRIDE
            made = [self._made(system, texts, seed) for system in self._systems]
            if not self._size:
                self._size = self._smallest(made)
            for place, text in enumerate(texts):
                images = [of_system[place] for of_system in made]
                there = [prepare(image, Preprocess(self._size)) for image in images if image is not None]
                if len(there) == len(images):
                    done += 1
                    yield text, there
            start, turn = start + len(texts), turn + 1

    def _made(self, system: System, texts: Sequence[str], seed: int) -> list[UInt8[np.ndarray, "h w 3"] | None]:
        """An image of each text; None where the system has none, which is noted."""
        try:
            return list(self._images(system, texts, seed))
        except (DataError, LimitError) as error:
            if len(texts) == 1:
                self._failed.append(f"{texts[0][:60]!r} ({system.name}: {error})")
                return [None]
        return [self._made(system, [text], seed + place * SEED_STRIDE)[0] for place, text in enumerate(texts)]

    def _images(self, system: System, texts: Sequence[str], seed: int) -> UInt8[np.ndarray, "n h w 3"]:
        return generate_all(system.generator, texts, noises=1, seed=seed, lang=self._chosen.lang)[:, 0]

    def _smallest(self, made: Sequence[Sequence[np.ndarray | None]]) -> int:
        """The smallest side among the systems' images; 0 while a system has made none."""
        sides = [next((image.shape[0] for image in images if image is not None), 0) for images in made]
        size = min(sides)
        if size and max(sides) > size:
            found = ", ".join(f"{system.name} {side}" for system, side in zip(self._systems, sides, strict=True))
            self._remarks.append(f"all images are shown at {size} pixels, the smallest of the systems' ({found})")
        return size

    def _all_remarks(self, texts: int) -> tuple[str, ...]:
        remarks = list(self._remarks)
        if texts < self._settings.texts:
            remarks.append(f"{self._settings.texts:,} texts were asked for; there are {texts:,}")
        if self._alike:
            remarks.append(f"two systems have the very same image of {self._alike:,} of {texts:,} texts")
        if self._failed:
            named = "; ".join(self._failed[:_NAMED])
            remarks.append(f"{len(self._failed):,} images cannot be made or read; their texts are left out: {named}")
        return tuple(remarks)


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _encoded(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """An image without loss, as WebP."""
    stream = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(image)).save(stream, "WEBP", lossless=True)
    return stream.getvalue()


def _uri(data: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(data).decode('ascii')}"


def _json(value: Any) -> str:
    """JSON inside a script element, which a "<" of a text could end."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
