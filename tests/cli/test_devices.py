"""`--device` reaches every model that a command loads, and an absent one is never silently another."""

import onnxruntime
import pytest

COMMANDS = (
    "index {photos} --library {library} --model {model}",
    "search red --library {library}",
    "search --image {photos}/red.png --library {library}",
    "explain red {photos}/red.png --model {model} --grid 2",
    "eval {pairs} --model {model}",
    "compare {pairs} --model {model} {other}",
    "map {pairs} --method pca --model {model}",
    "data filter {pairs} --out {new}/filtered --model {model}",
    "data mine {pairs} --out {new}/mined.jsonl --model {model}",
    "library reembed --library {library} --model {other}",
    "library repair --vectors --library {library}",
    "mcp --library {library}",
    "serve --library {library} --port 0",
)


@pytest.mark.parametrize("line", COMMANDS)
def test_an_absent_device_is_refused_by_every_command(line, diptych, library, photos, models, shapes, tmp_path):
    if "DmlExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("DirectML is installed here")
    named = {"photos": photos, "library": library, "model": models[0], "other": models[1]}
    words = line.format(**named, pairs=shapes, new=tmp_path / "new").split(" ")
    code, _, err = diptych(*words, "--device", "directml")
    assert code == 2
    assert "onnxruntime-directml" in err


def test_what_runs_on_pytorch_says_which_devices_it_takes(diptych, clip_folder, shapes):
    code, _, err = diptych("eval", shapes, "--model", f"hf:{clip_folder}", "--device", "openvino")
    assert code == 2
    assert "runs on PyTorch, which takes auto, cpu, cuda and cuda:N" in err
    assert "diptych models export" in err
