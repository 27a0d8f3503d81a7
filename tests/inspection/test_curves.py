from __future__ import annotations

import pytest

pytest.importorskip("matplotlib", reason="plots need the [plot] extra")

from diptych.evaluation.reliability import Bin
from diptych.inspection.curves import draw_reliability


def test_a_reliability_diagram_is_a_png():
    rows = [Bin(0.1, 0.2, 5), Bin(0.9, 0.8, 50)]
    assert draw_reliability({"hit is right": rows, "nothing matches": rows[:1]}, "two curves").startswith(b"\x89PNG")
