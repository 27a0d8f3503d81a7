"""A hub on this machine, and a cache with nothing in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ...hub_server import HubServer, asked_for


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The only hub that the client knows; its cache is in `tmp_path / "cache"`."""
    pytest.importorskip("huggingface_hub", reason="needs the [hub] extra")
    with HubServer() as server:
        asked_for(server, tmp_path / "cache", monkeypatch)
        yield server
