"""How well the dashboard's words can be read: every text of every page against what lies under it, light and dark.

    python benchmarks/contrast.py [--json FILE] [--port N] [--pages decide,load,…]

WCAG 2 AA asks 4.5:1, and 3:1 of large words. The pages are opened in the system's Chromium through Playwright; colours
are those that the browser computes, with every layer under a word composed. Cells of heat maps are images; their
colours are held by `tests/test_chart_colours.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from dashboard import ANSWER, FLAGS, NOT_RUNNING, PAGES, PATIENCE_SECONDS, chromium, server

MEASURE = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
EXAMPLE = Path(__file__).parent.parent / "dashboards" / "example"
SCHEMES = ("light", "dark")
SETTLING_MS = 1500  # charts are drawn after the page's script has ended


def measured(port: int, browser: Any, name: str, scheme: str) -> dict[str, Any]:
    """The pairs of colours of one page, the worst first, and what the console complained of."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000}, color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"http://127.0.0.1:{port}/{name}")
    page.wait_for_selector(ANSWER, timeout=PATIENCE_SECONDS * 1000)
    page.wait_for_selector(NOT_RUNNING, timeout=PATIENCE_SECONDS * 1000)
    page.wait_for_timeout(SETTLING_MS)
    pairs = page.evaluate(MEASURE)
    page.close()
    low = [pair for pair in pairs if pair["ratio"] < pair["asked"]]
    return {"pairs": len(pairs), "least": pairs[0] if pairs else None, "too_low": low, "console_errors": said}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--port", type=int, default=8598)
    parser.add_argument("--pages", default=",".join(PAGES))
    options = parser.parse_args()
    path = chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit("contrast needs Playwright: pip install playwright")
    if path is None:
        sys.exit("contrast needs the system's Chromium: apt-get install chromium")
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        shutil.copytree(EXAMPLE, Path(folder) / "run")
        os.environ["LLMSIZER_OUTPUT"] = folder
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        with server(options.port):
            for name in options.pages.split(","):
                for scheme in SCHEMES:
                    found = measured(options.port, browser, name, scheme)
                    result[f"{name or 'decide'} {scheme}"] = found
                    least = found["least"] or {"ratio": 0.0, "words": ""}
                    low = len(found["too_low"])
                    print(f"{name or 'decide':14} {scheme:6} {found['pairs']:3} pairs, {low:2} too low, ", end="")
                    print(f"least {least['ratio']:.2f} ({least['words']!r}), {len(found['console_errors'])} errors")
        browser.close()
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
