"""How long the dashboard takes: from its start to the first answer, each input's change, each page, 50 sessions.

    python benchmarks/dashboard.py [--json FILE] [--port N] [--sessions N]

The pages are opened in the system's Chromium through Playwright (`pip install playwright`, no browser is downloaded);
without either only the sessions are measured. Beside each time on the clock stands the processor time that the server
took for it: on a busy machine that says more. A session speaks Streamlit's own protocol over a websocket: it asks a
question, changes the volume, and is in error when an exception reaches it. Every change asks something new.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import connect

BARS = {"first_answer_seconds": 2.0, "input_change_seconds": 1.0, "sessions": 50}
SERVER = Path(__file__).parent.parent / "dashboards" / "server.py"
PAGES = ("", "precision", "memory", "load", "build_vs_buy", "profiles", "evidence")
CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage"]
REPEATS = 3
PATIENCE_SECONDS = 180.0
# Notes when the page's script starts and ends: a run may be over before anybody asks.
WATCH = """() => {
  window.__ended = 0;
  const app = document.querySelector('[data-testid=stApp]');
  let before = app.getAttribute('data-test-script-state');
  new MutationObserver(() => {
    const now = app.getAttribute('data-test-script-state');
    if (now === 'notRunning' && before !== 'notRunning') window.__ended += 1;
    before = now;
  }).observe(app, {attributes: true});
}"""
ANSWER = "[data-testid=stMain] [data-testid=stHeading]"
NOT_RUNNING = '[data-testid=stApp][data-test-script-state="notRunning"]'


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    pid: int
    healthy_seconds: float  # until it said so

    def cpu_seconds(self) -> float:
        """Of all its threads so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def server(port: int) -> Iterator[Server]:
    """A fresh server, once it says that it is healthy."""
    command = [sys.executable, "-m", "streamlit", "run", str(SERVER), "--server.port", str(port)]
    before = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _is_healthy(port):
            if process.poll() is not None or time.perf_counter() - before > PATIENCE_SECONDS:
                sys.exit(f"the dashboard did not start on port {port}; is it taken?")
            time.sleep(0.05)
        yield Server(pid=process.pid, healthy_seconds=time.perf_counter() - before)
    finally:
        process.terminate()
        process.wait(20)


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as reply:
            return bool(reply.read() == b"ok")
    except (urllib.error.URLError, OSError):
        return False


# ---- in a browser


def chromium() -> str | None:
    return next((path for path in CHROMIUM if shutil.which(path)), None)


def first_answer(port: int, browser: Any, served: Server) -> tuple[float, float]:
    """Seconds from opening the page to reading the answer, by the clock and of the server's processor."""
    page = browser.new_page()
    before, cpu = time.perf_counter(), served.cpu_seconds()
    page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
    page.wait_for_selector(ANSWER, timeout=PATIENCE_SECONDS * 1000)
    seconds, cpu = time.perf_counter() - before, served.cpu_seconds() - cpu
    page.wait_for_selector(NOT_RUNNING, timeout=PATIENCE_SECONDS * 1000)
    page.close()
    return seconds, cpu


def changes(port: int, browser: Any, served: Server) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds from changing each input to the end of the page's script, by the clock and of the server's processor."""
    page = browser.new_page(viewport={"width": 1440, "height": 1400})
    page.goto(f"http://127.0.0.1:{port}/")
    page.wait_for_selector(ANSWER, timeout=PATIENCE_SECONDS * 1000)
    page.wait_for_selector(NOT_RUNNING, timeout=PATIENCE_SECONDS * 1000)
    page.get_by_text("Expert settings", exact=True).click()
    page.evaluate(WATCH)
    seconds: dict[str, float] = {}
    cpu: dict[str, float] = {}
    for name, value in (("volume", "250"), ("quality", "95"), ("horizon", "24"), ("spare", "2"), ("max_gpus", "4")):
        box = page.locator(f".st-key-{name} input")
        box.fill(value)
        before = served.cpu_seconds()
        seconds[name] = _until_ended(page, lambda box=box: box.press("Enter"))
        cpu[name] = served.cpu_seconds() - before
    for name, value in (("model", "llama-3.1-8b"), ("preset", "rag"), ("speed", "Relaxed"), ("place", "In the EU")):
        box = page.locator(f".st-key-{name} input")
        box.click()
        box.press_sequentially(value)
        before = served.cpu_seconds()
        seconds[name] = _until_ended(page, lambda box=box: box.press("Enter"))
        cpu[name] = served.cpu_seconds() - before
    page.close()
    return seconds, cpu


def _until_ended(page: Any, act: Any) -> float:
    ended = page.evaluate("window.__ended")
    before = time.perf_counter()
    act()
    page.wait_for_function(f"window.__ended > {ended}", timeout=PATIENCE_SECONDS * 1000, polling=20)
    return time.perf_counter() - before


def pages(port: int, browser: Any) -> dict[str, float]:
    """Seconds to open each page by its own address, to the end of its script."""
    seconds = {}
    for name in PAGES:
        page = browser.new_page(viewport={"width": 1440, "height": 1400})
        before = time.perf_counter()
        page.goto(f"http://127.0.0.1:{port}/{name}")
        page.wait_for_selector(ANSWER, timeout=PATIENCE_SECONDS * 1000)
        page.wait_for_selector(NOT_RUNNING, timeout=PATIENCE_SECONDS * 1000)
        seconds[name or "decide"] = time.perf_counter() - before
        page.close()
    return seconds


def in_a_browser(port: int) -> dict[str, Any]:
    """Every figure that needs a browser; why there is none where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {"left_out": "playwright is not installed: pip install playwright"}
    path = chromium()
    if path is None:
        return {"left_out": f"no browser at {' or '.join(CHROMIUM)}: apt-get install chromium"}
    with sync_playwright() as playwright:
        found: dict[str, Any] = {"health_seconds": [], "first_answer_seconds": [], "first_answer_cpu_seconds": []}
        for _ in range(REPEATS):
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
            browser.new_page().goto("about:blank")  # the browser's own start is not the dashboard's
            with server(port) as served:
                found["health_seconds"].append(served.healthy_seconds)
                seconds, cpu = first_answer(port, browser, served)
                found["first_answer_seconds"].append(seconds)
                found["first_answer_cpu_seconds"].append(cpu)
            browser.close()
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        with server(port) as served:
            found["second_answer_seconds"] = [first_answer(port, browser, served)[0] for _ in range(REPEATS + 1)][1:]
            found["input_change_seconds"], found["input_change_cpu_seconds"] = changes(port, browser, served)
            found["page_seconds"] = pages(port, browser)
        browser.close()
    return found


# ---- many sessions


async def session(port: int, number: int) -> dict[str, Any]:
    """One reader: opens the page, then changes the volume; seconds of both and what went wrong."""
    try:
        async with connect(
            f"ws://127.0.0.1:{port}/_stcore/stream", subprotocols=["streamlit"], max_size=None, open_timeout=60
        ) as socket:
            before = time.perf_counter()
            await socket.send(_rerun({}))
            opened, errors = await _until_finished(socket)
            first = time.perf_counter() - before
            volume = next(name for name in opened if name.endswith("-volume"))
            before = time.perf_counter()
            await socket.send(_rerun({volume: 101.0 + number % 10}))
            _, more = await _until_finished(socket)
            return {"first": first, "change": time.perf_counter() - before, "errors": errors + more}
    except Exception as error:
        return {"first": None, "change": None, "errors": [f"{type(error).__name__}: {error}"]}


def _rerun(values: dict[str, float]) -> bytes:
    message = BackMsg()
    message.rerun_script.query_string = ""
    for name, value in values.items():
        state = message.rerun_script.widget_states.widgets.add()
        state.id, state.double_value = name, value
    return bytes(message.SerializeToString())


async def _until_finished(socket: Any) -> tuple[list[str], list[str]]:
    """The ids of number inputs that came, and the exceptions."""
    inputs: list[str] = []
    errors: list[str] = []
    while True:
        message = ForwardMsg()
        message.ParseFromString(await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS))
        kind = message.WhichOneof("type")
        if kind == "delta":
            element = message.delta.new_element
            if element.HasField("exception"):
                errors.append(f"{element.exception.type}: {element.exception.message}")
            if element.HasField("number_input"):
                inputs.append(element.number_input.id)
        elif kind == "script_finished" and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
            return inputs, errors
        elif kind == "session_event" and message.session_event.HasField("script_compilation_exception"):
            errors.append(message.session_event.script_compilation_exception.message)


async def _sessions(port: int, count: int) -> list[dict[str, Any]]:
    return await asyncio.gather(*(session(port, number) for number in range(count)))


def many(port: int, count: int) -> dict[str, Any]:
    """So many readers at once, each of whom changes the volume; ten volumes among them."""
    with server(port):
        before = time.perf_counter()
        found = asyncio.run(_sessions(port, count))
        wall = time.perf_counter() - before
    errors = [error for one in found for error in one["errors"]]
    firsts = sorted(one["first"] for one in found if one["first"] is not None)
    later = sorted(one["change"] for one in found if one["change"] is not None)
    return {
        "sessions": count,
        "answered": len(later),
        "errors": errors[:10],
        "error_count": len(errors),
        "wall_seconds": wall,
        "first_p50_seconds": statistics.median(firsts) if firsts else None,
        "first_max_seconds": firsts[-1] if firsts else None,
        "change_p50_seconds": statistics.median(later) if later else None,
        "change_max_seconds": later[-1] if later else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--port", type=int, default=8599)
    parser.add_argument("--sessions", type=int, default=BARS["sessions"])
    parser.add_argument("--only-sessions", action="store_true")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    seen = {"left_out": "not asked for"} if options.only_sessions else in_a_browser(options.port)
    result = {
        "cores": os.cpu_count(),
        "load_average": load,
        "bars": BARS,
        "browser": seen,
        "sessions": many(options.port, options.sessions),
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
