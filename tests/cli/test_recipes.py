"""The X-MRS config on a small folder of recipes, from the command line: trained, and measured in bags."""

import json
from importlib.util import find_spec
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
    "image.tower.size=32",
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


def test_the_config_trains_on_joined_parts_and_is_measured_in_bags(recipes, tmp_path, capsys):
    settings = [word for setting in SMALL for word in ("--set", setting)]
    out = tmp_path / "run"
    assert run(["train", str(CONFIG), str(recipes), *PARTS, *settings, "--out", str(out), "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert sum(trained["records"].values()) == 45
    lacking = {note["kind"]: note["count"] for note in trained["notes"]}
    train = trained["records"]["train"]
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
