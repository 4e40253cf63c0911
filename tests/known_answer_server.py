"""A server whose every delay is programmed, and an event loop whose clock jumps: what a load run must report is known.

The same protocol object answers over real sockets (``python tests/known_answer_server.py``: the benchmark's mock) and
inside one process over pipes without latency, under ``VirtualLoop``, where a nanosecond is a nanosecond.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import json
import selectors
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from llmsizer.profile.load.wire import Connection

SERVED_MODEL = "known-answers"
WORD = " time"


@dataclass(frozen=True, kw_only=True)
class Programme:
    """When each chunk of an answer comes, counted from the arrival of the request, and what breaks."""

    chunk_seconds: tuple[float, ...]
    tokens_per_chunk: int = 1
    breaks: str = ""  # "die", "stall", "malformed", "error event", or an HTTP status such as "503"


def steady(ttft_seconds: float, tpot_seconds: float, tokens: int, **options: Any) -> Programme:
    """A first token, then one after each gap."""
    return Programme(chunk_seconds=tuple(ttft_seconds + i * tpot_seconds for i in range(tokens)), **options)


Plan = Callable[[int, dict[str, Any]], Programme]
"""From the number of a request, in order of arrival, and its body to its programme."""


@dataclass
class KnownAnswers:
    """The state of a server: what it answers, and what it was asked."""

    plan: Plan
    queue_slots: int | None = None  # requests served at once; the others wait their turn
    key: str | None = None
    counts_tokens: bool = True
    refuses: tuple[str, ...] = ()  # keys of a request that it rejects with 400
    context_tokens: int = 100_000
    tells_context: bool = True
    bodies: list[dict[str, Any]] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    served: int = 0
    running: int = 0
    waiting: list[Callable[[], None]] = field(default_factory=list)

    def enter(self, begin: Callable[[], None]) -> None:
        if self.queue_slots is None or self.running < self.queue_slots:
            self.running += 1
            begin()
        else:
            self.waiting.append(begin)

    def leave(self) -> None:
        if self.waiting:
            self.waiting.pop(0)()
        else:
            self.running -= 1


class Served(asyncio.Protocol):
    """One connection on the server's side."""

    def __init__(self, answers: KnownAnswers) -> None:
        self.answers = answers
        self.buffer = b""
        self.transport: Any = None
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"\x16\x03"):  # TLS: what servers that speak none answer
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()
            return
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, rest = self.buffer.partition(b"\r\n\r\n")
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if len(rest) < length:
                return
            body, self.buffer = rest[:length], rest[length:]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        answers = self.answers
        if answers.key is not None and b"Bearer " + answers.key.encode() not in head:
            return self.plain(401, {"error": {"message": "no such key"}})
        if head.startswith(b"GET /v1/models"):
            context = {"max_model_len": answers.context_tokens} if answers.tells_context else {}
            return self.plain(200, {"data": [{"id": SERVED_MODEL, **context}]})
        if not head.startswith(b"POST /v1/c"):
            return self.plain(404, {"error": "no such path"})
        request = json.loads(body)
        if any(key in request for key in answers.refuses):
            return self.plain(400, {"error": f"unknown key {answers.refuses[0]}"})
        if request["model"] != SERVED_MODEL:
            return self.plain(404, {"error": f"no model {request['model']}"})
        if prompt_words(request) + request["max_tokens"] > answers.context_tokens:
            return self.plain(400, {"error": f"the context holds {answers.context_tokens} tokens"})
        programme = answers.plan(len(answers.bodies), request)
        answers.bodies.append(request)
        answers.arrivals.append(self.loop.time())
        if programme.breaks.isdigit():
            return self.plain(int(programme.breaks), {"error": "as programmed"})
        if programme.breaks == "not streaming":
            return self.plain(200, {"choices": [{"text": "all at once"}]})
        answers.enter(lambda: self.stream(request, programme))
        return None

    def plain(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.transport.write(
            b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
            + body
        )

    def stream(self, request: dict[str, Any], programme: Programme) -> None:
        begun = self.loop.time()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for number, seconds in enumerate(programme.chunk_seconds):
            self.loop.call_at(begun + seconds, self.chunk, request, programme, number)

    def chunk(self, request: dict[str, Any], programme: Programme, number: int) -> None:
        middle = number == len(programme.chunk_seconds) // 2
        if middle and programme.breaks == "die":
            self.transport.close()
        if self.transport.is_closing():
            if number == len(programme.chunk_seconds) - 1:
                self.answers.leave()
            return
        if programme.breaks == "stall" and number >= len(programme.chunk_seconds) // 2:
            return
        if middle and programme.breaks == "malformed":
            self.event(b"{this is no json")
        if middle and programme.breaks == "error event":
            self.event(json.dumps({"error": {"message": "out of memory on the device"}}).encode())
        text = WORD * programme.tokens_per_chunk
        if "messages" in request:
            choice: dict[str, Any] = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        else:
            choice = {"index": 0, "text": text, "finish_reason": None}
        last = number == len(programme.chunk_seconds) - 1
        if last:
            choice["finish_reason"] = "length"
        self.event(json.dumps({"id": "x", "model": SERVED_MODEL, "choices": [choice]}).encode(), end=False)
        if last:
            self.finish(request, programme)

    def finish(self, request: dict[str, Any], programme: Programme) -> None:
        if self.answers.counts_tokens and request.get("stream_options", {}).get("include_usage"):
            usage = {
                "prompt_tokens": prompt_words(request),
                "completion_tokens": len(programme.chunk_seconds) * programme.tokens_per_chunk,
            }
            self.event(json.dumps({"id": "x", "choices": [], "usage": usage}).encode())
        self.event(b"[DONE]")
        self.transport.write(b"0\r\n\r\n")
        self.answers.served += 1
        self.answers.leave()

    def event(self, data: bytes, *, end: bool = True) -> None:
        event = b"data: " + data + b"\n\n"
        self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))

    def eof_received(self) -> bool:
        return False


def prompt_words(request: dict[str, Any]) -> int:
    """One token a word, and one for the begin of text."""
    said = request.get("prompt") or " ".join(message["content"] for message in request["messages"])
    return len(said.split()) + 1


# --- one process, no sockets, a clock that jumps -------------------------------------------------------------------


class Pipe(asyncio.Transport):
    """What is written here is read there, at the same instant and in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.reader: Any = None
        self.other: Pipe | None = None
        self.closed = False

    def write(self, data: Any) -> None:
        if not self.closed:
            self.loop.call_soon(self.other_reads, bytes(data))

    def other_reads(self, data: bytes) -> None:
        assert self.other is not None
        if not self.other.closed:
            self.other.reader.data_received(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        for side in (self, self.other):
            if side is not None and not side.closed:
                side.closed = True
                self.loop.call_soon(side.reader.connection_lost, None)

    abort = close


def connector(answers: KnownAnswers) -> Callable[[Callable[[], Connection]], Any]:
    """What a Client takes as ``connect``."""

    async def connect(make: Callable[[], Connection]) -> Connection:
        loop = asyncio.get_running_loop()
        here, there = Pipe(loop), Pipe(loop)
        here.other, there.other = there, here
        client, server = make(), Served(answers)
        here.reader, there.reader = client, server
        server.connection_made(there)
        client.connection_made(here)
        return client

    return connect


class _NoWaiting(selectors.SelectSelector):
    """Instead of waiting, the clock goes on."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("nothing is scheduled and nobody will come: the test would hang")
        if timeout > 0:
            self.loop.jump()
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which time passes only by waiting for it, and then at once."""

    def __init__(self) -> None:
        self.now = 1000.0
        selector = _NoWaiting()
        super().__init__(selector)
        selector.loop = self
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.now

    def jump(self) -> None:
        self.now = max(self.now, heapq.nsmallest(1, self._scheduled)[0].when())  # type: ignore[attr-defined]

    def clock_ns(self) -> int:
        return round(self.now * 1e9)


def run_virtual(make: Callable[[VirtualLoop], Any]) -> Any:
    """Run a coroutine, made for its loop, to its end."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(make(loop))
    finally:
        loop.close()


# --- real sockets --------------------------------------------------------------------------------------------------


async def serve(answers: KnownAnswers, port: int = 0, **options: Any) -> tuple[asyncio.Server, int]:
    """Listen on loopback; the port that was given by the system."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Served(answers), "127.0.0.1", port, backlog=4096, **options)
    return server, server.sockets[0].getsockname()[1]


@contextlib.contextmanager
def serving(answers: KnownAnswers, *, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address of a server on a thread of its own, which has let go of every socket when the block ends."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # clients of these tests hang up as they like
    server, port = loop.run_until_complete(serve(answers, ssl=tls))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_end(server))
        loop.close()


async def _end(server: asyncio.Server) -> None:
    """Whatever the loop still holds when it is stopped: connections half accepted, open, or about to be closed."""
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for transport in list(asyncio.get_running_loop()._transports.values()):  # type: ignore[attr-defined]
        transport.abort()
    for _ in range(3):  # what TLS lies over is told in the turn after, and lets go of its socket in the next
        await asyncio.sleep(0)


def wait_for_nothing() -> None:  # pragma: no cover - run by hand
    """A server for trying things: 50 ms to the first token, 10 ms between tokens, as many as asked."""

    def plan(number: int, request: dict[str, Any]) -> Programme:
        return steady(0.05, 0.01, request["max_tokens"])

    async def main() -> None:
        server, port = await serve(KnownAnswers(plan), int(sys.argv[1]) if len(sys.argv) > 1 else 0)
        sys.stdout.write(f"http://127.0.0.1:{port}\n")
        sys.stdout.flush()
        await server.serve_forever()

    asyncio.run(main())


if __name__ == "__main__":
    wait_for_nothing()
