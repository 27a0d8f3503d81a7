"""Saving: all or nothing, and both runtimes compute the same."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="writing a model folder needs the [train] extra")

import diptych  # noqa: E402
from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ModelError  # noqa: E402
from diptych.core.registry import build  # noqa: E402
from diptych.encoders import image_tower, text_tower  # noqa: E402
from diptych.encoders.export import read_weights  # noqa: E402
from diptych.models import folder as files  # noqa: E402
from diptych.models import save as saving  # noqa: E402
from diptych.models.heads import Head, ensemble_of  # noqa: E402


def head(part: Part, seed: int, dim: int = 16) -> Head:
    torch.manual_seed(seed)
    made = build("head", part, features=32, dim=dim).eval()
    made.fit_statistics(torch.randn(100, 32) * 5 + 2)
    return made


MLP = Part("mlp")


def save(folder: Path, part: Part = MLP, seed: int = 0, **changes: Any) -> tuple[Head, Head]:
    heads = head(part, seed), head(part, seed + 100)
    modules = [changes.pop(name, made) for name, made in zip(("image_head", "text_head"), heads, strict=True)]
    values: dict[str, Any] = {
        "name": "tiny",
        "image": saving.TrainedSide(image_tower("fake"), Part("fake"), part, modules[0]),
        "text": saving.TrainedSide(text_tower("fake"), Part("fake"), part, modules[1]),
        "dim": 16,
        "card": "# tiny\n",
        "training": {"note": "ü"},
    }
    saving.save(folder, **values | changes)
    return heads


@pytest.mark.parametrize("part", [Part("linear"), Part("mlp"), ensemble_of(Part("mlp", {"hidden": 40}), 2)])
def test_the_graphs_compute_what_the_heads_do(tmp_path: Path, part: Part) -> None:
    heads = save(tmp_path / "m", part)
    model = diptych.load(tmp_path / "m", threads=1)
    features = np.random.default_rng(0).normal(2, 5, (67, 32)).astype(np.float32)
    for graph, module in zip((model.image_head, model.text_head), heads, strict=True):
        with torch.no_grad():
            wanted = module(torch.from_numpy(features)).numpy()
        for size in (1, 2, 67):  # the batch is free
            assert (graph(features[:size]) * wanted[:size]).sum(1).min() > 0.99999  # half precision weights
    assert model.encode_texts([]).shape == (0, 16)


def test_weights_come_back_by_name_for_refitting(tmp_path: Path) -> None:
    heads = save(tmp_path / "m", Part("mlp", {"hidden": 40}))
    for module, name in zip(heads, (files.IMAGE_HEAD, files.TEXT_HEAD), strict=True):
        fresh = head(Part("mlp", {"hidden": 40}), seed=77)
        fresh.load_state_dict(read_weights(tmp_path / "m", name))
        for key, value in module.state_dict().items():
            assert fresh.state_dict()[key] == pytest.approx(value, rel=1e-3, abs=1e-6), key


def test_the_fingerprint_is_the_weights(tmp_path: Path) -> None:
    save(tmp_path / "a")
    save(tmp_path / "b", name="other", card="x", training={}, licence="MIT")
    save(tmp_path / "c", seed=1)
    one, same, other = (diptych.load(tmp_path / name).fingerprint for name in "abc")
    assert one == same != other


def test_one_changed_weight_changes_the_fingerprint(tmp_path: Path) -> None:
    heads = save(tmp_path / "a")
    with torch.no_grad():
        heads[1].output.bias[3] += 1e-3
    save(tmp_path / "b", text_head=heads[1])
    assert diptych.load(tmp_path / "a").fingerprint != diptych.load(tmp_path / "b").fingerprint


def test_an_older_model_is_replaced_whole(tmp_path: Path) -> None:
    save(tmp_path / "m")
    (tmp_path / "m" / "stray.onnx").write_text("of an older format", encoding="utf-8")
    save(tmp_path / "m", name="new")
    assert diptych.load(tmp_path / "m").name == "new"
    names = {path.name for path in (tmp_path / "m").iterdir()}
    assert names == {"config.json", "model.safetensors", "image_head.onnx", "text_head.onnx", "README.md"}
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_save_that_breaks_off_keeps_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "m", name="old")

    def break_off(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("diptych.models.folder.write_json", break_off)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "m", name="new")
    assert diptych.load(tmp_path / "m").name == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("dear", encoding="utf-8")
    with pytest.raises(ModelError, match="exists and is not a model folder of Diptych; choose another --out"):
        save(tmp_path)
    assert (tmp_path / "letters").read_text(encoding="utf-8") == "dear"


def test_everyone_may_read_it_and_nothing_is_executable(tmp_path: Path) -> None:
    save(tmp_path / "m")
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "m").iterdir()} == {0o644}


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    heads = save(tmp_path / "m")
    with torch.no_grad():
        heads[0].hidden.weight[0, 0] = 1e6  # beyond half precision
    with pytest.raises(ModelError, match=r"hidden\.weight is not finite in half precision"), np.errstate(over="ignore"):
        save(tmp_path / "n", image_head=heads[0])
    assert not (tmp_path / "n").exists()


def test_a_copied_folder_is_the_same_model(tmp_path: Path) -> None:
    save(tmp_path / "m")
    shutil.copytree(tmp_path / "m", tmp_path / "else" / "where")
    one, other = diptych.load(tmp_path / "m"), diptych.load(str(tmp_path / "else" / "where"))
    assert one.fingerprint == other.fingerprint
    assert np.array_equal(one.encode_texts(["a", "b"]), other.encode_texts(["a", "b"]))
