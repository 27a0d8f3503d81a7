"""People rate generated images: a page that shows what several systems made of one text, blind, and its answers read.

study = make_study(Path("rating"), systems, texts)          # rating/page.html for raters, rating/key.json for oneself
report = rated(read_key(Path("rating/key.json")), [Path("answers-1.json")])
"""

from __future__ import annotations

from .answers import read_answers
from .report import RatingReport, rated
from .study import KEY, PAGE, QUESTIONS, Study, StudySettings, read_key
from .systems import System, choose_texts, open_systems
from .writing import make_study

__all__ = [
    "KEY",
    "PAGE",
    "QUESTIONS",
    "RatingReport",
    "Study",
    "StudySettings",
    "System",
    "choose_texts",
    "make_study",
    "open_systems",
    "rated",
    "read_answers",
    "read_key",
]
