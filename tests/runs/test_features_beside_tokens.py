"""Frozen features with a trained transformer beside them: trained, saved, opened, begun and continued."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the [train] extra")

import diptych  # noqa: E402
from diptych import runs  # noqa: E402
from diptych.cli.app import run as command  # noqa: E402
from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError, ModelError  # noqa: E402
from diptych.core.protocols import SILENT  # noqa: E402
from diptych.data.features import RowsBeside, text_rows  # noqa: E402
from diptych.encoders.export import read_weights  # noqa: E402
from diptych.encoders.fake import FakeTextTower  # noqa: E402
from diptych.encoders.graphs import read_graph  # noqa: E402
from diptych.encoders.text.features_and_tokens import FeaturesAndTokens  # noqa: E402
from diptych.models.blend import require_blendable  # noqa: E402
from diptych.models.networks import build_network  # noqa: E402
from diptych.runs import towers  # noqa: E402

from ..conftest import small_config  # noqa: E402

TEXTS = ["a red circle", "grünes Band", "", "a stripe in blue and one in red, green and yellow, beside a circle"]
NETWORK = {"width": 16, "layers": 1, "heads": 2}


@pytest.fixture(scope="module")
def joined() -> Any:
    """Makes configs whose text side joins the fake tower with word pieces."""

    def made(last: Any = None, network: Any = NETWORK, **changes: Any) -> Any:
        pieces = last or {"name": "wordpiece", "max_tokens": 12, "min_count": 1}
        config = small_config()
        text = dataclasses.replace(
            config.text,
            tower=Part("joined", {"towers": ["fake", pieces]}),
            network=network and Part("transformer", network),
        )
        training = dataclasses.replace(config.training, epochs=1)
        data = runs.DataConfig(workers=1)
        return dataclasses.replace(config, **{"text": text, "training": training, "data": data, **changes})

    return made


@pytest.fixture(scope="module")
def model_folder(joined: Any, shapes: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = {**NETWORK, "drop": 0.2, "word_dropout": 0.1}
    run = runs.train(joined(network=network), str(shapes), tmp_path_factory.mktemp("joined"), device="cpu")
    return Path(run.model_folder)


@pytest.fixture(scope="module")
def student(tiny_model: Any, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text side of the same transformer alone, taught by a model, by the command line."""
    folder = tmp_path_factory.mktemp("student")
    config = folder / "student.toml"
    config.write_text(
        'name = "m"\nkind = "distilled-text"\n[text]\n'
        'tower = { name = "wordpiece", max_tokens = 12, min_count = 1 }\n'
        'network = { name = "transformer", width = 16, layers = 1, heads = 2 }\n'
        "[training]\nepochs = 1\nbatch_size = 50\n"
    )
    line = ["distill", str(config), str(shapes), "--teacher", str(tiny_model(folder / "teacher"))]
    assert command([*line, "--out", str(folder / "out"), "--quiet", "--device", "cpu"]) == 0
    return folder / "out" / "model"


def test_the_saved_model_needs_its_folder_and_the_frozen_tower_alone(model_folder: Path) -> None:
    model = diptych.load(model_folder)
    saved = json.loads((model_folder / "config.json").read_text())["text"]
    assert saved["options"] == {"towers": ["fake", "bundled"]}
    tower = model.text_tower
    assert isinstance(tower, FeaturesAndTokens)
    assert saved["fingerprint"] == tower.features.fingerprint  # the tokenizer is among the folder's own files
    assert model.languages >= {"en", "de"}
    together = model.encode_texts(TEXTS)
    assert np.allclose(together, np.concatenate([model.encode_texts(text) for text in TEXTS]), atol=1e-5)
    module = model.torch().eval()
    with torch.no_grad():
        wanted = module.encode_text(module.text_inputs(TEXTS)).numpy()
    assert together == pytest.approx(wanted, abs=2e-3)  # weights in half precision
    assert model.text_head._any_length  # type: ignore[attr-defined]
    (note,) = model.cut_texts(TEXTS)
    assert note.count == 1
    # the features are standardised by the training texts, the network's output is left as it is
    state = read_weights(model_folder, "text_head")
    assert not torch.equal(state["network.standardise.std"], torch.ones(32))
    assert torch.equal(state["head.standardise.std"], torch.ones(32 + 16))


def test_it_is_trained_further(joined: Any, model_folder: Path, shapes: Path, tmp_path: Path) -> None:
    config = joined(text=runs.SideSettings(), image=runs.SideSettings(), dim=0, init=str(model_folder))
    run = runs.train(config, str(shapes), tmp_path, device="cpu")
    model, before = run.model, diptych.load(model_folder)
    assert model.config.text == before.config.text
    assert not np.allclose(model.encode_texts(TEXTS), before.encode_texts(TEXTS), atol=1e-3)


def test_several_members_in_eight_bits(joined: Any, shapes: Path, tmp_path: Path) -> None:
    wide = {"width": 136, "layers": 1, "heads": 2}  # its largest matrices go into 8 bits
    model = runs.train(joined(network=wide, members=2, compact=True), str(shapes), tmp_path, device="cpu").model
    weights = read_graph(model.folder, "text_head").weights
    assert [value.dtype for key, value in weights.items() if "feed_forward" in key and value.size == 73_984] == [
        "int8"
    ] * 4
    together = model.encode_texts(TEXTS)
    assert together.shape == (4, 32)
    assert np.allclose(together, np.concatenate([model.encode_texts(text) for text in TEXTS]), atol=1e-5)


def test_the_network_begins_as_a_students(joined: Any, student: Path) -> None:
    begun = {"begins_as": str(student), "rate": 0.3}
    config = joined(f"model:{student}", begun).resolved()
    assert config.text.network.options == {**NETWORK, **begun}
    tower = towers.text_tower(config.text.tower, list)
    network = build_network(config.text.network, tower)
    assert network.network.learning_rate_scale == 0.3
    state = read_weights(student, "text_head")
    assert all(torch.equal(value, state[f"network.{key}"]) for key, value in network.network.state_dict().items())
    assert towers.registered_part(config.text.tower, "text", tower) == Part("joined", {"towers": ["fake", "bundled"]})
    assert type(network.network).saved(config.text.network) == Part("transformer", {**NETWORK, "rate": 0.3})


@pytest.mark.parametrize("turned", [False, True])
def test_blending_with_a_model_without_a_tokenizer_is_refused(
    tiny_model: Any, model_folder: Path, tmp_path: Path, turned: bool
) -> None:
    pair = [diptych.load(model_folder), diptych.load(tiny_model(tmp_path / "other"))]
    with pytest.raises(ModelError, match=r"cannot be blended.*tokenizer\.json"):
        require_blendable(*(reversed(pair) if turned else pair))


def test_what_does_not_fit_is_refused(
    joined: Any, student: Path, model_folder: Path, tiny_model: Any, shapes: Path, tmp_path: Path
) -> None:
    named, without = f"model:{student}", str(tiny_model(tmp_path / "tiny"))
    for config, message in (
        (joined(network=None), "token ids, which no head reads; name a network"),
        (joined(network={"begins_as": str(student)}), "another tokenizer than this config.*model:"),
        (joined(named, {"begins_as": str(student), "heads": 4}), "heads is 4, and 2 in network.begins_as"),
        (
            joined(named, {"begins_as": without}),
            "expected a model with a text network 'transformer'; it has none",
        ),
        (joined(network={**NETWORK, "drp": 0.1}), "unknown option 'drp'; .*did you mean 'drop'"),
        (joined(network={**NETWORK, "drop": 1.0}), "drop must be at least 0 and below 1"),
        (joined(init=str(model_folder), dim=0, network={"begins_as": str(student)}), "begins_as has no effect"),
    ):
        with pytest.raises(ConfigError, match=message):
            runs.train(config, str(shapes), device="cpu")
    for names in (["wordpiece", "fake"], ["fake", named, named]):
        with pytest.raises(ConfigError, match="the last alone may give token ids"):
            towers.text_tower(Part("joined", {"towers": names}), lambda: ["a dog"] * 9)


def test_rows_are_cached_by_part_and_ids_stay_whole(student: Path, tmp_path: Path) -> None:
    tower = towers.text_tower(Part("joined", {"towers": ["fake", f"model:{student}"]}), list)
    rows = text_rows(TEXTS, tower, tmp_path, SILENT)
    assert isinstance(rows, RowsBeside)
    assert (rows.dim, len(rows)) == (32 + 12, 4)
    found = rows.some(np.array([3, 0]))[np.array([1, 0])]
    assert found == pytest.approx(tower.embed([TEXTS[0], TEXTS[3]]), abs=1e-3)
    assert np.array_equal(found[:, 32:], tower.tokens.embed([TEXTS[0], TEXTS[3]]))
    alone = text_rows(TEXTS, FakeTextTower(), tmp_path, SILENT)  # what the frozen tower alone has cached is the same
    assert alone.matrix.filename == rows.parts[0].matrix.filename


def test_the_command_line_shows_it(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["models", "show", str(model_folder)]) == 0
    assert "joined (fake, bundled), head mlp, network transformer" in capsys.readouterr().out
