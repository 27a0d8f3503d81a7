"""Embeddings are computed once: the same rows again, also from another process, and never a stale or a broken one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diptych.core.types import FileImage, Pair, Text
from diptych.models import embedding_cache, load
from diptych.models.embed import embed_images, embed_pairs


@pytest.fixture
def model(tmp_path: Path, tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    return load(tiny_model(tmp_path / "tiny"))


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    made = []
    for number, colour in enumerate(("red", "green", "blue", "red")):  # the first and last are equal bytes
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (40, 30 + number % 3), colour).save(path)
        made.append(Pair(str(number), (FileImage(path),), (Text(f"a {colour} image"), Text(f"number {number}"))))
    return made


class Said:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def track(self, items: Any, label: str, total: int | None = None) -> Any:
        return iter(items)

    def say(self, message: str) -> None:
        self.lines.append(message)


def idle(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the model must not be asked."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was asked")

    monkeypatch.setattr(type(model), "encode_pixels", refuse)
    monkeypatch.setattr(type(model), "encode_texts", refuse)


def test_the_second_time_nothing_is_computed_and_all_is_equal(
    model: Any, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, quiet = embed_pairs(model, pairs, progress=(said := Said())), list(said.lines)
    views = embed_images(model, pairs, ("flip",))
    idle(model, monkeypatch)
    again = embed_pairs(load(model.folder), pairs, progress=said)
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.texts, again.texts)
    assert np.array_equal(views.views, embed_images(model, pairs, ("flip",)).views)
    assert quiet == []
    folder = embedding_cache.cache_folder() / "embeddings"
    assert said.lines == [
        f"4 of 4 images were embedded before; read from {folder}",
        f"8 of 8 texts were embedded before; read from {folder}",
    ]


def test_only_what_is_new_is_computed(model: Any, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    embed_pairs(model, pairs[:1])
    asked: list[int] = []
    whole = type(model).encode_pixels
    monkeypatch.setattr(type(model), "encode_pixels", lambda self, rows: asked.append(len(rows)) or whole(self, rows))
    found = embed_pairs(model, pairs, progress=(said := Said()))
    assert asked == [2]  # of four, one was there, and one has the bytes of that
    assert [line.split(" were")[0] for line in said.lines] == ["2 of 4 images", "3 of 8 texts"]
    assert np.array_equal(found.images[0], found.images[3])
    assert found.images == pytest.approx(model.encode_images([one.images[0] for one in pairs]), abs=1e-6)
    assert found.texts == pytest.approx(model.encode_texts([t.value for one in pairs for t in one.texts]), abs=1e-6)


def test_another_model_and_fewer_dimensions_have_rows_of_their_own(
    model: Any, pairs: list[Pair], tiny_model: Any, tmp_path: Path
) -> None:
    embed_pairs(model, pairs)
    for other in (load(tiny_model(tmp_path / "other", seed=1)), model.truncated(4)):
        found = embed_pairs(other, pairs)
        assert found.images == pytest.approx(other.encode_images([one.images[0] for one in pairs]), abs=1e-6)


def test_what_was_computed_before_an_interruption_is_kept(
    model: Any, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = type(model).encode_pixels
    calls = []

    def once(self: Any, rows: Any) -> Any:
        calls.append(len(rows))
        if len(calls) > 1:
            raise KeyboardInterrupt
        return whole(self, rows)

    monkeypatch.setattr(type(model), "encode_pixels", once)
    with pytest.raises(KeyboardInterrupt):
        embed_images(model, pairs, batch_size=2)
    monkeypatch.setattr(type(model), "encode_pixels", whole)
    embed_images(model, pairs, progress=(said := Said()))
    assert said.lines[0].startswith("3 of 4 images were embedded before")


def test_a_cache_that_cannot_be_written_is_said_and_left_out(
    model: Any, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "file"))
    found = embed_pairs(model, pairs, progress=(said := Said()))
    assert len(found.images) == 4
    assert said.lines[0] == f"embeddings are not kept in {tmp_path / 'file' / 'embeddings'}: Not a directory"


def test_a_damaged_cache_is_said_and_left_out(model: Any, pairs: list[Pair]) -> None:
    embed_pairs(model, pairs)
    for about in (embedding_cache.cache_folder() / "embeddings").glob("*/about.json"):
        about.write_text("{}")
    found = embed_pairs(model, pairs, progress=(said := Said()))
    assert found.images == pytest.approx(model.encode_images([one.images[0] for one in pairs]), abs=1e-6)
    assert "delete that folder" in said.lines[0]


def test_the_rows_used_least_recently_make_room(
    model: Any, pairs: list[Pair], tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed_pairs(model, pairs)
    root = embedding_cache.cache_folder() / "embeddings"
    old = sorted(root.iterdir())
    assert len(old) == 2
    for folder in old:
        os.utime(folder, (1, 1))
    monkeypatch.setattr(embedding_cache, "LIMIT", 200)
    embed_pairs(load(tiny_model(tmp_path / "other", seed=1)), pairs, progress=(said := Said()))
    assert not any(folder.exists() for folder in old)
    assert said.lines == [f"no more embeddings are kept in {root}: those of this model take 200 bytes"]  # the texts'


def test_rows_that_are_no_numbers_are_not_kept(model: Any, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    broken = np.full((3, model.dim), np.nan, dtype=np.float32)
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "encode_pixels", lambda self, rows: broken)
        assert np.isnan(embed_images(model, pairs).images).all()
    assert np.isfinite(embed_images(model, pairs).images).all()
