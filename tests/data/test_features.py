"""From pairs to cached rows: every picture through its tower once, what cannot be read named and left out."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.core.errors import DataError, Reason
from diptych.core.protocols import Preprocess
from diptych.core.types import BytesImage, FileImage, Pair, Text
from diptych.data import features, views
from diptych.data.features import FeaturePairs, Selection, collect
from diptych.data.images import decode
from diptych.encoders.fake import FakeImageTower, FakeTextTower


class Counting:
    """A tower that counts what it is asked for."""

    def __init__(self, tower: FakeImageTower | FakeTextTower) -> None:
        self.tower = tower
        self.seen = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.tower, name)

    @property
    def dim(self) -> int:
        return self.tower.dim

    @property
    def fingerprint(self) -> str:
        return self.tower.fingerprint

    @property
    def preprocess(self) -> Preprocess:
        return self.tower.preprocess  # type: ignore[union-attr]

    @property
    def languages(self) -> frozenset[str]:
        return frozenset()

    @property
    def max_tokens(self) -> int | None:
        return None

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def embed(self, inputs: Sequence[str] | np.ndarray) -> np.ndarray:
        self.seen += len(inputs)
        return self.tower.embed(inputs)  # type: ignore[arg-type]


@dataclass
class Bench:
    """Two counting towers, a cache folder and a picture maker."""

    root: Path
    image: Counting = field(default_factory=lambda: Counting(FakeImageTower(8)))
    text: Counting = field(default_factory=lambda: Counting(FakeTextTower(6)))

    def picture(self, name: str, colour: str) -> FileImage:
        path = self.root / name
        Image.new("RGB", (20, 14), colour).save(path, "PNG")
        return FileImage(path)

    def collect(self, pairs: list[Pair], **options: object) -> FeaturePairs:
        return collect(pairs, self.image, self.text, self.root / "cache", Selection(workers=1, **options))  # type: ignore[arg-type]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def pair(name: str, *images: FileImage | BytesImage, texts: tuple[str, ...] = ()) -> Pair:
    return Pair(name, images, tuple(Text(text, "en") for text in texts or (f"the {name}",)))


def test_rows_are_the_towers_features(bench: Bench) -> None:
    red, blue = bench.picture("r.png", "red"), bench.picture("b.png", "blue")
    found = bench.collect(
        [pair("a", red, blue, texts=("x y", "z")), pair("b", red)], view_names=("full", "flip", "crop-1")
    )
    assert found.ids == ("a", "b")
    assert found.image_owner.tolist() == [0, 0, 1]
    assert found.text_owner.tolist() == [0, 0, 1]
    assert [text.lang for text in found.written] == ["en"] * 3
    assert found.records == 2
    texts = FakeTextTower(6).embed(["x y", "z", "the b"])
    assert found.texts[np.arange(3)] == pytest.approx(texts, abs=1e-2)
    for number, view in enumerate(("full", "flip", "crop-1")):
        shown = np.stack([views.show_view(decode(ref), view, bench.image.preprocess) for ref in (red, blue, red)])
        assert found.images[number][np.arange(3)] == pytest.approx(FakeImageTower(8).embed(shown), abs=1e-2)


def test_nothing_is_decoded_or_embedded_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    streamed: list[int] = []

    def counting_stream(refs: Iterable[FileImage], *arguments: object, **options: object) -> object:
        refs = list(refs)
        streamed.append(len(refs))
        return stream(refs, *arguments, **options)  # type: ignore[arg-type]

    stream = features.stream
    monkeypatch.setattr(features, "stream", counting_stream)
    colours = ("red", "green", "blue", "white", "black")
    pairs = [pair(colour, bench.picture(f"{colour}.png", colour)) for colour in colours]
    pairs.append(pair("copy", bench.picture("copy.png", "red"), texts=("the red",)))  # the same content again
    first = bench.collect(pairs, view_names=("full", "flip"))
    assert (bench.image.seen, bench.text.seen, streamed) == (10, 5, [5])
    again = Bench(bench.root)
    second = again.collect(pairs, view_names=("full", "flip"))
    assert (again.image.seen, again.text.seen, streamed) == (0, 0, [5, 0])
    assert second.images[1][np.arange(6)].tolist() == first.images[1][np.arange(6)].tolist()
    assert second.fingerprint() == first.fingerprint()
    third = Bench(bench.root)
    third.collect([*pairs, pair("new", bench.picture("new.png", "yellow"))])
    assert (third.image.seen, third.text.seen, streamed) == (1, 1, [5, 0, 1])


def test_another_tower_or_view_has_a_cache_of_its_own(bench: Bench) -> None:
    pairs = [pair("a", bench.picture("a.png", "red"))]
    bench.collect(pairs)
    bench.collect(pairs, view_names=("full", "flip"))
    other = Bench(bench.root, Counting(FakeImageTower(8, seed=9)))
    other.collect(pairs)
    assert other.image.seen == 1
    assert len(list((bench.root / "cache").iterdir())) == 4  # full, flip, text, and the other's full


def test_many_pictures_in_small_portions(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_FLUSH", 7)
    monkeypatch.setattr(features, "_TEXT_CHUNK", 3)
    generator = np.random.default_rng(0)
    pairs = []
    for number in range(41):
        path = bench.root / f"{number}.png"
        Image.fromarray(generator.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(path)
        pairs.append(pair(str(number), FileImage(path)))
    found = bench.collect(pairs)
    shown = np.stack([views.show_view(decode(one.images[0]), "full", bench.image.preprocess) for one in pairs])
    assert found.images[0][np.arange(41)] == pytest.approx(FakeImageTower(8).embed(shown), abs=1e-2)


def test_a_run_that_breaks_off_keeps_what_was_flushed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_FLUSH", 4)
    pairs = [pair(str(n), bench.picture(f"{n}.png", f"rgb({n},0,0)")) for n in range(64)]

    class Breaking(Counting):
        def embed(self, inputs: Sequence[str] | np.ndarray) -> np.ndarray:
            if self.seen >= 32:
                raise KeyboardInterrupt
            return super().embed(inputs)

    broken = Bench(bench.root, Breaking(FakeImageTower(8)))
    with pytest.raises(KeyboardInterrupt):
        broken.collect(pairs)
    distinct = len({one.images[0].path.read_bytes() for one in pairs})  # type: ignore[union-attr]
    bench.collect(pairs)
    assert bench.image.seen == distinct - 32


def test_what_cannot_be_read_is_named_and_its_pair_left_out(bench: Bench) -> None:
    good = bench.picture("good.png", "red")
    page = bench.root / "page.png"
    page.write_bytes(b"<html>")
    pairs = [
        pair("page", FileImage(page)),
        pair("page again", BytesImage(b"<html>", "copy of the page")),
        pair("gone", FileImage(bench.root / "gone.png")),
        pair("half", FileImage(page), good),
        pair("good", good),
        pair("none"),
        Pair("mute", (good,), (Text("  ", "en"),)),
    ]
    found = bench.collect(pairs)
    assert found.ids == ("half", "good")
    assert found.image_owner.tolist() == [0, 1]
    named = {(skip.name, skip.reason) for skip in found.skipped}
    assert named == {
        (str(page), Reason.NOT_AN_IMAGE),
        ("copy of the page", Reason.NOT_AN_IMAGE),
        (str(bench.root / "gone.png"), Reason.MISSING),
        ("page", Reason.NO_IMAGE),
        ("page again", Reason.NO_IMAGE),
        ("gone", Reason.NO_IMAGE),
        ("none", Reason.NO_IMAGE),
        ("mute", Reason.EMPTY_TEXT),
    }


def test_languages_and_fields(bench: Bench) -> None:
    red = bench.picture("r.png", "red")
    both = Pair("both", (red,), (Text("a", "en"), Text("b", "de"), Text("c", "de", "title")))
    english = Pair("english", (red,), (Text("d", "en"),))
    found = bench.collect([both, english], langs=("de",))
    assert (found.ids, [text.lang for text in found.written]) == (("both",), ["de", "de"])
    assert [skip.name for skip in found.skipped] == ["english"]
    assert len(bench.collect([both, english], fields=("caption",)).texts) == 3
    with pytest.raises(DataError, match=r"no usable pair among 2: .* in fr$"):
        bench.collect([both, english], langs=("fr",))
    with pytest.raises(DataError, match=r"no usable pair among 1: .* in fr; some texts have no .* --lang"):
        bench.collect([Pair("unsaid", (red,), (Text("a"),))], langs=("fr",))


def test_nothing_at_all(bench: Bench) -> None:
    with pytest.raises(DataError, match="found no usable pair among 0"):
        bench.collect([])


def test_the_fingerprint_follows_ids_order_texts_and_pictures(bench: Bench) -> None:
    red, blue = bench.picture("r.png", "red"), bench.picture("b.png", "blue")
    pairs = [pair("a", red), pair("b", blue)]
    moved = bench.root / "elsewhere.png"
    moved.write_bytes(red.path.read_bytes())
    same = bench.collect(pairs).fingerprint()
    assert bench.collect([pair("a", FileImage(moved)), pair("b", blue)]).fingerprint() == same
    others = [
        pairs[::-1],
        pairs[:1],
        [replace(pairs[0], id="c"), pairs[1]],
        [replace(pairs[0], texts=(Text("the b", "en"),)), pairs[1]],
        [pair("a", blue), pair("b", red)],
        [pair("a", red, red), pair("b", blue)],
    ]
    assert len({same, *(bench.collect(each).fingerprint() for each in others)}) == 7


def test_names_that_are_not_utf8(bench: Bench) -> None:
    name = os.fsdecode(b"caf\xe9")
    found = bench.collect([pair(name, bench.picture("r.png", "red"))])
    assert found.ids == (name,)
    assert len(found.fingerprint()) == 32
