"""Images that are decoded when they are asked for: bad ones are found beforehand, once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diptych.core.errors import DataError, Reason
from diptych.core.types import FileImage, Pair, Text
from diptych.data import features
from diptych.data.features import FeaturePairs, Selection
from diptych.data.images import prepared
from diptych.data.online import DecodedRows, collect_online
from diptych.encoders.fake import FakeImageTower, FakeTextTower
from diptych.encoders.image.pixel_tower import PixelTower


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, and one that is cut."""
    draw = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        Image.fromarray(draw.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(tmp_path / f"{name}.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:400])
    return tmp_path


@pytest.fixture
def collected(folder: Path) -> Callable[[], FeaturePairs]:
    def pair(*names: str) -> Pair:
        return Pair(names[0], tuple(FileImage(folder / f"{name}.jpg") for name in names), (Text("a thing"),))

    pairs = [pair("a"), pair("cut", "b"), pair("cut"), pair("c")]
    towers = PixelTower(16), FakeTextTower()
    return lambda: collect_online(pairs, *towers, folder / "cache", Selection(("full", "flip")), views=2)


def test_bad_images_are_named_before_training_and_a_record_goes_on_with_its_other_image(
    folder: Path, collected: Callable[[], FeaturePairs]
) -> None:
    found = collected()
    assert found.records == 3
    assert [Path(ref.name).name for ref in found.image_refs] == ["a.jpg", "b.jpg", "c.jpg"]
    assert found.image_owner.tolist() == [0, 1, 2]
    reasons = [(Path(skip.name).name, skip.reason) for skip in found.skipped]
    assert reasons.count(("cut.jpg", Reason.TRUNCATED)) == 2
    assert ("cut", Reason.NO_IMAGE) in reasons
    assert len(found.images) == 2
    assert found.cached == ()
    tower = PixelTower(16)
    wanted = np.stack([prepared(folder / f"{name}.jpg", tower.preprocess) for name in ("c", "a")])
    assert np.array_equal(found.images[0][np.array([2, 0])], tower.embed(wanted))
    assert found.images[0].dim == 16 * 16 * 3


def test_images_that_were_read_once_are_not_decoded_again(
    collected: Callable[[], FeaturePairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Any] = []
    stream = features.stream

    def watched(refs: Any, *arguments: Any, **options: Any) -> Any:
        refs = list(refs)
        decoded.extend(Path(ref.name).name for ref in refs)
        return stream(refs, *arguments, **options)

    monkeypatch.setattr(features, "stream", watched)
    first = collected()
    assert sorted(decoded) == ["a.jpg", "b.jpg", "c.jpg", "cut.jpg"]
    decoded.clear()
    assert collected().fingerprint() == first.fingerprint()
    assert decoded == ["cut.jpg"]  # it might be whole now


def test_rows_of_any_tower_and_an_image_that_is_gone(folder: Path) -> None:
    tower = FakeImageTower()
    rows = DecodedRows([FileImage(folder / "a.jpg"), FileImage(folder / "gone.jpg")], tower)
    assert len(rows) == 2
    assert np.array_equal(
        rows[np.array([0, 0])], tower.embed(np.stack([prepared(folder / "a.jpg", tower.preprocess)] * 2))
    )
    with pytest.raises(DataError, match=r"gone\.jpg"):
        rows[np.array([1])]
