"""Systems that are told apart by colour, a page that compares them, and files of answers as the page writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from diptych.data.readers import SourceOptions
from diptych.inspection.rating import Study, StudySettings, choose_texts, make_study, open_systems
from diptych.inspection.rating.answers import check_number


def drawn_folder(folder: Path, texts: Sequence[str], colour: str, size: int = 16) -> Path:
    """A folder as `generator draw --folder` leaves it: an image of one colour for each text."""
    folder.mkdir(parents=True)
    (folder / "generate.json").write_text(json.dumps({"model": colour, "texts": list(texts)}), encoding="utf-8")
    for row in range(len(texts)):
        Image.new("RGB", (size, size), colour).save(folder / f"{row:04d}-000000.png")
    return folder


@pytest.fixture(scope="session")
def drawn() -> Callable[..., Path]:
    """`drawn(folder, texts, "red")` writes a folder of generated images."""
    return drawn_folder


@pytest.fixture(scope="session")
def study_of() -> Callable[..., Study]:
    """`study_of(folder, texts, colours=("red", "blue"), raters=3)` writes a page that compares solid colours."""

    def make(folder: Path, texts: Sequence[str], colours: Sequence[str] = ("red", "blue"), **settings: Any) -> Study:
        addresses = [f"system-{colour}={drawn_folder(folder / colour, texts, colour)}" for colour in colours]
        systems = open_systems(addresses)
        chosen = choose_texts(systems, "", SourceOptions())
        return make_study(folder / "rating", systems, chosen, StudySettings(**settings))

    return make


@pytest.fixture(scope="session")
def answered() -> Callable[..., Path]:
    """`answered(path, study, rater, {(text, question): system})` writes a file of answers as the page does."""

    def write(path: Path, of: Study, rater: int, chosen: dict[tuple[int, int], int], **changes: Any) -> Path:
        answers = [
            [text, question, of.places[text].index(system), text % len(of.systems), 1500 + text]
            for (text, question), system in sorted(chosen.items())
        ]
        content = {"format": 1, "kind": "ratings", "study": of.id, "rater": rater, "answers": answers}
        content["check"] = check_number(of.id, rater, answers)
        path.write_text(json.dumps(content | changes), encoding="utf-8")
        return path

    return write
