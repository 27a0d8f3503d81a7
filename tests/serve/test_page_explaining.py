"""The slow side of the page in a real Chromium: why, describe, look closely, draw; by mouse, by keys, and by axe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.accessibility import assert_accessible

from diptych.serve.app import create_app
from diptych.serve.cross_encoder import ServedCrossEncoder
from diptych.serve.settings import Pressure, ServeSettings

from .conftest import Waves, running
from .test_page import ARGUMENTS, CHROMIUM, PAYLOADS, Visit, sync_api

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def looked(fitted) -> Iterator[Any]:
    """`looked(slow=True, **options)` opens a page of a server with a cross-encoder and a generator."""
    with sync_api.sync_playwright() as playwright, ExitStack() as stack:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        stack.callback(browser.close)
        servers: dict[bool, Any] = {}

        def opened(cross_encoder: bool = True, fragment: str = "", **options: Any) -> Visit:
            if cross_encoder not in servers:
                settings = ServeSettings(port=0, pressure=Pressure(decoders=1))
                more = (
                    {"cross_encoder": ServedCrossEncoder(fitted.cross_encoder), "generator": Waves()}
                    if cross_encoder
                    else {}
                )
                models = [fitted.dual_encoder]
                servers[cross_encoder] = stack.enter_context(
                    running(create_app(settings, {"shapes": fitted.folder}, models, **more))
                )
            context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
            stack.callback(context.close)
            return Visit(context.new_page(), servers[cross_encoder].url).open(fragment)

        yield opened


def clean(here: Visit) -> None:
    assert here.troubles == []
    assert all(asked.startswith((here.url, "data:", "blob:")) for asked in here.asked)


def test_why_shows_where_the_words_are_and_goes_away_again(looked) -> None:
    for cross_encoder in (False, True):
        here = looked(cross_encoder=cross_encoder)
        here.type("a red circle")
        if cross_encoder:
            with here.page.expect_response("**/search"):
                here.page.click("#closely")
            here.until("document.querySelector('.card .score')?.tagName === 'SPAN'")
        else:
            assert here.page.is_hidden("#closely")
            assert here.page.is_hidden("#view-draw")
        here.page.locator(".card .open").first.click()
        why = here.page.get_by_role("button", name="Why?")
        before = here.page.locator("#viewer figure img").get_attribute("src")
        why.click()
        here.page.wait_for_selector("#viewer .whys li")
        assert why.get_attribute("aria-pressed") == "true"
        words = here.page.locator("#viewer .whys li span[dir]").all_text_contents()
        assert words == ["a", "red", "circle"]
        assert ("nats" if cross_encoder else "cosine") in here.page.locator("#viewer figcaption").text_content()
        assert "red circle" in here.page.locator("#viewer figure img").get_attribute("alt")
        here.until("document.querySelector('#viewer figure img').naturalWidth > 300")
        why.click()
        assert here.page.locator("#viewer figure img").get_attribute("src") == before
        clean(here)


def test_why_says_at_once_that_it_looks_and_what_went_wrong(looked) -> None:
    here = looked(cross_encoder=False)
    here.type("a red circle")
    here.page.locator(".card .open").first.click()
    why, working = here.page.get_by_role("button", name="Why?"), here.page.locator("#viewer .working")
    held: list[Any] = []
    here.page.route("**/why?*", lambda route: held.append(route))
    why.click()
    here.until("document.querySelector('#viewer .working progress') !== null")
    assert working.text_content() == "Computing how much each word counts…"
    assert working.is_visible()
    assert why.is_disabled()
    problem = {"code": "internal", "message": "x", "hint": "GET /docs says what fits.", "request_id": "0"}
    held[0].fulfill(status=500, json=problem)
    here.until("document.querySelector('#viewer .working.wrong') !== null")
    assert working.text_content() == "Something went wrong on the server. Its log says what."
    assert why.is_enabled()
    here.page.unroute("**/why?*")
    why.click()
    here.page.wait_for_selector("#viewer .whys li")
    assert working.is_hidden()
    assert "speaks for the match" in here.page.locator("#viewer figcaption").text_content()
    words = here.page.evaluate(
        """() => [...document.querySelectorAll('#viewer .whys li')].map(one => [
            getComputedStyle(one).borderTopColor,
            getComputedStyle(document.querySelector(`#viewer .key span.${one.className}`)).backgroundColor])"""
    )
    assert words
    assert all(word == key for word, key in words)


def test_looking_closely_orders_tells_relevance_and_doubts(looked) -> None:
    here = looked()
    here.type("a red circle")
    with here.page.expect_response("**/search") as answered:
        here.page.click("#closely")
    found = answered.value.json()
    assert found["hits"][0]["scored_by"] != "cosine"
    here.until("document.querySelector('.card .score')?.textContent.endsWith('%')")
    assert here.page.is_visible("#doubt") == (found["nothing_matches"] >= 0.5)
    here.page.route(
        "**/search",
        lambda route: route.fulfill(json={**found, "nothing_matches": 0.81}, status=200),
    )
    here.type("a purple elephant")
    assert "nothing here matches (81 %)" in here.page.text_content("#doubt")
    here.page.unroute("**/search")
    here.page.click("#plus")
    here.page.fill("#words", "blue")
    here.until("document.querySelector('#status').textContent.includes('only plain words')")
    clean(here)


def test_an_image_is_described(looked) -> None:
    here = looked()
    here.type("a red circle")
    here.page.locator(".card .open").first.click()
    here.page.get_by_role("button", name="Describe").click()
    here.page.wait_for_selector("#viewer .guess")
    assert set(here.page.text_content("#viewer .guess").split()) & {"red", "circle"}
    clean(here)


def test_drawing_beside_what_it_finds_with_keys_alone(looked) -> None:
    here = looked()
    here.page.focus("#view-draw")
    here.page.keyboard.press("Enter")
    here.until("document.activeElement.id === 'draw-words'")
    here.page.keyboard.type("something red")
    here.page.keyboard.press("Enter")
    here.page.wait_for_selector("#draw-found img")
    seed, first = here.page.input_value("#draw-seed"), here.page.locator("#drawn img").get_attribute("src")
    assert f"seed {seed}" in here.page.text_content("#drawn")
    with here.page.expect_response("**/generate"):
        here.page.get_by_role("button", name="Draw", exact=True).last.click()
    here.page.wait_for_timeout(100)
    assert here.page.locator("#drawn img").get_attribute("src") == first, "the same seed draws the same"
    with here.page.expect_response("**/generate"):
        here.page.click("#draw-new")
    here.until(f"!document.querySelector('#drawn').textContent.includes('seed {seed}')")
    assert here.page.locator("#drawn img").get_attribute("src") != first
    with here.page.expect_download() as saved:
        here.page.get_by_role("link", name="Download").click()
    assert saved.value.suggested_filename == f"drawn-{here.page.input_value('#draw-seed')}.png"
    assert saved.value.path().read_bytes().startswith(b"\x89PNG")
    here.page.locator("#draw-found .open").first.click()
    with here.page.expect_response("**/search"):
        here.page.get_by_role("button", name="More like this").click()
    here.until("!document.querySelector('#found').hidden && document.querySelector('#draw-panel').hidden")
    again = looked(fragment="#view=draw")
    assert again.page.is_visible("#draw-form")
    clean(here)


def test_words_that_would_like_to_be_scripts_stay_words_here_too(looked) -> None:
    here = looked()
    here.page.click("#view-draw")
    for payload in PAYLOADS[:12]:
        here.page.fill("#draw-words", payload.replace("\u0000", ""))
        with here.page.expect_response("**/generate"):
            here.page.press("#draw-words", "Enter")
    here.page.wait_for_selector("#draw-found img")
    here.page.click("#view-grid")
    here.type(PAYLOADS[1])
    here.page.locator(".card .open").first.click()
    here.page.get_by_role("button", name="Why?").click()
    here.page.wait_for_selector("#viewer .whys li")
    here.page.wait_for_timeout(100)
    assert here.page.evaluate("window.hacked") is None
    assert here.page.locator("#drawn script, #viewer script, #viewer svg").count() == 0
    clean(here)


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), pytest.param(1200, "light", marks=pytest.mark.slow)])
def test_accessibility_by_axe(looked, width, scheme) -> None:
    here = looked(viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce")
    here.type("a red circle")
    with here.page.expect_response("**/search"):
        here.page.click("#closely")
    here.page.evaluate("document.querySelector('#doubt').hidden = false")
    here.page.evaluate("document.querySelector('#doubt').textContent = 'Probably nothing here matches (81 %).'")
    here.page.wait_for_timeout(300)
    assert_accessible(here.page, "looked at closely")
    here.page.locator(".card .open").first.click()
    here.page.get_by_role("button", name="Describe").click()
    here.page.wait_for_selector("#viewer .guess")
    here.page.get_by_role("button", name="Why?").click()
    here.page.wait_for_selector("#viewer .whys li")
    assert_accessible(here.page, "why", within="#viewer")
    here.page.keyboard.press("Escape")
    here.page.click("#view-draw")
    here.page.fill("#draw-words", "red")
    here.page.press("#draw-words", "Enter")
    here.page.wait_for_selector("#draw-found img")
    assert_accessible(here.page, "draw")
    clean(here)
