"""Where results go is checked before the work starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diptych.cli.outputs import HTML, JSON, PNG, check_file, check_folder
from diptych.core.errors import ConfigError

# a command, its flag for an output, a name that it takes, one that it does not; @ is a file that is not there
FILES = [
    (["eval", "@"], "--out", "r.json", "r.txt"),
    (["eval", "@"], "--markdown", "r.md", "r.pdf"),
    (["eval", "@"], "--sheet", "r.png", "r.jpg"),
    (["compare", "--report", "@", "@"], "--out", "r.json", "r.csv"),
    (["compare", "--report", "@", "@"], "--markdown", "r.md", "r.html"),
    (["compare", "--report", "@", "@"], "--plot", "r.png", "r.svg"),
    (["data", "check", "@"], "--report", "r.jsonl", "r.csv"),
    (["data", "mine", "@"], "--out", "r.jsonl", "r.csv"),
    (["data", "translate", "@", "--to", "es"], "--out", "r.jsonl", "r.tsv"),
    (["map", "@"], "--out", "r.html", "r.pdf"),
    (["explain", "words", "@"], "--out", "r.png", "r.jpg"),
    (["explain", "words", "@", "--by", "attention", "--reranker", "@"], "--out", "r.png", "r.jpg"),
    (["generator", "draw", "words", "--generator", "@"], "--out", "r.png", "r.gif"),
    (["generator", "audit", "--generator", "@"], "--page", "r.html", "r.md"),
    (["generator", "audit", "--generator", "@"], "--png", "r.png", "r.jpg"),
    (["generator", "audit", "--generator", "@"], "--out", "r.json", "r.jsonl"),
    (["generator", "eval", "@", "--generator", "@"], "--out", "r.json", "r.md"),
    (["generator", "eval", "@", "--generator", "@"], "--markdown", "r.md", "r.json"),
    (["generator", "report", "@"], "--out", "r.html", "r.json"),
    (["rerank", "check", "--reranker", "@", "@"], "--plot", "r.png", "r.pdf"),
    (["library", "reembed", "--library", "@", "--model", "@"], "--missing", "r.json", "r.txt"),
    (["search", "words", "--library", "@"], "--preview", "r.png", "r.jpg"),
]
FOLDERS = [
    (["data", "filter", "@"], "--out"),
    (["train", "@"], "--out"),
    (["distill", "@", "--reranker", "@"], "--out"),
    (["generator", "draw", "words", "--generator", "@"], "--folder"),
    (["demo", "@"], "--folder"),
    (["data", "emoji"], None),
    (["library", "export", "--library", "@"], None),
    (["library", "import", "@"], "--library"),
    (["library", "backup", "--library", "@"], None),
]


@pytest.fixture
def refused(diptych, tmp_path, monkeypatch):
    """The message of a command that refuses its output; nothing is made."""
    monkeypatch.chdir(tmp_path)

    def call(arguments, flag, output):
        before = sorted(tmp_path.rglob("*"))
        arguments = [str(tmp_path / "missing") if one == "@" else one for one in arguments]
        code, out, err = diptych(*arguments, *([flag] if flag else []), output)
        assert (code, out) == (2, ""), err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return call


@pytest.mark.parametrize(("arguments", "flag", "name", "wrong"), FILES)
def test_a_file_is_refused_before_anything_is_read(refused, tmp_path, arguments, flag, name, wrong):
    ending = Path(name).suffix
    assert ending in refused(arguments, flag, tmp_path / wrong)
    (tmp_path / name).mkdir()
    assert "is a folder; expected a file's name" in refused(arguments, flag, tmp_path / name)
    (tmp_path / "file").write_text("mine")
    assert "cannot be written" in refused(arguments, flag, tmp_path / "file" / name)


@pytest.mark.parametrize(("arguments", "flag"), FOLDERS)
def test_a_folder_is_refused_before_anything_is_read(refused, tmp_path, arguments, flag):
    assert "is named like a file; expected a folder" in refused(arguments, flag, tmp_path / "x.jsonl")
    (tmp_path / "file").write_text("mine")
    assert "is a file; expected a folder" in refused(arguments, flag, tmp_path / "file")
    assert "cannot be written" in refused(arguments, flag, tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_library_is_a_folder(refused, diptych, photos, tmp_path):
    arguments = ["index", str(photos)]
    assert "is named like a file" in refused(arguments, "--library", tmp_path / "library.tar.gz")


def test_the_source_is_not_replaced(diptych, shapes, small_model):
    before = shapes.read_bytes()
    code, _, err = diptych("data", "mine", shapes, "--model", small_model, "--out", shapes)
    assert (code, "is the source itself" in err) == (2, True)
    assert shapes.read_bytes() == before


def test_what_can_be_written_passes_and_nothing_is_made(tmp_path):
    check_file(tmp_path / "a" / "b" / "r.PNG", "--out", PNG)
    check_file(None, "--out", JSON)
    check_folder(tmp_path / "a" / "runs", "--out")
    (tmp_path / "old.json").write_text("{}")
    check_file(tmp_path / "old.json", "--out", JSON, tmp_path / "source.json")
    (tmp_path / "v1.json").mkdir()
    check_folder(tmp_path / "v1.json", "--out")  # it is there already, and a folder
    assert sorted(one.name for one in tmp_path.iterdir()) == ["old.json", "v1.json"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="Permission denied"):
        check_file(tmp_path / "r.html", "--out", HTML)
