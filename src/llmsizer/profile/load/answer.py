"""What a streamed answer says: which chunks hold tokens and when they came, what the server counted, how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from llmsizer.profile.load.failures import (
    DIED,
    EMPTY,
    ERROR_EVENT,
    MALFORMED,
    NOT_STREAMING,
    Failure,
    of_status,
    shown,
)
from llmsizer.profile.load.wire import Exchange

DONE = b"[DONE]"
# Where the text of a chunk stands: completions, chat, and what reasoning models think aloud.
TEXT_KEYS = ("content", "reasoning_content", "reasoning")


@dataclass(slots=True)
class Answer:
    """A streamed answer. ``chunk_ns``: when each chunk that holds output was read from the socket."""

    chunk_ns: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    prompt_tokens: int | None = None  # as the server counts
    output_tokens: int | None = None
    cached_tokens: int | None = None  # of the prompt, where the server says it
    finish_reason: str | None = None
    failure: Failure | None = None


def read_answer(exchange: Exchange) -> Answer:
    """The meaning of an exchange. What was read before a failure is kept beside it."""
    answer = Answer()
    if exchange.failure is not None and not exchange.pieces:
        answer.failure = exchange.failure
        return answer
    if not 200 <= exchange.status < 300:
        answer.failure = of_status(exchange.status, exchange.body, exchange.headers.get(b"location", b""))
        return answer
    if not exchange.is_event_stream:
        answer.failure = exchange.failure or Failure(NOT_STREAMING, f"the answer is {_kind(exchange)}, not a stream")
        return answer
    finished = False
    for stamp, data in events(exchange):
        if data == DONE:
            finished = True
            continue
        try:
            event = json.loads(data)
            if not isinstance(event, dict):
                raise ValueError
        except ValueError:
            answer.failure = Failure(MALFORMED, f"an event is no JSON object: {shown(data)!r}")
            return answer
        _take(answer, event, stamp)
        if answer.failure is not None:
            return answer
    if exchange.failure is not None:
        # Some servers end the connection instead of the message; after [DONE] nothing was lost.
        answer.failure = None if finished and exchange.failure.kind == DIED else exchange.failure
    elif not finished and answer.finish_reason is None:
        answer.failure = Failure(DIED, "the stream ended without [DONE] or a reason to finish")
    if answer.failure is None and not answer.chunk_ns:
        answer.failure = Failure(EMPTY, "the answer holds no token")
    return answer


def events(exchange: Exchange) -> Iterator[tuple[int, bytes]]:
    """The data of each server-sent event, with the time at which its last byte was read."""
    rest = b""
    data: list[bytes] = []
    for stamp, piece in exchange.pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[5:].strip())
            elif not line.rstrip(b"\r") and data:
                yield stamp, b"\n".join(data)
                data = []
    if data:  # an event that no blank line ended: whole if it parses
        yield exchange.ended_ns, b"\n".join(data)
    elif rest.startswith(b"data:"):
        yield exchange.ended_ns, rest[5:].strip()


def _take(answer: Answer, event: dict[str, Any], stamp: int) -> None:
    error = event.get("error")
    if error:
        message = error.get("message", error) if isinstance(error, dict) else error
        answer.failure = Failure(ERROR_EVENT, shown(str(message).encode()))
        return
    for choice in event.get("choices") or ():
        if not isinstance(choice, dict):
            continue
        text = _text(choice)
        if text:
            answer.chunk_ns.append(stamp)
            answer.text.append(text)
        answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
    usage = event.get("usage")
    if isinstance(usage, dict):
        answer.prompt_tokens = _count(usage.get("prompt_tokens"), answer.prompt_tokens)
        answer.output_tokens = _count(usage.get("completion_tokens"), answer.output_tokens)
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict):
            answer.cached_tokens = _count(details.get("cached_tokens"), answer.cached_tokens)


def _text(choice: dict[str, Any]) -> str:
    text = choice.get("text")
    delta = choice.get("delta")
    if not text and isinstance(delta, dict):
        text = next((delta[key] for key in TEXT_KEYS if delta.get(key)), None)
        if not text and delta.get("tool_calls"):
            text = json.dumps(delta["tool_calls"])
    return text if isinstance(text, str) else ""


def _count(value: object, known: int | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else known


def _kind(exchange: Exchange) -> str:
    return exchange.headers.get(b"content-type", b"of no stated type").decode(errors="replace").split(";")[0]
