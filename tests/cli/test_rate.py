"""`diptych generator rate` as a user meets it."""

from __future__ import annotations

import json
import zlib

import pytest
from PIL import Image

TEXTS = ["a red circle", "a blue square", "a green stripe"]


@pytest.fixture
def drawn(tmp_path):
    """Two folders as `generator draw --folder` writes them."""
    for name, colour in (("old", "red"), ("new", "blue")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "generate.json").write_text(json.dumps({"model": name, "texts": TEXTS}))
        for row in range(len(TEXTS)):
            Image.new("RGB", (16, 16), colour).save(tmp_path / name / f"{row:04d}-000000.png")
    return tmp_path


def answers(key, rater, system):
    """What the page saves for a rater who always chooses one system."""
    rows = [
        [text, question, places.index(system), 0, 2000]
        for text, places in enumerate(key["places"])
        for question in range(len(key["questions"]))
    ]
    check = zlib.crc32(json.dumps([key["id"], rater, rows], separators=(",", ":")).encode())
    content = {"format": 1, "kind": "ratings", "study": key["id"], "rater": rater, "answers": rows}
    return json.dumps({**content, "check": f"{check:08x}"})


def test_a_page_is_made_and_its_answers_are_read(diptych, drawn):
    out = drawn / "rating"
    code, told, _ = diptych(
        "generator", "rate", f"old={drawn / 'old'}", f"new={drawn / 'new'}", "--raters", 3, "--question", "match",
        "--question", "Which is funnier?", "--out", out, "--json", "--quiet",
    )  # fmt: skip
    made = json.loads(told)
    assert code == 0
    assert (made["texts"], made["systems"], made["steps"]) == (3, ["old", "new"], 6)
    assert made["bytes"] == (out / "page.html").stat().st_size
    assert made["remarks"] == ["1,000 texts were asked for; there are 3"]
    key = json.loads((out / "key.json").read_text())
    (out / "answers").mkdir()
    for rater, system in ((1, 1), (2, 1), (3, 0)):
        (out / "answers" / f"{rater}.json").write_text(answers(key, rater, system))
    code, told, _ = diptych(
        "generator", "rate", "--read", out / "answers", "--bootstrap", 50, "--out", drawn / "rated.json",
        "--markdown", drawn / "rated.md",
    )  # fmt: skip
    assert code == 0
    assert "2 systems on 3 texts, 3 of 3 raters: 18 of 18 answers" in told
    assert "**Which is funnier?**" in told
    assert "| new | 66.7 | 66.7 to 66.7 | 50.0 |" in told
    assert "Krippendorff's alpha -0.333" in told  # 1 - (9 - 1) (9 - 3) / (81 - 36 - 9), by hand
    assert (drawn / "rated.md").read_text().strip() == told.strip()
    found = json.loads((drawn / "rated.json").read_text())
    assert [share["chosen"]["value"] for share in found["questions"][0]["shares"]] == pytest.approx([1 / 3, 2 / 3])

    (out / "answers" / "2.json").write_text((out / "answers" / "2.json").read_text().replace("2000", "1999"))
    code, told, _ = diptych(
        "generator", "rate", "--read", *sorted((out / "answers").iterdir()), "--key", out / "key.json"
    )
    assert code == 1
    assert "2.json: was edited after the page saved it" in told
    assert "no usable file of rater 2" in told


def test_a_generator_beside_real_images_of_a_source(diptych, shapes, trained_generator, tmp_path):
    code, told, _ = diptych(
        "generator", "rate", f"tiny={trained_generator.model}", f"real=images:{shapes}", "--source", shapes, "--split",
        "val", "--texts", 5, "--out", tmp_path / "rating", "--quiet",
    )  # fmt: skip
    assert code == 0
    assert "5 texts, 2 systems, images of 16 px; 10 answers from each of 5 raters" in told
    assert "all images are shown at 16 pixels, the smallest of the systems' (tiny 16, real 48)" in told


def test_bad_input(diptych, drawn, monkeypatch):
    monkeypatch.chdir(drawn)
    for arguments, message, expected in (
        (["--read"], "answers after --read", 2),
        (["old"], "found 1 system to compare", 2),
        (["old", "new", "--raters", 0], "raters must be from 1", 2),
        (["old", "new", "--split", "val"], "--source", 2),
        (["old", "new", "--fields", "name"], "--source", 2),
        (["old", "new", "--markdown", "a.md"], "--markdown reads answers", 2),
        (["old", "new", "--out", "a.json"], "expected a folder", 2),
        (["old", "no-such"], "no generator 'no-such'", 4),
        (["old", "images:no-such.csv"], "no file or folder", 3),
        (["--read", "none.json"], "no key.json in", 2),
        (["--read", "none.json", "--texts", 3], "--texts is for making a page", 2),
        (["--read", "none.json", "--key", "old/generate.json"], "no key of a rating page", 3),
        (["old", "--read", "none.json"], "files of answers follow", 2),
    ):
        code, _, told = diptych("generator", "rate", *arguments)
        assert (code, message in told) == (expected, True), told
    assert not (drawn / "rating").exists()
