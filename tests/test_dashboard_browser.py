"""The dashboard in a real browser: the main path of each of its three users, in light and dark, wide and narrow.

Needs Playwright and the system's Chromium; without either the file is skipped. Screenshots lie in pytest's temporary
folder, to be looked at.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("streamlit")
pytest.importorskip("plotly")
playwright_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if shutil.which(path)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no system Chromium: apt-get install chromium")

SERVER = Path(__file__).parent.parent / "dashboards" / "server.py"
EXAMPLE = SERVER.parent / "example"
PATIENCE_MS = 240_000
PORTS_TRIED = 3
POLLING_MS = 200  # rather than at every frame, which a machine without a GPU has to draw
ANSWER = "[data-testid=stMain] [data-testid=stHeading], [data-testid=stException]"
NOT_RUNNING = '[data-testid=stApp][data-test-script-state="notRunning"]'
CHART = ".js-plotly-plot .main-svg"
MOST_TABS = 90
WITHIN = "document.documentElement.scrollWidth <= window.innerWidth"
SIZES = {"wide": (1440, 900), "narrow": (390, 844)}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dashboard of its own on loopback, with the example as its records."""
    folder = tmp_path_factory.mktemp("records")
    shutil.copytree(EXAMPLE, folder / "run")
    environment = {**os.environ, "LLMSIZER_OUTPUT": str(folder), "LLMSIZER_LANGUAGE": "en"}
    with (folder / "server.log").open("w") as log, contextlib.ExitStack() as started:
        for _ in range(PORTS_TRIED):  # another process may take a free port before the server does
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            command = [sys.executable, "-m", "streamlit", "run", str(SERVER), "--server.port", str(port)]
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            started.callback(_end, process)
            if _is_healthy(f"http://127.0.0.1:{port}/_stcore/health", process):
                yield f"http://127.0.0.1:{port}"
                return
        pytest.fail(f"the dashboard's server did not start:\n{(folder / 'server.log').read_text()[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE_MS / 1000)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _is_healthy(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether it answers before patience ends; False at once where it has ended."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_MS / 1000) as reply:
                if reply.read() == b"ok":
                    return True
        except urllib.error.HTTPError as busy:
            busy.close()  # it answers, and is not ready: the answer is closed like any other
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(POLLING_MS / 1000)
    return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One profile of the system's browser."""
    with playwright_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=PATIENCE_MS)
        context = found.new_context(accept_downloads=True, reduced_motion="reduce")
        context.set_default_timeout(PATIENCE_MS)
        yield context
        found.close()


@dataclass
class Reader:
    """Somebody at a browser window, and what its console complained about."""

    page: Any
    folder: Path  # of pictures
    errors: list[str] = field(default_factory=list)

    def opens(self, url: str) -> None:
        self.page.goto(url)
        self.waits()

    def waits(self) -> None:
        self.page.wait_for_selector(ANSWER, timeout=PATIENCE_MS)
        self.page.wait_for_selector(NOT_RUNNING, timeout=PATIENCE_MS)
        assert self.page.locator("[data-testid=stException]").count() == 0

    def reaches_by_keyboard(self, key: str) -> None:
        """Tab until the field has the focus."""
        here = f"document.activeElement.tagName === 'INPUT' && !!document.activeElement.closest('.st-key-{key}')"
        for _ in range(MOST_TABS):
            self.page.keyboard.press("Tab")
            if self.page.evaluate(here):
                return
        pytest.fail(f"{MOST_TABS} tabs do not reach {key}")

    def link(self) -> str:
        return str(self.page.locator("[data-testid=stMain] [data-testid=stCode]").last.inner_text()).strip()

    def answer(self) -> str:
        return str(self.page.locator(ANSWER).first.inner_text())

    def saves(self, label: str, folder: Path) -> Path:
        with self.page.expect_download(timeout=PATIENCE_MS) as waiting:
            self.page.get_by_role("button", name=label, exact=True).click()
        target = folder / waiting.value.suggested_filename
        waiting.value.save_as(target)
        return target

    def is_seen(self, size: str, scheme: str) -> None:
        width, height = SIZES[size]
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.emulate_media(color_scheme=scheme)

    def is_well(self, size: str, scheme: str) -> None:
        """Seen so, nothing is wider than the window and the console has said nothing."""
        self.is_seen(size, scheme)
        self.page.wait_for_function(WITHIN, timeout=PATIENCE_MS, polling=POLLING_MS)
        name = urlsplit(self.page.url).path.strip("/") or "decide"
        self.page.screenshot(path=self.folder / f"{name}-{size}-{scheme}.png")
        assert self.errors == []


@pytest.fixture
def reader(browser: Any, tmp_path: Path) -> Iterator[Reader]:
    """A window of one browser, so that what one test has loaded the next one has."""
    someone = Reader(browser.new_page(), tmp_path)
    someone.page.on("console", lambda said: someone.errors.append(said.text) if said.type == "error" else None)
    someone.page.on("pageerror", lambda error: someone.errors.append(str(error)))
    someone.is_seen("wide", "light")
    yield someone
    someone.page.close()


def test_a_buyer_asks_by_keyboard_takes_the_pack_and_the_link_asks_again(
    reader: Reader, address: str, tmp_path: Path
) -> None:
    reader.opens(address)
    usual = reader.answer()
    reader.reaches_by_keyboard("volume")
    reader.page.keyboard.press("Control+a")
    reader.page.keyboard.type("90000")
    reader.page.keyboard.press("Enter")
    reader.page.wait_for_function("location.search.includes('volume=90000')", timeout=PATIENCE_MS, polling=POLLING_MS)
    reader.page.wait_for_function(
        # While the page is drawn anew there is no answer for a moment.
        f"(document.querySelector('{ANSWER}')?.innerText ?? {usual!r}) !== {usual!r}",
        timeout=PATIENCE_MS,
        polling=POLLING_MS,
    )
    reader.waits()
    changed = reader.answer()
    assert "$" in changed
    with zipfile.ZipFile(reader.saves("Decision pack", tmp_path)) as pack:
        assert pack.read("llmsizer-pack/report.html").startswith(b"<!doctype html>")
    link = reader.link()
    assert link == f"{address}/?volume=90000"
    reader.is_well("wide", "light")
    reader.is_well("wide", "dark")
    reader.is_seen("narrow", "light")
    reader.opens(link)
    assert reader.answer() == changed
    reader.is_well("narrow", "light")
    reader.is_well("narrow", "dark")


def test_an_engineer_opens_precision_and_memory_by_their_own_address(reader: Reader, address: str) -> None:
    reader.opens(f"{address}/precision?model=llama-3.1-8b")
    reader.page.wait_for_selector(CHART, timeout=PATIENCE_MS)
    reader.is_well("wide", "light")
    reader.is_well("narrow", "dark")
    reader.opens(f"{address}/memory?model=llama-3.1-8b")
    reader.page.wait_for_selector(CHART, timeout=PATIENCE_MS)
    assert reader.link() == f"{address}/memory?model=llama-3.1-8b"
    reader.is_well("narrow", "dark")
    reader.is_well("wide", "light")


def test_an_analyst_compares_the_paths_and_takes_the_workbook_in_italian(
    reader: Reader, address: str, tmp_path: Path
) -> None:
    reader.opens(f"{address}/build_vs_buy?volume=90000&language=it")
    reader.page.wait_for_selector(CHART, timeout=PATIENCE_MS)
    assert reader.saves("Foglio di calcolo", tmp_path).read_bytes()[:2] == b"PK"
    reader.is_well("wide", "light")
    reader.is_well("narrow", "dark")
