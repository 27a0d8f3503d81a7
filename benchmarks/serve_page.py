"""How soon the page can be used, and how smoothly its map moves, in real Chromium.

    python benchmarks/serve_page.py LIBRARY [--chromium /usr/bin/chromium]

Prints the time from opening the page to the results of a first search (target 1 s, warm server), and the frames
a second while the map of all pictures is dragged and zoomed for five seconds (target 30; make a library of
100,000 with serve_load.py --keep). Without a GPU, Chromium draws in software.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from serve_load import start_server

ARGUMENTS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--enable-unsafe-swiftshader"]  # fmt: skip
DRIVE = """async () => {
    const map = window.diptych.map, canvas = map.canvas;
    const start = performance.now(); let frames = 0;
    while (performance.now() - start < 5000) {
        const t = (performance.now() - start) / 1000;
        map.look(0.4 * Math.sin(2 * t), 0.4 * Math.cos(2 * t), 1 + 0.6 * Math.sin(3 * t));
        await new Promise(requestAnimationFrame); frames += 1;
    }
    return frames / ((performance.now() - start) / 1000);
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    process, address = start_server(options.library)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=options.chromium, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1280, "height": 850})
            page.goto(address)  # the browser warms up too
            page.wait_for_selector("html[data-ready]")
            started = time.perf_counter()
            page.goto(f"{address}/?again#q=a+dog+in+the+snow")
            page.wait_for_selector("#results .card")
            page.wait_for_selector("html[data-ready]")
            first = time.perf_counter() - started
            page.click("#view-map")
            page.wait_for_timeout(2500)
            rate, count = page.evaluate(DRIVE), page.evaluate("window.diptych.map.data.count")
            browser.close()
    finally:
        process.terminate()
        process.wait()
    print(f"{'ok  ' if first <= 1 else 'MISS'} first search {first:.2f} s after opening (target 1 s)")
    print(f"{'ok  ' if rate >= 30 else 'MISS'} map of {count:,} points: {rate:.0f} frames/s (target 30)")


if __name__ == "__main__":
    main()
