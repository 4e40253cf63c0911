"""How a request can fail, by kind: counted apart, and never among the latencies."""

from __future__ import annotations

from dataclasses import dataclass

REFUSED = "refused"  # no connection
TLS = "tls"
UNAUTHORISED = "unauthorised"  # 401, 403
NOT_FOUND = "not found"  # 404: no such path or model
REJECTED = "rejected"  # any other 4xx
BUSY = "busy"  # 429, 503
SERVER_ERROR = "server error"  # any other 5xx
NOT_STREAMING = "not streaming"  # a 200 that is no event stream
MALFORMED = "malformed"  # no HTTP, or an event that is no JSON
ERROR_EVENT = "error event"  # the stream itself says that it failed
DIED = "died"  # the connection ended before the answer did
STALLED = "stalled"  # no byte for too long
EMPTY = "empty"  # an answer without a token
CUT = "cut off"  # by the end of the measurement, not by the server

SHOWN_BYTES = 160


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed request: its kind, and what was seen, in one line."""

    kind: str
    detail: str

    def text(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


def of_status(status: int, body: bytes) -> Failure:
    """The failure that an HTTP status other than 2xx means."""
    kinds = {401: UNAUTHORISED, 403: UNAUTHORISED, 404: NOT_FOUND, 429: BUSY, 503: BUSY}
    kind = kinds.get(status) or (SERVER_ERROR if status >= 500 else REJECTED)
    return Failure(kind, f"HTTP {status} {shown(body)}".strip())


def shown(body: bytes) -> str:
    """The beginning of an answer on one line."""
    return " ".join(body[: 4 * SHOWN_BYTES].decode(errors="replace").split())[:SHOWN_BYTES]
