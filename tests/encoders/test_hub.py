"""Models come from folders and the cache; no loading touches the network."""

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

from diptych.core.errors import ModelError

constants = pytest.importorskip("huggingface_hub.constants", reason="needs the [hub] extra")

from diptych.encoders.hub import hub_folder, offline, weights_file  # noqa: E402


def put_in_cache(cache: Path, name: str) -> Path:
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    return snapshot


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert hub_folder(tmp_path) == tmp_path
    assert hub_folder(str(tmp_path)) == tmp_path


def test_a_cached_name_is_its_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = put_in_cache(tmp_path, "someone/something")
    assert hub_folder("someone/something") == snapshot
    assert hub_folder(f"someone/something@{'a' * 40}") == hub_folder("someone/something", "a" * 40) == snapshot
    with pytest.raises(ModelError, match=r"get hf:someone/something@v2$"):
        hub_folder("someone/something@v2")


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", Path("nowhere")])
def test_a_missing_path_is_no_hub_name(name: str | Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        hub_folder(name)


@pytest.mark.parametrize("name", ["someone/something", "not a name!", "a/b/c"])
def test_what_is_not_here_says_how_to_get_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=rf"fetch it: diptych models get hf:{name}$"):
        hub_folder(name)


NO_NETWORK = """
    import socket, time
    attempts = []
    def refuse(self, *args):
        attempts.append(args)
        raise OSError("no network here")
    socket.socket.connect = socket.socket.connect_ex = refuse
    lookup = socket.getaddrinfo
    socket.getaddrinfo = lambda *args, **kwargs: refuse(None, *args)
    from diptych.core.errors import ModelError
    from diptych.encoders import image_tower, text_tower
"""


UNCACHED = [
    "image_tower('timm:resnet18.a1_in1k')",
    "image_tower('timm:hf-hub:timm/resnet18.a1_in1k')",
    "image_tower('hf:google/vit-base-patch16-224')",
    "text_tower('hf:intfloat/multilingual-e5-small')",
    "image_tower('open_clip:ViT-B-32/laion2b_s34b_b79k')",
    "text_tower('open_clip:hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K')",
]


def test_no_tower_touches_the_network(tmp_path: Path) -> None:
    for package in ("timm", "transformers", "open_clip"):
        if find_spec(package) is None:
            pytest.skip(f"needs {package} of the [hub] extra")
    code = textwrap.dedent(NO_NETWORK) + textwrap.dedent(
        f"""
        for call in {UNCACHED!r}:
            try:
                eval(call)
            except ModelError as error:
                address = call.split("'")[1].replace("32@", "32/")
                assert str(error).endswith("diptych models get " + address), (call, error)
            else:
                raise SystemExit(f"no error from {{call}}")
            assert not attempts, (call, attempts)
        """
    )
    environment = {"HF_HOME": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_the_network_is_closed_inside_and_as_before_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with offline():
        with offline():
            assert constants.is_offline_mode()
        assert constants.is_offline_mode()
    assert not constants.is_offline_mode()


def test_safetensors_come_first(tmp_path: Path) -> None:
    assert weights_file(tmp_path) is None
    for name in ("z.pth", "b.bin", "b.safetensors", "a.safetensors"):
        (tmp_path / name).touch()
    assert weights_file(tmp_path) == tmp_path / "a.safetensors"
    assert weights_file(tmp_path, "nope.bin", "b.bin") == tmp_path / "b.bin"
