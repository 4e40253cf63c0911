"""A few single requests before any load: is it there, does it stream, which model, what does it accept and count?"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from llmsizer.errors import InputError, MeasurementError, NetworkError, UnknownNameError
from llmsizer.profile.load.answer import Answer, read_answer
from llmsizer.profile.load.asking import Api, Asking
from llmsizer.profile.load.failures import (
    BUSY,
    DIED,
    EMPTY,
    ERROR_EVENT,
    NOT_FOUND,
    NOT_STREAMING,
    REDIRECTED,
    REFUSED,
    REJECTED,
    SERVER_ERROR,
    STALLED,
    TLS,
    UNAUTHORISED,
    Failure,
    of_status,
)
from llmsizer.profile.load.prompts import COMMON_WORDS, Prompts, counter, exact_prompts, measured_prompts
from llmsizer.profile.load.wire import Client, Endpoint

SHORT_WORDS = 16
LONG_WORDS = (144, 64, 32)  # the first that the server takes: some have a small context
PROBE_OUTPUT_TOKENS = 8
TOO_LONG = (REJECTED, SERVER_ERROR, ERROR_EVENT, EMPTY)  # what servers say to a prompt beyond their context
MOST_JOINED_TOKENS = 1  # a template may join the prompt's first token or its last with its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a server is and how it wants to be asked."""

    asking: Asking
    ttft_seconds: float  # of single requests: where a search begins, not a result
    tpot_seconds: float
    software: str = ""  # as its HTTP header calls it
    tokens_counted: bool = True  # by the server
    context_tokens: int | None = None

    def e2e_seconds(self, output_tokens: float) -> float:
        return self.ttft_seconds + self.tpot_seconds * max(0.0, output_tokens - 1)


async def probe(client: Client, *, model: str | None, api: Api | None, tokenizer: Any = None, seed: int = 0) -> Server:
    """Ask a server what it is. Raises NetworkError, UnknownNameError, MeasurementError or InputError in one line."""
    name, context = await _model(client, model)
    plain = Prompts(words=COMMON_WORDS, seed=seed)
    # Chat adds a template of unknown length and may think aloud: completions say more exactly what was asked.
    apis: tuple[Api, ...] = (api,) if api else ("completions", "chat")
    asking = await _accepted(client, [Asking(model=name, api=a, prompts=plain) for a in apis], seed)
    short = await _ask(client, asking, SHORT_WORDS, seed, 0)
    words, long = await _long(client, asking, seed)
    told = [count for _, answer, _ in (short, long) if (count := answer.prompt_tokens)]
    prompts = replace(plain, seed=seed)
    if len(told) == 2:
        prompts = measured_prompts((SHORT_WORDS, words), told, seed=seed)
    if tokenizer is not None:
        texts = [_probe_text(asking, SHORT_WORDS, seed, 0), _probe_text(asking, words, seed, 1)]
        prompts = _exact(tokenizer, texts, told, seed)
    sent_ns, last, software = long
    tokens = last.output_tokens or len(last.chunk_ns)
    first_ns, end_ns = last.chunk_ns[0], last.chunk_ns[-1]
    return Server(
        asking=replace(asking, prompts=prompts),
        ttft_seconds=max(1e-6, (first_ns - sent_ns) / 1e9),
        tpot_seconds=max(1e-6, (end_ns - first_ns) / 1e9 / max(1, tokens - 1)),
        software=software,
        tokens_counted=last.output_tokens is not None,
        context_tokens=context,
    )


def _exact(tokenizer: Any, texts: list[str], counted: list[int], seed: int) -> Prompts:
    """What the server adds to a prompt is what it counts beyond the tokenizer: begin of text, chat template."""
    exact = exact_prompts(tokenizer, seed=seed)
    if len(counted) != len(texts):
        return exact
    count = counter(tokenizer)
    added = [told - count(text) for told, text in zip(counted, texts, strict=True)]
    if abs(added[1] - added[0]) > MOST_JOINED_TOKENS:
        raise InputError(
            f"the server counts {counted[1]} tokens where --tokenizer counts {count(texts[1])}; "
            "give the tokenizer of the served model"
        )
    return replace(exact, overhead_tokens=exact.overhead_tokens + added[0])


def _probe_text(asking: Asking, words: int, seed: int, repeat: int) -> str:
    return asking.prompts.addition(words, "probe", seed, repeat)


async def _model(client: Client, model: str | None) -> tuple[str, int | None]:
    """The served model's name and, where the server tells it, its longest context."""
    exchange = await client.request("GET", "/v1/models")
    url = client.endpoint.url
    if exchange.failure is not None or exchange.status >= 300:
        location = exchange.headers.get(b"location", b"")
        failure = exchange.failure or of_status(exchange.status, exchange.body, location)
        if failure.kind == DIED and not exchange.status and client.endpoint.scheme == "http":
            raise MeasurementError(f"{url} closed the connection without an answer; is it https instead?")
        if failure.kind in (NOT_FOUND, SERVER_ERROR) and model:
            return model, None  # a server without a list takes the name on trust
        raise _error(failure, client.endpoint, "/v1/models")
    try:
        entries = {str(e["id"]): e for e in json.loads(exchange.body)["data"]}
    except (ValueError, TypeError, KeyError):
        kind = exchange.headers.get(b"content-type", b"no stated type").decode(errors="replace").partition(";")[0]
        raise MeasurementError(
            f"{url}/v1/models is no list of models but {kind}; is that an OpenAI-compatible server?"
        ) from None
    if model is None:
        if not entries:
            raise MeasurementError(f"{url} serves no model yet; is it still loading? else name it with --model")
        if len(entries) != 1:
            raise InputError(f"{url} serves {len(entries)} models; choose one with --model: {', '.join(entries)}")
        model = next(iter(entries))
    elif entries and model not in entries:
        raise UnknownNameError("model served there", model, entries)
    longest = entries.get(model, {}).get("max_model_len")
    return model, longest if isinstance(longest, int) else None


_Probed = tuple[int, Answer, str]


async def _accepted(client: Client, askings: list[Asking], seed: int) -> Asking:
    """The first way of asking that the server takes: options that not all servers know are dropped one by one."""
    failure = Failure(REJECTED, "")
    for asking in askings:
        for variant in (
            asking,
            replace(asking, force_output=False),
            replace(asking, force_output=False, usage=False),
        ):
            _, answer, _ = await _ask(client, variant, SHORT_WORDS, seed, -1, must=False)
            if answer.failure is None:
                return variant
            failure = answer.failure
            if failure.kind not in (REJECTED, SERVER_ERROR):
                break
        if failure.kind != NOT_FOUND:
            break
    raise _error(failure, client.endpoint, askings[0].path)


async def _long(client: Client, asking: Asking, seed: int) -> tuple[int, _Probed]:
    """A prompt long enough to tell what a word costs, of as many words as the context holds; and their number."""
    failure = Failure(REJECTED, "")
    for words in LONG_WORDS:
        probed = await _ask(client, asking, words, seed, 1, must=False)
        if probed[1].failure is None:
            return words, probed
        failure = probed[1].failure
        if failure.kind not in TOO_LONG:
            raise _error(failure, client.endpoint, asking.path)
    raise MeasurementError(
        f"{client.endpoint.url}{asking.path} answers {SHORT_WORDS} words but not {LONG_WORDS[-1]} ({failure.text()}); "
        "is its context so small? 64 tokens are the least that can be measured"
    )


async def _ask(client: Client, asking: Asking, words: int, seed: int, repeat: int, *, must: bool = True) -> _Probed:
    text = _probe_text(asking, words, seed, repeat)
    exchange = await client.request("POST", asking.path, asking.body([text], PROBE_OUTPUT_TOKENS))
    answer = read_answer(exchange)
    if must and answer.failure is not None:
        raise _error(answer.failure, client.endpoint, asking.path)
    software = exchange.headers.get(b"server", b"").decode(errors="replace")[:40]
    return exchange.sent_ns, answer, software


def _error(failure: Failure, endpoint: Endpoint, path: str) -> NetworkError | MeasurementError:
    """One line: what was seen, and what would work."""
    url, key = endpoint.url, endpoint.key_variable
    if failure.kind in (REFUSED, TLS):
        return NetworkError(failure.detail)
    advice = {
        UNAUTHORISED: f"is the key in {key} the server's?"
        if key
        else ("name the variable that holds the key with --api-key-env"),
        REDIRECTED: "give the address that it leads to, or the server behind the login",
        NOT_FOUND: "check the URL, --model and --api",
        BUSY: "try again when it is free",
        STALLED: "is it still loading? a longer --stall-timeout waits longer",
        NOT_STREAMING: "tokens are timed as they come, so give a server that streams (stream=true)",
    }.get(failure.kind, "see the server's log")
    return MeasurementError(f"{url}{path}: {failure.text()}; {advice}")
