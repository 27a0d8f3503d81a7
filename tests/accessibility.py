"""What axe and the width of the window say of a page, once nothing on it moves any more."""

from __future__ import annotations

from typing import Any

import pytest

SETTLED = """() => document.getAnimations().every(each => each.playState !== 'running')
    && !document.querySelector('.busy')
    && [...document.querySelectorAll('dialog[open] img')].every(image => image.complete)"""


def assert_accessible(page: Any, state: str, within: str | None = None) -> None:
    """`state` names what is shown. Give `within` while a dialog is open: what lies behind is inert and dimmed.

    Axe would measure the contrast of a name behind a dialog against the dialog, if the name is partly covered.
    """
    axe = pytest.importorskip("axe_core_python.sync_playwright", reason="needs PyPI axe-core-python").Axe()
    for _ in range(200):  # polled from outside: the page's own policy forbids waiting inside
        if page.evaluate(SETTLED):
            break
        page.wait_for_timeout(50)
    else:
        raise AssertionError(f"{state}: still moving after 10 seconds")
    found = axe.run(page, context=within)["violations"]
    told = [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found]
    assert told == [], f"{state}: {told}"
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, f"{state}: {overflow} pixels too wide"
