"""HTTP/1.1 on bare asyncio connections, every piece of an answer stamped when it is read from its socket.

A client library hands a chunk to its caller one or more turns of the event loop after the read, and costs several times
the server's own work per chunk; both would be measured as the server's latency. So a connection is an asyncio protocol
around llhttp (``httptools``), and what an answer means is read after its last byte.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

from llmsizer.errors import InputError
from llmsizer.installed import optional
from llmsizer.profile.load.failures import BUSY, DIED, MALFORMED, REFUSED, STALLED, TLS, Failure

Clock = Callable[[], int]  # nanoseconds, monotonic
CONNECT_SECONDS = 10.0
STALL_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a server listens. The key itself is never kept, only the name of the variable that holds it."""

    scheme: str
    host: str
    port: int
    path: str  # what comes before /v1, "" for most
    key_variable: str | None = None
    ca_file: str | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    @property
    def is_loopback(self) -> bool:
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def head(self, method: str, path: str, body_bytes: int) -> bytes:
        """Request line and headers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [
            f"{method} {self.path}{path} HTTP/1.1",
            f"Host: {host}:{self.port}",
            "User-Agent: llmsizer",
            "Accept: text/event-stream, application/json",
            "Accept-Encoding: identity",
        ]
        if body_bytes:
            lines += ["Content-Type: application/json", f"Content-Length: {body_bytes}"]
        if self.key_variable:
            lines.append(f"Authorization: Bearer {key_from(self.key_variable)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def tls(self) -> ssl.SSLContext | None:
        if self.scheme == "http":
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError):
            raise InputError(f"{self.ca_file}: not a file of certificates; give a PEM file") from None


def endpoint_of(url: str, *, key_variable: str | None = None, ca_file: str | None = None) -> Endpoint:
    """An endpoint from ``http://host:port`` with or without ``/v1``. Raises InputError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InputError(f"{url!r} is no URL; write for example http://127.0.0.1:8000") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{url!r} is no URL of a server; write for example http://127.0.0.1:8000")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError("the URL holds more than host, port and path; name the key's variable with --api-key-env")
    path = parts.path.rstrip("/").removesuffix("/chat/completions").removesuffix("/completions").removesuffix("/v1")
    if key_variable:
        key_from(key_variable)
    return Endpoint(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port or (443 if parts.scheme == "https" else 80),
        path=path,
        key_variable=key_variable,
        ca_file=ca_file,
    )


def key_from(variable: str) -> str:
    """The key in an environment variable. Raises InputError, never showing a value."""
    key = os.environ.get(variable, "")
    if not key or not key.isascii() or not key.isprintable():
        raise InputError(f"the environment variable {variable} holds no usable key; set it, or drop --api-key-env")
    return key


@dataclass(slots=True)
class Exchange:
    """One request and the raw answer to it. Times in nanoseconds of the client's clock."""

    sent_ns: int = 0
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    pieces: list[tuple[int, bytes]] = field(default_factory=list)  # (when read, what), body only
    ended_ns: int = 0
    failure: Failure | None = None

    @property
    def body(self) -> bytes:
        return b"".join(piece for _, piece in self.pieces)

    @property
    def is_event_stream(self) -> bool:
        return self.headers.get(b"content-type", b"").startswith(b"text/event-stream")


class Connection(asyncio.Protocol):
    """One connection: one exchange at a time."""

    def __init__(self, clock: Clock, parser_type: Callable[[Any], Any]) -> None:
        self._clock = clock
        self._parser = parser_type(self)
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._done: asyncio.Future[None] | None = None
        self._now = 0
        self.last_read_ns = 0
        self.is_open = False

    # What asyncio calls.
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        self.last_read_ns = self._now = self._clock()
        try:
            self._parser.feed_data(data)
        except Exception as error:  # httptools has no common base that could be named without importing it
            self._end(Failure(MALFORMED, f"no HTTP answer ({error})"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._now = self._clock()
        self._end(Failure(DIED, "the server closed the connection before the answer was complete"))

    # What the parser calls.
    def on_header(self, name: bytes, value: bytes) -> None:
        if self._exchange is not None:
            self._exchange.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._exchange is not None:
            self._exchange.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if self._exchange is not None:
            self._exchange.pieces.append((self._now, body))

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.close()
        self._end(None)

    # What the client calls.
    async def exchange(self, request: bytes, stall_seconds: float, exchange: Exchange) -> None:
        """Send a request and wait for the end of its answer, however it ends."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._exchange = exchange
        done = self._done = loop.create_future()
        exchange.sent_ns = self.last_read_ns = self._clock()
        self._transport.write(request)
        timer = loop.call_later(stall_seconds, self._check_stall, loop, stall_seconds, exchange)
        try:
            await done
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            timer.cancel()
            self._exchange = self._done = None

    def _check_stall(self, loop: asyncio.AbstractEventLoop, stall_seconds: float, exchange: Exchange) -> None:
        if self._exchange is not exchange:
            return
        left = stall_seconds - (self._clock() - self.last_read_ns) / 1e9
        if left > 0:
            loop.call_later(left, self._check_stall, loop, stall_seconds, exchange)
            return
        self._now = self._clock()
        self._end(Failure(STALLED, f"no byte for {stall_seconds:g} s"))
        self.close()

    def _end(self, failure: Failure | None) -> None:
        if self._exchange is None or self._done is None or self._done.done():
            return
        self._exchange.ended_ns = self._now
        self._exchange.failure = failure
        self._done.set_result(None)

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()


Connect = Callable[[Callable[[], Connection]], Awaitable[Connection]]


class Client:
    """Connections to one server, kept open and used again; as many as there are requests at once."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        clock: Clock = time.monotonic_ns,
        connect: Connect | None = None,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        httptools = optional("httptools", what="measuring a server", extra="load")
        self.endpoint = endpoint
        self.clock = clock
        self._parser_type = httptools.HttpResponseParser
        self._connect = connect or self._connect_socket
        self._stall_seconds = stall_seconds
        self._idle: list[Connection] = []
        self._tls = endpoint.tls()

    async def request(self, method: str, path: str, body: bytes = b"", *, into: Exchange | None = None) -> Exchange:
        """One exchange. A failure is in it, never raised; what it means is told by its status and pieces.

        ``into``: where the answer is written while it comes, for a caller that may not wait for its end.
        """
        exchange = Exchange() if into is None else into
        message = self.endpoint.head(method, path, len(body)) + body
        while True:
            reused = self._take_idle()
            connection = reused or await self._open()
            if isinstance(connection, Failure):
                exchange.sent_ns = exchange.ended_ns = self.clock()
                exchange.failure = connection
                return exchange
            await connection.exchange(message, self._stall_seconds, exchange)
            if connection.is_open and exchange.failure is None:
                self._idle.append(connection)
            # A kept connection may have been closed by the server just before it was used again: nobody's failure.
            if reused and exchange.failure and exchange.failure.kind == DIED and not exchange.status:
                exchange.failure = None
                continue
            return exchange

    async def open_connections(self, count: int) -> None:
        """Open connections ahead, so that no measured request waits for its handshake."""
        for _ in range(count - len(self._idle)):
            connection = await self._open()
            if isinstance(connection, Failure):
                return
            self._idle.append(connection)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def _open(self) -> Connection | Failure:
        try:
            return await self._connect(lambda: Connection(self.clock, self._parser_type))
        except ssl.SSLCertVerificationError as error:
            return Failure(
                TLS,
                f"certificate not accepted ({error.verify_message}); give its issuer with --ca-file or SSL_CERT_FILE",
            )
        except ssl.SSLError as error:
            return Failure(TLS, f"no TLS connection ({error.reason or 'handshake failed'}); is it http instead?")
        except TimeoutError:
            if self._tls is not None:
                return Failure(
                    TLS, f"{self.endpoint.url}: no TLS handshake in {CONNECT_SECONDS:g} s; is it http instead?"
                )
            return Failure(REFUSED, f"{self.endpoint.url} does not answer within {CONNECT_SECONDS:g} s")
        except OSError as error:
            if error.errno in (24, 99):  # EMFILE, EADDRNOTAVAIL: ours, not the server's
                return Failure(BUSY, f"this machine has no more sockets ({error.strerror}); raise 'ulimit -n'")
            return Failure(REFUSED, f"no connection to {self.endpoint.url} ({error.strerror or error}); is it running?")

    async def _connect_socket(self, make: Callable[[], Connection]) -> Connection:
        loop = asyncio.get_running_loop()
        connecting = loop.create_connection(make, self.endpoint.host, self.endpoint.port, ssl=self._tls)
        _, connection = await asyncio.wait_for(connecting, CONNECT_SECONDS)
        return connection
