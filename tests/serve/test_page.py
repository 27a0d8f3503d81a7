"""The page in a real Chromium: features as a person uses them, accessibility, texts that would like to be scripts."""

from __future__ import annotations

import base64
import io
import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.accessibility import assert_accessible

from diptych.evaluation.calibrations import Calibrations
from diptych.evaluation.pair_calibration import Cut, PairCalibration
from diptych.library import Library
from diptych.serve.app import create_app
from diptych.serve.settings import Pressure, ServeSettings, new_token

from .conftest import MOSAIC, encoded, running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs PyPI playwright")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
ARGUMENTS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
]  # fmt: skip
PAYLOADS = [
    "<script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    '"><svg onload=window.hacked=1>',
    "javascript:window.hacked=1",
    "{{constructor.constructor('window.hacked=1')()}}",
    "</title><script>window.hacked=1</script>",
    "'-window.hacked=1-'",
    "<iframe srcdoc='<script>parent.hacked=1</script>'>",
    "<a href=javascript:window.hacked=1>red</a>",
    "\u202e<b>red\u0000",
    "<body onload=window.hacked=1>",
    "<details open ontoggle=window.hacked=1>red",
    "<math><mi//xlink:href='data:x,<script>window.hacked=1</script>'>",
    "<input autofocus onfocus=window.hacked=1>",
    "<video><source onerror=window.hacked=1></video>",
    "<object data='data:text/html,<script>parent.hacked=1</script>'></object>",
    "<embed src=javascript:window.hacked=1>",
    "<base href=javascript:window.hacked=1//>",
    "<meta http-equiv=refresh content='0;url=javascript:window.hacked=1'>",
    "<link rel=stylesheet href='data:text/css,*{background:red}'>",
    "<form action=javascript:window.hacked=1><button>red</button></form>",
    "<template><img src=x onerror=window.hacked=1></template>",
    "<noscript><p title='</noscript><img src=x onerror=window.hacked=1>'>",
    "<svg><animate onbegin=window.hacked=1 attributeName=x dur=1s>",
    "<svg><script href='data:text/javascript,window.hacked=1'/></svg>",
    "--><img src=x onerror=window.hacked=1><!--",
    "${window.hacked=1}`;window.hacked=1//",
    "';window.hacked=1;//\u2028window.hacked=1",
    "&lt;img src=x onerror=window.hacked=1&gt;",
    '" style=animation-name:x onanimationstart=window.hacked=1 red',
]
assert len(set(PAYLOADS)) == 30


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def made_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two libraries: 36 tinted images with albums, and one of a single image."""
    tmp_path = tmp_path_factory.mktemp("page")
    encoder = MOSAIC.MosaicEncoder()
    lines = []
    for place in range(36):
        colour = list(MOSAIC.COLOURS)[place % 6]
        name = f"{colour}-{place // 6}.png"
        MOSAIC.paint(tmp_path / "images" / name, colour, mark=place // 6)
        line = {
            "image": name,
            "text": f"a {colour} thing, number {place // 6}",
            "album": f"album {place % 3}",
            "year": 2000 + place,
        }
        lines.append(json.dumps(line) + "\n")
    (tmp_path / "images" / "list.jsonl").write_text("".join(lines))
    many = Library.create(tmp_path / "many", encoder)
    many.index([tmp_path / "images" / "list.jsonl"])
    one = Library.create(tmp_path / "one", encoder)
    MOSAIC.paint(tmp_path / "single" / "only.png", "white")
    one.index([tmp_path / "single"])
    return tmp_path


@pytest.fixture
def folders(made_folders: Path, tmp_path: Path) -> dict[str, Path]:
    """Copies of both libraries and of their images, for this test alone."""
    shutil.copytree(made_folders, tmp_path, dirs_exist_ok=True)
    return {"many": tmp_path / "many", "one": tmp_path / "one"}


class Visit:
    """A page of the service, and whatever went wrong on it."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.troubles: list[str] = []
        self.asked: list[str] = []
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", lambda said: self.troubles.append(said.text) if said.type == "error" else None)
        page.on("request", lambda request: self.asked.append(request.url))

    def open(self, fragment: str = "") -> Visit:
        self.page.goto(self.url + "/" + fragment)
        self.page.wait_for_selector("html[data-ready]")
        return self

    def type(self, text: str) -> None:
        with self.page.expect_response(lambda answer: answer.url.endswith("/search") and answer.ok):
            self.page.fill("#words", text)
        self.until("!document.querySelector('#results').classList.contains('busy')")
        self.page.wait_for_timeout(60)

    def names(self) -> list[str]:
        return self.page.locator("#results .card .name").all_text_contents()

    def wait_for(self, count: int) -> None:
        self.until(f"document.querySelectorAll('#results .card').length === {count}")

    def until(self, expression: str, seconds: int = 10) -> None:
        """Poll from outside: the page's own policy forbids the evaluation that waiting inside would need."""
        for _ in range(20 * seconds):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {expression}")


@pytest.fixture
def visit(browser: Any, folders: dict[str, Path]) -> Iterator[Any]:
    """`visit()` opens a page of a real server; everything it asked for must have come from that server."""
    encoder = MOSAIC.MosaicEncoder()
    made: list[Visit] = []
    with ExitStack() as stack:

        def opened(
            token: str | None = None, fragment: str = "", calibrations: Sequence[Calibrations] = (), **options: Any
        ) -> Visit:
            pressure = Pressure(decoders=1, in_flight=500, per_client=500)  # nobody types as fast as a test
            settings = ServeSettings(port=0, token=token, pressure=pressure)
            server = stack.enter_context(running(create_app(settings, folders, [encoder], calibrations=calibrations)))
            context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
            stack.callback(context.close)
            found = Visit(context.new_page(), server.url)
            made.append(found)
            return found.open(fragment) if token is None else found

        yield opened
        for one in made:
            assert all(asked.startswith((one.url, "data:", "blob:")) for asked in one.asked), "an external request"
            assert one.troubles == []


def test_words_typed_before_the_library_is_known_are_looked_for_once_it_is(visit: Any) -> None:
    here = visit()
    held: list[Any] = []
    here.page.route("**/libraries/many", lambda route: held.append(route))
    here.page.reload()
    for _ in range(200):
        if held:
            break
        here.page.wait_for_timeout(50)
    here.page.fill("#words", "red")
    here.page.wait_for_timeout(600)  # longer than the page waits for another letter
    assert here.page.inner_text("#status") == ""
    held[0].continue_()
    here.page.wait_for_selector("html[data-ready]")
    here.until("document.querySelectorAll('#results .card').length > 0")
    assert here.names()[0].startswith("a red thing")


def test_it_opens_with_images_and_finds_while_one_types(visit) -> None:
    here = visit()
    here.wait_for(36)
    here.type("red")
    assert all(name.startswith("a red thing") for name in here.names()[:6])
    assert "images in" in here.page.text_content("#status")
    here.type("blue")
    assert here.names()[0].startswith("a blue thing")
    assert "q=blue" in here.page.url
    here.page.reload()
    here.page.wait_for_selector("html[data-ready]")
    assert here.page.input_value("#words") == "blue"
    assert here.names()[0].startswith("a blue thing")


def test_what_hardly_matches_is_hidden_until_it_is_asked_for(visit, folders) -> None:
    hits = Library.open(folders["many"], MOSAIC.MosaicEncoder()).search("red", 36)
    here = visit(calibrations=[judged((hits[5].score + hits[6].score) / 2)])  # the first six pass
    here.type("red")
    here.wait_for(6)
    assert here.names() == [hit.meta["texts"][0] for hit in hits[:6]]
    rest = here.page.locator("#rest")
    assert "Hidden because they hardly match: 30 images." in rest.inner_text()
    rest.get_by_role("button", name="Show the rest").click()
    here.wait_for(36)
    assert rest.is_hidden()
    here = visit(calibrations=[judged(2.0)])  # nothing passes
    here.type("red")
    here.wait_for(0)
    assert "All that is here is hidden because it hardly matches." in here.page.locator("#rest").inner_text()
    assert_accessible(here.page, "nothing matches")


def judged(line: float) -> Calibrations:
    """A calibration for which a cosine of `line` is enough, and no lower one."""
    pair = PairCalibration((10.0,), -10.0 * line, cut=Cut(0.5, 0.97, 0.1))
    return Calibrations(MOSAIC.MosaicEncoder().fingerprint, "mosaic", ("cosine",), "colours", {"image-text": pair})


def test_arithmetic_by_chips(visit) -> None:
    here = visit()
    here.type("red blue")
    here.page.click("#minus")
    assert here.page.locator("#terms .term").count() == 1
    here.type("blue")
    assert all(name.startswith("a red thing") for name in here.names()[:3])
    here.page.click("#plus")
    assert here.page.locator("#terms .term.take .said").text_content() == "blue"
    with here.page.expect_response("**/search"):
        here.page.click("#terms .term.take .sign")
    assert here.page.locator("#terms .term.take").count() == 0
    here.page.press("#words", "Backspace")
    assert here.page.locator("#terms .term").count() == 1


def drop(page: Any, target: str, data: bytes, name: str = "x.png") -> None:
    """Drop a file as the browser does."""
    page.evaluate(
        """([target, encoded, name]) => {
            const bytes = Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, {type: "image/png"}));
            const about = {bubbles: true, cancelable: true, dataTransfer: transfer};
            const fire = (at, kind) => at.dispatchEvent(new DragEvent(kind, about));
            fire(document.body, "dragenter");
            fire(document.querySelector(target), "dragover");
            fire(document.querySelector(target), "drop");
        }""",
        [target, base64.b64encode(data).decode(), name],
    )


def test_an_image_may_be_chosen_dropped_or_pasted(visit) -> None:
    here = visit()
    with here.page.expect_response("**/search"):
        here.page.set_input_files(
            "#file-search", {"name": "a.png", "mimeType": "image/png", "buffer": encoded("green")}
        )
    here.page.wait_for_timeout(60)
    assert here.names()[0].startswith("a green thing")
    here.page.click("#terms .gone")
    with here.page.expect_response("**/search"):
        drop(here.page, "#drop-search", encoded("yellow"))
    here.page.wait_for_timeout(60)
    assert here.names()[0].startswith("a yellow thing")
    assert here.page.is_hidden("#drop")
    here.page.click("#terms .gone")
    with here.page.expect_response("**/search"):
        here.page.evaluate(
            """(encoded) => {
                const transfer = new DataTransfer();
                const bytes = Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
                transfer.items.add(new File([bytes], "p.png", {type: "image/png"}));
                const about = {clipboardData: transfer, bubbles: true, cancelable: true};
                document.dispatchEvent(new ClipboardEvent("paste", about));
            }""",
            base64.b64encode(encoded("blue")).decode(),
        )
    here.page.wait_for_timeout(60)
    assert here.names()[0].startswith("a blue thing")


def test_filters_narrow_down_with_and_without_words(visit) -> None:
    here = visit()
    here.page.click("#filters-open")
    here.page.select_option("#filter-column", "album")
    here.page.fill("#filter-value", "album 1")
    here.page.click("#filter-add")
    here.wait_for(12)
    here.page.select_option("#filter-column", "year")
    here.page.fill("#filter-value", "2018")
    here.page.press("#filter-value", "Enter")
    here.wait_for(6)
    here.type("red")
    assert len(here.names()) == 6
    here.page.locator("#active-filters .gone").first.click()
    here.wait_for(18)


def test_the_viewer_tells_steps_and_leads_on(visit) -> None:
    here = visit()
    here.type("red")
    here.page.locator(".card .open").first.click()
    viewer = here.page.locator("#viewer")
    assert viewer.get_by_role("heading", level=2).text_content().startswith("red-")
    assert "nearness" in viewer.text_content()
    here.until("document.querySelector('#viewer img').naturalWidth > 0")
    first = viewer.get_by_role("heading", level=2).text_content()
    here.page.keyboard.press("ArrowRight")
    assert viewer.get_by_role("heading", level=2).text_content() != first
    here.page.keyboard.press("ArrowLeft")
    with here.page.expect_response("**/search"):
        viewer.get_by_role("button", name="More like this").click()
    here.wait_for(35)
    assert not viewer.is_visible()
    assert here.names()[0].startswith("a red thing")
    here.page.locator(".card .open").first.click()
    here.page.keyboard.press("Escape")
    assert not viewer.is_visible()


@pytest.fixture
def with_photos(folders) -> None:
    """Four photos in the first library: of two cameras, taken in three months of two years."""
    album = folders["many"].parent / "album"
    album.mkdir()
    taken = [("2023:05:01", "Canon EOS R5"), ("2024:02:10", "X100"), ("2024:02:11", "X100"), ("2024:09:09", "X100")]
    for place, (day, camera) in enumerate(taken):
        exif = PIL.Image.Exif()
        exif.update({0x0110: camera})
        exif.get_ifd(0x8769).update({0x9003: f"{day} 12:00:00"})
        if place == 3:
            exif.get_ifd(0x8825).update({1: "S", 2: (33.0, 30.0, 0.0), 3: "E", 4: (25.0, 15.0, 0.0)})
        PIL.Image.new("RGB", (40, 30), (200, 50 * place, 90)).save(album / f"{place}.jpg", exif=exif)
    Library.open(folders["many"], MOSAIC.MosaicEncoder()).index(album)


def test_photos_are_narrowed_by_year_camera_and_a_slider_of_dates(with_photos, visit) -> None:
    here = visit()
    here.wait_for(40)
    here.page.click("#filters-open")
    here.page.wait_for_selector("#photo-filters")
    assert here.page.locator("#years .choice").all_inner_texts() == ["2024 3", "2023 1"]
    assert here.page.locator("#cameras .choice").all_inner_texts() == ["X100 3", "Canon EOS R5 1"]
    assert here.page.inner_text("#dates-said") == "May 2023 to Sep 2024"
    here.page.locator("#cameras").get_by_role("button", name="Canon").click()
    here.wait_for(1)
    here.page.locator("#cameras").get_by_role("button", name="Canon").click()
    here.wait_for(40)
    here.page.locator("#years").get_by_role("button", name="2024").click()
    here.wait_for(3)
    assert here.page.input_value("#date-from") == "1"
    here.page.locator("#years").get_by_role("button", name="2024").click()
    here.wait_for(40)
    here.page.focus("#date-to")
    here.page.keyboard.press("ArrowLeft")
    here.wait_for(3)
    assert here.page.inner_text("#dates-said") == "May 2023 to Feb 2024; 36 images without a date left out"
    here.page.focus("#date-from")
    here.page.keyboard.press("End")  # takes the other end along
    here.wait_for(1)
    assert here.page.get_attribute("#date-from", "aria-valuetext") == "Sep 2024"
    here.page.locator("#active-filters .gone").first.click()
    here.wait_for(40)
    assert here.page.input_value("#date-from") == "0"
    here.page.select_option("#library", "one")
    here.wait_for(1)
    assert here.page.is_hidden("#photo-filters")


def test_the_timeline_narrows_to_months_and_puts_images_in_order_of_date(with_photos, visit) -> None:
    here = visit()
    here.wait_for(40)
    page, headings = here.page, here.page.locator("#results .when")
    page.click("#timeline-open")
    page.wait_for_selector(".month")
    here.until("document.querySelectorAll('#results .when').length > 0")
    assert headings.all_inner_texts() == ["Sep 2024", "Feb 2024", "May 2023", "Without a date"]
    labels = [one.get_attribute("aria-label") for one in page.locator("#years-bars button").all()]
    assert labels == [
        "May 2023, 1 image", "2023, 1 image", "Feb 2024, 2 images", "Sep 2024, 1 image", "2024, 3 images",
    ]  # fmt: skip
    assert page.inner_text("#timeline-said") == "36 images without a date."
    heights = [one.bounding_box()["height"] for one in page.locator(".month .share").all()]
    assert heights[1] == pytest.approx(64, abs=1)
    assert heights[0] == pytest.approx(64 * 0.54, abs=1)
    page.get_by_role("button", name="Feb 2024").click()
    here.wait_for(2)
    assert headings.all_inner_texts() == ["Feb 2024"]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+Enter")
    here.wait_for(3)
    assert [one.get_attribute("data-when") for one in page.locator(".month[aria-pressed=true]").all()] == [
        "2024-02", "2024-09",
    ]  # fmt: skip
    page.get_by_role("button", name="2023, 1 image", exact=True).click()
    here.wait_for(1)
    page.get_by_role("button", name="2023, 1 image", exact=True).click()
    here.wait_for(40)
    here.type("red")
    assert headings.first.inner_text() == "Sep 2024"
    page.click("#timeline-open")
    here.until("document.querySelectorAll('#results .when').length === 0")
    page.select_option("#library", "one")
    here.wait_for(1)
    assert page.is_hidden("#timeline-open")


@pytest.fixture
def with_copies(folders) -> None:
    """Three noisy images in the second library, two of them again: smaller, and encoded anew without colours."""
    again = folders["one"].parent / "again"
    again.mkdir()
    for seed in range(3):
        chance = np.random.default_rng(seed)
        noise = chance.integers(70, 180, (6, 6, 1)) + chance.integers(-20, 20, (6, 6, 3))
        large = PIL.Image.fromarray(noise.astype(np.uint8)).resize((240, 180), PIL.Image.Resampling.BICUBIC)
        large.save(again / f"{seed}.png")
        if seed == 0:
            large.resize((120, 90)).save(again / "smaller.png")
        if seed == 1:
            large.convert("L").save(again / "grey.jpg", quality=95)
    Library.open(folders["one"], MOSAIC.MosaicEncoder()).index(again)


def test_copies_are_shown_marked_deleted_and_taken_back(with_copies, visit) -> None:
    here = visit(fragment="#in=one")
    here.page.click("#view-copies")
    here.until("document.querySelectorAll('#copies > li').length === 2", seconds=60)
    assert "view=copies" in here.page.url
    assert "2 images of 6 with 2 spare copies" in here.page.inner_text("#copies-status")
    best = here.page.locator(".copy.best .copy-told").all_inner_texts()
    assert [text.startswith("Best") for text in best] == [True, True]
    assert sum("in colours" in text for text in best) == 1
    assert here.page.is_disabled("#copies-delete")
    here.page.locator(".copy.best input").first.focus()
    here.page.keyboard.press("Space")  # the best as well
    here.page.click("#copies-all")
    assert here.page.inner_text("#copies-delete") == "Delete 2 marked"
    assert here.page.locator(".copy.best input:checked").count() == 0
    here.page.locator(".copy.best input").first.check()
    assert here.page.inner_text("#copies-warning").startswith("Every copy of 1 image is marked")
    here.page.locator(".copy.best input").first.uncheck()
    here.page.locator("#copies .open").first.click()
    here.until("document.querySelector('#viewer').open")
    here.page.keyboard.press("Escape")
    here.page.click("#copies-delete")
    here.until("document.querySelectorAll('#copies > li').length === 0", seconds=60)
    assert here.page.inner_text("#copies-status").startswith("No copies among 4 images")
    here.page.get_by_role("button", name="Undo").click()
    here.until("document.querySelectorAll('#copies > li').length === 2", seconds=60)
    here.page.click("#view-grid")
    assert here.page.is_hidden("#copies-panel")
    assert here.page.is_visible("#search")


def test_deleting_can_be_undone(visit) -> None:
    here = visit()
    here.wait_for(36)
    here.page.locator(".card").first.hover()
    here.page.locator(".card").first.get_by_role("button", name="Delete").click()
    here.wait_for(35)
    assert here.page.text_content("#size") == "35 images"
    here.page.get_by_role("button", name="Undo").click()
    here.wait_for(36)


def test_adding_shows_what_was_added_and_what_was_not(visit) -> None:
    here = visit()
    files = [
        {"name": "new.png", "mimeType": "image/png", "buffer": encoded((250, 120, 10))},
        {"name": "bad.png", "mimeType": "image/png", "buffer": b"<svg/>"},
    ]
    here.page.set_input_files("#file-add", files)
    here.wait_for(37)
    assert "Added 1 image" in here.page.locator("#toasts").text_content()
    assert here.page.locator("#problems li").all_text_contents() == ["bad.png is not an image: it holds an SVG file."]
    here.page.get_by_role("button", name="Undo").click()
    here.wait_for(36)
    drop(here.page, "#drop-add", encoded((10, 120, 250)))
    here.wait_for(37)


def test_every_file_that_was_not_added_is_listed_and_stays_listed(visit) -> None:
    here = visit()
    photo = encoded("red", "JPEG", (300, 200))
    bad = [b"notes about dogs", b"\x9a\xec\x01\x02" * 9, b"", b"<html>", photo[:500], b"%PDF-1.7", b"text", b"x", b"y"]
    files = [{"name": f"{at}.jpg", "mimeType": "image/jpeg", "buffer": data} for at, data in enumerate(bad)]
    here.page.set_input_files("#file-add", [*files, {"name": "good.jpg", "mimeType": "image/jpeg", "buffer": photo}])
    here.wait_for(37)
    assert here.page.text_content("#problems-title") == "9 of 10 files were not added"
    listed = here.page.locator("#problems li").all_text_contents()
    assert listed[:6] == [
        "0.jpg is not an image: it holds text.",
        "1.jpg is not an image: it holds data of an unknown kind.",
        "2.jpg is not an image: it is empty.",
        "3.jpg is not an image: it holds a web page.",
        "4.jpg ends early or is damaged (JPEG); fetch it again.",
        "5.jpg is not an image: it holds a PDF.",
    ]
    assert len(listed) == 9
    here.type("red")
    assert here.page.is_visible("#problems")
    # a request that fails as a whole: each of its files
    here.page.route("**/items", lambda route: route.fulfill(status=507, json={"code": "disk_full", "message": "x"}))
    here.page.set_input_files("#file-add", files[:2])
    here.until("document.querySelectorAll('#problems li').length === 2")
    assert here.page.locator("#problems li").first.text_content() == (
        "0.jpg: The server's disk is full, so this was not kept."
    )
    here.page.click("#problems-close")
    assert here.page.is_hidden("#problems")
    here.troubles.clear()  # the browser's own line about the 507


@pytest.mark.parametrize("width", [320, 360, 820, 1280])
def test_nothing_is_cut_at_any_width(visit, width) -> None:
    """The question in the box, and the help on the map, fit where they stand."""
    here = visit(viewport={"width": width, "height": 740}, has_touch=width < 500, is_mobile=width < 500)
    here.wait_for(36)
    room = here.page.evaluate("""() => {
      const words = document.querySelector("#words"), style = getComputedStyle(words);
      const pen = document.createElement("canvas").getContext("2d");
      pen.font = style.font;
      return words.clientWidth - pen.measureText(words.placeholder).width;
    }""")
    assert room >= 0
    here.page.click("#view-map")
    here.until("document.querySelector('#map-help').textContent.startsWith('36')")
    help, panel = (here.page.locator(one).bounding_box() for one in ("#map-help", "#map-panel"))
    assert help["y"] > panel["y"]
    assert help["y"] + help["height"] <= panel["y"] + panel["height"]
    assert help["x"] + help["width"] <= panel["x"] + panel["width"]
    assert ("pinch" in here.page.text_content("#map-help")) is (width < 500)


def test_the_library_can_be_switched(visit) -> None:
    here = visit()
    here.page.select_option("#library", "one")
    here.wait_for(1)
    assert here.names() == ["only.png"]
    assert "in=one" in here.page.url


def test_the_map_shows_points_and_where_the_query_lands(visit) -> None:
    here = visit()
    here.type("red")
    here.page.click("#view-map")
    here.until("window.diptych.map.data?.count === 36 && window.diptych.map.lands !== null")
    here.page.wait_for_timeout(700)
    best = here.page.evaluate("window.diptych.map.toPixels(...window.diptych.map.lands)")
    reds = here.page.evaluate("[...window.diptych.map.hits.slice(0, 3)]")
    lands = here.page.evaluate("window.diptych.map.lands")
    assert abs(lands[0] - reds[0]) + abs(lands[1] - reds[1]) < 0.2
    assert here.page.evaluate("window.diptych.map.frames.length") > 0
    here.until(  # the ground, and the shades and soft edges of the points
        """(() => { const { pen } = window.diptych.map.points, { width, height } = pen.canvas;
             return new Set(new Uint32Array(pen.getImageData(0, 0, width, height).data.buffer)).size > 30; })()"""
    )
    before = here.page.evaluate("window.diptych.map.zoom")
    here.page.click("#map-in")
    here.page.wait_for_timeout(600)
    assert here.page.evaluate("window.diptych.map.zoom") > before
    here.page.focus("#map")
    x = here.page.evaluate("window.diptych.map.x")
    here.page.keyboard.press("ArrowRight")
    assert here.page.evaluate("window.diptych.map.x") > x
    here.page.click("#map-query")
    here.page.wait_for_timeout(600)
    here.page.focus("#map")
    here.page.keyboard.press("Home")
    here.until("Math.abs(window.diptych.map.zoom - 0.94) < 1e-6")
    place = here.page.evaluate("window.diptych.map.toPixels(...window.diptych.map.hits.slice(0, 2))")
    here.page.locator("#map").click(position={"x": place[0], "y": place[1]})
    assert here.page.locator("#viewer").get_by_role("heading", level=2).text_content().startswith("red-")
    assert len(best) == 2


_PAINT = """async ([values, x, y, unit, size]) => {
    const { Points } = await import("/static/points.js"), canvas = document.createElement("canvas");
    const points = new Points(canvas);
    points.load(Float32Array.from(values));
    points.tint([250, 250, 250], false);
    points.fit(41, 31, 18);
    points.draw(x, y, unit, size);
    return [...points.pen.getImageData(0, 0, 41, 31).data].filter((_, at) => at % 4 === 0);
}"""


def _painted(here: Any, values: list[float], x: float, y: float, unit: float, size: float) -> np.ndarray:
    return np.array(here.page.evaluate(_PAINT, [values, x, y, unit, size])).reshape(31, 41)


def test_points_are_painted_where_they_belong(visit, rng: np.random.Generator) -> None:
    here = visit()
    assert (_painted(here, [], 0, 0, 10, 4) == 250).all()
    # one point of 5 pixels in the middle: its area is that of a disc, its middle has no edge
    red = _painted(here, [0.5, -0.25, 0.0], 0.5, -0.25, 10, 5)
    assert red[15, 20] == red[16, 20] == red.min()
    covered = (250 - red.astype(float)).sum() / (250 - red.min())
    assert covered == pytest.approx(np.pi * 2.5**2, rel=0.06)
    assert (red[:11] == 250).all()
    assert (red[:, :16] == 250).all()
    # to the right and up are where they should be, half a point at the rim is drawn, one far outside is not
    red = _painted(here, [1.0, 1.0, 0.0, -2.05, 0.0, 0.0, 9.0, 9.0, 0.0, -9e9, 0.0, 0.0], 0, 0, 10, 5)
    assert red[15 - 10, 20 + 10] == red.min()
    assert red[15, 0] < 250
    assert (red[:, 1:] < 250).sum() < 60
    # many points: the same as painting them one by one
    values = rng.uniform(-2.2, 2.2, (40, 3)) * [1, 1, 0]
    together = _painted(here, values.ravel().tolist(), 0, 0, 10, 3)
    alone = [_painted(here, one.tolist(), 0, 0, 10, 3) for one in values]
    assert ((together < 250) == (np.min(alone, axis=0) < 250)).all()


def test_with_the_keyboard_alone(visit) -> None:
    here = visit()
    here.page.focus("#words")
    with here.page.expect_response("**/search"):
        here.page.keyboard.type("green")
    here.page.wait_for_timeout(100)
    for _ in range(20):
        here.page.keyboard.press("Tab")
        if here.page.evaluate("document.activeElement.className") == "open":
            break
    here.page.keyboard.press("ArrowRight")
    here.page.keyboard.press("Enter")
    assert here.page.locator("#viewer").get_by_role("heading", level=2).text_content().startswith("green-")
    here.page.keyboard.press("Escape")
    assert here.page.evaluate("document.activeElement.className") == "open", "focus comes back"


_CURRENT = """[...document.querySelectorAll('.card')].indexOf(document.activeElement.closest('.card'))"""
_COLUMNS = "getComputedStyle(document.querySelector('#results')).gridTemplateColumns.split(' ').length"


def test_keys_lead_through_the_grid(visit) -> None:
    here = visit()
    here.wait_for(36)
    press, page = here.page.keyboard.press, here.page
    columns = page.evaluate(_COLUMNS)

    def current() -> int:
        return page.evaluate(_CURRENT)

    press("/")
    assert page.evaluate("document.activeElement.id") == "words"
    page.evaluate("document.querySelector('.card').dataset.before = ''")
    press("?")  # a letter like any other in a field
    assert page.input_value("#words") == "?"
    page.fill("#words", "")
    here.until("!document.querySelector('.card[data-before]')")  # the cards are new ones
    here.wait_for(36)
    press("ArrowDown")
    assert current() == 0
    for key, place in [("ArrowDown", columns), ("ArrowRight", columns + 1), ("ArrowUp", 1), ("ArrowUp", 1),
                       ("End", 35), ("ArrowRight", 35), ("Home", 0), ("ArrowLeft", 0)]:  # fmt: skip
        press(key)
        assert current() == place, key
    press("Alt+ArrowRight")  # the browser's own
    assert current() == 0
    # one card alone is reached by Tab, with what can be done with it
    assert page.locator("#results button[tabindex='0']").count() == page.locator(".card >> nth=0 >> button").count()
    press("Tab")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("Select ")  # the first thing of the card
    press("?")
    assert page.locator("#keys").is_visible()
    press("/")  # not while a dialog is open
    assert page.evaluate("document.activeElement.id") != "words"
    press("Escape")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("Select ")
    # what was deleted leaves the focus beside it
    press("End")
    page.locator(".card").last.get_by_role("button", name="Delete").press("Enter")
    here.wait_for(35)
    assert current() == 34


def test_images_are_selected_exported_deleted_and_taken_back(visit) -> None:
    here = visit()
    here.wait_for(36)
    press, page, opens = here.page.keyboard.press, here.page, here.page.locator(".card .open")

    def chosen() -> list[int]:
        boxes = page.evaluate("[...document.querySelectorAll('.card .pick input')].map((box) => box.checked)")
        return [place for place, checked in enumerate(boxes) if checked]

    assert page.is_hidden("#selection")
    opens.nth(1).click(modifiers=["Control"])
    opens.nth(4).click(modifiers=["Shift"])
    assert chosen() == [1, 2, 3, 4]
    page.locator(".card .pick").nth(2).click()
    assert chosen() == [1, 3, 4]
    opens.nth(6).focus()
    press("Space")
    press("Shift+ArrowRight")
    assert chosen() == [1, 3, 4, 6, 7]
    assert page.inner_text("#selected") == "5 selected"
    press("Escape")
    assert chosen() == []
    assert page.is_hidden("#selection")
    press("Control+a")
    assert page.inner_text("#selected") == "36 selected"
    page.click("#select-none")
    # in the large view
    opens.first.press("Enter")
    press("Space")
    assert page.get_attribute("#viewer-select", "aria-pressed") == "true"
    press("ArrowRight")
    assert page.get_attribute("#viewer-select", "aria-pressed") == "false"
    page.click("#viewer-select")
    press("Escape")
    assert chosen() == [0, 1]
    names = here.names()[:2]
    with page.expect_download() as saved:
        page.click("[data-format=zip]")
    assert saved.value.suggested_filename == "many-2.zip"
    with zipfile.ZipFile(saved.value.path()) as packed:
        assert len(packed.namelist()) == 3
    with page.expect_download() as saved:
        page.click("[data-format=csv]")
    text = Path(saved.value.path()).read_text(encoding="utf-8")
    assert all(name in text for name in names)
    # what is selected stays so when something else is looked for
    here.type("white")
    assert page.inner_text("#selected") == "2 selected"
    page.click("#filters-open")
    page.select_option("#filter-column", "year")
    page.fill("#filter-value", "2035")
    page.click("#filter-add")
    here.wait_for(1)
    here.until("document.querySelector('#selected').textContent === '2 selected, 2 of them not shown here'")
    page.click("#select-delete")
    here.until("document.querySelector('#size').textContent === '34 images'")
    assert page.is_hidden("#selection")
    page.get_by_role("button", name="Undo").click()
    here.until("document.querySelector('#size').textContent === '36 images'")


def test_the_large_view_tells_all_and_shows_what_is_like_it(folders, with_photos, visit) -> None:
    Library.open(folders["many"], MOSAIC.MosaicEncoder()).read_words(lambda image: "EXIT")
    here = visit()
    here.wait_for(40)
    heading = here.page.locator("#viewer-name")
    here.page.get_by_role("button", name="3.jpg", exact=True).press("Enter")
    here.page.wait_for_selector("#viewer .similar .open")
    said = here.page.locator("#viewer dl").inner_text().split("\n")
    facts = dict(zip(said[::2], said[1::2], strict=True))
    assert facts["taken"].replace("\u202f", " ") == "Sep 9, 2024, 12:00 PM"
    assert (facts["camera"], facts["size"]) == ("X100", "40 × 30")
    assert facts["place"] == "33.5000° S, 25.2500° E"
    assert facts["file"].endswith("/album/3.jpg")
    assert said.count("words in it") == 1
    assert here.page.locator("#viewer .similar .open").count() == 6
    here.page.keyboard.press("Home")
    first = heading.inner_text()
    assert here.page.locator("#viewer .place").inner_text() == "1 of 40"
    assert here.page.get_by_role("button", name="Image before").is_hidden()
    here.page.keyboard.press("End")
    assert here.page.locator("#viewer .place").inner_text() == "40 of 40"
    here.page.keyboard.press("Home")
    here.page.get_by_role("button", name="Next image").click()
    here.page.wait_for_selector("#viewer .similar .open")
    second = heading.inner_text()
    assert second != first
    here.page.locator("#viewer .similar .open").first.click()
    assert heading.inner_text() != second
    here.page.keyboard.press("ArrowLeft")  # back to the one that it is like
    assert heading.inner_text() == second
    here.page.keyboard.press("Escape")
    here.until(f"({_CURRENT}) === 1")  # the focus is where one looked last


def test_a_token_is_asked_for_once(visit) -> None:
    token = new_token()
    here = visit(token=token)
    here.page.goto(here.url)
    here.page.fill("#token", "wrong")
    here.page.get_by_role("button", name="Open").click()
    here.until("document.getElementById('login-error').textContent !== ''")
    here.page.fill("#token", token)
    here.page.get_by_role("button", name="Open").click()
    here.page.wait_for_selector("html[data-ready]")
    here.wait_for(36)
    here.until("document.querySelector('.card img').naturalWidth > 0")
    here.page.reload()
    here.wait_for(36)
    here.troubles = [trouble for trouble in here.troubles if "401" not in trouble]


def test_texts_that_would_like_to_be_scripts_stay_texts(visit, folders) -> None:
    encoder = MOSAIC.MosaicEncoder()
    lines = []
    images = folders["many"].parent / "images"
    folders[PAYLOADS[1]] = folders["one"]
    for place, payload in enumerate(PAYLOADS):
        MOSAIC.paint(images / f"x{place}.png", "red", mark=place + 1)
        line = {"image": f"x{place}.png", "text": payload, "album": payload, "filename": payload, f"m{payload}": 1}
        lines.append(json.dumps(line) + "\n")
    (images / "evil.jsonl").write_text("".join(lines))
    Library.open(folders["many"], encoder).index([images / "evil.jsonl"])
    here = visit()
    for payload in PAYLOADS:
        say(here.page, "#words", payload, "#plus")
    here.until(f"document.querySelectorAll('#terms .term').length === {len(PAYLOADS)}")
    here.page.wait_for_timeout(300)
    while here.page.locator("#terms .gone").count():
        here.page.evaluate("document.querySelector('#terms .gone').click()")
    here.type("red")
    for place in range(len(PAYLOADS)):
        here.page.evaluate(f"document.querySelectorAll('.card .open')[{place}].click()")
        here.page.keyboard.press("Escape")
    here.page.click("#filters-open")
    here.page.select_option("#filter-column", "album")
    for payload in PAYLOADS:
        say(here.page, "#filter-value", payload, "#filter-add")
        assert here.page.locator("#active-filters .term").count() == 1
        here.page.evaluate("document.querySelector('#active-filters .gone').click()")
    files = [
        {"name": f"{payload}.jpg", "mimeType": "image/jpeg", "buffer": with_exif(payload, place)}
        for place, payload in enumerate(PAYLOADS)
    ]
    here.page.set_input_files("#file-add", files)
    here.page.wait_for_selector(".toast")
    here.page.evaluate("location.hash = 'q=<img src=x onerror=window.hacked=1>'")
    here.page.reload()
    here.page.wait_for_selector("html[data-ready]")
    here.page.select_option("#library", PAYLOADS[1])
    here.wait_for(1)
    assert here.page.evaluate("window.hacked") is None
    assert here.page.locator("#results script, #results iframe, #viewer svg").count() == 0


def say(page: Any, field: str, text: str, button: str) -> None:
    """Write into a field and press a button, without the pauses that Playwright makes before each."""
    page.evaluate(
        """([field, text, button]) => {
            const into = document.querySelector(field);
            into.value = text;
            into.dispatchEvent(new Event("input", {bubbles: true}));
            document.querySelector(button).click();
        }""",
        [field, text.replace("\u0000", ""), button],
    )


def with_exif(payload: str, mark: int) -> bytes:
    """An image whose description, artist and comment would like to be a script."""
    image = PIL.Image.new("RGB", (40, 30), (9, 9, 9 + mark))
    about = PIL.Image.Exif()
    for tag in (0x010E, 0x013B, 0x9C9B, 0x8298):
        about[tag] = (
            payload.encode("utf-8", "replace") if tag == 0x9C9B else payload.encode("ascii", "replace").decode()
        )
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=about)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (390, "dark"),
        pytest.param(1200, "light", marks=pytest.mark.slow),
        pytest.param(390, "light", marks=pytest.mark.slow),
        pytest.param(1200, "dark", marks=pytest.mark.slow),
    ],
)
def test_accessibility_by_axe(with_photos, with_copies, visit, width, scheme) -> None:
    here = visit(viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce")
    assert_accessible(here.page, "home")
    here.type("red")
    here.page.click("#minus")
    here.type("blue")
    here.page.click("#filters-open")
    here.page.wait_for_selector("#filter-values option", state="attached")  # offered once the filters are open
    here.page.fill("#filter-value", "album 1")
    here.page.click("#filter-add")
    here.page.wait_for_selector("#photo-filters")
    here.page.locator("#years").get_by_role("button", name="2024").click()
    here.page.click("#timeline-open")
    here.page.wait_for_selector(".month")
    assert_accessible(here.page, "search")
    here.page.click("#timeline-open")
    here.page.locator("#years").get_by_role("button", name="2024").click()
    here.page.wait_for_selector("#results .card")
    here.page.locator(".card .open").first.click()
    here.page.wait_for_selector("#viewer .similar .open")
    assert_accessible(here.page, "viewer", within="#viewer")
    here.page.keyboard.press("Escape")
    here.page.keyboard.press("?")
    assert_accessible(here.page, "keys", within="#keys")
    here.page.keyboard.press("Escape")
    here.page.keyboard.press("Space")
    assert_accessible(here.page, "selected")
    here.page.click("#view-map")
    here.page.wait_for_timeout(600)
    assert_accessible(here.page, "map")
    here.page.select_option("#library", "one")
    here.page.click("#view-copies")
    here.until("document.querySelectorAll('#copies > li').length === 2", seconds=60)
    here.page.click("#copies-all")
    assert_accessible(here.page, "copies")
    here.page.goto(here.url + "/docs")
    here.page.wait_for_selector("html[data-ready]")
    here.page.locator("details").nth(1).evaluate("(one) => { one.open = true; }")
    assert_accessible(here.page, "docs")


def test_the_theme_can_be_switched_and_is_remembered(visit) -> None:
    here = visit(color_scheme="light")
    here.page.click("#theme")
    assert here.page.evaluate("document.documentElement.dataset.theme") == "dark"
    here.open()
    assert here.page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
