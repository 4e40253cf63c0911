"""A server that is only fast: known delays, one timer for all streams, and the time of writing inside every token.

It runs in a process of its own. ``GET /stats`` tells what it did since the last call: how late its writes were against
the programme, and what share of a core it used; a load generator can be no better judged than that.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import sys
import time
from typing import Any

MODEL = "mock"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


COMPLETION = b'data: {"id":"c","object":"text_completion","created":1,"model":"mock","choices":[{"index":0,"text":" %019d","finish_reason":null}]}\n\n'  # noqa: E501
CHAT = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"mock","choices":[{"index":0,"delta":{"content":" %019d"},"finish_reason":null}]}\n\n'  # noqa: E501


class Mock:
    """All streams, by when their next token is due."""

    def __init__(self, ttft_seconds: float, tpot_seconds: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.ttft_ns, self.tpot_ns = round(ttft_seconds * 1e9), round(tpot_seconds * 1e9)
        self.due: list[tuple[int, int, Stream]] = []
        self.number = 0
        self.timer: asyncio.TimerHandle | None = None
        self.reset()

    def reset(self) -> None:
        self.late_ns: list[int] = []
        self.first_late_ns: list[int] = []
        self.requests = self.chunks = 0
        self.cpu, self.wall = time.process_time(), time.monotonic()

    def add(self, at: int, stream: Stream) -> None:
        self.number += 1
        heapq.heappush(self.due, (at, self.number, stream))
        if self.due[0][2] is stream:
            self.arm()

    def arm(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None
        if self.due:
            left = max(0.0, (self.due[0][0] - time.monotonic_ns()) / 1e9)
            self.timer = self.loop.call_later(left, self.tick)

    def tick(self) -> None:
        self.timer = None
        while self.due and self.due[0][0] <= time.monotonic_ns():
            at, _, stream = heapq.heappop(self.due)
            stream.write_token(at)
            if stream.left:
                self.number += 1
                heapq.heappush(self.due, (at + self.tpot_ns, self.number, stream))
        self.arm()

    def stats(self) -> dict[str, Any]:
        def ms(values: list[int], share: float) -> float | None:
            return sorted(values)[min(len(values) - 1, int(share * len(values)))] / 1e6 if values else None

        wall = time.monotonic() - self.wall
        found = {
            "requests": self.requests,
            "chunks": self.chunks,
            "chunks_per_second": self.chunks / wall,
            "core_share": (time.process_time() - self.cpu) / wall,
            "late_ms_p50": ms(self.late_ns, 0.5),
            "late_ms_p99": ms(self.late_ns, 0.99),
            "first_late_ms_p50": ms(self.first_late_ns, 0.5),
            "first_late_ms_p99": ms(self.first_late_ns, 0.99),
        }
        self.reset()
        return found


class Stream(asyncio.Protocol):
    """One connection."""

    def __init__(self, mock: Mock) -> None:
        self.mock, self.buffer, self.left, self.asked = mock, b"", 0, 0
        self.template, self.prompt_words, self.first = COMPLETION, 0, False
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.left = 0

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, rest = self.buffer.partition(b"\r\n\r\n")
            lowered = head.lower()
            length = 0
            if b"content-length:" in lowered:
                length = int(lowered.split(b"content-length:")[1].split(b"\r\n")[0])
            if len(rest) < length:
                return
            body, self.buffer = rest[:length], rest[length:]
            self.answer(head, body, now)

    def answer(self, head: bytes, body: bytes, now: int) -> None:
        if head.startswith(b"GET /stats"):
            return self.plain(self.mock.stats())
        if not head.startswith(b"POST /v1/"):
            return self.plain({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        request = json.loads(body)
        self.asked = self.left = int(request.get("max_tokens") or request.get("max_completion_tokens") or 16)
        self.template = CHAT if b"/chat/" in head[:40] else COMPLETION
        self.first = True
        self.transport.write(HEAD)
        self.mock.requests += 1
        self.mock.add(now + self.mock.ttft_ns, self)
        return None

    def plain(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    def write_token(self, due: int) -> None:
        if self.left <= 0:
            return
        mock, now = self.mock, time.monotonic_ns()
        mock.late_ns.append(now - due)
        if self.first:
            mock.first_late_ns.append(now - due)
            self.first = False
        mock.chunks += 1
        self.left -= 1
        data = chunk(self.template % now)
        if not self.left:
            counts = f'"prompt_tokens":16,"completion_tokens":{self.asked},"total_tokens":{self.asked + 16}'
            usage = (
                b'data: {"id":"c","object":"text_completion","created":1,"model":"mock","choices":[],"usage":{%b}}\n\n'
            )
            data += chunk(usage % counts.encode()) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
        self.transport.write(data)


async def serve(ttft_seconds: float, tpot_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    mock = Mock(ttft_seconds, tpot_seconds)
    server = await loop.create_server(lambda: Stream(mock), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    # Not uvloop: it gathers writes until the end of a turn, and the time inside a token would be of before that.
    asyncio.run(serve(float(sys.argv[1]), float(sys.argv[2])))
