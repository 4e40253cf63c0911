"""Engines that serve HTTP: start them, wait until they answer, stream completions from them, end them for certain."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmsizer.errors import MeasurementError, MissingExtraError
from llmsizer.installed import optional
from llmsizer.profile.measure import Tokens

HOST = "127.0.0.1"
READY_SECONDS = 540.0  # below the time limit of the child that loads an engine
GRACE_SECONDS = 10.0
POLL_SECONDS = 0.05
ANSWER_SECONDS = 300.0  # of silence in a stream
PORTS_TRIED = 3
TAKEN = (
    "address already in use",
    "address in use",
    "couldn't bind",
    "could not bind",
)  # as servers say it, lowered
Chunk = dict[str, Any]
CountTokens = Callable[[Chunk], int | None]


class PortTaken(MeasurementError):
    """Another process listens where the server was told to."""


def free_port() -> int:
    """A port that nobody held a moment ago."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


class Server:
    """One server process behind a leash, its log in a file of its own. Ends with this object or with this process."""

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        *,
        what: str,
        health: str = "/health",
        ready_seconds: float = READY_SECONDS,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port, self._what = port, what
        self._log = tempfile.NamedTemporaryFile(prefix="llmsizer-server-", suffix=".log")  # noqa: SIM115
        start = time.monotonic()
        self._leash = subprocess.Popen(
            [sys.executable, "-m", "llmsizer.profile.engines.leash", str(GRACE_SECONDS), *command],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        try:
            self._wait_until_healthy(health, start + ready_seconds)
        except BaseException:
            self.close()
            raise
        self.ready_seconds = time.monotonic() - start

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def log(self) -> str:
        """What the server has printed so far."""
        return Path(self._log.name).read_text(errors="replace")

    def process_ids(self) -> tuple[int, ...]:
        """The server and all that it started; empty where psutil is missing."""
        try:
            psutil = optional("psutil", what="memory of a server", extra="profile")
        except MissingExtraError:
            return ()
        try:
            return tuple(child.pid for child in psutil.Process(self._leash.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return ()

    def get(self, path: str, *, timeout_seconds: float = 10.0) -> Any:
        """The JSON that a path answers with. Raises MeasurementError."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout_seconds)
        try:
            connection.request("GET", path)
            with connection.getresponse() as answer:
                body = answer.read()
            if answer.status != 200:
                raise MeasurementError(f"{self._what}: {path} answered {answer.status}")
            return json.loads(body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise MeasurementError(f"{self._what}: {path} gave no usable answer ({error})") from None
        finally:
            connection.close()

    def _wait_until_healthy(self, health: str, deadline: float) -> None:
        while time.monotonic() < deadline:
            if self._leash.poll() is not None:
                log = self.log()
                kind = PortTaken if any(words in log.lower() for words in TAKEN) else MeasurementError
                raise kind(f"{self._what} ended while starting: {last_complaint(log)}")
            if self._answers(health):
                return
            time.sleep(POLL_SECONDS)
        raise MeasurementError(f"{self._what} did not get ready in time; last line: {last_complaint(self.log())}")

    def _answers(self, health: str) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=2.0)
        try:
            connection.request("GET", health)
            with connection.getresponse() as answer:  # where the server closes, the socket is the answer's to close
                return bool(answer.status == 200)
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def close(self) -> None:
        """End the server and everything it started; returns when they are gone."""
        if self._leash.stdin is not None:
            with contextlib.suppress(OSError):
                self._leash.stdin.close()
        try:
            self._leash.wait(GRACE_SECONDS + 5.0)
        except subprocess.TimeoutExpired:
            self._leash.kill()
            self._leash.wait()
        self._log.close()


def start_server(command: Callable[[int], Sequence[str]], *, what: str, **options: Any) -> Server:
    """A server on a port that is free: asked for anew where another process took it before the server did."""
    for left in reversed(range(PORTS_TRIED)):
        port = free_port()
        try:
            return Server(command(port), port, what=what, **options)
        except PortTaken:
            if not left:
                raise
    raise AssertionError("unreachable")


def last_complaint(log: str) -> str:
    """The line of a log that most likely says why: the last with an error in it, else the last."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line or "ERROR" in line]
    return (errors or lines or ["it printed nothing"])[-1][:240]


def stream_steps(
    port: int, path: str, bodies: Sequence[Mapping[str, Any]], output_tokens: int, count: CountTokens
) -> Iterator[None]:
    """Send all requests at once; yields when every one has its first token, then its second, and so on.

    ``count`` reads the number of tokens so far from a chunk; where it says None, a chunk counts as one token.
    """
    events: queue.SimpleQueue[tuple[int, int | Exception | None]] = queue.SimpleQueue()
    connections = [http.client.HTTPConnection(HOST, port, timeout=ANSWER_SECONDS) for _ in bodies]
    for index, (connection, body) in enumerate(zip(connections, bodies, strict=True)):
        arguments = (connection, path, dict(body), count, index, events)
        threading.Thread(target=_read_stream, args=arguments, daemon=True).start()
    try:
        yield from _together(events, len(bodies), output_tokens)
    finally:
        for connection in connections:
            connection.close()


def _together(events: Any, requests: int, output_tokens: int) -> Iterator[None]:
    counts = [0] * requests
    running, made = requests, 0
    while running:
        index, event = events.get()
        if isinstance(event, Exception):
            raise event
        if event is None:
            running -= 1
            continue
        counts[index] = event
        while made < min(counts):
            made += 1
            yield
    if made != output_tokens:
        raise MeasurementError(f"the server made {made} tokens a request, not the {output_tokens} asked for")


def _read_stream(
    connection: http.client.HTTPConnection, path: str, body: dict[str, Any], count: CountTokens, index: int, events: Any
) -> None:
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        made = 0
        with connection.getresponse() as answer:
            if answer.status != 200:
                text = answer.read().decode(errors="replace")
                raise MeasurementError(f"the server answered {answer.status}: {text[:200]}")
            for chunk in chunks(answer):
                counted = count(chunk)
                made = made + 1 if counted is None else counted
                if made:
                    events.put((index, made))
        events.put((index, None))
    except MeasurementError as error:
        events.put((index, error))
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        events.put((index, MeasurementError(f"the stream broke: {type(error).__name__}: {error}")))
    finally:
        connection.close()  # it may have been opened after whoever asked had given up and closed it


def chunks(lines: Any) -> Iterator[Chunk]:
    """The JSON objects of a stream of server-sent events, up to its end mark."""
    for line in lines:
        text = line.strip()
        if not text.startswith(b"data:"):
            continue
        content = text[5:].strip()
        if content == b"[DONE]":
            return
        chunk = json.loads(content)
        if "error" in chunk:
            raise MeasurementError(f"the server reports: {str(chunk['error'])[:200]}")
        yield chunk


def token_lists(prompts: Tokens) -> list[list[int]]:
    return [[int(token) for token in row] for row in prompts]
