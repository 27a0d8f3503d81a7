"""The site as it is built: strictly, whole, light, and in a real Chromium without a word to any other server."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.accessibility import assert_accessible
from website.check import problems

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytest.importorskip("zensical", reason="needs the [docs] extra: make docs-check")
pytestmark = pytest.mark.site
WIDTHS = [390, 820, 1280]
LOOKED_AT = ["index.html", "results.html", "reference/commands/data.html", "reference/python/Library.html"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "website.build", "--out", str(out)], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return out / "site"


def test_nothing_is_wrong_with_any_page(site: Path) -> None:
    assert len(list(site.rglob("*.html"))) > 50
    assert list(problems(site)) == []


class Quiet(SimpleHTTPRequestHandler):
    """A file server that prints nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs PyPI playwright")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--no-first-run"])
        yield found
        found.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Any]:
    """`visit(page, width, scheme)` opens a page; every request goes to the site itself, and nothing fails."""
    asked: list[str] = []
    troubles: list[str] = []
    contexts = []

    def opened(page: str, width: int = 1280, scheme: str = "light") -> Any:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        found = contexts[-1].new_page()
        found.on("request", lambda request: asked.append(request.url))
        found.on("pageerror", lambda error: troubles.append(str(error)))
        found.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
        found.goto(address + page, wait_until="networkidle")
        return found

    yield opened
    for context in contexts:
        context.close()
    assert [one for one in asked if not one.startswith((address, "data:", "blob:"))] == []
    assert troubles == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_are_accessible_at_every_width(width: int, scheme: str, visit: Any) -> None:
    for name in LOOKED_AT:
        assert_accessible(visit(name, width, scheme), f"{name}, {width} pixels, {scheme}")


@pytest.mark.browser
def test_the_search_finds_a_page(visit: Any) -> None:
    page = visit("index.html")
    page.get_by_role("button", name="Search").first.click()
    page.get_by_placeholder("Search").last.fill("hard negatives")
    page.get_by_text("Hard negatives found beforehand").wait_for()
