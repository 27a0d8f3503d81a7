"""A source and its translations: what is written, what is left out, and that a run can go on."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from diptych.core.errors import ConfigError, DataError
from diptych.core.types import Origin, Text
from diptych.data.readers import SourceOptions, open_source
from diptych.data.translation import FakeTranslator, TranslationTask, translate_source
from diptych.data.translation.memory import PATIENCE

T, B = Origin.TRANSLATED, Origin.BACK_TRANSLATED


class Moody(FakeTranslator):
    """Fails on every batch with the word "bad" in it, and counts what it is asked."""

    name = "moody"

    def __init__(self):
        self.asked = []

    def translate(self, texts, source, target):
        self.asked += texts
        if any("bad" in text for text in texts):
            raise DataError("cannot say bad")
        return super().translate(texts, source, target)


@pytest.fixture
def source(tmp_path):
    """`source({...}, {...})` is a JSONL of these rows, whose pictures are there."""

    def write(*rows, **options):
        (tmp_path / "data" / "photos").mkdir(parents=True, exist_ok=True)
        for number, row in enumerate(rows):
            if "images" not in row:
                row.setdefault("image", f"photos/{number}.jpg")
            for name in row.get("images") or [row["image"]]:
                (tmp_path / "data" / name).write_bytes(b"not looked at")
        path = tmp_path / "data" / "pairs.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return open_source(path, SourceOptions(**options))

    return write


@pytest.fixture
def translate(tmp_path):
    """`pairs, report = translate(source, "es", back=True)`."""

    def run(source, *targets, engine=None, back=False, start=(), out="data/out.jsonl"):
        task = TranslationTask(targets, back, start)
        path = tmp_path / out
        report = translate_source(source, engine or FakeTranslator(), task, path, tmp_path / "memory")
        again = open_source(path)
        pairs = list(again)
        assert again.skipped == []
        return pairs, report

    return run


def test_translations_stand_beside_their_originals(source, translate):
    row = {"id": "p", "captions": ["a dog", "two cats"], "lang": "en", "split": "dev", "class": "pet", "stars": 4}
    [pair], report = translate(source(row), "es", "ca", back=True)
    assert pair.texts == (
        Text("a dog", "en", meaning=0),
        Text("es:a es:dog", "es", "caption", T, 0, "fake en-es"),
        Text("dog", "en", "caption", B, 0, "fake en-es-en"),
        Text("ca:a ca:dog", "ca", "caption", T, 0, "fake en-ca"),
        Text("two cats", "en", meaning=1),
        Text("es:two es:cats", "es", "caption", T, 1, "fake en-es"),
        Text("ca:two ca:cats", "ca", "caption", T, 1, "fake en-ca"),
    )
    assert (pair.id, pair.split, pair.group, pair.meta) == ("p", "val", "pet", {"stars": 4})
    ways = {way.way: (way.written, way.unchanged, way.repeated, way.failed) for way in report.ways}
    assert ways == {
        "en-es": (2, 0, 0, 0),
        "en-es-en": (1, 1, 0, 0),  # "two cats" came back as it went
        "en-ca": (2, 0, 0, 0),
        "en-ca-en": (0, 1, 1, 0),  # "dog" was there from Spanish
    }
    assert (report.pairs, report.originals, report.fresh, report.remembered) == (1, 2, 8, 0)
    assert report.sentences_per_second > 0
    json.dumps(report.to_json())
    assert "en-es-en" in report.to_text()


def test_human_translations_are_kept_and_not_doubled(source, translate):
    [pair], report = translate(source({"en": "the dog", "de": "der Hund"}), "es", "de", back=True, start=("en",))
    assert pair.texts == (
        Text("the dog", "en", meaning=0),
        Text("es:the es:dog", "es", "caption", T, 0, "fake en-es"),
        Text("dog", "en", "caption", B, 0, "fake en-es-en"),
        Text("der Hund", "de", meaning=0),
    )
    assert report.not_translated == {"de is not among --from": 1}


def test_a_second_pass_translates_only_what_people_wrote(source, translate, tmp_path):
    translate(source({"caption": "a dog", "lang": "en"}), "es", back=True)
    [pair], report = translate(open_source(tmp_path / "data/out.jsonl"), "ca", out="data/more.jsonl")
    assert [(text.value, text.origin) for text in pair.texts] == [
        ("a dog", Origin.HUMAN),
        ("ca:a ca:dog", T),
        ("es:a es:dog", T),
        ("dog", B),
    ]
    assert report.not_translated == {"not written by a person": 2}
    assert {text.meaning for text in pair.texts} == {0}


def test_the_language_is_guessed_once_for_all_where_nothing_says_it(source, translate):
    rows = [{"caption": "a man with a dog on the street"}, {"caption": "zwei Hunde"}, {"caption": "the man is in red"}]
    pairs, report = translate(source(*rows), "es")
    assert report.language_guessed == "en"
    assert [pair.texts[0].lang for pair in pairs] == ["en", "en", "en"]
    assert "--lang" in report.to_text()


def test_bad_texts_are_named_and_the_others_go_on(source, translate):
    rows = [{"id": str(number), "caption": f"dog {number}", "lang": "en"} for number in range(30)]
    rows[7]["caption"] = "bad dog"
    pairs, report = translate(source(*rows), "es", engine=Moody())
    assert len(pairs) == 30
    assert [len(pair.texts) for pair in pairs] == [1 if number == 7 else 2 for number in range(30)]
    [entry] = report.skipped
    assert (entry.name, entry.detail) == ("7", "en-es: cannot say bad")


def test_an_engine_that_fails_on_everything_is_given_up(source, translate):
    rows = [{"caption": f"bad {number}", "lang": "en"} for number in range(PATIENCE + 1)]
    with pytest.raises(DataError, match="moody failed on all of the first"):
        translate(source(*rows), "es", engine=Moody())


def test_what_was_translated_once_is_remembered(source, translate):
    opened = source(
        {"caption": "a dog", "lang": "en"}, {"caption": "a cat", "lang": "en"}, {"caption": "a dog", "lang": "en"}
    )
    first, again = Moody(), Moody()
    pairs, report = translate(opened, "es", back=True, engine=first)
    assert first.asked == ["a dog", "a cat", "es:a es:dog", "es:a es:cat"]
    assert report.fresh == 4
    same, report = translate(opened, "es", back=True, engine=again)
    assert (again.asked, report.fresh, report.remembered, report.sentences_per_second) == ([], 0, 4, None)
    assert same == pairs


def test_a_killed_run_goes_on_where_it_was(source, tmp_path):
    source(*({"caption": f"dog {number}", "lang": "en"} for number in range(1200)))
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os, sys
            from pathlib import Path
            from diptych.data.readers import open_source
            from diptych.data.translation import FakeTranslator, TranslationTask, translate_source

            class Engine(FakeTranslator):
                calls = 0
                def translate(self, texts, source, target):
                    Engine.calls += 1
                    if sys.argv[1] == "die" and Engine.calls == 3:
                        os.kill(os.getpid(), 9)
                    return super().translate(texts, source, target)

            root = Path({str(tmp_path)!r})
            report = translate_source(
                open_source(root / "data/pairs.jsonl"), Engine(), TranslationTask(("es",)), root / "out.jsonl", root
            )
            print(report.fresh, report.remembered)
            """
        )
    )
    died = subprocess.run([sys.executable, script, "die"], capture_output=True, check=False)
    assert died.returncode == -9
    assert not (tmp_path / "out.jsonl").exists()
    done = subprocess.run([sys.executable, script, "live"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["200", "1000"]
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1200


def test_images_are_named_so_that_the_file_can_be_read(source, translate, tmp_path):
    opened = source({"caption": "a dog", "lang": "en", "images": ["photos/0.jpg", "photos/1.jpg"]})
    [beside], _ = translate(opened, "es", out="data/out.jsonl")
    assert json.loads((tmp_path / "data/out.jsonl").read_text())["images"] == ["photos/0.jpg", "photos/1.jpg"]
    [away], _ = translate(opened, "es", out="elsewhere/out.jsonl")
    assert [image.path.resolve() for image in beside.images] == [image.path.resolve() for image in away.images]
    assert len(away.images) == 2


def test_images_in_tables_get_files_of_their_own(translate, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(pyarrow.table({"image": [b"picture"], "caption": ["a dog"]}), tmp_path / "t.parquet")
    [pair], _ = translate(open_source(tmp_path / "t.parquet", SourceOptions(lang="en")), "es", out="out.jsonl")
    assert pair.images[0].path.parent == tmp_path / "out-images"
    assert pair.images[0].path.read_bytes() == b"picture"


def test_recipes_stay_recipes(source, translate, tmp_path):
    row = {"id": "r", "title": "the soup", "ingredients": ["a leek", "salt"], "instructions": ["Boil."], "lang": "en"}
    source(row)
    path = (tmp_path / "data/pairs.jsonl").rename(tmp_path / "data/recipes.jsonl")
    for out in ("data/out.jsonl", "elsewhere/recipes.jsonl"):
        [pair], _ = translate(open_source(path), "es", back=True, out=out)
        assert [(text.value, text.field, text.meaning) for text in pair.texts if text.lang == "es"] == [
            ("es:the es:soup", "title", 0),
            ("es:a es:leek\nes:salt", "ingredients", 1),
            ("es:Boil.", "instructions", 2),
        ]
        [joined] = list(open_source(tmp_path / out, SourceOptions(text_parts=("title", "ingredients", "instructions"))))
        assert [text.value for text in joined.texts] == [
            "the soup\na leek\nsalt\nBoil.",
            "es:the es:soup\nes:a es:leek\nes:salt\nes:Boil.",
            "soup\nleek\nsalt\nBoil.",
        ]


def test_columns_that_were_not_chosen_do_not_come_back_as_texts(source, translate):
    row = {"caption_en": "a dog", "caption_de": "ein Hund", "stars": 3}
    [pair], _ = translate(source(row, text_columns=("caption_en",)), "es")
    assert [text.lang for text in pair.texts] == ["en", "es"]
    assert pair.meta == {"stars": 3}


def test_a_way_may_be_there_and_back_at_once(source, translate):
    rows = [{"caption": "a dog", "lang": "en"}, {"caption": "un perro", "lang": "es"}]
    pairs, report = translate(source(*rows), "en", "es", back=True)
    assert [[text.value for text in pair.texts] for pair in pairs] == [
        ["a dog", "es:a es:dog", "dog"],
        ["un perro", "en:un en:perro"],
    ]
    assert (report.fresh, report.remembered) == (4, 0)
    assert {way.way: way.unchanged for way in report.ways} == {"en-es": 0, "en-es-en": 0, "es-en": 0, "es-en-es": 1}


def test_a_task_that_cannot_be_done_says_why(source, translate):
    with pytest.raises(DataError, match=r"no text that fake could translate to fr \(1 texts: fake has no en-fr\)"):
        translate(source({"caption": "a dog", "lang": "en"}), "fr")
    with pytest.raises(DataError, match="cannot be guessed; name it with --lang"):
        translate(source({"caption": "123"}), "es")
    with pytest.raises(ConfigError, match="is the source itself; name another file"):
        translate(source({"caption": "a dog", "lang": "en"}), "es", out="data/pairs.jsonl")
    with pytest.raises(ConfigError, match="--to es"):
        TranslationTask(())
