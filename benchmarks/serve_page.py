"""How soon the page can be used, and how smoothly its map moves, in real Chromium.

    python benchmarks/serve_page.py LIBRARY [--chromium /usr/bin/chromium] [--seconds 5] [--screenshot FILE.png]

Prints the time from opening the page to the results of a first search (target 1 s, warm server; the median and the
slowest of `--rounds`), and the time between frames while the map of all images is dragged and zoomed for some
seconds (target 30 frames a second; make a library of 100,000 with many_items.py). Says what Chromium draws with.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright

from serve_load import start_server

ARGUMENTS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--enable-unsafe-swiftshader"]  # fmt: skip
DRIVE = """async (seconds) => {
    const map = window.diptych.map, start = performance.now(), between = [];
    let before = start;
    while (before - start < 1000 * seconds) {
        const t = (before - start) / 1000;
        map.look(0.4 * Math.sin(2 * t), 0.4 * Math.cos(2 * t), Math.exp(1 + 1.2 * Math.sin(1.3 * t)));
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        between.push(now - before);
        before = now;
    }
    const cost = [];
    for (let at = 0; at < 20; at++) {
        const from = performance.now();
        map.paint(from);
        cost.push(performance.now() - from);
    }
    return { between, cost, count: map.data.count, method: map.data.method };
}"""
RENDERER = """() => {
    const gl = document.createElement("canvas").getContext("webgl2");
    const told = gl?.getExtension("WEBGL_debug_renderer_info");
    return told ? gl.getParameter(told.UNMASKED_RENDERER_WEBGL) : "no WebGL";
}"""


def first_search(browser: Browser, address: str, query: str) -> float:
    """Seconds from opening the page to its first results, in a window that knows nothing yet."""
    context = browser.new_context(viewport={"width": 1280, "height": 850})
    page = context.new_page()
    started = time.perf_counter()
    page.goto(f"{address}/#q={query}", wait_until="commit")
    page.wait_for_selector("#results .card")
    seconds = time.perf_counter() - started
    context.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--screenshot", type=Path, help="keep an image of the map")
    options = parser.parse_args()
    process, address = start_server(options.library)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=options.chromium, args=ARGUMENTS)
            first_search(browser, address, "warm")  # the browser warms up too
            firsts = [first_search(browser, address, f"a+dog+in+the+snow+{turn}") for turn in range(options.rounds)]
            page = browser.new_page(viewport={"width": 1280, "height": 850})
            page.goto(f"{address}/#q=a+dog+in+the+snow&view=map")
            page.wait_for_selector("html[data-ready]", timeout=120_000)
            page.wait_for_timeout(1000)
            moved, renderer = page.evaluate(DRIVE, options.seconds), page.evaluate(RENDERER)
            if options.screenshot:
                page.evaluate("window.diptych.map.home()")
                page.wait_for_timeout(1000)
                page.screenshot(path=options.screenshot)
            browser.close()
    finally:
        process.terminate()
        process.wait()
    first = statistics.median(firsts)
    print(f"{'ok  ' if first <= 1 else 'MISS'} first search {first:.2f} s after opening, {max(firsts):.2f} s at most "
          f"(target 1 s)")  # fmt: skip
    between = np.array(moved["between"])
    rate, middle, slow = 1000 / between.mean(), np.percentile(between, 50), np.percentile(between, 95)
    print(f"{'ok  ' if rate >= 30 else 'MISS'} map of {moved['count']:,} points ({moved['method']}): {rate:.0f} "
          f"frames/s (target 30); {middle:.0f} ms between frames, p95 {slow:.0f} ms; painting takes "
          f"{statistics.median(moved['cost']):.1f} ms")  # fmt: skip
    print(f"     drawn by the processor into a 2D canvas; WebGL here would be {renderer}")


if __name__ == "__main__":
    main()
