"""What stands before both faces: who may ask, how much at once, how often, and under which name of this machine."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from llmsizer.errors import InputError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
LEAST_TOKEN_CHARACTERS = 16
CLIENTS_REMEMBERED = 10_000
OPEN_PATHS = ("/health",)
_REFUSAL_HEADERS = {
    401: [(b"www-authenticate", b"Bearer")],
    429: [(b"retry-after", b"1")],
    503: [(b"retry-after", b"5")],
}
DRAINED_TIMES = 16  # of the largest body: so much of a larger one is read and thrown away, then the line is cut


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one server. ``token`` None: nobody is asked for one, which is right for this machine alone."""

    token: str | None = field(default=None, repr=False)
    requests_per_minute: float = 120.0  # of one client; as many may come at once
    body_bytes: int = 4 * 2**20
    body_seconds: float = 30.0  # until it is here: who sends one drop by drop takes a place from the others
    allowed_hosts: tuple[str, ...] = LOCAL_HOSTS  # in the headers Host and Origin; empty: any. Against other web pages
    questions_at_once: int = 32  # answered or waiting, of all clients

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < LEAST_TOKEN_CHARACTERS:
            raise InputError(
                f"the token has {len(self.token)} characters; give at least {LEAST_TOKEN_CHARACTERS}, "
                'e.g. from: python -c "import secrets; print(secrets.token_urlsafe())"'
            )


def limits_for(host: str, token: str | None, *, requests_per_minute: float = 120.0) -> Limits:
    """Of a server on ``host``. Raises InputError where others can reach it and nobody is asked for a token."""
    is_local = host in LOCAL_HOSTS
    if not is_local and token is None:
        raise InputError(
            f"{host} can be reached from other machines; put a token into the file named by --token-file or into "
            "LLMSIZER_TOKEN, or serve on 127.0.0.1"
        )
    return Limits(token=token, requests_per_minute=requests_per_minute, allowed_hosts=LOCAL_HOSTS if is_local else ())


class Guard:
    """ASGI middleware; refuses with 400, 401, 403, 408, 413, 429 or 503 and one sentence in JSON."""

    def __init__(self, app: App, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.app, self.limits, self.clock = app, limits, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client → tokens left, when
        self._asking = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {bytes(k).lower(): bytes(v) for k, v in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        if scope["method"] != "POST":  # a GET at /mcp stays open to hear of changes: it is no work
            await self.app(scope, receive, send)
            return
        self._asking += 1
        try:
            await self._within_size(scope, receive, send)
        finally:
            self._asking -= 1

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        if not self._knows_host(headers.get(b"host", b"")):
            return 400, "this server answers to 127.0.0.1 and localhost only"
        if b"origin" in headers and not self._knows_host(headers[b"origin"].rpartition(b"//")[2]):
            return 403, "this server answers no web page from elsewhere"
        if scope["path"] not in OPEN_PATHS and not self._is_allowed(headers.get(b"authorization", b"")):
            return 401, "a token is needed: Authorization: Bearer …"
        client = (scope.get("client") or ("unknown",))[0]
        if not self._takes(client):
            return 429, f"more than {self.limits.requests_per_minute:g} requests a minute; wait a little"
        if scope["method"] == "POST" and self._asking >= self.limits.questions_at_once:
            return 503, f"{self._asking} questions are being answered or wait; ask again in a little while"
        return None

    def _knows_host(self, header: bytes) -> bool:
        if not self.limits.allowed_hosts:
            return True
        text = header.decode("latin-1").lower()
        name = text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
        return name in self.limits.allowed_hosts

    def _is_allowed(self, header: bytes) -> bool:
        if self.limits.token is None:
            return True
        kind, _, given = header.partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self.limits.token.encode())

    def _takes(self, client: str) -> bool:
        """A bucket that holds one minute's requests and fills evenly."""
        most, now = self.limits.requests_per_minute, self.clock()
        left, then = self._buckets.pop(client, (most, now))
        left = min(most, left + (now - then) * most / 60.0)
        self._buckets[client] = (max(left - 1.0, 0.0) if left >= 1.0 else left, now)
        if len(self._buckets) > CLIENTS_REMEMBERED:
            self._buckets.popitem(last=False)
        return left >= 1.0

    async def _within_size(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take the whole body before anybody parses it: its stated length may be left out or lied about.

        One that is too large is read on and dropped, as far as is bearable: who still sends does not see an answer.
        """
        taken: list[Message] = []
        received, more = 0, True
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while more and received <= DRAINED_TIMES * self.limits.body_bytes:
                    message = await receive()
                    received += len(message.get("body", b""))
                    more = message.get("more_body", False)
                    if received <= self.limits.body_bytes:
                        taken.append(message)
                    else:
                        taken.clear()
        except TimeoutError:
            await _refuse(send, 408, f"not here within {self.limits.body_seconds:g} s; send the question at once")
            return
        if received > self.limits.body_bytes:
            await _refuse(send, 413, f"more than {self.limits.body_bytes:,} bytes; send less at once")
            return
        taken.reverse()

        async def replayed() -> Message:
            return taken.pop() if taken else await receive()

        await self.app(scope, replayed, send)


async def _refuse(send: Send, status: int, why: str) -> None:
    import json

    headers = [(b"content-type", b"application/json"), *_REFUSAL_HEADERS.get(status, ())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": why}).encode()})
