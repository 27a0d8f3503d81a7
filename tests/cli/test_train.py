"""`diptych train`: from a TOML file to a model, through errors, Ctrl-C and back."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs the [train] extra")

import diptych
from diptych.cli.app import run

TOML = """\
name = "shapes"
dim = 16

[data]
workers = 1

[image]
tower = "fake"
head = { name = "mlp", hidden = 32 }

[text]
tower = "fake"
head = { name = "mlp", hidden = 32 }

[loss]
name = "info_nce"

[training]
epochs = 2
batch_size = 30
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "shapes.toml"
    path.write_text(TOML, encoding="utf-8")
    return path


def test_it_augments_images_while_training_and_says_how_fast_they_come(
    config: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with config.open("a", encoding="utf-8") as stream:
        stream.write('\n[data.images]\nworkers = 1\nresize = ["plain", "reflect"]\nrotation = 10\nflip = 0.5\n')
    command = ["train", str(config), str(shapes), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert run(command) == 0
    printed = capsys.readouterr()
    assert "images/s, " in printed.err
    assert "of the time waiting for images (data.images.workers = 1)" in printed.err
    assert "bad.png" in printed.out
    assert run([*command, "--set", "data.images.flp=1"]) == 2
    assert "unknown key 'flp' in [data.images]" in capsys.readouterr().err
    assert run([*command, "--set", "data.images.flip=0.1"]) == 2
    assert "config.data.images.flip: 0.5 -> 0.1" in capsys.readouterr().err


def test_it_trains_and_says_what_came_of_it(
    config: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", str(config), str(shapes), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert "trained on 35 records; validation (10 records)" in printed.out
    assert "were left out" in printed.out
    assert "epoch 2/2" in printed.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model", "log.jsonl", "log.csv", "steps.jsonl", "tensorboard", "curve.png",
        "last.safetensors", "best.safetensors",
    }  # fmt: skip
    assert diptych.load(tmp_path / "out" / "model").dim == 16


def test_word_vectors_to_begin_with_are_counted(
    config: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    glove = tmp_path / "glove.txt"
    glove.write_text("red 1 0 0\nCircle 0 1 0\n")
    plain = config.read_text()
    words = (
        'tower = { name = "words", min_count = 1 }\nnetwork = { name = "gru", layers = 2, hidden = 8, embedding = 3 }'
    )
    config.write_text(plain.replace('[text]\ntower = "fake"', f"[text]\n{words}"))
    command = ["train", str(config), str(shapes), "--out", str(tmp_path / "out"), "--device", "cpu"]
    command += ["--set", "training.epochs=1", "--set"]
    assert run([*command, f"text.network.vectors={glove}"]) == 0
    printed = capsys.readouterr()
    assert "glove.txt has vectors of 2 of 22 words; the others begin at random" in printed.err
    assert (
        "note: words of the vocabulary that glove.txt does not have, whose vectors begin at random: 20" in printed.out
    )
    saved = (tmp_path / "out" / "model" / "config.json").read_text()
    assert json.loads(saved)["text"]["network"] == {"name": "gru", "layers": 2, "hidden": 8, "embedding": 3}
    assert str(tmp_path) not in saved
    assert diptych.load(tmp_path / "out" / "model").torch().text.network.forwards.num_layers == 2
    assert run([*command, "text.network.embedding=4", "--set", f"text.network.vectors={glove}"]) == 2
    assert (
        "has 3 numbers a word, and the network 4; set its width (bag) or embedding (gru) to 3"
        in capsys.readouterr().err
    )
    assert run([*command, f"text.network.vectors={tmp_path}/none.txt"]) == 3
    config.write_text(plain.replace("dim = 16", f'init = "{tmp_path}/out/model"').replace('tower = "fake"', "", 2))
    config.write_text(config.read_text().replace('head = { name = "mlp", hidden = 32 }', ""))
    again = ["train", str(config), str(shapes), "--out", str(tmp_path / "again"), "--set", "text.network.name=gru"]
    assert run([*again, "--set", f"text.network.vectors={glove}"]) == 2
    assert "text.network.vectors has no effect: its words are those of init" in capsys.readouterr().err


def test_recall_before_and_after_is_printed(
    config: Path, small_model: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = config.read_text().replace("dim = 16", f'init = "{small_model}"')
    config.write_text(text.replace('head = { name = "mlp", hidden = 32 }', "").replace("epochs = 2", "epochs = 1"))
    command = ["train", str(config), str(shapes), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert run([*command, "--also", str(shapes)]) == 0
    printed = capsys.readouterr().out
    for words in (
        "validation (10 records)",
        "captions.jsonl (10 records)",
        "  before   image → text ",
        "  after    image",
    ):
        assert words in printed
    assert "captions.jsonl: measured on the records that training held out (shapes): 10" in printed
    assert run([*command, "--also", str(tmp_path / "none.csv")]) == 3
    assert "none.csv" in capsys.readouterr().err


def test_the_next_command_measures_what_training_held_out(
    config: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in shapes.read_text(encoding="utf-8").splitlines()]
    table = tmp_path / "my pairs.csv"
    lines = [f"{shapes.parent / row['image']},{row['text'].replace(',', ' ')}" for row in rows]
    table.write_text("photo,title\n" + "\n".join(lines), encoding="utf-8")
    command = ["train", str(config), str(table), "--image-column", "photo", "--text-columns", "title"]
    more = ["--out", str(tmp_path / "out"), "--device", "cpu", "--set", "data.val_share=0.3", "--json"]
    assert run([*command, *more]) == 0
    report = json.loads(capsys.readouterr().out)
    assert run([*command, *[each for each in more if each != "--json"]]) == 0
    following = capsys.readouterr().out.rpartition("next: diptych ")[2].splitlines()[0]
    assert run([*shlex.split(following), "--json", "--bootstrap", "0"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["split"] == "held-out"
    for way, name in (("image_to_text", "i2t"), ("text_to_image", "t2i")):
        found = measured[way]["metrics"]["R@1"]
        assert 100 * found["value"] == pytest.approx(report["scores"][f"{name} R@1"], abs=0.01)
    notes = {note["kind"]: note["count"] for note in measured["notes"]}
    assert (notes["held_out"], notes["trained_on"]) == (report["records"]["val"], report["records"]["train"])


def test_json_and_overrides_and_the_environments_twin(
    config: Path,
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DIPTYCH_TRAIN_OUT", str(tmp_path / "by environment"))
    arguments = ["train", str(config), str(shapes), "--json", "--quiet", "--seed", "3"]
    assert run([*arguments, "--set", "training.epochs=1", "--set", "dim=8"]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert printed.err == ""
    assert report["model"] == str(tmp_path / "by environment" / "model")
    assert [member["epochs"] for member in report["members"]] == [1]
    assert any(skip["name"].endswith("bad.png") for skip in report["skipped"])
    model = diptych.load(report["model"])
    assert (model.dim, model.config.training["config"]["seed"]) == (8, 3)


def test_fresh_starts_anew_and_deletes_nothing_of_others(
    config: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "log.jsonl.of.mine").write_text("dear", encoding="utf-8")
    arguments = ["train", str(config), str(shapes), "--out", str(out), "--quiet"]
    assert run(arguments) == 0
    assert run([*arguments, "--set", "dim=8"]) == 2
    assert "config.dim: 16 -> 8" in capsys.readouterr().err
    assert run([*arguments, "--set", "dim=8", "--fresh"]) == 0
    assert diptych.load(out / "model").dim == 8
    assert (out / "log.jsonl.of.mine").exists()


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (["--set", "training.epoch=3"], 2, "did you mean 'epochs'"),
        (["--set", "loss.name=infonce"], 2, "unknown loss 'infonce'"),
        (["--set", "training.epochs=0"], 2, "epochs must be at least 1, found 0"),
        (["--device", "toaster"], 2, "unknown device 'toaster'"),
        (["/no/such/place"], 3, "/no/such/place"),
        (["--set", "init=/no/such/model"], 4, "no model '/no/such/model'"),
        (["--out", "/proc/no/such"], 2, "/proc/no"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_exit_code(
    config: Path,
    shapes: Path,
    tmp_path: Path,
    extra: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = [] if extra[0].startswith("/") else [str(shapes)]
    out = [] if "--out" in extra else ["--out", str(tmp_path / "out")]
    assert run(["train", str(config), *source, *extra, *out, "--quiet"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.startswith("diptych: ")
    assert printed.err.count("\n") == 1


def test_a_wrong_key_is_named_with_file_and_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(TOML.replace("epochs", "epocs"), encoding="utf-8")
    assert run(["train", str(config)]) == 2
    assert f"{config}:19: unknown key 'epocs' in [training]" in capsys.readouterr().err


def test_ctrl_c_is_exit_code_130_and_the_same_command_goes_on(
    config: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(TOML.replace("epochs = 2", "epochs = 9"), encoding="utf-8")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "diptych", "train", str(config), str(shapes), "--out", str(out)]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ},
        # a job in the background of a script is born deaf to Ctrl-C, and so would its children be
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    until = time.monotonic() + 100
    while not (out / "last.safetensors").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=100)
    assert process.returncode == 130, said
    assert printed == ""
    assert said.splitlines()[-1] == ("diptych: interrupted; what was finished is kept; run the same command to go on")
    assert run(command[3:]) == 0
    said = capsys.readouterr().err
    assert "continuing after epoch" in said
    assert "epoch 9/9" in said
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 10))


def test_it_learns_from_several_sources(
    config: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in shapes.read_text(encoding="utf-8").splitlines()]
    rows = [
        {**row, "image": str(shapes.parent / row["image"]), "text": f"dot {row['text']}"} for row in rows[:75]
    ]  # 25 images: some are held out, whatever the folder
    dots = tmp_path / "dots.jsonl"
    dots.write_text("".join(json.dumps({**row, "split": None}) + "\n" for row in rows), encoding="utf-8")
    command = ["train", str(config), str(shapes), "--out", str(tmp_path / "out"), "--device", "cpu"]
    command += ["--set", "training.epochs=1"]
    assert run([*command, "--with", f"{dots}:0.4", "--set", "data.val_share=0.4"]) == 0
    printed = capsys.readouterr().out
    assert "  dots.jsonl t2i R@1      " in printed
    assert "note: training records of several sources with the same image, joined: into " in printed
    assert f"next: diptych eval {shapes} --model" in printed
    for wrong, code, why in (
        ([f"{dots}:4"], 2, f"found the weight 4 of {dots}; expected the share of an epoch"),
        ([str(tmp_path / "none.csv")], 3, "none.csv"),
        ([f"{dots}:0.6", f"{shapes}:0.5"], 2, "the weights add up to 1.1"),
    ):
        assert run([*command, *(part for source in wrong for part in ("--with", source))]) == code
        assert why in capsys.readouterr().err
