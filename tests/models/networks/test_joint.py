"""The sides of pretrained joint models as networks: the same features, one side's weights, whole or through LoRA."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need the [train] extra")
if find_spec("transformers") is None or find_spec("open_clip") is None:
    pytest.skip("needs the [hub] extra", allow_module_level=True)

from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError  # noqa: E402
from diptych.core.registry import build  # noqa: E402
from diptych.encoders.export import trace_head  # noqa: E402
from diptych.encoders.graphs import write  # noqa: E402
from diptych.encoders.image.pixel_tower import pixels_for  # noqa: E402
from diptych.encoders.joint import joint_model  # noqa: E402
from diptych.models.dual import OnnxHead  # noqa: E402
from diptych.models.heads import IdentityHead  # noqa: E402
from diptych.models.networks import build_network  # noqa: E402
from diptych.models.side import Side  # noqa: E402

TEXTS = ["a photo of a red circle", "两只狗 🙂", "", "two dogs run on the beach " * 9]


@pytest.fixture(params=["hf", "open_clip"])
def address(request: pytest.FixtureRequest) -> str:
    folder = request.getfixturevalue("clip_folder" if request.param == "hf" else "open_clip_folder")
    return f"{request.param}:{folder}"


def towers(address: str) -> tuple[Any, Any, Any]:
    """The joint model, and the towers of pixels and of token ids below its networks."""
    joint = joint_model(address, device="cpu")
    return (
        joint,
        build("image_tower", pixels_for(joint.image.preprocess)),
        build("text_tower", Part(f"tokens:{address}")),
    )


def networks(address: str, **options: Any) -> list[tuple[Any, Any, Any]]:
    """(network, rows, features of the joint model's own tower) of both sides."""
    torch.manual_seed(0)
    joint, pixels, tokens = towers(address)
    images = np.random.default_rng(0).integers(0, 256, (3, *joint.image.preprocess.shape), dtype=np.uint8)
    made = []
    for name, tower, inputs, own in (("image", pixels, images, joint.image), ("text", tokens, TEXTS, joint.text)):
        network = build_network(Part(f"joint_{name}", {"model": address, **options}), tower)
        network.start()
        rows = torch.from_numpy(tower.embed(inputs))
        made.append((network.eval(), rows.long() if name == "text" else rows, own.embed(inputs)))
    return made


def trainable(network: Any) -> int:
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def test_both_sides_give_the_models_own_features_and_hold_one_side_each(address: str) -> None:
    both = networks(address)
    for network, rows, wanted in both:
        np.testing.assert_allclose(network(rows).detach().numpy(), wanted, atol=1e-5)
        names = list(network.state_dict())
        assert not any(name.endswith(("logit_scale", "logit_bias")) for name in names)
        assert network.pretrained
    image, text = (set(network.state_dict()) for network, _, _ in both)
    assert not any("text" in name or "token" in name for name in image)
    assert not any("vision" in name or "visual" in name for name in text)
    assert all(weight.requires_grad for network, _, _ in both for weight in network.parameters())


def test_lora_begins_at_the_model_and_alone_learns(address: str) -> None:
    for network, rows, wanted in networks(address, lora={"rank": 2, "dropout": 0.0}):
        np.testing.assert_allclose(network(rows).detach().numpy(), wanted, atol=1e-5)
        # two layers, of 16 features (64 in open_clip's image side), query and value
        width = 64 if "open_clip" in address and rows.dtype == torch.uint8 else 16
        assert trainable(network) == 2 * 2 * (2 * width + 2 * width)
        network.train()(rows).square().sum().backward()
        learnt = {name for name, weight in network.named_parameters() if weight.grad is not None}
        assert learnt
        assert all("lora" in name for name in learnt)


def test_the_exported_graph_has_lora_merged(address: str, tmp_path: Path) -> None:
    for number, (network, rows, _) in enumerate(networks(address, lora={"rank": 2})):
        side = Side(network, IdentityHead(12, 12)).eval()
        before = side(rows).detach()
        with torch.no_grad():
            for name, weight in network.named_parameters():
                if "lora_b" in name.lower():
                    weight.fill_(0.1)
        wanted = side(rows).detach()
        assert not torch.allclose(wanted, before, atol=1e-2)
        exported = side.for_export()
        assert not any("lora" in name for name in exported.state_dict())
        torch.testing.assert_close(exported(rows), wanted, atol=1e-5, rtol=0)
        torch.testing.assert_close(side(rows), wanted)  # the one in training is untouched
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder, {"head": trace_head(exported, towers(address)[number + 1])})
        assert OnnxHead(folder / "head.onnx", 1)(rows.numpy()) == pytest.approx(wanted.numpy(), abs=2e-3)


def test_a_saved_network_names_no_lora() -> None:
    from diptych.models.networks.joint import JointImage

    part = Part("joint_image", {"model": "hf:x", "rate": 0.5, "lora": {"rank": 2}})
    assert JointImage.saved(part) == Part("joint_image", {"model": "hf:x", "rate": 0.5})


def test_what_does_not_fit(clip_folder: Path) -> None:
    address = f"hf:{clip_folder}"
    with pytest.raises(ConfigError, match=r"takes rows of 3072 bytes of an image, found a tower with 192"):
        build_network(Part("joint_image", {"model": address}), build("image_tower", Part("pixels", {"size": 8})))
    with pytest.raises(ConfigError, match=r'set init = "hf:NAME"'):
        build_network(Part("joint_image"), build("image_tower", Part("pixels", {"size": 32})))
    with pytest.raises(ConfigError, match=r"lora.rank must be a whole number"):
        networks(address, lora={"rank": 0})
