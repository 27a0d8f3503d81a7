import numpy as np
import pytest

from diptych.core.cosine import normalise
from diptych.inspection.measure import DirectionVectors
from diptych.inspection.sheet import SheetRow, SheetTile, answerable, draw_sheet, pick, rows_of
from diptych.library.rendering.text_thumbnails import font_for, wrapped

GREEN = (22, 163, 74)


def side(seed=0, count=12, per_image=2):
    generator = np.random.default_rng(seed)
    owner = np.repeat(np.arange(count), per_image)
    images = normalise(generator.normal(size=(count, 4)))
    texts = normalise(images[owner] + 0.7 * generator.normal(size=(len(owner), 4)))
    return DirectionVectors("text", "image", texts, images, np.arange(len(owner)), owner, np.arange(count))


def test_ranks_are_those_of_a_full_sort():
    one = side()
    queries, best = answerable(one)
    order = np.argsort(-(one.queries @ one.gallery.T), axis=1)
    wanted = [order[q].tolist().index(one.query_labels[q]) for q in range(24)]
    assert queries.tolist() == list(range(24))
    assert best.tolist() == wanted


def test_within_one_kind_a_query_is_not_its_own_answer():
    one = side()
    labels = np.r_[one.query_labels[:-1], 99]  # the last text is alone
    within = DirectionVectors("text", "text", one.queries, one.queries, np.arange(24), labels, labels)
    queries, _ = answerable(within)
    assert 23 not in queries
    rows = rows_of(within, lambda kind, item, view: f"{kind} {item}", count=99, k=3)
    for row in rows:
        assert row.query.content not in [tile.content for tile in row.found]


def test_right_ones_are_marked_and_worst_come_first():
    one = side()
    _, best = answerable(one)
    rows = rows_of(one, lambda kind, item, view: f"{kind} {item}", how="worst", count=4, k=5)
    assert rows[0].query.note == f"first right: place {best.max() + 1}"
    for row in rows:
        text = int(row.query.content.split()[1])
        for tile in row.found:
            assert tile.right == (int(tile.content.split()[1]) == one.query_labels[text])


def test_views_are_named():
    one = side()
    views = DirectionVectors(
        "image",
        "image",
        np.tile(one.gallery, (2, 1)),
        one.gallery,
        np.tile(np.arange(12), 2),
        np.tile(np.arange(12), 2),
        np.arange(12),
        ("flip", "crop-0"),
    )
    asked = []
    rows = rows_of(views, lambda kind, item, view: asked.append((item, view)) or "x", count=24)
    assert all(row.found[0].right for row in rows)  # a view equal to its image finds it
    assert rows[0].query.note == "flip: place 1"
    assert rows[-1].query.note == "crop-0: place 1"


@pytest.mark.parametrize(("how", "wanted"), [("best", [1, 3]), ("worst", [2, 0])])
def test_picks(how, wanted):
    assert pick(np.array([5, 0, 9, 1]), how, 2).tolist() == wanted
    assert len(pick(np.arange(3), "random", 10)) == 3
    assert pick(np.arange(99), "random", 5, seed=1).tolist() == pick(np.arange(99), "random", 5, seed=1).tolist()


def test_only_right_ones_are_framed_green():
    red = np.full((50, 80, 3), (200, 0, 0), dtype=np.uint8)
    rows = [
        SheetRow(SheetTile("a text"), (SheetTile(red, "0.9", right), SheetTile(red, "0.8", False)))
        for right in (True, False)
    ]
    image = np.asarray(draw_sheet([("title", rows)])).astype(int)
    green = np.abs(image - np.array(GREEN)).max(axis=2) < 30
    half = image.shape[0] // 2 + 20
    assert green[:half].sum() > 2000
    assert green[half:].sum() == 0


def test_text_is_wrapped_to_its_width_and_cut_at_the_end():
    font = font_for("x", 14)
    text = "a fairly long sentence with several words " * 8
    lines = wrapped(text, font, 150, 4)
    assert len(lines) == 4
    assert all(font.getlength(line) <= 150 for line in lines)
    assert "…" in lines[-1]
    assert " ".join(wrapped("short enough", font, 150, 4)) == "short enough"
    assert len(wrapped("无空格的文字" * 10, font, 100, 20)) > 1
    assert wrapped("", font, 100, 3) == []


def test_a_long_text_without_spaces_is_measured_a_line_at_a_time() -> None:
    class Font:
        measured = 0

        def getlength(self, text: str) -> float:
            self.measured += len(text)
            return 10.0 * len(text)

    font = Font()
    assert wrapped("字" * 3000, font, 100, 300) == ["字" * 10] * 300
    assert font.measured < 100 * 3000
