"""The figures of docs/explain are those that the script draws."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from website.figures import FIGURES, OUT, svg


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_what_the_script_draws(name: str) -> None:
    drawn = svg(FIGURES[name])
    assert (OUT / f"{name}.svg").read_text(encoding="utf-8") == drawn, "run: python -m website.figures"
    words = {text.text for text in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")}
    assert words == {line for box in FIGURES[name].boxes.values() for line in box.text.split("\n")}
