"""The dashboard in a real browser: the main path of each of its three users, in light and dark, wide and narrow.

Needs Playwright and the system's Chromium; without either the file is skipped. Screenshots lie in pytest's temporary
folder, to be looked at.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit")
pytest.importorskip("plotly")
playwright_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if shutil.which(path)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no system Chromium: apt-get install chromium")

SERVER = Path(__file__).parent.parent / "dashboards" / "server.py"
EXAMPLE = SERVER.parent / "example"
PATIENCE_MS = 60_000
ANSWER = "[data-testid=stMain] [data-testid=stHeading], [data-testid=stException]"
NOT_RUNNING = '[data-testid=stApp][data-test-script-state="notRunning"]'
SIZES = {"wide": (1440, 900), "narrow": (390, 844)}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dashboard of its own on loopback, with the example as its records."""
    folder = tmp_path_factory.mktemp("records")
    shutil.copytree(EXAMPLE, folder / "run")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(SERVER), "--server.port", str(port)]
    environment = {**os.environ, "LLMSIZER_OUTPUT": str(folder), "LLMSIZER_LANGUAGE": "en"}
    log = (folder / "server.log").open("w")
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        _wait_for_health(f"http://127.0.0.1:{port}/_stcore/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _wait_for_health(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as reply:
                if reply.read() == b"ok":
                    return
        except (urllib.error.URLError, OSError):
            pass
    pytest.fail(f"the dashboard's server did not start (exit status {process.poll()})")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield found
        found.close()


@dataclass
class Reader:
    """Somebody at a browser window, and what its console complained about."""

    page: Any
    errors: list[str] = field(default_factory=list)

    def opens(self, url: str) -> None:
        self.page.goto(url)
        self.waits()

    def waits(self) -> None:
        self.page.wait_for_selector(ANSWER, timeout=PATIENCE_MS)
        self.page.wait_for_selector(NOT_RUNNING, timeout=PATIENCE_MS)
        assert self.page.locator("[data-testid=stException]").count() == 0

    def sets(self, key: str, value: str) -> None:
        """Type into a number's field, and wait until the address holds what was typed."""
        box = self.page.locator(f".st-key-{key} input")
        box.fill(value)
        box.press("Enter")
        self.page.wait_for_function(f"location.search.includes('{key}={value}')", timeout=PATIENCE_MS)
        self.waits()

    def answer(self) -> str:
        return str(self.page.locator(ANSWER).first.inner_text())

    def saves(self, label: str, folder: Path) -> Path:
        with self.page.expect_download(timeout=PATIENCE_MS) as waiting:
            self.page.get_by_role("button", name=label, exact=True).click()
        target = folder / waiting.value.suggested_filename
        waiting.value.save_as(target)
        return target

    def is_well(self) -> None:
        assert self.errors == []
        assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.fixture(params=[("wide", "light"), ("narrow", "dark")], ids=lambda look: "-".join(look))
def reader(request: pytest.FixtureRequest, browser: Any, tmp_path: Path) -> Iterator[Reader]:
    size, scheme = request.param
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
    )
    someone = Reader(context.new_page())
    someone.page.on("console", lambda said: someone.errors.append(said.text) if said.type == "error" else None)
    someone.page.on("pageerror", lambda error: someone.errors.append(str(error)))
    yield someone
    someone.page.screenshot(path=tmp_path / f"{request.node.name}.png")
    context.close()


def _opens_the_question(reader: Reader) -> None:
    """On a narrow screen the side bar is folded away."""
    button = reader.page.get_by_test_id("stExpandSidebarButton")
    if button.count() and button.is_visible():
        button.click()


def _closes_the_question(reader: Reader) -> None:
    button = reader.page.get_by_test_id("stSidebarCollapseButton").locator("button")
    if reader.page.viewport_size["width"] < 800 and button.count():
        button.click()


def test_a_buyer_asks_reads_takes_the_pack_and_the_link_asks_again(
    reader: Reader, address: str, tmp_path: Path
) -> None:
    reader.opens(address)
    usual = reader.answer()
    _opens_the_question(reader)
    reader.sets("volume", "90000")
    _closes_the_question(reader)
    reader.page.wait_for_function(f"document.querySelector('{ANSWER}').innerText !== {usual!r}", timeout=PATIENCE_MS)
    changed = reader.answer()
    assert "$" in changed
    report = reader.saves("Report", tmp_path)
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")
    pack = reader.saves("Decision pack", tmp_path)
    assert pack.read_bytes()[:2] == b"PK"
    link = reader.page.locator("[data-testid=stMain] [data-testid=stCode]").inner_text().strip()
    assert link == f"{address}/?volume=90000"
    reader.opens(link)
    assert reader.answer() == changed
    reader.is_well()


def test_an_engineer_opens_measurements_and_memory_by_their_own_address(reader: Reader, address: str) -> None:
    reader.opens(f"{address}/precision")
    reader.page.wait_for_selector(".js-plotly-plot .main-svg", timeout=PATIENCE_MS)
    reader.opens(f"{address}/memory?volume=5000")
    assert "volume=5000" in reader.page.url
    reader.is_well()


def test_an_analyst_compares_the_paths_and_takes_the_workbook(reader: Reader, address: str, tmp_path: Path) -> None:
    reader.opens(f"{address}/build_vs_buy?volume=90000&language=en")
    reader.page.wait_for_selector(".js-plotly-plot .main-svg", timeout=PATIENCE_MS)
    assert "volume=90000" in reader.page.url
    reader.opens(f"{address}/?volume=90000&language=it")
    assert "Noleggia" in reader.answer() or "Compra" in reader.answer() or "API" in reader.answer()
    workbook = reader.saves("Foglio di calcolo", tmp_path)
    assert workbook.read_bytes()[:2] == b"PK"
    reader.is_well()


def test_the_answer_is_reached_and_changed_by_the_keyboard_alone(browser: Any, address: str) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    someone = Reader(page)
    someone.opens(address)
    for _ in range(90):
        page.keyboard.press("Tab")
        if (
            page.evaluate("document.activeElement.closest('.st-key-volume') !== null && document.activeElement.tagName")
            == "INPUT"
        ):
            break
    page.keyboard.press("Control+a")
    page.keyboard.type("300")
    page.keyboard.press("Enter")
    page.wait_for_function("location.search.includes('volume=300')", timeout=PATIENCE_MS)
    someone.waits()
    someone.is_well()
    page.close()
