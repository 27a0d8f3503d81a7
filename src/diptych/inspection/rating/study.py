"""A study: which images the page shows, and of which system each is. The key file holds it; the page does not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diptych.core.errors import ConfigError, DataError, opening

FORMAT = 1
KEY, PAGE = "key.json", "page.html"
# The two questions of Zhang et al. 2021 (XMC-GAN): image quality, and alignment with the text.
QUESTIONS: Mapping[str, str] = {
    "quality": "Which image looks best? Judge the image alone.",
    "match": "Which image fits the text best?",
}
MOST_SYSTEMS = 9  # keys 1 to 9
_MOST_RATERS = 100


@dataclass(frozen=True)
class StudySettings:
    """How a study is made.

    `questions` are names of `QUESTIONS`, or sentences of one's own. `size` is the side of every image in pixels; 0 is
    the smallest among the systems', so that none is recognised by its size.
    """

    texts: int = 1000  # at most
    raters: int = 5
    questions: tuple[str, ...] = ("quality", "match")
    size: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.texts < 1:
            raise ConfigError(f"texts must be at least 1, found {self.texts}")
        if not 1 <= self.raters <= _MOST_RATERS:
            raise ConfigError(f"raters must be from 1 to {_MOST_RATERS}, found {self.raters}")
        if self.size and not 8 <= self.size <= 2048:
            raise ConfigError(f"size must be from 8 to 2,048 pixels, or 0 for the smallest of all, found {self.size}")
        if not self.questions or not all(question.strip() for question in self.questions):
            raise ConfigError("a study needs a question; leave --question out for the usual two")
        if len(set(self.questions)) < len(self.questions):
            raise ConfigError(f"found a question twice: {', '.join(self.questions)}")


@dataclass(frozen=True)
class Study:
    """What was asked, of whom, and which system each image is of.

    `places[t][i]` is the number of the system that made image i of text t on the page.
    """

    id: str  # fingerprint of everything on the page
    systems: tuple[str, ...]  # names
    questions: tuple[str, ...]  # as in `StudySettings`
    raters: int
    texts: tuple[str, ...]
    places: tuple[tuple[int, ...], ...]
    size: int  # pixels
    seed: int
    remarks: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """Answers that one rater gives."""
        return len(self.texts) * len(self.questions)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"format": FORMAT, "kind": "rating key", **asdict(self)}


def read_key(path: Path) -> Study:
    """The study of a key file. Raises DataError for anything else."""
    with opening(path):
        data = path.read_bytes()
    try:
        content = json.loads(data)
        if content.pop("kind") != "rating key" or content.pop("format") != FORMAT:
            raise ValueError("another kind of file, or of another version")
        places = tuple(tuple(one) for one in content.pop("places"))
        content |= {name: tuple(content[name]) for name in ("systems", "questions", "texts", "remarks")}
        study = Study(places=places, **content)
        systems = list(range(len(study.systems)))
        if type(study.raters) is not int or type(study.id) is not str:
            raise ValueError("its numbers are none")
        if len(places) != len(study.texts) or any(sorted(one) != systems for one in places):
            raise ValueError("its texts, systems and places do not fit together")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path} is no key of a rating page ({error}); expected the {KEY} that diptych generator rate wrote"
        ) from error
    return study
