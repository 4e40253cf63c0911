"""How a request can fail, by kind: counted apart, and never among the latencies."""

from __future__ import annotations

import json
from dataclasses import dataclass

REFUSED = "refused"  # no connection
TLS = "tls"
UNAUTHORISED = "unauthorised"  # 401, 403
NOT_FOUND = "not found"  # 404: no such path or model
REDIRECTED = "redirected"  # 3xx: another address, which may be a login
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


def of_status(status: int, body: bytes, location: bytes = b"") -> Failure:
    """The failure that an HTTP status other than 2xx means. ``location``: where a redirection leads."""
    if 300 <= status < 400:
        return Failure(REDIRECTED, f"HTTP {status} {f'to {shown(location)}' if location else shown(body)}".strip())
    kinds = {401: UNAUTHORISED, 403: UNAUTHORISED, 404: NOT_FOUND, 429: BUSY, 503: BUSY}
    kind = kinds.get(status) or (SERVER_ERROR if status >= 500 else REJECTED)
    return Failure(kind, f"HTTP {status} {shown(body)}".strip())


def shown(body: bytes) -> str:
    """The beginning of an answer on one line; of an error in the usual JSON only what it says."""
    text = body[: 64 * SHOWN_BYTES].decode(errors="replace")
    try:
        error = json.loads(text)["error"]
        text = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return " ".join(text[: 4 * SHOWN_BYTES].split())[:SHOWN_BYTES]
