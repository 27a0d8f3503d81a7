"""From a config to a saved model, through every part."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the [train] extra")

import diptych  # noqa: E402
from diptych import runs  # noqa: E402
from diptych.core import registry  # noqa: E402
from diptych.core.config import Part, from_dict, load, to_dict  # noqa: E402
from diptych.core.errors import ConfigError, DataError, ModelError  # noqa: E402
from diptych.core.protocols import Preprocess  # noqa: E402
from diptych.data.alternatives import LanguagePolicy  # noqa: E402
from diptych.data.cache import image_key  # noqa: E402
from diptych.data.features import collect  # noqa: E402
from diptych.data.mined import MinedRecord, images_of, write_mined  # noqa: E402
from diptych.encoders.export import GraphSpec, write_graphs  # noqa: E402
from diptych.encoders.fake import FakeImageTower, FakeTextTower  # noqa: E402
from diptych.encoders.graphs import read_graph  # noqa: E402
from diptych.encoders.image.onnx import OnnxImageTower  # noqa: E402
from diptych.models.heads import EnsembleHead  # noqa: E402
from diptych.runs import dual_encoder, heads  # noqa: E402
from diptych.runs.run import RunContext  # noqa: E402
from diptych.training import checkpoints  # noqa: E402
from diptych.training.settings import TrainingSettings  # noqa: E402

OTHER_KINDS = ("distil.toml", "distill.toml", "multilingual.toml", "reranker.toml", "words.toml")  # see tests/runs
CONFIGS = [
    path
    for path in sorted((Path(__file__).parents[2] / "configs").rglob("*.toml"))
    if path.name not in OTHER_KINDS and "cross_encoder" not in path.name and "synthesis" not in path.parts
]
FAST = TrainingSettings(precision="32-true", epochs=2, batch_size=30, learning_rate=3e-3)


def train(config: Any, out: Path, source: Path, **options: Any) -> runs.Run:
    return runs.train(config, str(source), out, device="cpu", **options)


def test_the_report_the_record_and_the_card_agree(trained: Any) -> None:
    report, model = trained.report, diptych.load(trained.model)
    assert report.records == {"train": 35, "val": 10}
    assert [fit.epochs for fit in report.fits] == [6]
    assert model.config.training["validation"] == dict(report.scores)
    assert model.config.training["best_epochs"] == [report.fits[0].best_epoch]
    score = report.scores["score"]
    assert score == pytest.approx(sum(value for name, value in report.scores.items() if name != "score"), abs=0.02)
    assert score == pytest.approx(report.fits[0].best_score)
    card = (trained.model / "README.md").read_text(encoding="utf-8")
    assert "the 10 validation records" in card
    assert f"{report.scores['t2i R@5']:.1f}" in card
    assert json.loads(json.dumps(report.to_json()))["scores"] == dict(report.scores)


def test_a_loss_within_a_loss_says_what_the_model_compares_by(small: Any, shapes: Path, tmp_path: Path) -> None:
    inner = {"name": "max_hinge", "margin": 0.05, "similarity": "order"}
    config = small(training=FAST, loss=Part("matryoshka", {"dims": [8, 16], "loss": inner}))
    assert train(config, tmp_path, shapes).model.compares_by == "order"
    with pytest.raises(ConfigError, match="the parts of the loss compare by l2 and order; state one for all"):
        small(loss=Part("combined", {"parts": [inner, {"name": "info_nce", "similarity": "l2"}]}))


def test_a_temperature_goes_with_the_similarity_that_it_was_learnt_for(
    small: Any, small_model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(small_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    learnt = {"similarity": "l2", "logit_scale": 10.0, "logit_bias": 8.0}
    (folder / "config.json").write_text(json.dumps({**config, **learnt}))
    kept = small(init=str(folder), loss=None, dim=0).resolved()
    assert (kept.similarity, kept.loss) == (
        "l2",
        Part("sigmoid", {"similarity": "l2", "temperature": 0.1, "bias": 8.0}),
    )
    assert small(init=str(folder), loss=Part("sigmoid"), dim=0).resolved().loss == Part("sigmoid")


def test_the_card_names_the_parts_from_the_bottom_up(small: Any) -> None:
    text = runs.SideSettings(Part("words"), Part("gru"), Part("linear"))
    split = {"train": 9, "val": 3, "train_fingerprint": "a" * 32}
    record = {"data": split, "validation": {f"t2i R@{k}": 50.0 for k in (1, 5, 10)}}
    card = heads.write_card(small(text=text, members=2, seed=7), record)
    assert "- text side: tower `words`, frozen → network `gru`, trained → head `linear`, trained" in card
    assert "- loss: `info_nce`; seed 7, 2 member(s)" in card


def test_what_was_left_out_is_named(trained: Any) -> None:
    assert {Path(skip.name).name for skip in trained.report.skipped} >= {"bad.png"}


def test_the_score_is_that_of_the_saved_model(trained: Any, shapes: Path) -> None:
    model = diptych.load(trained.model)
    pairs = runs.read_splits(runs.DataConfig(), str(shapes)).val
    images = model.encode_images([pair.images[0] for pair in pairs])
    texts = model.encode_texts([text.value for pair in pairs for text in pair.texts])
    owner = np.repeat(np.arange(len(pairs)), [len(pair.texts) for pair in pairs])
    scores = texts @ images.T
    hits = [np.argsort(-row)[:5].tolist().count(own) for row, own in zip(scores, owner, strict=True)]
    assert 100 * np.mean(hits) == pytest.approx(trained.report.scores["t2i R@5"], abs=100 / len(owner) + 0.01)


def test_the_saved_config_trains_the_same_again(trained: Any) -> None:
    again = from_dict(runs.DualEncoderConfig, diptych.load(trained.model).config.training["config"])
    assert again.training.epochs == 6
    assert again.data.source == ""  # no path of this machine travels with the model
    assert str(trained.out) not in (trained.model / "config.json").read_text(encoding="utf-8")


def test_one_seed_one_model(shapes: Path, tmp_path: Path, small: Any) -> None:
    made = [train(small(training=FAST, seed=seed), tmp_path / str(n), shapes) for n, seed in enumerate((3, 3, 4))]
    prints = [diptych.load(each.model_folder).fingerprint for each in made]
    assert prints[0] == prints[1] != prints[2]


def test_an_interrupted_run_of_members_ends_as_if_it_had_not_been(
    shapes: Path, tmp_path: Path, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(training=FAST, members=2)
    whole = train(config, tmp_path / "whole", shapes)
    scores, calls = heads.retrieval_scores, []

    def interrupted(*arguments: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 4:  # the last epoch of the second member
            raise KeyboardInterrupt
        return scores(*arguments)

    monkeypatch.setattr(heads, "retrieval_scores", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "broken", shapes)
    assert not (tmp_path / "broken" / "model").exists()
    monkeypatch.setattr(heads, "retrieval_scores", scores)
    resumed = train(config, tmp_path / "broken", shapes)
    assert diptych.load(resumed.model_folder).fingerprint == diptych.load(whole.model_folder).fingerprint
    for member in (0, 1):
        last = [
            checkpoints.read(tmp_path / run / f"member-{member}" / "last.safetensors") for run in ("whole", "broken")
        ]
        assert all(torch.equal(last[0].module[key], value) for key, value in last[1].module.items())


def test_members_are_joined_so_that_the_cosine_is_their_mean(shapes: Path, tmp_path: Path, small: Any) -> None:
    together = diptych.load(train(small(training=FAST, members=2, seed=5), tmp_path / "both", shapes).model_folder)
    assert together.dim == 32
    part = together.config.image.head
    assert isinstance(registry.build("head", part, features=32, dim=32), EnsembleHead)
    alone = [diptych.load(train(small(training=FAST, seed=s), tmp_path / str(s), shapes).model_folder) for s in (5, 6)]
    pictures, texts = sorted(shapes.parent.glob("*-30.png")), ["a red circle", "blaues Band"]
    cosines = [model.similarity(model.encode_texts(texts), model.encode_images(pictures)) for model in alone]
    joined = together.similarity(together.encode_texts(texts), together.encode_images(pictures))
    assert joined == pytest.approx(np.mean(cosines, axis=0), abs=2e-3)


def test_a_resume_with_other_settings_or_data_is_refused(shapes: Path, tmp_path: Path, small: Any) -> None:
    out = tmp_path / "run"
    train(small(training=FAST), out, shapes)
    with pytest.raises(ConfigError, match=r"config\.loss\.temperature: None -> 0\.1.*--fresh"):
        train(small(training=FAST, loss=Part("info_nce", {"temperature": 0.1})), out, shapes)
    splits = runs.read_splits(runs.DataConfig(), str(shapes))
    pairs = {"train": splits.train, "val": splits.val}
    first = pairs["train"][0]
    text = dataclasses.replace(first.texts[0], value="another text of the same picture")
    pairs["train"][0] = dataclasses.replace(first, texts=(text, *first.texts[1:]))
    with pytest.raises(ConfigError, match=r"data\.train: "):
        runs.train(small(training=FAST), pairs, out, device="cpu")
    runs.forget(out)
    runs.train(small(training=FAST), pairs, out, device="cpu")


def test_a_resume_allows_what_does_not_change_the_result(shapes: Path, tmp_path: Path, small: Any) -> None:
    first = train(small(training=FAST), tmp_path, shapes)
    others = small(training=FAST, data=runs.DataConfig(source=str(shapes), views=("full", "flip", "crop-0"), workers=2))
    again = runs.train(others, out=tmp_path, device="cpu")
    assert [fit.rows for fit in again.fits] == [fit.rows for fit in first.fits]


def test_forgetting_removes_a_runs_files_and_nothing_else(shapes: Path, tmp_path: Path, small: Any) -> None:
    (tmp_path / "letters").write_text("dear", encoding="utf-8")
    train(small(training=FAST, members=2), tmp_path, shapes)
    runs.forget(tmp_path)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "model"}
    assert left == {"letters"}
    assert (tmp_path / "model" / "config.json").exists()
    runs.forget(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": Part("infonce")}, "unknown loss 'infonce'"),
        ({"loss": Part("info_nce", {"temprature": 1.0})}, "unknown option 'temprature'"),
        ({"image": runs.SideSettings(Part("fake"), head=Part("mpl"))}, "unknown head 'mpl'"),
        ({"text": runs.SideSettings(Part("fake"), head=Part("mlp", {"hiden": 1}))}, "unknown option 'hiden'"),
        ({"image": runs.SideSettings(Part("resnet"))}, "unknown image tower 'resnet'"),
    ],
)
def test_what_cannot_be_built_is_refused_before_a_picture_is_read(
    tmp_path: Path, small: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(small(**changes), tmp_path / "out", tmp_path / "no such source")
    assert not (tmp_path / "out").exists()


def test_an_unknown_device_is_too(tmp_path: Path, small: Any) -> None:
    with pytest.raises(ConfigError, match="unknown device 'toaster'"):
        runs.train(small(), str(tmp_path / "none"), tmp_path, device="toaster")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: runs.DataConfig(val_share=1.0), "val_share must be between 0 and 1"),
        (lambda: runs.DataConfig(plain=1.5), "plain must be from 0 to 1"),
        (lambda: runs.DataConfig(workers=0), "workers must be at least 1"),
        (lambda: runs.DataConfig(views=("flip",)), "views must include 'full'"),
    ],
)
def test_settings_that_make_no_sense(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("changes", "message"), [({"members": 0}, "members"), ({"seed": -1}, "seed"), ({"dim": -1}, "dim")]
)
def test_configs_that_make_no_sense(small: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(**changes)


def test_no_data_and_too_little(tmp_path: Path, small: Any, shapes: Path) -> None:
    with pytest.raises(ConfigError, match="no source to train on"):
        runs.train(small(), out=tmp_path)
    with pytest.raises(DataError, match="no file or folder"):
        train(small(), tmp_path, tmp_path / "none.csv")
    splits = runs.read_splits(runs.DataConfig(), str(shapes))
    pairs = {"train": splits.train, "val": splits.val}
    with pytest.raises(ConfigError, match="at least 2 records"):
        runs.train(small(), {"train": pairs["train"][:1], "val": pairs["val"]}, tmp_path, device="cpu")


# refitting: a model's own tower, and its heads as the starting point


def test_refitting_starts_from_the_models_heads(small_model: Path, shapes: Path, tmp_path: Path, small: Any) -> None:
    side = runs.SideSettings(Part(f"model:{small_model}"), head=small().image.head)
    still = TrainingSettings(precision="32-true", epochs=1, batch_size=30, learning_rate=1e-12, weight_decay=0.0)
    config = small(name="refit", image=side, text=side, init=str(small_model), training=still)
    refit, start = diptych.load(train(config, tmp_path, shapes).model_folder), diptych.load(small_model)
    texts = ["a red circle", "blaues Band"]
    assert refit.encode_texts(texts) == pytest.approx(start.encode_texts(texts), abs=2e-3)
    assert (refit.config.image.tower, refit.config.text.tower) == ("fake", "fake")  # not the path of a folder


def test_going_on_from_a_model_draws_other_batches_and_crops(small_model: Path, tmp_path: Path, small: Any) -> None:
    place = RunContext(tmp_path)
    first, on = (dual_encoder.DualEncoderRecipe(small(dim=0, init=init), place) for init in ("", str(small_model)))
    again = dual_encoder.DualEncoderRecipe(small(dim=0, init=str(small_model)), place)
    assert first.draws(7) == 7
    assert on.draws(7) == again.draws(7) != 7
    assert on.draws(8) != on.draws(7)


def test_a_fresh_text_side_beside_images_that_go_on(
    small_model: Path, shapes: Path, tmp_path: Path, small: Any
) -> None:
    still = TrainingSettings(precision="32-true", epochs=1, batch_size=30, learning_rate=1e-12, weight_decay=0.0)
    text = runs.SideSettings(Part("words"), Part("bag", {"width": 8}), Part("linear"), fresh=True)
    config = small(image=runs.SideSettings(), text=text, dim=0, init=str(small_model), training=still)
    made, start = diptych.load(train(config, tmp_path, shapes).model_folder), diptych.load(small_model)
    image = shapes.parent / "red-circle-20.png"
    assert made.encode_images(image) == pytest.approx(start.encode_images(image), abs=2e-3)
    assert (made.config.text.network, start.config.text.network) == (Part("bag", {"width": 8}), None)
    assert runs.SideSettings(Part("use")).stated().get("fresh") is None
    with pytest.raises(ConfigError, match="a fresh side takes nothing from init: name its tower"):
        runs.SideSettings(fresh=True)


def test_refitting_with_heads_that_do_not_fit(small_model: Path, shapes: Path, tmp_path: Path, small: Any) -> None:
    with pytest.raises(ModelError, match=r"do not fit this config; it has dim 16, not 8; leave out dim, head and net"):
        train(small(init=str(small_model), dim=8), tmp_path, shapes)
    other = runs.SideSettings(Part("fake"), head=Part("linear"))
    with pytest.raises(ModelError) as caught:
        train(small(init=str(small_model), image=other), tmp_path, shapes)
    assert "it has the image head mlp (hidden 32, input_dropout 0.1, dropout 0.1), not linear;" in str(caught.value)
    assert "linear.weight" not in str(caught.value)  # one sentence, no raw keys
    with pytest.raises(ModelError, match="neither a folder, nor one of the shipped"):
        train(small(init="nowhere"), tmp_path, shapes)


class PortableTower:
    """A tiny graph of its own that travels with the model, as EfficientNet-Lite0 does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 40, 8, stride=8),
            torch.nn.ReLU(),
            torch.nn.Flatten(2),
            torch.nn.AdaptiveAvgPool1d(1),
            torch.nn.Flatten(),
        )
        if not (folder / "image_tower.onnx").exists():
            folder.mkdir()
            write_graphs(folder, {"image_tower": GraphSpec(net, torch.zeros(2, 3, 32, 32), "pixels", ("features",))})
        self._tower = OnnxImageTower(folder / "image_tower.onnx", Preprocess(size=32))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tower, name)

    @property
    def dim(self) -> int:
        return self._tower.dim

    @property
    def fingerprint(self) -> str:
        return self._tower.fingerprint

    @property
    def preprocess(self) -> Preprocess:
        return self._tower.preprocess

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        return self._tower.embed(pixels)


def test_a_bundled_tower_travels_with_the_model_and_with_its_refits(
    shapes: Path, tmp_path: Path, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    portable = PortableTower(tmp_path / "tower")
    with monkeypatch.context() as patch:
        patch.setattr(heads.towers, "image_tower", lambda part, device: portable)
        first = train(small(training=FAST), tmp_path / "first", shapes).model_folder
    (tmp_path / "tower").rename(tmp_path / "away")
    side = runs.SideSettings(Part(f"model:{first}"), head=small().image.head)
    config = small(training=FAST, image=side, text=dataclasses.replace(side), init=str(first))
    second = train(config, tmp_path / "second", shapes).model_folder
    (tmp_path / "first").rename(tmp_path / "first away")
    model = diptych.load(second)
    assert (model.config.image.tower, model.config.image.source, model.config.text.tower) == ("bundled", "fake", "fake")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    original = OnnxImageTower(tmp_path / "away" / "image_tower.onnx", Preprocess(size=32))
    assert np.array_equal(model.image_tower.embed(pixels), original.embed(pixels))
    assert model.encode_pixels(pixels).shape == (3, 16)
    graph = read_graph(second, "image_tower")
    for key, value in read_graph(tmp_path / "away", "image_tower").weights.items():
        assert np.array_equal(graph.weights[key], value)


# every config that is shipped


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_loads_and_builds(path: Path) -> None:
    head = path.read_text(encoding="utf-8").splitlines()[:5]
    assert any(line.startswith("#   diptych train") and path.name in line for line in head), (
        "its command is not at its head"
    )
    config = load(runs.DualEncoderConfig, path)
    assert from_dict(runs.DualEncoderConfig, to_dict(config)) == config
    if config.loss is not None:
        registry.build("loss", config.loss, dim=config.dim or 512, classes=2)
    for side, table in ((config.image, registry.names("image_tower")), (config.text, registry.names("text_tower"))):
        if side.tower is None:
            assert config.init, "neither a tower nor an init that has one"
        else:
            assert side.tower.name.startswith("model:") or side.tower.name.partition(":")[0] in table
        if side.head is not None:
            registry.build("head", side.head, features=config.dim or 512, dim=config.dim or 512)
        if side.network is not None:
            assert side.network.name in registry.names("network")
    if not config.init:
        assert config.resolved().dim > 0


def test_there_are_configs() -> None:
    assert "base.toml" in {path.name for path in CONFIGS}


def test_features_are_shared_between_runs(trained: Any, shapes: Path, cache: Path) -> None:
    class Never(FakeImageTower):
        def embed(self, pixels: np.ndarray) -> np.ndarray:
            raise AssertionError("embedded again")

    pairs = runs.read_splits(runs.DataConfig(), str(shapes)).val
    found = collect(pairs, Never(), FakeTextTower(), cache / "features")
    assert found.records == 10


# models whose text side is trained from token ids, and one that is computed in one step


def test_a_text_network_travels_with_its_tokenizer(shapes: Path, tmp_path: Path, small: Any) -> None:
    text = runs.SideSettings(
        Part("words", {"max_tokens": 8, "min_count": 1}),
        Part("gru", {"embedding": 8, "hidden": 12, "bidirectional": True}),
        Part("linear"),
    )
    settings = TrainingSettings(precision="32-true", epochs=6, batch_size=20, learning_rate=1e-2)
    report = train(small(training=settings, text=text), tmp_path, shapes)
    assert report.scores["t2i R@10"] > 50
    model = diptych.load(report.model_folder)
    assert (report.model_folder / "tokenizer.json").is_file()
    assert (model.config.text.tower, model.config.text.source) == ("bundled", "words")
    assert model.languages == {"de", "en"}
    assert model.encode_texts(["a red circle", "zebra", ""]).shape == (3, 16)
    assert np.allclose(np.linalg.norm(model.encode_texts(["rotes Rund"]), axis=1), 1, atol=1e-3)
    assert "network `gru`, trained" in (report.model_folder / "README.md").read_text(encoding="utf-8")
    moved = tmp_path / "moved"
    (report.model_folder).rename(moved)
    assert diptych.load(moved).fingerprint == model.fingerprint


def test_refitting_a_model_with_a_network_goes_on_from_its_weights(shapes: Path, tmp_path: Path, small: Any) -> None:
    text = runs.SideSettings(Part("wordpiece", {"max_tokens": 12}), Part("bag", {"width": 8}), Part("linear"))
    first = train(small(training=FAST, text=text), tmp_path / "first", shapes).model_folder
    own = runs.SideSettings(Part(f"model:{first}"))
    still = TrainingSettings(precision="32-true", epochs=1, batch_size=30, learning_rate=1e-12, weight_decay=0.0)
    config = small(image=dataclasses.replace(own), text=own, init=str(first), training=still, dim=0)
    second = train(config, tmp_path / "second", shapes).model_folder
    again = train(
        small(training=FAST, text=text), tmp_path / "first", shapes
    ).model_folder  # goes on, and has nothing to do
    assert diptych.load(again).fingerprint == diptych.load(first).fingerprint
    texts = ["a red circle", "blaues Band"]
    assert diptych.load(second).encode_texts(texts) == pytest.approx(diptych.load(first).encode_texts(texts), abs=2e-3)
    assert diptych.load(second).config.text.network == Part("bag", {"width": 8})


def test_linear_heads_are_computed_in_one_step(shapes: Path, tmp_path: Path, small: Any) -> None:
    side = runs.SideSettings(Part("fake"), head=Part("linear", {"dropout": 0.0}))
    config = small(loss=None, fit=Part("cca", {"regularisation": 0.3}), image=side, text=side)
    report = train(config, tmp_path, shapes)
    assert report.fits == ()
    assert report.scores["t2i R@5"] > 60  # of 10 pictures, three forms and five colours
    card = (report.model_folder / "README.md").read_text(encoding="utf-8")
    assert "computed by `cca`" in card
    assert "head `linear`, computed" in card
    assert "early stopping" not in card


def test_images_are_answered_through_the_texts_of_their_nearest_training_images(
    shapes: Path, tmp_path: Path, small: Any
) -> None:
    side = runs.SideSettings(Part("fake"), head=Part("linear", {"dropout": 0.0}))
    config = small(loss=None, fit=Part("cknn", {"regularisation": 0.3, "neighbours": 3}), image=side, text=side)
    report = train(config, tmp_path, shapes)
    assert report.scores["t2i R@5"] > 60
    model = diptych.load(report.model_folder)
    assert model.config.image.head == Part("nearest_texts", {"images": 35, "neighbours": 3})
    assert "head `nearest_texts`, computed" in (report.model_folder / "README.md").read_text(encoding="utf-8")
    image = shapes.parent / "red-circle-20.png"
    with torch.no_grad():
        module = model.torch()
        again = module.encode_image(module.image_inputs(image)).numpy()
    assert again == pytest.approx(model.encode_images([image]), abs=2e-3)
    with pytest.raises(ConfigError, match="the texts of 99 training images, found 35 images; lower neighbours"):
        train(dataclasses.replace(config, fit=Part("cknn", {"neighbours": 99})), tmp_path, shapes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fit": Part("cca")}, "either a loss to train for or a fit to compute; give one of the two"),
        ({"loss": None}, "give one of the two"),
        ({"loss": None, "fit": Part("cac")}, "unknown fit 'cac'.*did you mean 'cca'"),
        ({"loss": None, "fit": Part("cca")}, "computes linear heads"),
    ],
)
def test_fits_that_make_no_sense(shapes: Path, tmp_path: Path, small: Any, changes: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(small(**changes), tmp_path, shapes)


def test_texts_give_way_to_their_translations_and_validation_looks_at_originals(
    shapes: Path, tmp_path: Path, small: Any
) -> None:
    splits = runs.read_splits(runs.DataConfig(), str(shapes))
    pairs = {"train": splits.train, "val": splits.val}
    source = {
        split: [
            dataclasses.replace(
                pair, texts=tuple(dataclasses.replace(text, meaning=0) for text in (pair.texts[0], pair.texts[2]))
            )
            for pair in some
            if len(pair.texts) == 3
        ]
        for split, some in pairs.items()
    }
    data = runs.DataConfig(workers=1, language=LanguagePolicy(back=0.0, other=0.5))
    both = runs.train(small(data=data), source, tmp_path / "both", device="cpu")
    two = dataclasses.replace(data, together=2)
    longer = dataclasses.replace(small().training, epochs=2 * small().training.epochs)  # of half the batches
    at_once = runs.train(small(data=two, training=longer), source, tmp_path / "at-once", device="cpu")
    english = runs.train(
        small(data=dataclasses.replace(data, language=LanguagePolicy(0.0, 0.0))),
        source,
        tmp_path / "english",
        device="cpu",
    )
    model = diptych.load(both.model_folder)
    assert model.config.training["config"]["data"]["language"]["other"] == 0.5
    german = [pair.texts[1].value for pair in source["val"]]
    pictures = [pair.images[0] for pair in source["val"]]

    def right(folder: Path) -> float:
        found = diptych.load(folder)
        scores = found.similarity(found.encode_texts(german), found.encode_images(pictures))
        return float(np.mean(scores.argmax(1) == np.arange(len(german))))

    # German was never dealt out in the last
    assert min(right(both.model_folder), right(at_once.model_folder)) > right(english.model_folder)


# mined hard negatives


def colour_of(pair: Any) -> str:
    return Path(pair.images[0].name).name.partition("-")[0]


def mined_file(path: Path, pairs: Any, **changes: list[str]) -> Path:
    """Records of one colour are hard for each other."""
    colour = {pair.id: colour_of(pair) for pair in pairs}
    hard = {one: [other for other in colour if other != one and colour[other] == colour[one]] for one in colour}
    found = {name: others for name, others in (hard | changes).items() if others}
    one = np.zeros(1, dtype=np.int64)  # each has one image
    images = {pair.id: images_of(one, list(map(image_key, pair.images)))[0] for pair in pairs}
    records = [MinedRecord(name, images[name], tuple(others), (0.0,) * len(others)) for name, others in found.items()]
    write_mined(path, records, {})
    return path


def test_mined_negatives_meet_and_the_run_is_known_by_their_content(
    shapes: Path, tmp_path: Path, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = runs.read_splits(runs.DataConfig(), str(shapes)).train
    path = mined_file(tmp_path / "mined.jsonl", pairs)
    data = runs.DataConfig(views=("full",), workers=1, mined=str(path), hard=0.6)
    plans = []
    made = dual_encoder.TextBatches
    monkeypatch.setattr(dual_encoder, "TextBatches", lambda *a, **k: plans.append(made(*a, **k)) or plans[-1])
    report = train(small(training=FAST, data=data), tmp_path / "run", shapes)
    assert report.unmined == 0
    assert report.to_json()["unmined"] == 0
    train(small(training=FAST, data=dataclasses.replace(data, mined="")), tmp_path / "without", shapes)

    usable = [pair for pair in pairs if Path(pair.images[0].name).name != "bad.png"]
    colours = np.array([colour_of(pair) for pair in usable])

    def neighbours(plan: Any) -> float:
        order = np.concatenate([batch.owner for epoch in range(3) for batch in plan.epoch(epoch)])
        return float(np.mean(colours[order[1:]] == colours[order[:-1]]))

    with_mined, by_chance = map(neighbours, plans)
    assert with_mined > 2 * by_chance

    config = diptych.load(report.model_folder).config.training
    assert config["config"]["data"]["mined"] == ""  # no path of this machine travels with the model
    assert len(config["data"]["mined_fingerprint"]) == 32
    moved = path.rename(tmp_path / "moved.jsonl")
    again = small(training=FAST, data=dataclasses.replace(data, mined=str(moved)))
    assert train(again, tmp_path / "run", shapes).fits[0].rows == report.fits[0].rows
    mined_file(moved, pairs, **{pairs[0].id: [pairs[-1].id]})
    with pytest.raises(ConfigError, match=r"data\.mined: "):
        train(again, tmp_path / "run", shapes)


def test_a_run_with_mined_negatives_resumes_exactly(
    shapes: Path, tmp_path: Path, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = runs.read_splits(runs.DataConfig(), str(shapes)).train
    data = runs.DataConfig(workers=1, mined=str(mined_file(tmp_path / "mined.jsonl", pairs)))
    config = small(training=FAST, data=data)
    whole = train(config, tmp_path / "whole", shapes)
    scores, calls = heads.retrieval_scores, []

    def interrupted(*arguments: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return scores(*arguments)

    monkeypatch.setattr(heads, "retrieval_scores", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "broken", shapes)
    monkeypatch.setattr(heads, "retrieval_scores", scores)
    resumed = train(config, tmp_path / "broken", shapes)
    assert diptych.load(resumed.model_folder).fingerprint == diptych.load(whole.model_folder).fingerprint


def test_records_that_were_not_mined_are_counted_and_said(shapes: Path, tmp_path: Path, small: Any) -> None:
    class Heard:
        def __init__(self) -> None:
            self.said: list[str] = []

        def track(self, items: Any, label: str, total: int | None = None) -> Any:
            return iter(items)

        def say(self, message: str) -> None:
            self.said.append(message)

    pairs = runs.read_splits(runs.DataConfig(), str(shapes)).train
    path = mined_file(tmp_path / "mined.jsonl", pairs, **{pairs[0].id: [], pairs[1].id: []})
    data, heard = runs.DataConfig(workers=1, mined=str(path)), Heard()
    report = train(small(training=FAST, data=data), tmp_path / "run", shapes, progress=heard)
    assert report.unmined == 2
    assert any("has no negatives of 2 of 35 records" in line for line in heard.said)


def test_mined_negatives_of_other_data_and_missing_files_are_refused(shapes: Path, tmp_path: Path, small: Any) -> None:
    write_mined(tmp_path / "other.jsonl", [MinedRecord("x", "1", ("y",), (0.0,))], {})
    for name, message in (("other.jsonl", "no hard negatives among the 35 training records"), ("none", "cannot read")):
        data = runs.DataConfig(workers=1, mined=str(tmp_path / name))
        with pytest.raises(DataError, match=message):
            train(small(training=FAST, data=data), tmp_path / "run", shapes)
    with pytest.raises(ConfigError, match="hard must be between 0 and 1"):
        runs.DataConfig(hard=1.0)
    with pytest.raises(ConfigError, match="a fit uses no batches"):
        small(loss=None, fit=Part("cca"), data=runs.DataConfig(mined="mined.jsonl"))
