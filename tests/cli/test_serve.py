"""`diptych serve` as a user starts it: a real process, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="serving needs the [serve] extra")

import httpx

from diptych.cli.app import run


@pytest.fixture(scope="module")
def library(tmp_path_factory, small_model: Path, shapes: Path) -> Path:
    folder = tmp_path_factory.mktemp("served") / "shapes.library"
    assert run(["index", str(shapes), "--library", str(folder), "--model", str(small_model), "--quiet"]) == 0
    return folder


def start(*arguments: str, **environment: str) -> tuple[subprocess.Popen[str], dict]:
    """A server process and what it printed when it was ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "diptych", "serve", *arguments, "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    printed = ""
    assert process.stdout is not None
    while not printed.rstrip().endswith("}"):
        line = process.stdout.readline()
        if not line:
            raise AssertionError(process.communicate()[1])
        printed += line
    return process, json.loads(printed)


def test_it_serves_until_it_is_told_to_stop_and_finishes_what_it_took(library, picture_bytes) -> None:
    process, told = start("--library", str(library), "--generate-token")
    try:
        headers = {"Authorization": f"Bearer {told['token']}"}
        with httpx.Client(base_url=told["address"], headers=headers, timeout=30) as client:
            assert httpx.get(f"{told['address']}/libraries").status_code == 401
            assert client.post("/libraries/shapes/search", json={"text": "a red circle", "k": 3}).status_code == 200
            answers = []
            asking = threading.Thread(
                target=lambda: answers.append(
                    client.post("/libraries/shapes/items", files={"files": ("x.png", picture_bytes)}).json()
                )
            )
            asking.start()
            time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            asking.join()
        assert process.wait(30) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
        assert answers[0]["created"] == 1
        assert told["token"] not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_elsewhere_than_loopback_it_refuses_to_start_without_a_token(library, capsys) -> None:
    assert run(["serve", "--library", str(library), "--host", "0.0.0.0"]) == 2
    assert "token" in capsys.readouterr().err
    assert run(["serve", "--library", str(library), "--host", "0.0.0.0", "--token", "secret"]) == 2
    assert "128 random bits" in capsys.readouterr().err


def test_what_cannot_be_served_is_one_line(tmp_path, library, capsys) -> None:
    assert run(["serve", "--library", str(tmp_path / "none")]) == 4
    assert "no library at" in capsys.readouterr().err
    assert run(["serve", "--library", f"a={library}", "--library", f"a={library}"]) == 2
    assert "two libraries" in capsys.readouterr().err


def test_its_help_has_examples(capsys) -> None:
    assert run(["serve", "--help"]) == 0
    assert "diptych serve --library" in capsys.readouterr().out


@pytest.fixture
def picture_bytes() -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (30, 30), "purple").save(stream, "PNG")
    return stream.getvalue()
