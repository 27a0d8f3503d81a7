"""Fetching from a real HTTP server: what is shown, chosen, resumed, checked and written down."""

from __future__ import annotations

import hashlib
import json
from collections import namedtuple
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from diptych.core.errors import DataError, ModelError
from diptych.core.text import in_bytes
from diptych.encoders.cached import cached_models
from diptych.encoders.fetching import fetch, plan
from diptych.encoders.fetching.needs import HF, OPEN_CLIP, Repository
from diptych.encoders.fetching.planning import chosen
from diptych.encoders.hub import hub_folder, record_file

from ...hub_server import HubServer

WEIGHTS = bytes(range(256)) * 4096 * 3  # 3 MiB


def model(folder: Path, weights: str = "model.safetensors", **config: Any) -> Path:
    """A repository: a config, a tokenizer, weights, and what nobody needs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", **config}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model")
    (folder / "modeling.py").write_text("raise SystemExit('never run')")
    (folder / "tf_model.h5").write_bytes(b"x" * 1000)
    (folder / weights).write_bytes(WEIGHTS)
    return folder


class Stopping:
    """Progress that is interrupted after so many MiB."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.said: list[str] = []

    def track(self, items: Iterable[Any], label: str, total: int | None = None) -> Iterator[Any]:
        for count, item in enumerate(items):
            if count == self.after:
                raise KeyboardInterrupt
            yield item

    def say(self, message: str) -> None:
        self.said.append(message)


def test_what_is_shown_is_what_is_fetched(hub: HubServer, tmp_path: Path) -> None:
    added = hub.add("tester/clip", model(tmp_path / "source"), card={"license": "mit", "language": ["en", "de"]})
    planned = plan("hf:tester/clip")
    (part,) = planned.parts
    names = [file.name for file in part.files]
    assert names == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    assert (part.commit, part.licence, part.languages) == (added.commit, "mit", ("en", "de"))
    assert planned.size == sum(len(added.files[name]) for name in names)
    shown = planned.to_text()
    assert "licence: mit" in shown
    assert f"at {added.commit[:12]}" in shown
    assert "3.1 MB  model.safetensors" in shown
    assert hub.sent["model.safetensors"] == 0
    with pytest.raises(ModelError, match="diptych models get hf:tester/clip"):
        hub_folder("tester/clip")  # nothing but its config is here
    fetch(planned)
    folder = hub_folder("tester/clip")
    assert folder == hub_folder(f"tester/clip@{added.commit}") == part.folder
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    record = json.loads(record_file(folder).read_text())
    assert (record["address"], record["revision"], record["licence"]) == ("hf:tester/clip", added.commit, "mit")
    assert record["files"]["config.json"] == {
        "size": len(added.files["config.json"]),
        "sha256": hashlib.sha256(added.files["config.json"]).hexdigest(),
    }
    assert plan("hf:tester/clip").missing == 0
    fetch(plan("hf:tester/clip"))
    assert hub.sent["model.safetensors"] == len(WEIGHTS)  # once


def test_an_interrupted_download_goes_on_where_it_stopped(hub: HubServer, tmp_path: Path) -> None:
    hub.add("tester/clip", model(tmp_path / "source"))
    with pytest.raises(KeyboardInterrupt):
        fetch(plan("hf:tester/clip"), progress=Stopping(2))
    with pytest.raises(ModelError):
        hub_folder("tester/clip")
    (unfinished,) = (tmp_path / "cache").rglob("*.incomplete")
    begun = unfinished.stat().st_size
    assert 1 << 20 <= begun < len(WEIGHTS)
    again = Stopping(100)
    fetch(plan("hf:tester/clip"), progress=again)
    assert ("GET", f"bytes={begun}-") in [(method, wanted) for method, _, wanted in hub.requests]
    assert (hub_folder("tester/clip") / "model.safetensors").read_bytes() == WEIGHTS
    assert again.said == ["model.safetensors: going on at " + in_bytes(begun) + " of 3.1 MB"]
    assert not list((tmp_path / "cache").rglob("*.incomplete"))


def test_a_connection_that_is_cut_is_taken_up_again(hub: HubServer, tmp_path: Path) -> None:
    hub.add("tester/clip", model(tmp_path / "source"))
    hub.cut_after, hub.cuts = 1 << 20, 2
    fetch(plan("hf:tester/clip"))
    assert (hub_folder("tester/clip") / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.sent["model.safetensors"] < 1.2 * len(WEIGHTS)  # not from the beginning each time


def test_a_lost_connection_is_one_line_and_keeps_what_came(hub: HubServer, tmp_path: Path) -> None:
    hub.add("tester/clip", model(tmp_path / "source"))
    planned = plan("hf:tester/clip")
    hub.cut_after, hub.cuts = 1 << 10, 10**6
    with pytest.raises(ModelError, match=r"no connection to http://127.*run the same command again") as raised:
        fetch(planned)
    assert "\n" not in str(raised.value)
    hub.cuts = 0
    fetch(planned)
    assert (hub_folder("tester/clip") / "model.safetensors").read_bytes() == WEIGHTS


def test_a_damaged_file_is_refused_and_fetched_anew(hub: HubServer, tmp_path: Path) -> None:
    added = hub.add("tester/clip", model(tmp_path / "source"))
    planned = plan("hf:tester/clip")
    added.files["model.safetensors"] = b"!" + WEIGHTS[1:]
    with pytest.raises(ModelError, match="came damaged: its SHA-256 is"):
        fetch(planned)


def test_a_file_that_was_changed_in_the_cache_is_found(hub: HubServer, tmp_path: Path) -> None:
    hub.add("tester/clip", model(tmp_path / "source"))
    fetch(plan("hf:tester/clip"))
    weights = (hub_folder("tester/clip") / "model.safetensors").resolve()
    weights.write_bytes(b"!" + WEIGHTS[1:])
    with pytest.raises(ModelError, match=r"model.safetensors is damaged.*it was deleted"):
        fetch(plan("hf:tester/clip"))
    weights.parent.mkdir(exist_ok=True)
    fetch(plan("hf:tester/clip"))
    weights.write_bytes(WEIGHTS[:100])  # cut short
    fetch(plan("hf:tester/clip"))
    assert (hub_folder("tester/clip") / "model.safetensors").read_bytes() == WEIGHTS


def test_a_newer_commit_replaces_the_older_only_when_it_is_whole(hub: HubServer, tmp_path: Path) -> None:
    hub.add("tester/clip", model(tmp_path / "source"))
    fetch(plan("hf:tester/clip"))
    older = hub_folder("tester/clip")
    (tmp_path / "source" / "model.safetensors").write_bytes(WEIGHTS[::-1])
    hub.add("tester/clip", tmp_path / "source")
    with pytest.raises(KeyboardInterrupt):
        fetch(plan("hf:tester/clip"), progress=Stopping(1))
    assert hub_folder("tester/clip") == older
    fetch(plan("hf:tester/clip"))
    assert hub_folder("tester/clip") != older
    assert (hub_folder("tester/clip") / "model.safetensors").read_bytes() == WEIGHTS[::-1]
    assert hub_folder(f"tester/clip@{older.name}") == older


def test_a_gated_model_says_how_to_get_in(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("tester/gated", model(tmp_path / "source"), gated=True)
    with pytest.raises(ModelError, match=r"gated: accept its licence at http://127.*/tester/gated .*hf auth login"):
        plan("hf:tester/gated")
    monkeypatch.setenv("HF_TOKEN", "hf_accepted")
    planned = plan("hf:tester/gated")
    assert "(gated)" in planned.to_text()
    fetch(planned)
    assert hub_folder("tester/gated").is_dir()
    assert not hub.tokens_at_cdn


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "hf:tester/clib",
            r"no model 'tester/clib', or a private one .*; did you mean 'tester/clip'\?",
        ),
        ("hf:tester/clip@v9", r"tester/clip has no revision 'v9'; it has main"),
        ("hf:not a name/x", "is no name of a model; expected ORG/NAME"),
    ],
)
def test_names_that_are_not_there(hub: HubServer, tmp_path: Path, address: str, message: str) -> None:
    hub.add("tester/clip", model(tmp_path / "source"))
    with pytest.raises(ModelError, match=message) as raised:
        plan(address)
    assert "\n" not in str(raised.value)


def test_no_hub_at_all_is_one_line(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"no connection to http://127.0.0.1:9 for tester/clip: .*run the same"):
        plan("hf:tester/clip")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        plan("hf:tester/clip")


def test_pickles_are_said_and_code_is_named(hub: HubServer, tmp_path: Path) -> None:
    hub.add("tester/old", model(tmp_path / "source", "pytorch_model.bin", auto_map={"AutoModel": "modeling.M"}))
    planned = plan("hf:tester/old")
    assert [note.partition(" ")[0] for note in planned.notes] == ["pytorch_model.bin", "tester/old"]
    assert "only be read with weights_only" in planned.notes[0]
    assert "which Diptych never runs" in planned.notes[1]
    fetch(planned)
    assert not (hub_folder("tester/old") / "modeling.py").exists()


def test_a_model_without_weights_of_pytorch(hub: HubServer, tmp_path: Path) -> None:
    hub.add("tester/tf", model(tmp_path / "source", "flax_model.msgpack"))
    with pytest.raises(ModelError, match=r"tester/tf holds no weights of PyTorch .*\.h5"):
        plan("hf:tester/tf")


def test_a_small_disk_is_said_before(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("tester/clip", model(tmp_path / "source"))
    planned = plan("hf:tester/clip")
    monkeypatch.setattr("shutil.disk_usage", lambda _: namedtuple("Usage", "free")(1_000_000))
    with pytest.raises(DataError, match=r"needs 3.1 MB at .*, where 1.0 MB are free"):
        fetch(planned)
    assert hub.sent["model.safetensors"] == 0


def test_weights_at_a_url_are_checked_by_its_hash(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diptych.encoders.fetching.needs import WebFile

    monkeypatch.setenv("HOME", str(tmp_path))
    hub.add("some/where", model(tmp_path / "source", "rn50.pt"))
    url = f"{hub.url}/some/where/resolve/main/rn50.pt"
    right, wrong = hashlib.sha256(WEIGHTS).hexdigest(), "0" * 64
    for sha in (wrong, right[:8]):
        monkeypatch.setattr("diptych.encoders.fetching.planning.needs", lambda _, sha=sha: [WebFile(url, sha)])
        planned = plan("open_clip:RN50/old")
        assert planned.size == len(WEIGHTS)
        if sha == wrong:
            with pytest.raises(ModelError, match="came damaged"):
                fetch(planned)
    fetch(planned)
    assert (tmp_path / ".cache" / "clip" / "rn50.pt").read_bytes() == WEIGHTS
    assert plan("open_clip:RN50/old").missing == 0
    (listed,) = (model for model in cached_models() if model.folder == tmp_path / ".cache" / "clip")
    assert (listed.address, listed.size) == ("open_clip:RN50/old", len(WEIGHTS))


FILES = [
    "config.json", "tokenizer.json", "vocab.txt", "merges.txt", "sentencepiece.model", "README.md", "LICENSE.txt",
    "model.safetensors", "pytorch_model.bin", "model.fp16.safetensors", "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin", "open_clip_config.json", "tf_model.h5", "flax_model.msgpack", "rust_model.ot",
    "onnx/model.onnx", "onnx/config.json", "openvino/x.json", "modeling.py", "pytorch_model.bin.index.json",
    "1_Pooling/config.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin", "training_args.bin",
]  # fmt: skip
TEXTS = {
    "config.json", "tokenizer.json", "vocab.txt", "merges.txt", "sentencepiece.model", "README.md", "LICENSE.txt",
    "open_clip_config.json", "1_Pooling/config.json",
}  # fmt: skip


def test_only_one_set_of_weights_is_chosen() -> None:
    assert set(chosen(FILES, Repository("a/b", None, HF, strict=True))) == TEXTS | {
        "model.safetensors",
        "2_Dense/model.safetensors",
    }
    both = set(chosen(FILES, Repository("a/b", None, OPEN_CLIP)))
    assert both == TEXTS | {"open_clip_model.safetensors", "2_Dense/model.safetensors"}
    assert set(chosen(FILES, Repository("a/b", weights=()))) == TEXTS


def test_weights_in_parts_are_chosen_with_their_index() -> None:
    parts = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    others = ["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"]
    index = "model.safetensors.index.json"
    assert set(chosen([*parts, *others, index], Repository("a/b"))) == {*parts, index}
    assert set(chosen(others, Repository("a/b"))) == set(others)


def test_weights_by_another_name_only_where_the_library_reads_them() -> None:
    names = ["weights.bin", "weights.safetensors"]
    assert chosen(names, Repository("a/b", None, OPEN_CLIP)) == ["weights.safetensors"]
    assert chosen(names, Repository("a/b", None, HF, strict=True)) == []


def test_sizes_are_for_people() -> None:
    sizes = [0, 999, 1000, 12_345, 605_157_884, 999_600_000, 3_400_000_000]
    assert [in_bytes(size) for size in sizes] == ["0 B", "999 B", "1.0 kB", "12.3 kB", "605 MB", "1.0 GB", "3.4 GB"]
