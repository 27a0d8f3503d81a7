"""Making a rating page, and reading answers whose outcome is known."""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import pytest

from diptych.core.errors import ConfigError, DataError
from diptych.data.readers import SourceOptions
from diptych.inspection.generators import GivenImages
from diptych.inspection.rating import (
    StudySettings,
    System,
    choose_texts,
    make_study,
    open_systems,
    rated,
    read_answers,
    read_key,
)

TEXTS = [f"text {number}" for number in range(40)]


@pytest.fixture(scope="module")
def study(study_of, tmp_path_factory):
    """40 texts, two systems, three raters, the two questions; with the folder that it is in."""
    folder = tmp_path_factory.mktemp("study")
    return study_of(folder, TEXTS, raters=3), folder / "rating"


def page_of(folder):
    """What is on the page: the texts with their images, and the orders of the raters."""
    page = (folder / "page.html").read_text(encoding="utf-8")
    items = [json.loads(one) for one in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    return page, items, json.loads(re.search(r'id="study">(.*?)</script>', page)[1])


def test_the_page_is_blind_and_the_key_tells_the_systems(study):
    made, folder = study
    page, items, asked = page_of(folder)
    assert made.systems == ("system-red", "system-blue")
    assert "system" not in page.replace("system-ui", "")
    assert sorted(item["text"] for item in items) == sorted(TEXTS)
    red = Counter()
    for item, text, places in zip(items, made.texts, made.places, strict=True):
        assert item["text"] == text
        red[item["images"][places.index(0)]] += 1
    assert list(red.values()) == [40]  # the image that the key says is red is always the same one
    assert 8 < sum(places == (0, 1) for places in made.places) < 32  # neither system is always the first one
    assert read_key(folder / "key.json") == made
    assert (asked["id"], len(asked["orders"]), len(asked["questions"])) == (made.id, 3, 2)


def test_every_rater_sees_every_text_once_in_an_order_of_their_own(study):
    _, folder = study
    orders = page_of(folder)[2]["orders"]
    assert all(sorted(text for text, _ in order) == list(range(40)) for order in orders)
    assert all(sorted(images) == [0, 1] for order in orders for _, images in order)
    assert len({json.dumps(order) for order in orders}) == 3
    assert 20 < sum(images == [0, 1] for order in orders for _, images in order) < 100


def test_equal_seeds_give_equal_pages_and_another_seed_another(study, study_of, tmp_path):
    _, folder = study
    study_of(tmp_path / "a", TEXTS, raters=3)
    study_of(tmp_path / "b", TEXTS, raters=3, seed=1)
    assert (tmp_path / "a/rating/page.html").read_bytes() == (folder / "page.html").read_bytes()
    assert (tmp_path / "b/rating/page.html").read_bytes() != (folder / "page.html").read_bytes()


def test_a_text_that_a_system_cannot_show_is_replaced_and_named(drawn, tmp_path):
    drawn(tmp_path / "a", TEXTS, "red", size=32)
    drawn(tmp_path / "b", [*TEXTS[:30], "only here"], "blue", size=16)
    for number in (3, 4, 5):
        (tmp_path / "a" / f"{number:04d}-000000.png").write_bytes(b"no image")
    systems = open_systems([f"new={tmp_path / 'a'}", str(tmp_path / "b")])
    chosen = choose_texts(systems, "", SourceOptions())
    assert sorted(chosen.texts) == sorted(TEXTS[:30])
    made = make_study(tmp_path / "few", systems, chosen, StudySettings(texts=27))
    assert (len(made.texts), made.size) == (27, 16)
    assert set(TEXTS[3:6]).isdisjoint(made.texts)
    assert [one.split(":")[0] for one in made.remarks] == [
        "1 of 41 texts are left out",
        "10 of 40 texts are left out",
        "all images are shown at 16 pixels, the smallest of the systems' (new 32, " + str(tmp_path / "b") + " 16)",
        "3 images cannot be made or read; their texts are left out",
    ]
    made = make_study(tmp_path / "all", systems, chosen, StudySettings(texts=30, size=24))
    assert (len(made.texts), made.size) == (27, 24)
    assert "30 texts were asked for; there are 27" in made.remarks


def test_models_draw_the_texts_of_a_source(shapes, drawn, tmp_path):
    class Grey:
        def generate(self, texts, *, seed, lang=""):
            return np.full((len(texts), 8, 8, 3), 99, dtype=np.uint8)

    real = System("real", GivenImages(shapes))
    chosen = choose_texts([real, System("grey", Grey())], str(shapes), SourceOptions(split="val"))
    assert len(chosen.texts) == 20
    assert all(text.startswith("a ") or " in " in text for text in chosen.texts)  # English, not the German ones
    made = make_study(tmp_path, [real, System("grey", Grey())], chosen, StudySettings(texts=4))
    assert (len(made.texts), made.size, made.systems) == (4, 8, ("real", "grey"))
    with pytest.raises(ConfigError, match="--source"):
        choose_texts([System("grey", Grey())], "", SourceOptions())


def test_shares_differences_and_agreement_of_known_answers(study, answered, tmp_path):
    made, _ = study
    half = set(range(20))
    # for quality, raters 1 and 2 choose red always, rater 3 only in half of the texts; for the match all choose blue
    blue = {(text, 1): 1 for text in range(40)}
    files = [
        answered(
            tmp_path / f"{rater}.json",
            made,
            rater,
            blue | {(text, 0): int(rater == 3 and text not in half) for text in range(40)},
        )
        for rater in (1, 2, 3)
    ]
    report = rated(made, files, resamples=400)
    quality, match = report.questions
    assert [share.chosen.value for share in quality.shares] == pytest.approx([100 / 120, 20 / 120])
    assert [share.chosen.value for share in match.shares] == [0.0, 1.0]
    low, high = quality.shares[0].chosen.interval.low, quality.shares[0].chosen.interval.high
    # each text gives 1 or 2/3, half each: the standard error of the mean is 1/6 / sqrt(40)
    assert (low, high) == pytest.approx((100 / 120 - 1.96 / 6 / 40**0.5, 100 / 120 + 1.96 / 6 / 40**0.5), abs=0.012)
    (versus,) = quality.versus
    assert (versus.first, versus.second, versus.difference.value) == (
        "system-red",
        "system-blue",
        pytest.approx(80 / 120),
    )
    assert versus.p_value < 0.01
    # by hand: o = 20 * 3 + 20 * (2 * 1) / 2 = 80 of n = 120; n_red = 100: alpha = 1 - 119 * 40 / (120² - 100² - 20²)
    assert quality.agreement.agreeing == pytest.approx(80 / 120)
    assert quality.agreement.alpha == pytest.approx(1 - 119 * 40 / 4000)
    assert (match.agreement.alpha, match.agreement.agreeing) == (None, 1.0)
    assert (quality.answers, quality.complete) == (120, 40)
    assert [(one.rater, one.answers, one.first_place) for one in report.raters] == [(n, 80, 0.5) for n in (1, 2, 3)]
    assert report.raters[0].seconds == pytest.approx(1.5195)
    assert "| system-red | 83.3 |" in report.to_text()
    assert json.loads(json.dumps(report.to_json()))["questions"][0]["shares"][0]["system"] == "system-red"


def test_damaged_edited_and_repeated_files_are_refused_by_name_and_incomplete_ones_counted(study, answered, tmp_path):
    made, _ = study
    every = {(text, question): 0 for text in range(40) for question in (0, 1)}
    few = {(text, 0): 0 for text in range(7)}
    answered(tmp_path / "1-early.json", made, 1, few)
    answered(tmp_path / "1.json", made, 1, every)
    answered(tmp_path / "2-a.json", made, 2, every)
    answered(tmp_path / "2-b.json", made, 2, {(text, 0): 1 for text in range(40)})
    answered(tmp_path / "3.json", made, 3, few)
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    answered(tmp_path / "other.json", made, 3, few, study="0123456789abcdef")
    answered(tmp_path / "rater.json", made, 9, few)
    flipped = json.loads((tmp_path / "3.json").read_text())
    flipped["answers"][0][2] ^= 1
    (tmp_path / "edited.json").write_text(json.dumps(flipped))
    answered(tmp_path / "range.json", made, 3, few, answers=[[0, 0, 2, 0, 10]])
    answered(tmp_path / "kinds.json", made, 3, few, answers=[[0, 0, True, 0, 10]])
    answered(tmp_path / "twice.json", made, 3, few, answers=[[0, 0, 1, 0, 10], [0, 0, 0, 0, 10]])
    (tmp_path / "key.json").write_text("{}")  # no answers
    report = rated(made, [tmp_path], resamples=0)
    assert [(one.rater, one.answers) for one in report.raters] == [(1, 80), (3, 7)]
    why = {one.file.rpartition("/")[2]: one.why for one in report.refused}
    expected = {
        "1-early.json": "all its answers are in .*1.json too",
        "2-a.json": "different answers of rater 2",
        "2-b.json": "different answers of rater 2",
        "bad.json": "is no JSON",
        "list.json": "holds no answers",
        "other.json": "answers of another page .0123456789abcdef",
        "rater.json": "rater 9; the page has raters 1 to 3",
        "edited.json": "edited after the page saved it",
        "range.json": r"\[0, 0, 2, 0, 10\] is no answer",
        "kinds.json": "is no answer",
        "twice.json": "answered twice",
    }
    assert why.keys() == expected.keys()
    assert [name for name, pattern in expected.items() if not re.search(pattern, why[name])] == []
    assert report.unusable
    told = report.to_text()
    assert "no usable file of rater 2" in told
    assert "3.json is not complete: 7 of 80 answers" in told
    assert "0 of 40 texts have the answers of all 3 raters; 1.2 answers a text on average" in told
    assert not rated(made, [tmp_path / "1-early.json", tmp_path / "1.json"], resamples=0).unusable
    with pytest.raises(DataError, match=r"no file of answers can be used: .*bad.json: is no JSON"):
        read_answers(made, [tmp_path / "bad.json"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no files of answers"):
        rated(made, [tmp_path / "empty"])


def test_what_is_refused(study, drawn, tmp_path):
    made, folder = study
    a = drawn(tmp_path / "a", ["x"], "red")
    with pytest.raises(ConfigError, match="found 1 system"):
        open_systems([str(a)])
    with pytest.raises(ConfigError, match="one name"):
        open_systems([str(a), f"{a}/"])
    apart = open_systems([str(a), str(drawn(tmp_path / "b", ["y"], "blue"))])
    with pytest.raises(DataError, match="letter by letter"):
        choose_texts(apart, "", SourceOptions())
    alike = open_systems([f"one={a}", f"two={a}"])
    chosen = choose_texts(alike, "", SourceOptions())
    with pytest.raises(ConfigError, match="holds a rating page already"):
        make_study(folder, alike, chosen)
    assert "the very same image of 1 of 1 texts" in make_study(tmp_path / "alike", alike, chosen).remarks[-1]
    for wrong, message in (({"raters": 0}, "raters"), ({"size": 5}, "size"), ({"questions": ("a", "a")}, "twice")):
        with pytest.raises(ConfigError, match=message):
            StudySettings(**wrong)
    key = json.loads((folder / "key.json").read_text())
    for wrong in ({"kind": "other"}, {"places": [[0, 0]] * 40}, {"raters": "3"}, {"more": 1}):
        (tmp_path / "key.json").write_text(json.dumps(key | wrong))
        with pytest.raises(DataError, match="no key of a rating page"):
            read_key(tmp_path / "key.json")
    assert read_key(folder / "key.json") == made
