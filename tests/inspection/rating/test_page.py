"""The rating page in a real Chromium, opened from the disk without a network, by scripted raters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.accessibility import assert_accessible

from diptych.inspection.rating import rated

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs PyPI playwright")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
TEXTS = ["</script><script>window.hacked=1</script>", '"><img src=x onerror=window.hacked=1>', "ein rotes Herz", "red"]


@pytest.fixture(scope="module")
def opened() -> Iterator[Any]:
    """`opened(folder, rater=2, **options)` opens the page of a folder; it may ask for nothing, and nothing may fail."""
    with sync_api.sync_playwright() as playwright, ExitStack() as stack:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--no-first-run"])
        stack.callback(browser.close)

        def open_page(folder: Path, rater: int | None = None, context: Any = None, **options: Any) -> Any:
            context = context or browser.new_context(**{"offline": True, "accept_downloads": True} | options)
            page = context.new_page()
            page.on("pageerror", lambda error: troubles.append(str(error)))
            page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
            page.on("request", lambda request: asked.append(request.url))
            page.goto((folder / "page.html").as_uri() + (f"#rater={rater}" if rater else ""))
            return page

        troubles: list[str] = []
        asked: list[str] = []
        yield open_page
        assert troubles == []
        assert [one[:60] for one in asked if not one.startswith(("file:", "data:", "blob:"))] == []


@pytest.fixture(scope="module")
def study(study_of: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Four texts, two of them hostile, three systems, two raters."""
    folder = tmp_path_factory.mktemp("page")
    return study_of(folder, TEXTS, ("red", "blue", "green"), raters=2), folder / "rating"


SHOWN = """() => {
    const caption = document.getElementById("caption").textContent;
    const items = [...document.getElementById("texts").children].map((one) => JSON.parse(one.textContent));
    const text = items.findIndex((item) => item.text === caption);
    const sources = [...document.querySelectorAll("#images img")].map((image) => image.getAttribute("src"));
    const images = sources.map((source) => items[text].images.indexOf(source));
    return [text, document.getElementById("question").textContent, images];
}"""


def rate(page: Any, made: Any, wanted: Any, *, click: bool = False, steps: int = 8) -> None:
    """Answer questions: `wanted(text, question)` is the system to choose, which the key tells from the image."""
    for _ in range(steps):
        text, question, images = page.evaluate(SHOWN)
        shown = [made.places[text][image] for image in images]
        place = shown.index(wanted(text, int("text" in question)))
        if click:
            page.locator("#images button").nth(place).click()
        else:
            page.keyboard.press(str(place + 1))


def save(page: Any, button: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.click(button)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_what_scripted_raters_choose_is_what_is_read(opened, study, tmp_path) -> None:
    made, folder = study
    first = opened(folder)
    assert first.text_content("#keys") == "1 to 3"
    first.click("#begin")
    rate(first, made, lambda text, question: question, steps=3)  # red looks best, blue fits best
    first.close()
    again = opened(folder, context=first.context)  # the browser has kept the three
    assert again.text_content("#kept") == "Rater 1 has answered 3 of 8 questions in this browser."
    assert again.text_content("#begin") == "Continue"
    again.click("#begin")
    assert again.text_content("#count") == "Rater 1: question 4 of 8, 3 answered"
    rate(again, made, lambda text, question: question, click=True, steps=5)
    assert "all 8 questions are answered" in again.text_content("#left")
    one = save(again, "#final", tmp_path)
    assert one.name == f"answers-{made.id[:8]}-rater-1.json"

    second = opened(folder, rater=2)
    second.keyboard.press("ArrowRight")  # skips one
    rate(second, made, lambda text, question: 2 if text == 0 else question, steps=7)
    assert second.text_content("#left") == "1 of 8 questions have no answer yet."
    second.click("#first")
    rate(second, made, lambda text, question: 1 - question, steps=1)
    second.keyboard.press("ArrowLeft")  # from the end to the last question, which is changed
    assert second.locator("#images button[aria-pressed=true]").count() == 1
    assert second.evaluate("window.hacked") is None
    two = save(second, "#save", tmp_path)

    report = rated(made, [one, two], resamples=50)
    skipped = json.loads(second.text_content("#study"))["orders"][1][0][0]
    for question in (0, 1):
        chosen = [question] * 4 + [2 if text == 0 else question for text in range(4)]
        if question == 0:
            chosen[4 + skipped] = 1
        shares = [share.chosen.value for share in report.questions[question].shares]
        assert shares == [chosen.count(system) / 8 for system in range(3)]
    assert (report.refused, [rater.answers for rater in report.raters]) == ((), [8, 8])
    assert all(rater.seconds is not None and 0 <= rater.seconds < 60 for rater in report.raters)


def test_a_saved_file_is_continued_elsewhere_and_a_changed_one_is_not(opened, study, tmp_path) -> None:
    made, folder = study
    here = opened(folder, rater=2)
    rate(here, made, lambda text, question: 0, steps=2)
    saved = save(here, "#save", tmp_path)
    elsewhere = opened(folder)
    changed = json.loads(saved.read_text())
    changed["answers"][0][2] = (changed["answers"][0][2] + 1) % 3
    for content, message in (
        (json.dumps(changed), "was changed"),
        (json.dumps(changed | {"study": "x"}), "another page"),
        ("{", "no answers"),
    ):
        elsewhere.set_input_files("#load", {"name": "a.json", "mimeType": "", "buffer": content.encode()})
        sync_api.expect(elsewhere.locator("#trouble")).to_contain_text(message)
    elsewhere.set_input_files("#load", saved)
    sync_api.expect(elsewhere.locator("#count")).to_have_text("Rater 2: question 3 of 8, 2 answered")
    assert elsewhere.is_hidden("#trouble")


def test_a_browser_that_keeps_nothing_is_said(opened, study) -> None:
    made, folder = study
    here = opened(folder)
    here.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
    here.click("#begin")
    assert "save them to a file" in here.text_content("#trouble")
    rate(here, made, lambda text, question: 1, steps=2)
    assert here.text_content("#count") == "Rater 1: question 3 of 8, 2 answered"


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), pytest.param(1200, "light", marks=pytest.mark.slow)])
def test_accessibility_by_axe(opened, study, width, scheme) -> None:
    made, folder = study
    here = opened(folder, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert_accessible(here, "start")
    here.click("#begin")
    here.keyboard.press("Tab")
    assert_accessible(here, "rate")
    tops = {here.locator("#images button").nth(place).bounding_box()["y"] for place in (0, 1)}
    assert len(tops) == 1  # side by side, on a phone too
    rate(here, made, lambda text, question: 2)
    assert_accessible(here, "done")
