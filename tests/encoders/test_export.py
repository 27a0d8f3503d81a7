"""From PyTorch to ONNX with the weights in one safetensors file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting needs the [train] extra")
onnxruntime = pytest.importorskip("onnxruntime")

from safetensors.numpy import load_file  # noqa: E402

from diptych.core.errors import ModelError  # noqa: E402
from diptych.encoders.export import GraphSpec, export_graphs, read_weights, write_graphs  # noqa: E402
from diptych.encoders.graphs import HALF_ABOVE, read_graph  # noqa: E402


class Net(torch.nn.Module):
    """A convolution, a batch norm in the middle of its life, and a linear layer."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = torch.nn.Conv2d(3, 24, 3)
        self.norm = torch.nn.BatchNorm2d(24)
        self.linear = torch.nn.Linear(24, 40)
        self.drop = torch.nn.Dropout()
        self.train()
        for _ in range(3):
            self(torch.randn(4, 3, 8, 8) * 2 + 1)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = torch.relu(self.norm(self.conv(pixels)))
        return self.drop(self.linear(maps.mean((2, 3)))), maps


def spec(seed: int = 0) -> GraphSpec:
    return GraphSpec(Net(seed), torch.zeros(2, 3, 8, 8), "pixels", ("features", "tokens"))


def run(folder: Path, name: str, pixels: np.ndarray) -> list[Any]:
    session = onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), providers=["CPUExecutionProvider"])
    return list(session.run(None, {"pixels": pixels}))


PIXELS = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "tower"
    export_graphs(folder, {"one": spec(0), "two": spec(1)})
    return folder


@pytest.mark.parametrize(("name", "seed"), [("one", 0), ("two", 1)])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_both_runtimes_agree_for_any_batch(exported: Path, name: str, seed: int, size: int) -> None:
    net = Net(seed).eval()
    with torch.no_grad():
        wanted = net(torch.from_numpy(PIXELS[:size]))
    for found, tensor in zip(run(exported, name, PIXELS[:size]), wanted, strict=True):
        assert found == pytest.approx(tensor.numpy(), abs=5e-3)


def test_large_weights_are_half_and_small_ones_whole(exported: Path) -> None:
    stored = load_file(exported / "model.safetensors")
    assert stored["one.linear.weight"].dtype == np.float16
    assert stored["one.linear.weight"].size > HALF_ABOVE
    assert stored["one.norm.running_var"].dtype == np.float32
    assert {path.name for path in exported.iterdir()} == {"model.safetensors", "one.onnx", "two.onnx"}
    assert (exported / "one.onnx").stat().st_size < 6000  # the graph alone


def test_statistics_beyond_half_precision_stay_whole(tmp_path: Path) -> None:
    net = Net(7).eval()
    with torch.no_grad():
        net.register_buffer("scale", torch.linspace(1, 1e6, 40))
        net.forward = lambda pixels: (net.linear(pixels.mean((2, 3)).repeat(1, 8)) / net.scale, pixels)  # type: ignore[method-assign]
    export_graphs(tmp_path / "large", {"one": GraphSpec(net, torch.zeros(2, 3, 8, 8), "pixels", ("features", "same"))})
    assert load_file(tmp_path / "large" / "model.safetensors")["one.scale"].dtype == np.float32
    with torch.no_grad():
        wanted = net.forward(torch.from_numpy(PIXELS))[0].numpy()
    assert run(tmp_path / "large", "one", PIXELS)[0] == pytest.approx(wanted, rel=2e-2, abs=1e-5)


def test_the_weights_fit_the_module_by_name(exported: Path) -> None:
    fresh = Net(5).eval()
    missing = fresh.load_state_dict(read_weights(exported, "one"), strict=False)
    assert missing.unexpected_keys == []
    assert set(missing.missing_keys) <= {"norm.num_batches_tracked"}
    with torch.no_grad():
        features = fresh(torch.from_numpy(PIXELS))[0].numpy()
    assert features == pytest.approx(run(exported, "one", PIXELS)[0], abs=1e-4)


def test_a_graph_moves_into_another_folder_unchanged(exported: Path, tmp_path: Path) -> None:
    write_graphs(tmp_path, {"first": spec(7), "moved": read_graph(exported, "two")})
    for found, wanted in zip(run(tmp_path, "moved", PIXELS), run(exported, "two", PIXELS), strict=True):
        assert np.array_equal(found, wanted)
    again = tmp_path / "again"
    again.mkdir()
    write_graphs(again, {"moved": read_graph(tmp_path, "moved")})  # and once more
    assert np.array_equal(run(again, "moved", PIXELS)[0], run(exported, "two", PIXELS)[0])


def test_the_module_stays_as_it_was() -> None:
    made = spec()
    before = {key: value.clone() for key, value in made.module.state_dict().items()}
    read = made.module.eval()(torch.from_numpy(PIXELS))[0]
    assert all(torch.equal(value, before[key]) for key, value in made.module.state_dict().items())
    assert read.shape == (5, 40)


def test_an_existing_folder_is_left_untouched(exported: Path) -> None:
    before = (exported / "model.safetensors").read_bytes()
    export_graphs(exported, {"one": spec(9)})
    assert (exported / "model.safetensors").read_bytes() == before
    assert [path.name for path in exported.parent.iterdir()] == ["tower"]


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    net = Net()
    with torch.no_grad():
        net.linear.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match=r"linear\.weight is not finite in half precision; training has diverged"):
        export_graphs(tmp_path / "tower", {"one": GraphSpec(net, torch.zeros(2, 3, 8, 8), "pixels", ("f", "t"))})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["one.onnx", "model.safetensors"])
@pytest.mark.parametrize("keep", [None, 0, 40, 900])
def test_damage_is_a_model_error(exported: Path, tmp_path: Path, name: str, keep: int | None) -> None:
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if keep is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes((exported / name).read_bytes()[:keep])
    if (name, keep) != ("one.onnx", 0):  # nothing at all is a graph of nothing to protobuf
        with pytest.raises(ModelError, match="copy the whole folder again"):
            read_graph(tmp_path, "one")
    if name == "model.safetensors":
        with pytest.raises(ModelError, match="copy the whole folder again"):
            read_weights(tmp_path, "one")
