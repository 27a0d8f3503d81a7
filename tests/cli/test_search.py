"""`diptych search`, as from a shell."""

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.cli.app import run
from diptych.core.errors import DataError
from diptych.core.file_names import unescape
from diptych.evaluation.calibrations import Calibrations
from diptych.evaluation.pair_calibration import Cut, PairCalibration
from diptych.library import Library
from diptych.models import load
from diptych.synthesis import load as load_generator

COLOURS = ("red", "green", "blue", "black", "white")


@pytest.fixture(scope="module")
def collection(tmp_path_factory, tiny_model):
    """A library of five pictures, one with a name that is not UTF-8, made by a tiny model."""
    base = tmp_path_factory.mktemp("search")
    for seed, name in enumerate(("tiny", "other")):
        tiny_model(base / name, seed)
    (base / "photos").mkdir()
    for colour in COLOURS:
        Image.new("RGB", (40, 30), colour).save(base / "photos" / f"{colour}.png")
    shutil.move(base / "photos" / "white.png", os.fsencode(base / "photos") + b"/wei\xdf.png")
    assert run(["index", str(base / "photos"), "--library", str(base / "library"), "--model", str(base / "tiny")]) == 0
    return base


@pytest.fixture
def search(collection, capsysbinary):
    """Run `diptych search --library ... ...`: exit code, stdout (bytes), stderr."""

    def call(*arguments):
        capsysbinary.readouterr()
        code = run(["search", "--library", str(collection / "library"), *map(str, arguments)])
        out, err = capsysbinary.readouterr()
        err = err.decode()
        if code:
            assert "Traceback" not in err
            assert len(err.splitlines()) == 1
            assert out == b""
        return code, out, err

    return call


def hits(out):
    return json.loads(out)["hits"]


def test_a_search_imports_no_decoder_no_store_and_nothing_that_indexes(collection):
    script = (
        "import sys; from diptych.cli.app import run; code = run(sys.argv[1:]); "
        "heavy = {'jaxtyping', 'PIL', 'simplejpeg', 'lancedb', 'pyarrow', 'torch', 'unittest', 'asyncio', "
        "'diptych.data.images', 'diptych.data.readers', 'diptych.library.indexing.images', "
        "'diptych.library.indexing.texts', 'diptych.library.preparing', 'diptych.library.sources', "
        "'diptych.library.maintenance.transfer', 'diptych.library.store.where_sql'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    command = [sys.executable, "-c", script, "search", "a dog", "--library", str(collection / "library")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == len(COLOURS)


def test_words(search):
    code, out, _ = search("a dog")
    assert code == 0
    assert len(out.splitlines()) == 5
    assert search("a", "dog")[1] == out  # without quotes
    ranks = [line.split()[0] for line in out.splitlines()]
    assert ranks == [b"1", b"2", b"3", b"4", b"5"]


def test_a_picture(search, collection):
    (hit,) = hits(search("--image", collection / "photos" / "red.png", "-k", 1, "--json")[1])
    assert hit["path"] == str(collection / "photos" / "red.png")
    assert hit["score"] == pytest.approx(1, abs=1e-5)
    assert hit["meta"] == {"name": "red.png", "width": 40, "height": 30}


def test_like(search, collection):
    (hit,) = hits(search("--image", collection / "photos" / "red.png", "-k", 1, "--json")[1])
    others = hits(search("--like", hit["id"], "--json")[1])
    assert len(others) == 4
    assert hit["id"] not in [other["id"] for other in others]


def test_a_folder_by_its_name_and_dates_as_people_write_them(search):
    for where in ("folder = 'photos'", "modified > '2020-01-01'", "modified BETWEEN '2020' AND '2090-01-31 12:00'"):
        assert len(hits(search("a dog", "--where", where, "--json")[1])) == 5


def test_a_filter_that_leaves_nothing_says_what_there_is(search, collection):
    told = f"0 of 5 pass the filter; folder has: '{collection / 'photos'}' (5); width has: "
    where = "folder = 'Photos' AND width > 10000"
    for flags, printed in (((), b"nothing found\n"), (("--paths",), b"")):
        code, out, err = search("a dog", "--where", where, *flags)
        assert (code, out) == (0, printed)
        assert err.startswith(f"note: {told}")
    found = json.loads(search("a dog", "--where", where, "--json")[1])
    assert found["hits"] == []
    assert found["notes"][0]["detail"].startswith(told)
    assert "notes" not in json.loads(search("a dog", "--json")[1])


def test_a_sum_in_one_argument_or_in_several(search, collection, monkeypatch):
    monkeypatch.chdir(collection / "photos")
    whole = hits(search('"red" + blue.png - 0.5*"snow"', "--json")[1])
    parts = hits(search("red", "+", "blue.png", "-", "0.5*snow", "--json")[1])
    assert whole == parts
    assert whole != hits(search("red + blue.png - snow", "--json")[1])  # no quotes: plain words


def test_words_behind_a_double_dash_are_words(search, collection):
    score = {query: hits(search("--json", "--", query)[1]) for query in ("-5 degrees", '- "cat"', "--paths")}
    assert [len(found) for found in score.values()] == [5, 5, 5]
    model = load(collection / "tiny")
    expected = Library.open(collection / "library", model).search("-5 degrees")
    assert [(hit["id"], hit["score"]) for hit in score["-5 degrees"]] == [(hit.id, hit.score) for hit in expected]
    assert hits(search("-5", "degrees", "--json")[1]) == score["-5 degrees"]  # a number is no option


@pytest.mark.parametrize("words", ["-5 degrees", '- "cat"', "-kids playing", "-dog"])
def test_words_that_begin_with_a_dash_are_told_where_to_go(search, words):
    code, _, err = search(words)
    assert code == 2
    assert f"go last, after --, such as: -- {shlex.quote(words)}" in err


def test_ranks_count_from_1_in_json_as_in_print(search):
    assert [hit["rank"] for hit in hits(search("a dog", "--json")[1])] == [1, 2, 3, 4, 5]
    assert [line.split()[0] for line in search("a dog")[1].splitlines()] == [b"1", b"2", b"3", b"4", b"5"]


def test_words_that_read_like_a_sum_get_a_hint(search, collection):
    code, out, err = search("snow - people", "--json")
    hint = "'snow - people' is taken for plain words"
    assert code == 0
    assert err.startswith(f"note: {hint}")
    assert json.loads(out)["notes"][0]["detail"].startswith(hint)
    assert "is the name of a file" in search(collection / "photos" / "red.png")[2]
    code, out, err = search("a dog", "--json")
    assert (err, "notes" in json.loads(out)) == ("", False)


def test_a_filter(search):
    found = hits(search("a dog", "--where", "name IN ('red.png', 'blue.png')", "--json")[1])
    assert {hit["meta"]["name"] for hit in found} == {"red.png", "blue.png"}
    code, out, _ = search("a dog", "--where", "width > 1000")
    assert (code, out) == (0, b"nothing found\n")


def test_paths_are_those_of_the_file_system(search, collection):
    out = search("a dog", "--null")[1]
    paths = out.removesuffix(b"\0").split(b"\0")
    assert os.fsencode(collection / "photos") + b"/wei\xdf.png" in paths
    assert len(paths) == 5
    assert all(Path(os.fsdecode(path)).exists() for path in paths)
    assert "wei\\xdf.png" in " ".join(hits(search("a dog", "--paths", "--json")[1]))
    assert "leave one out" in search("a dog", "--null", "--json")[2]


def test_paths_are_one_a_line_whatever_the_names(diptych, tmp_path, tiny_model):
    names = ["new\nline.png", "tab\t\x1b[31m.png", "u2028\u2028.png", "wei\udcdf.png", "back\\x0aslash.png", "ü b.png"]
    (tmp_path / "photos").mkdir()
    for name in names:
        Image.new("RGB", (40, 30), "red").save(tmp_path / "photos" / name)
    library = tmp_path / "library"
    assert diptych("index", tmp_path / "photos", "--library", library, "--model", tiny_model(tmp_path / "tiny"))[0] == 0
    code, out, told = diptych("search", "a dog", "--library", library, "--paths")
    assert code == 0
    assert sorted(unescape(line) for line in out.splitlines()) == sorted(
        str(tmp_path / "photos" / name) for name in names
    )
    assert all(line.isprintable() for line in out.splitlines())
    assert "5 of the paths" in told
    assert "--null" in told
    found = diptych("search", "a dog", "--library", library)[1]  # with ranks, for people: one line a picture too
    assert [line.split()[0] for line in found.splitlines()] == ["1", "2", "3", "4", "5", "6"]
    assert diptych("library", "rm", "--library", library, "--where", "width > 0")[0] == 0
    assert len(diptych("library", "trash", "--library", library)[1].splitlines()) == 6


def test_a_contact_sheet(search, tmp_path):
    code, out, err = search("--preview", tmp_path / "found.png", "a dog")
    assert code == 0
    assert "contact sheet" in err
    with Image.open(io.BytesIO((tmp_path / "found.png").read_bytes())) as sheet:
        assert sheet.format == "PNG"
        assert min(sheet.size) > 300
    assert out == search("a dog")[1]


def test_a_preview_needs_a_terminal_or_a_png(search, monkeypatch):
    assert "needs a terminal" in search("a dog", "--preview")[2]
    assert "ends in .png" in search("a dog", "--preview", "found.jpg")[2]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert "▀" in search("a dog", "--preview")[1].decode()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["dog", "-k", "0"], 2, "from 1 to 1,000"),
        (["dog", "-k", "1001"], 2, "from 1 to 1,000"),
        (["dog", "-k", "x"], 2, "-k"),
        (["x" * 100_000], 2, "100,000 characters, the limit is 1,000"),
        ([""], 3, "query is empty"),
        (["  "], 3, "query is empty"),
        ([], 3, "query is empty"),
        (["a\udcff"], 3, "lone surrogate"),
        (["dog", "--where", "nosuch = 1"], 2, "columns: id"),
        (["dog", "--where", "width >"], 2, "columns: id"),
        (["dog", "--where", "length(repeat('a', 1900000000)) > 0"], 2, "functions are not taken"),
        (["dog", "--where", "foldr = 'photos'"], 2, "did you mean folder?"),
        (["dog", "--where", "modified > '31.1.2026'"], 2, "'2026-01-31'"),
        (["dog", "--where", "\udcff"], 2, "--where"),
        (['"red" + nope.jpg'], 3, "no such file"),
        (["--image", "nope.jpg"], 3, "nope.jpg"),
        (["--image", __file__], 3, "not an image"),
        (["--image", "\udcff.jpg"], 3, "\\xff.jpg"),
        (["--like", "nope"], 3, "no image has the id"),
        (["dog", "--like", "nope"], 2, "expected one of them"),
        (["dog", "--pths"], 2, "--pths"),
        (["dog", "--model", "nosuch"], 4, "nosuch"),
    ],
)
def test_bad_input_is_one_line(search, arguments, code, words):
    found, _, err = search(*arguments)
    assert (found, words in err) == (code, True), err


def test_a_long_query_may_be_cut(search):
    assert search("x" * 100_000, "--cut")[0] == 0


def test_the_wrong_library(search, collection):
    code = run(["search", "dog", "--library", str(collection / "nowhere")])
    assert code == 4
    code = run(["search", "dog", "--library", str(collection / "photos")])
    assert code == 4
    assert run(["search", "dog"]) == 2
    assert search("dog", "--model", collection / "other")[0] == 4


def test_debug_shows_the_traceback(collection):
    with pytest.raises(Exception, match="from 1 to 1,000"):
        run(["search", "dog", "-k", "0", "--library", str(collection / "library"), "--debug"])


def test_generated_pictures_are_a_query(diptych, trained_generator, small_model, shapes, tmp_path):
    library = tmp_path / "library"
    assert diptych("index", shapes, "--model", small_model, "--library", library, "--quiet")[0] == 0
    asked = ["search", "--by-generated", "a red circle", "--generator", trained_generator.model, "--library", library]
    sheet = tmp_path / "found.png"
    code, told, _ = diptych(*asked, "-k", 3, "--seed", 1, "--json", "--preview", sheet)
    assert code == 0
    hits = json.loads(told)["hits"]
    pictures = load_generator(trained_generator.model).generate(["a red circle"] * 4, seed=1)
    model = load(small_model)
    mean = model.encode_images(list(pictures)).mean(0)
    cosines = Library.open(library, model).search(mean / np.linalg.norm(mean), 3)
    assert [hit["id"] for hit in hits] == [hit.id for hit in cosines]
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert diptych(*asked, "a red circle")[0] == 2
    code, _, error = diptych("search", "--by-generated", "x", "--generator", "nothing", "--library", library)
    assert code != 0
    assert "no generator 'nothing'" in error


def test_reranking_without_tokens_prints_the_command_that_adds_them(
    diptych, cross_encoder_run, shapes, small_model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    library = tmp_path / "my library"
    assert diptych("index", shapes.parent / "red-circle-20.png", "--model", small_model, "--library", library)[0] == 0
    asked = ("search", "a red circle", "--library", library, "--rerank", 5, "--beta", 1)
    code, _, err = diptych(*asked)
    assert code == 4
    assert "no re-ranker was named, and none is known to the library" in err
    assert "name one: --reranker runs/cross-encoder/model, whose tokens are made as searches need them" in err
    assert f"diptych rerank prepare --library '{library}' --reranker runs/cross-encoder/model" in err
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "model").symlink_to(cross_encoder_run.model)
    command = diptych(*asked)[2].partition("add them once: ")[2].strip()
    assert command == f"diptych rerank prepare --library '{library}' --reranker runs/mine/model"
    code, out, _ = diptych(*asked, "--reranker", cross_encoder_run.model)  # which makes the tokens now
    assert code == 0
    assert "ordered by shapes-slow h + 1 cosine" in out
    assert diptych(*shlex.split(command)[1:])[0] == 0
    assert diptych(*asked)[0] == 0
    code, told, err = diptych("search", "狗在雪里", *asked[2:], "--json")
    assert code == 0
    assert "the cross-encoder 'shapes-slow' does not know 4 of the 4 word pieces of the query" in err
    assert "unknown_words" in {note["kind"] for note in json.loads(told)["notes"]}
    err = diptych("search", "ein roter circle", *asked[2:])[2]  # letters that it knows, but not these words
    assert "knows 1 of the 3 words of the query as words, and the others only in pieces (ein, roter)" in err
    assert "only in pieces" not in diptych("search", "a red circle", *asked[2:])[2]
    assert "reads 16 of the 18 word pieces of the query" in diptych("search", "a red circle " * 6, *asked[2:])[2]
    code, _, err = diptych(*asked[:-2])  # without --beta something has to be fitted
    assert code == 4
    assert f"diptych rerank fit PAIRS --model {small_model} --reranker" in err


def test_images_that_a_model_was_not_made_for_get_a_line(diptych, tmp_path):
    random, model = np.random.default_rng(0), shutil.copytree(load("base").folder, tmp_path / "base")
    familiar = json.loads((model / "familiar.json").read_text())
    (model / "familiar.json").write_text(json.dumps({**familiar, "threshold": 0.95}))  # it knows drawings like noise
    source = tmp_path / "noise.csv"
    lines = ["image,caption"]
    for number in range(20):
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,noise of kind {number}")
    source.write_text("\n".join(lines))
    line = "note: images unlike those that the model diptych-base was trained on"
    code, out, _ = diptych("index", source, "--library", tmp_path / "library", "--model", model)
    assert (code, line in out) == (0, True)
    code, out, err = diptych("search", "a dog", "--library", tmp_path / "library", "--json")
    assert (code, err.startswith(line)) == (0, True)
    assert [note["kind"] for note in json.loads(out)["notes"]] == ["unfamiliar"]
    code, out, _ = diptych("eval", source, "--model", model, "--bootstrap", 0, "--json", "--quiet")
    assert (code, json.loads(out)["notes"][-1]["kind"]) == (0, "unfamiliar")


def test_the_bytes_of_what_is_no_image_are_shown_for_debugging_only(collection, tmp_path, capsys) -> None:
    (tmp_path / "notes.jpg").write_bytes(b"\x9a\xec\x01\x02")
    command = ["search", "--library", str(collection / "library"), "--image", str(tmp_path / "notes.jpg")]
    assert run(command) == 3
    said = capsys.readouterr().err
    assert said == f"diptych: {tmp_path / 'notes.jpg'} is not an image: it holds data of an unknown kind\n"
    with pytest.raises(DataError) as raised:
        run([*command, "--debug"])
    assert r"its first bytes: b'\x9a\xec\x01\x02'" in "".join(traceback.format_exception(raised.value))


def test_a_model_that_judges_pairs_says_how_likely_each_hit_is_right(collection, tmp_path, capsys):
    model = shutil.copytree(collection / "tiny", tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "logit_scale": 10.0, "logit_bias": -5.0}))
    red = str(collection / "photos" / "red.png")

    def found(*arguments):
        capsys.readouterr()
        command = ["search", "--library", str(collection / "library"), "--model", str(model), "--json", *arguments]
        assert run(command) == 0
        return json.loads(capsys.readouterr().out)["hits"]

    found_by_words = found("a red circle")
    for hit in found_by_words:
        by_hand = 1 / (1 + np.exp(5 - 10 * hit["score"]))  # SigLIP's sigmoid
        assert hit["meta"]["probability"] == pytest.approx(by_hand, abs=2e-6)
    assert len({hit["meta"]["probability"] for hit in found_by_words}) > 1
    for query in (["--image", red], ["--like", found_by_words[0]["id"]], ['"red" + "circle"']):
        assert all("probability" not in hit["meta"] for hit in found(*query)), "no image with one text"


def test_a_model_that_compares_by_l2_judges_by_its_distance(collection, tmp_path, capsys):
    model, library = shutil.copytree(collection / "tiny", tmp_path / "model"), str(tmp_path / "library")
    config = json.loads((model / "config.json").read_text())
    learnt = {"similarity": "l2", "logit_scale": 10.0, "logit_bias": 8.0}
    (model / "config.json").write_text(json.dumps({**config, **learnt}))
    assert run(["index", str(collection / "photos"), "--library", library, "--model", str(model), "--quiet"]) == 0
    capsys.readouterr()
    assert run(["search", "a red circle", "--library", library, "--json"]) == 0
    for hit in json.loads(capsys.readouterr().out)["hits"]:
        distance = np.sqrt(2 - 2 * hit["score"])
        assert hit["meta"]["probability"] == pytest.approx(1 / (1 + np.exp(10 * distance - 8)), abs=2e-5)


def test_only_relevant_hits(search, collection, tmp_path):
    scores = [hit["score"] for hit in hits(search("a dog", "--json")[1])]
    line = (scores[1] + scores[2]) / 2
    kept = Calibrations(load(collection / "tiny").fingerprint, "tiny", ("cosine",), "colours", {
        "image-text": PairCalibration((10.0,), -10.0 * line, cut=Cut(0.5, 0.97, 0.1))
    })  # fmt: skip
    kept.write(tmp_path / "mine.json")
    code, out, err = search("a dog", "--only-relevant", "--calibration", tmp_path / "mine.json", "--json")
    assert code == 0
    assert [hit["score"] for hit in hits(out)] == scores[:2]
    assert hits(out)[0]["meta"]["belongs"] == pytest.approx(1 / (1 + np.exp(-10 * (scores[0] - line))), abs=1e-4)
    (note,) = json.loads(out)["notes"]
    assert (note["kind"], note["count"]) == ("hidden", 3)
    assert err.startswith("note: hidden of the 5 nearest: 3, ")
    for arguments, words in (
        (["a dog", "--only-relevant"], "fit it with diptych relate --calibrate SOURCE --calibration FILE.json --model"),
        (["a dog", "--calibration", tmp_path / "mine.json"], "add --only-relevant"),
        (["--like", hits(out)[0]["id"], "--only-relevant"], "leave it out with --like"),
        (["a dog", "--only-relevant", "--rerank", "5", "--reranker", collection / "tiny"], ""),
    ):
        code, _, err = search(*arguments)
        assert code in (2, 4)
        assert words in err


def test_words_inside_images_are_asked_for_by_words_alone(search, collection):
    for arguments, code, words in (
        (["gate", "--ocr"], 4, "do so: diptych index FOLDER --library LIBRARY --ocr"),
        (["--image", collection / "photos" / "red.png", "--ocr"], 2, "give words, or leave it out"),
    ):
        found, _, err = search(*arguments)
        assert (found, words in err) == (code, True)


def test_other_models_claim_no_probability(search):
    _, out, _ = search("a dog", "--json")
    assert all("probability" not in hit["meta"] for hit in hits(out))
