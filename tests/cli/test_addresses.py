"""Every command that takes a model takes the address of a joint model of another library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="needs the [hub] extra")


@pytest.fixture(scope="module")
def some(shapes: Path) -> Path:
    return shapes


COMMANDS = {
    "eval": "eval SOURCE --split val --bootstrap 0",
    "compare": "compare SOURCE --split val --model MODEL base --bootstrap 10",
    "map": "map SOURCE --split val --out OUT/map.html --words 5 --method pca",
    "explain": "explain a_red_circle IMAGE --out OUT/why.png --grid 2 --window 1",
    "filter": "data filter SOURCE --out OUT/filtered",
    "mine": "data mine SOURCE --out OUT/mined.jsonl",
    "show": "models show MODEL",
    "generator eval": "generator eval SOURCE --split val --generator GENERATOR --bootstrap 0",
    "generator audit": "generator audit --generator GENERATOR --bootstrap 0 --noises 1",
    "rerank fit": "rerank fit SOURCE --split val --reranker RERANKER",
    "rerank check": "rerank check SOURCE --split val --reranker RERANKER",
    "classify": "classify IMAGE --labels OUT/labels.txt",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_an_address(command, diptych, clip_folder, shapes, tmp_path, trained_generator, cross_encoder_run):
    address = f"hf:{clip_folder}"
    (tmp_path / "labels.txt").write_text("red\nblue\n")
    values = {"SOURCE": shapes, "OUT": tmp_path, "IMAGE": shapes.parent / "red-circle-20.png", "MODEL": address,
      "GENERATOR": trained_generator.model, "RERANKER": cross_encoder_run.model}
    words = []
    for word in COMMANDS[command].split():
        for key, value in values.items():
            word = word.replace(key, str(value))
        words.append(word)
    if "MODEL" not in COMMANDS[command]:
        words += ["--model", address]
    code, out, err = diptych(*words)
    print(out[:600], err[-1500:])
    assert code == 0
