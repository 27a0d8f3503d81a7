"""`diptych data check` as a user meets it."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from diptych.cli.app import run


@pytest.fixture
def diptych(capsys):
    """`code, out, err = diptych("data", "check", ...)`."""

    def run_command(*arguments):
        code = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run_command


@pytest.fixture
def table(tmp_path):
    lines = ["image\tcaption\tsplit"]
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        (tmp_path / f"{number}.png").write_bytes(stream.getvalue())
        lines.append(f"{number}.png\tthe picture number {number}\t{'dev' if number > 3 else 'train'}")
    (tmp_path / "pairs.tsv").write_text("\n".join(lines))
    return tmp_path / "pairs.tsv"


def test_a_healthy_source_gives_0_and_words(diptych, table):
    code, out, err = diptych("data", "check", table, "--no-tokens")
    assert code == 0, err
    assert "6 pairs, 6 images, 6 texts" in out
    assert "train 4, val 2" in out


def test_a_leak_gives_1_json_and_a_list_of_problems(diptych, table, tmp_path):
    (tmp_path / "5.png").write_bytes((tmp_path / "0.png").read_bytes())
    listed = tmp_path / "problems.jsonl"
    code, out, _ = diptych("data", "check", table, "--json", "--quiet", "--report", listed)
    assert code == 1
    content = json.loads(out)
    assert content["duplicates"]["identical_across"] == 2
    assert len(content["misleading"]) == 1
    problems = [json.loads(line) for line in listed.read_text().splitlines()]
    assert {problem["kind"] for problem in problems} == {"identical_across_duplicate"}
    assert len(problems) == content["problems"] == 2


def test_flags_reach_the_reader(diptych, table):
    code, out, _ = diptych("data", "check", table, "--split", "dev", "--lang", "en", "--json", "--quiet", "--no-tokens")
    content = json.loads(out)
    assert (code, content["pairs"], content["languages_guessed"]) == (0, 2, 0)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 3, "no file or folder"),
        (["pairs.tsv", "--text-columns", "words"], 2, "no column 'words'; columns found: image, caption, split"),
        (["pairs.tsv", "--format", "cvs"], 2, "unknown format 'cvs'; choose from"),
        (["pairs.tsv", "--split", "test"], 3, "no split 'test'; splits found: train (4 pairs), val (2 pairs)"),
        (["pairs.tsv", "--near", "99"], 2, "near 0 to 15 bits"),
        (["pairs.xyz"], 2, "name it with --format"),
    ],
)
def test_wrong_input_is_one_clear_line(diptych, table, arguments, code, message):
    (table.parent / "pairs.xyz").write_text("?")
    found = diptych("data", "check", table.parent / arguments[0], *arguments[1:], "--quiet")
    assert (found[0], found[1]) == (code, "")
    assert message in found[2]
    assert found[2].count("\n") == 1


def test_translate_writes_beside_the_source_and_says_what_it_did(diptych, table, tmp_path):
    code, out, err = diptych("data", "translate", table, "--lang", "en", "--to", "es", "--back", "--engine", "fake")
    assert code == 0, err
    assert "pairs.tsv: 6 pairs, 6 texts by people, through fake" in out
    written = tmp_path / "pairs.translated.jsonl"
    assert f"written: {written}" in out
    code, out, _ = diptych("data", "check", written, "--json", "--quiet", "--no-tokens")
    content = json.loads(out)
    assert (code, content["pairs"], content["texts"], content["images"]) == (0, 6, 18, 6)
    assert content["languages"] == {"en": 12, "es": 6}


def test_translate_as_json_with_several_languages_and_a_split(diptych, table, tmp_path):
    flags = ("--split", "dev", "--lang", "en", "--to", "es,ca", "--to", "DE", "--engine", "fake", "--json", "--quiet")
    code, out, err = diptych("data", "translate", table, *flags)
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert content["out"] == str(tmp_path / "pairs-dev.translated.jsonl")
    assert [(way["way"], way["written"]) for way in content["ways"]] == [("en-es", 2), ("en-ca", 2), ("en-de", 2)]
    code, out, err = diptych("data", "translate", table, *flags)
    assert (json.loads(out)["fresh"], json.loads(out)["remembered"]) == (0, 6)


def test_a_folder_is_translated_into_a_file_beside_it(diptych, table, tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    for path in list(tmp_path.iterdir()):
        if path.is_file():
            path.rename(folder / path.name)
    code, out, _ = diptych("data", "translate", folder, "--lang", "en", "--to", "es", "--engine", "fake")
    assert (code, (tmp_path / "inner.translated.jsonl").is_file()) == (0, True), out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--to", "es", "--engine", "appertium"], 2, "unknown translation engine 'appertium'; choose from"),
        (["--to", "xx", "--engine", "fake"], 3, "fake has no en-xx"),
        (["--to", ",", "--engine", "fake"], 2, "no language to translate to"),
        ([], 2, "--to"),
    ],
)
def test_a_translation_that_cannot_be_done_is_one_clear_line(diptych, table, arguments, code, message):
    found = diptych("data", "translate", table, "--lang", "en", "--quiet", *arguments)
    assert (found[0], found[1]) == (code, "")
    assert message in found[2]
    assert found[2].count("\n") == 1


def test_help_has_examples(diptych):
    code, out, _ = diptych("data", "check", "--help")
    assert code == 0
    assert "diptych data check flickr8k/" in out
    code, out, _ = diptych("data", "translate", "--help")
    assert code == 0
    assert "diptych data translate flickr8k/ --lang en --to es --back" in out
    assert "--from" in out
