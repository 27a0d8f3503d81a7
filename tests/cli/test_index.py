"""`diptych index` and `diptych library`, as from a shell."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

COLOURS = ("red", "green", "blue", "black", "white")


def test_a_new_library_and_then_only_what_is_new(diptych, photos, tmp_path, models):
    code, out, _ = diptych("index", photos, "--library", tmp_path / "l", "--model", models[0])
    assert code == 0
    assert "5 added in" in out
    code, out, _ = diptych("index", photos, "--library", tmp_path / "l")  # the library knows its model
    assert "5 unchanged in" in out
    (photos / "red.png").rename(photos / "rouge.png")
    (photos / "blue.png").unlink()
    (photos / "bad.jpg").write_text("no picture")
    code, out, _ = diptych("index", photos, "--library", tmp_path / "l")
    assert code == 0
    assert "1 moved, 3 unchanged, 1 removed, 1 skipped in" in out
    assert "skipped: 1 not_an_image" in out
    assert str(photos / "bad.jpg") in out


def test_json(diptych, photos, tmp_path, models):
    (photos / "bad.jpg").write_text("no picture")
    code, out, _ = diptych("index", photos, "--library", tmp_path / "l", "--model", models[0], "--json", "--quiet")
    report = json.loads(out)
    assert code == 0
    assert (report["added"], report["total"]) == (5, 5)
    assert report["skipped"][0]["reason"] == "not_an_image"


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda folder: folder / "missing", 3, "cannot read"),
        (lambda folder: (folder / "empty").mkdir() or folder / "empty", 3, "found nothing"),
        (lambda folder: _texts(folder), 3, "found 2 other files (2 .txt)"),
        (lambda folder: _unknown(folder), 2, "cannot tell what"),
        (lambda folder: _unreadable(folder), 3, "none of the 1 images could be read; 1 not_an_image"),
        (lambda folder: f"{folder}/\udcff", 3, "cannot read"),
        (lambda folder: "x" * 10_000, 3, "cannot read"),
    ],
)
def test_bad_paths(diptych, tmp_path, models, make, code, words):
    found, out, err = diptych("index", make(tmp_path), "--library", tmp_path / "l", "--model", models[0])
    assert found == code
    assert words in err
    if "none of the" not in words:
        assert out == ""
        assert not (tmp_path / "l").exists()  # a mistake leaves nothing behind


def _texts(folder):
    for name in ("a.txt", "b.txt"):
        (folder / "texts").mkdir(exist_ok=True)
        (folder / "texts" / name).write_text("x")
    return folder / "texts"


def _unknown(folder):
    (folder / "a.xyz").write_text("x")
    return folder / "a.xyz"


def _unreadable(folder):
    (folder / "a.png").write_text("x")
    return folder / "a.png"


def test_no_path_and_no_library(diptych, tmp_path):
    assert diptych("index", "--library", tmp_path / "l")[0] in (2, 3)
    assert diptych("index", tmp_path)[0] == 2


def test_another_model_is_refused(diptych, library, photos, models):
    code, out, err = diptych("index", photos, "--library", library, "--model", models[1])
    assert (code, out) == (4, "")
    assert "was made by model" in err
    assert f"diptych library reembed --library {library} --model {models[1]}" in err
    assert diptych("search", "red", "--library", library)[0] == 0


def test_a_folder_of_something_else_is_not_taken_over(diptych, photos, models):
    code, _, err = diptych("index", photos, "--library", photos, "--model", models[0])
    assert code == 4
    assert "is not a library" in err
    assert sorted(path.stem for path in photos.iterdir()) == sorted(COLOURS)


def test_library_info_verify_compact_remove(diptych, library, photos):
    code, out, _ = diptych("library", "info", "--library", library)
    assert code == 0
    assert "5 images" in out
    assert "width (integer)" in out
    assert diptych("library", "verify", "--library", library)[:2] == (0, "5 images, no problems\n")
    (photos / "red.png").unlink()
    code, out, _ = diptych("library", "verify", "--library", library)
    assert code == 1
    assert f"missing_file: {photos / 'red.png'}" in out
    assert json.loads(diptych("library", "verify", "--library", library, "--json")[1])["kinds"] == {"missing_file": 1}
    assert (
        "1 image put into the trash; to bring them back: diptych library undo"
        in diptych("library", "rm", "--library", library, photos / "red.png")[1]
    )
    assert diptych("library", "verify", "--library", library)[:2] == (
        0,
        "4 images, no problems\n",
    )  # its thumbnail is no orphan
    assert diptych("library", "compact", "--library", library)[0] == 0
    assert diptych("library", "verify", "--library", library)[0] == 0


@pytest.mark.parametrize("command", ["info", "verify", "compact", "rm"])
def test_library_commands_on_what_is_no_library(diptych, tmp_path, command):
    more = [tmp_path] if command == "rm" else []
    assert diptych("library", command, "--library", tmp_path / "nowhere", *more)[0] == 4
    assert list(tmp_path.iterdir()) == []


def start(arguments):
    script = "import sys; from diptych.cli.app import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heed_interrupts
    )


def heed_interrupts() -> None:
    """A job in the background of a script is born deaf to Ctrl-C, and so would its children be."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for_rows(library, seconds=60):
    """Until the first batch is in the store."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if len(list(library.glob("store/pictures.lance/_versions/*.manifest"))) > 1:
            return
        time.sleep(0.005)
    raise AssertionError("nothing was committed")


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_interrupted_or_killed_it_goes_on(diptych, tmp_path, models, how):
    many = tmp_path / "many"
    many.mkdir()
    for number in range(1500):
        Image.new("RGB", (64 + number % 50, 48), (number % 256, number // 256 * 40, 90)).save(many / f"{number}.png")
    process = start(["index", many, "--library", tmp_path / "l", "--model", models[0], "--batch-size", "4"])
    wait_for_rows(tmp_path / "l")
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "images of this run are in" in err
        assert "Traceback" not in err
    kept = json.loads(diptych("library", "info", "--library", tmp_path / "l", "--json")[1])["images"]
    assert 0 < kept < 1500
    report = json.loads(diptych("index", many, "--library", tmp_path / "l", "--json", "--quiet")[1])
    assert report["unchanged"] == kept
    assert report["added"] == 1500 - kept
    verdict = json.loads(diptych("library", "verify", "--library", tmp_path / "l", "--json")[1])
    assert verdict["images"] == 1500
    assert set(verdict["kinds"]) <= {"orphan_thumb"}  # of the batch that was dropped


def test_help_has_examples(diptych):
    for command in (["index"], ["search"], ["library", "verify"]):
        code, out, _ = diptych(*command, "--help")
        assert code == 0
        assert f"diptych {' '.join(command)}" in out


@pytest.mark.parametrize(
    ("flags", "idle"),
    [
        (("--videos", "--workers", 4), "--workers would do nothing beside --videos"),
        (("--videos", "--format", "csv", "--max-megapixels", 3), "--format and --max-megapixels would do nothing"),
        (("--texts", "--videos"), "--videos would do nothing beside --texts"),
        (("--texts", "--reranker", "x", "--workers", 4), "--workers and --reranker would do nothing beside --texts"),
        (("--moment-frames", 2), "--moment-frames would do nothing without --videos"),
    ],
)
def test_flags_that_would_do_nothing_are_refused(diptych, photos, tmp_path, flags, idle):
    code, _, err = diptych("index", photos, "--library", tmp_path / "library", *flags)
    assert (code, idle in err) == (2, True), err
    assert not (tmp_path / "library").exists()
