"""The figure of a model's own attention."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="attention needs the [train] extra")

from diptych.inspection.attention import AttentionMaps, draw_attention


def test_the_figure_shows_the_text_of_a_model_without_attention_over_words() -> None:
    regions = np.ones((2, 2), dtype=np.float32)
    without = AttentionMaps(np.full((8, 8, 3), 128, dtype=np.uint8), 0.5, None, 0.0, regions)
    assert draw_attention(without, "a red dog", "t") != draw_attention(without, "a cat", "t")
