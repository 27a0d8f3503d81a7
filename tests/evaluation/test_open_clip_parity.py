"""A CLIP trained by open_clip's own loop has the same recall by open_clip's evaluation and by ours, in both formats."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from diptych.core.extras import is_installed

pytest.importorskip("torch", reason="training needs the [train] extra")
if not (is_installed("open_clip") and is_installed("transformers")):
    pytest.skip("needs the [hub] extra", allow_module_level=True)

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def test_recall_is_the_same_by_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import open_clip_parity as parity

    rows, rng = [], np.random.default_rng(0)
    for number in range(40):
        colours = rng.integers(0, 255, (3, 4, 3), dtype=np.uint8)
        path = tmp_path / f"{number}.png"
        PIL.Image.fromarray(colours).resize((50 + number, 50 + number), PIL.Image.Resampling.BICUBIC).save(path)
        texts = tuple(f"image {number} {word} {number % 7}" for word in ("one", "two", "three"))
        rows.append(parity.Captioned(path, texts))
    model = parity.train(rows, MODEL, epochs=12, batch_size=10)
    folder = parity.save_open_clip(model, MODEL, tmp_path / "open-clip")
    found = parity.compare(folder, parity.save_transformers(model, MODEL, tmp_path / "transformers"), rows)
    assert {protocol: list(by) for protocol, by in found.items()} == {
        "first caption": ["get_clip_metrics", "open_clip:open-clip", "hf:transformers"],
        "all captions": ["CLIP_benchmark", "open_clip:open-clip", "hf:transformers"],
    }
    assert parity.widest_gap(found, rows) < 0.5  # no query differs
    assert found["all captions"]["CLIP_benchmark"]["t2i R@10"] > 50  # of 40 images, so it learnt
