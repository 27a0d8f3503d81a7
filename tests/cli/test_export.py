"""`diptych models export`, and every use of what it writes without PyTorch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="exporting needs the [train] extra")

import diptych as library_of_models
from diptych.cli.app import run
from diptych.core.extras import is_installed
from diptych.data.images import prepare

if not is_installed("transformers"):
    pytest.skip("needs the [hub] extra", allow_module_level=True)

TESTS = Path(__file__).resolve().parents[1]
WITHOUT = "torch", "torchvision", "transformers", "open_clip", "onnx", "timm", "sentence_transformers"


def without_pytorch(code: str) -> str:
    """What Python code prints in a process where the packages of pretrained models are not installed."""
    hidden = f"import sys; sys.path.insert(0, {str(TESTS)!r}); from every_command import Hidden; "
    hidden += f"sys.meta_path.insert(0, Hidden({set(WITHOUT)!r})); "
    done = subprocess.run([sys.executable, "-c", hidden + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def exported(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "clip"
    assert run(["models", "export", f"hf:{clip_folder}", "--out", str(folder), "--quiet"]) == 0
    return folder


def test_the_folder_is_whole_and_gives_the_original_vectors(exported: Path, clip_folder: Path, shapes: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        "README.md", "config.json", "tokenizer.json", "image_tower.onnx", "image_tower.safetensors",
        "text_tower.onnx", "text_tower.safetensors",
    }  # fmt: skip
    original, found = library_of_models.load(f"hf:{clip_folder}"), library_of_models.load(exported)
    images = sorted(shapes.parent.glob("*-20.png"))
    texts = ["a red circle", "rotes Rund", "", "a very long text " * 20]
    assert found.encode_images(images) == pytest.approx(original.encode_images(images), abs=1e-5)
    assert found.encode_texts(texts) == pytest.approx(original.encode_texts(texts), abs=1e-5)
    assert found.text_tower.count_tokens(texts) == original.text_tower.count_tokens(texts)
    assert found.config.logit_scale == original.config.logit_scale
    vectors = original.encode_images(images), original.encode_texts(texts)
    assert found.probability(*vectors) == pytest.approx(original.probability(*vectors))
    assert found.fingerprint != original.fingerprint
    assert found.config.training["exported_from"]["fingerprint"] == original.fingerprint
    card = (exported / "README.md").read_text()
    assert f"hf:{clip_folder.resolve()}" in card
    assert "cosine to the original at least 1.00000" in card


def test_index_and_search_run_where_pytorch_is_not_installed(exported: Path, shapes: Path, tmp_path: Path) -> None:
    code = "from diptych.cli.app import run; "
    code += f"assert run(['index', {str(shapes.parent)!r}, '--library', 'made', '--model', {str(exported)!r}]) == 0; "
    code += "assert run(['search', 'a red circle', '--library', 'made', '-k', '2', '--json']) == 0; "
    code += f"assert not set({WITHOUT!r}) & set(sys.modules)"
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        printed = without_pytorch(code)
    finally:
        os.chdir(before)
    hits = json.loads(printed[printed.index("{", printed.index("made")) if "made" in printed else 0 :])
    model = library_of_models.load(exported)
    rows = model.encode_images([hit["path"] for hit in hits["hits"]])
    wanted = (rows @ model.encode_texts("a red circle")[0]).tolist()
    assert [hit["score"] for hit in hits["hits"]] == pytest.approx(wanted, abs=1e-3)


def test_a_search_by_words_starts_the_text_side_alone(exported: Path) -> None:
    code = "import diptych, diptych.encoders.onnx_session as sessions; import onnxruntime; "
    code += "real = onnxruntime.InferenceSession; begun = []; "
    code += "onnxruntime.InferenceSession = lambda path, *a, **k: [begun.append(path), real(path, *a, **k)][1]; "
    code += f"diptych.load({str(exported)!r}).encode_texts('a dog'); print(*begun)"
    assert [Path(path).name for path in without_pytorch(code).split()] == ["text_tower.onnx"]


def test_a_library_moves_to_the_export_by_reembed_and_not_by_itself(diptych, exported, clip_folder, photos, tmp_path):
    folder = tmp_path / "library"
    assert diptych("index", photos, "--library", folder, "--model", f"hf:{clip_folder}")[0] == 0
    code, _, err = diptych("search", "red", "--library", folder, "--model", exported)
    assert code == 4
    assert "reembed" in err
    assert diptych("library", "reembed", "--library", folder, "--model", exported)[0] == 0
    code, out, _ = diptych("search", "red", "--library", folder, "--json")
    assert code == 0
    assert len(json.loads(out)["hits"]) == 5


def test_check_prints_what_a_precision_costs_and_the_card_keeps_it(diptych, clip_folder, shapes, tmp_path):
    words = "--precision", "int8", "--check", shapes, "--bootstrap", "20", "--json"
    code, out, err = diptych("models", "export", f"hf:{clip_folder}", "--out", tmp_path / "small", *words)
    assert code == 0, err
    found = json.loads(out)
    assert found["precision"] == "int8"
    assert found["least_cosine"]["text_tower"] > 0.99
    cells = found["check"]["comparison"]["runs"][found["name"]]
    assert {"image_to_text R@1", "text_to_image R@10"} <= cells.keys()
    assert cells["text_to_image R@5"]["difference"]["interval"]["low"] <= 0
    speed = found["check"]["speed"]["images"]
    assert speed["ratio"] == pytest.approx(speed["exported"] / speed["original"])
    card = (tmp_path / "small" / "README.md").read_text()
    assert "images a second" in card
    assert "image → text" in card
    assert library_of_models.load(tmp_path / "small").encode_texts("red").shape == (1, 12)


@pytest.mark.parametrize("model", ["base", "{exported}"])
def test_what_cannot_be_exported_is_named(diptych, exported, tmp_path, model):
    found, _, err = diptych("models", "export", model.format(exported=exported), "--out", tmp_path / "out")
    assert found == 2
    assert "exported already; export what it was made from" in err
    assert not (tmp_path / "out").exists()


def test_a_model_that_was_trained_here_becomes_small_by_images(diptych, shapes, tmp_path):
    from ..conv_models import write_conv_model

    model, out = write_conv_model(tmp_path), tmp_path / "small"
    words = "models", "export", model, "--out", out, "--precision", "int8"
    code, _, err = diptych(*words)
    assert code == 2
    assert "--images SOURCE" in err
    assert not out.exists()
    code, printed, err = diptych(*words, "--images", shapes.parent, "--json")
    assert code == 0, err
    found = json.loads(printed)
    assert found["images"] == {"calibrating": 28, "measuring": 7}  # of 35 in the training split; one in five measures
    assert found["least_cosine"]["image_side"] > 0.9
    passed = next(note for note in found["notes"] if note["kind"] == "skipped")
    assert (passed["count"], "not_an_image" in passed["detail"]) == (1, True)
    library = tmp_path / "library"
    assert diptych("index", shapes.parent, "--library", library, "--model", out)[0] == 0
    code, printed, _ = diptych("search", "red", "--library", library, "--json")
    assert (code, len(json.loads(printed)["hits"])) == (0, 10)
    code, _, err = diptych(*words[:2], out, "--out", tmp_path / "again")
    assert code == 2
    assert f"exported already; export what it was made from: {model}" in err
    config = tmp_path / "tail.toml"
    config.write_text(TRAINING.format(init=out, tower="fake", more='network = "efficientnet_tail"'))
    code, _, err = diptych("train", config, shapes, "--out", tmp_path / "run")
    assert code == 2
    assert f'only its heads learn on; set tower = "model:{out}" in [image]' in err
    assert f"or start from {model}" in err


TRAINING = """
name = "more"
init = "{init}"
[image]
tower = "{tower}"
{more}
[text]
tower = "fake"
[loss]
name = "info_nce"
[training]
epochs = 1
"""


@pytest.mark.slow
def test_the_heads_of_a_small_model_learn_on_over_its_tower_which_is_copied(diptych, shapes, tmp_path):
    from ..conv_models import write_conv_model

    model, out = write_conv_model(tmp_path), tmp_path / "small"
    words = "--precision", "int8", "--images", shapes
    assert diptych("models", "export", model, "--out", out, *words)[0] == 0
    assert diptych("eval", shapes, "--model", out)[0] == 0
    config = tmp_path / "heads.toml"
    config.write_text(TRAINING.format(init=out, tower=f"model:{out}", more=""))
    code, _, err = diptych("train", config, shapes, "--out", tmp_path / "run")
    assert code == 0, err
    heads = library_of_models.load(tmp_path / "run" / "model")
    assert heads.config.image.features == 32
    images = sorted(shapes.parent.glob("red-*.png"))
    pixels = np.stack([prepare(np.asarray(Image.open(image).convert("RGB")), heads.preprocess) for image in images])
    features = [each.image_tower.embed(pixels) for each in (heads, library_of_models.load(out))]
    assert np.array_equal(*features)


def test_a_folder_of_something_else_is_left_alone(diptych, clip_folder, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = diptych("models", "export", f"hf:{clip_folder}", "--out", tmp_path)
    assert code == 4
    assert "is not a model folder" in err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_original_is_never_replaced_by_its_export(diptych, clip_folder):
    before = sorted(clip_folder.iterdir())
    code, _, err = diptych("models", "export", f"hf:{clip_folder}", "--out", clip_folder)
    assert code == 4
    assert "is not a model folder of Diptych; choose another --out" in err
    assert sorted(clip_folder.iterdir()) == before


def test_a_damaged_export_is_refused(diptych, exported, tmp_path, photos):
    import shutil

    copy = shutil.copytree(exported, tmp_path / "copy")
    data = bytearray((copy / "text_tower.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "text_tower.safetensors").write_bytes(data)
    code, _, err = diptych("index", photos, "--library", tmp_path / "library", "--model", copy)
    assert code == 4
    assert "text_tower.safetensors is damaged" in err
