"""The X-MRS config on a small folder of recipes, from the command line: trained, and measured in bags."""

import json
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the [train] extra")
if find_spec("timm") is None:
    pytest.skip("the config trains a network of timm, which comes with [train]", allow_module_level=True)

import diptych as package  # noqa: E402
from diptych.cli.app import run  # noqa: E402

CONFIG = Path(__file__).parents[2] / "configs" / "recipes.toml"
# Its parts, at a size for tests: a small residual network without weights, a narrow transformer, one epoch.
SMALL = (
    "image.network.model=test_resnet",
    "image.network.pretrained_weights=false",
    "image.tower.size=64",
    "data.images.workers=0",
    "data.workers=1",
    "data.val_share=0.3",
    "text.tower.max_tokens=48",
    "text.tower.min_count=1",
    "text.network.width=16",
    "dim=12",
    "training.epochs=1",
    "training.precision=32-true",
)
PARTS = ("--text-parts", "title,ingredients,instructions")


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "images").mkdir()
    kinds = {"soup": ("water", "leek"), "cake": ("flour", "sugar"), "salad": ("oil", "lettuce")}
    lines = []
    for number in range(45):
        kind, ingredients = list(kinds.items())[number % 3]
        names = [f"{number}-{picture}.png" for picture in range(1 + number % 2)]
        for place, name in enumerate(names):
            Image.new("RGB", (40, 30), (5 * number, 80 * (number % 3), 90 * place)).save(folder / "images" / name)
        recipe = {"id": f"r{number}", "lang": "en", "category": kind, "title": f"{kind} number {number}"}
        recipe |= {"ingredients": [*ingredients, "salt"], "instructions": [f"mix {ingredients[0]}", "wait", "serve"]}
        lines.append(recipe | {"images": names})
    (folder / "recipes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(recipes, tmp_path_factory):
    """The run's folder, and what the command printed."""
    settings = [word for setting in SMALL for word in ("--set", setting)]
    out, told = tmp_path_factory.mktemp("run"), StringIO()
    with redirect_stdout(told):
        code = run(["train", str(CONFIG), str(recipes), *PARTS, *settings, "--out", str(out), "--json"])
    assert code == 0
    return out, json.loads(told.getvalue())


def test_the_config_trains_on_joined_parts_and_is_measured_in_bags(recipes, trained, capsys):
    out, report = trained
    assert sum(report["records"].values()) == 45
    lacking = {note["kind"]: note["count"] for note in report["notes"]}
    train = report["records"]["train"]
    assert (lacking["no_back_translation"], lacking["no_other_language"]) == (train, train)
    model = package.load(out / "model")
    assert (model.config.text.network.name, model.config.image.head.name) == ("transformer", "shared_layer")
    image, text = (side.head for side in (model.torch().image, model.torch().text))
    assert [len(side.further) for side in (image, text)] == [1, 1]  # two layers of its own before the shared one
    assert torch.equal(image.shared.weight, text.shared.weight)
    words = model.text_tower.words("soup number 3\nwater leek salt\nmix water wait serve")
    assert words[0] == "[CLS]"
    assert {"soup", "leek", "serve"} <= set(words)  # the vocabulary comes from all parts

    command = ["eval", str(recipes), *PARTS, "--model", str(out / "model"), "--protocol", "bagged:4x10", "--json"]
    assert run(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["protocol"]["draws"] == 4
    assert report["image_to_text"]["gallery"]["max"] == 10


def test_a_match_is_explained_by_the_models_own_attention(recipes, trained, tmp_path, capsys):
    model, image, text = trained[0] / "model", recipes / "images" / "0-0.png", "soup leek wait " * 20
    png = tmp_path / "why.png"
    explained = ["explain", text, str(image), "--by", "attention", "--model", str(model), "--out", str(png)]
    assert run([*explained, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert [one["word"] for one in found["words"]] == ("soup leek wait " * 16).split()[:46]  # 48 with the marks
    assert sum(one["share"] for one in found["words"]) + found["elsewhere"] == pytest.approx(1, abs=1e-3)
    assert {note["kind"]: note["count"] for note in found["notes"]} == {"cut": 14}

    # Grad-CAM written out: the gradient of the cosine by the map below the pooling
    module = package.load(model).torch()
    body, side = module.image.network.body, module.image
    network = side.network
    rows = module.image_inputs(image).reshape(1, 64, 64, 3).permute(0, 3, 1, 2).float()
    last = body.forward_features((rows - network.mean) / network.std).detach().requires_grad_()
    embedded = side.head(body.forward_head(last))
    score = (embedded * module.encode_text(module.text_inputs(text)).detach()).sum()
    (gradient,) = torch.autograd.grad(score, last)
    regions = sum(gradient[0, channel].mean() * last[0, channel] for channel in range(last.shape[1])).clamp(min=0)
    assert found["score"] == pytest.approx(float(score.detach()), abs=1e-4)
    assert torch.tensor(found["regions"]).numpy() == pytest.approx(regions.detach().numpy(), abs=1e-4)

    assert run(explained) == 0
    assert "of the attention, " in capsys.readouterr().out
