"""What comes over the wire is read as it was meant, however it is cut, and said in one line where it was not."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsizer.errors import InputError
from llmsizer.profile.load.answer import read_answer
from llmsizer.profile.load.failures import Failure
from llmsizer.profile.load.prompts import Prompts, exact_prompts, measured_prompts
from llmsizer.profile.load.wire import Connection, Exchange, endpoint_of

httptools = pytest.importorskip("httptools")


def event(document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def token(text: str, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"text": text, "finish_reason": None, **choice}]}


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
STREAM = (
    b": a comment, as servers send to keep a connection\n\n"
    + event(token(""))
    + event(token(" one"))
    + event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
    + event({"choices": [{"delta": {"reasoning_content": "hm"}}]})
    + event({"choices": [{"delta": {"content": " two"}, "finish_reason": "length"}]})
    + event({"choices": [], "usage": USAGE})
    + b"data: [DONE]\n\n"
)  # fmt: skip


def exchange_of(*pieces: tuple[int, bytes], status: int = 200, kind: bytes = b"text/event-stream") -> Exchange:
    return Exchange(status=status, headers={b"content-type": kind}, pieces=list(pieces), ended_ns=99)


@given(cuts=st.lists(st.integers(1, len(STREAM) - 1), unique=True).map(sorted), crlf=st.booleans())
def test_an_answer_means_the_same_wherever_the_network_cuts_it(cuts: list[int], crlf: bool) -> None:
    borders = [0, *cuts, len(STREAM)]
    pieces = [(i, STREAM[a:b]) for i, (a, b) in enumerate(pairwise(borders))]
    if crlf:
        pieces = [(i, piece.replace(b"\n", b"\r\n")) for i, piece in pieces]
    answer = read_answer(exchange_of(*pieces))
    assert answer.failure is None
    assert answer.text == [" one", "hm", " two"]
    assert (answer.prompt_tokens, answer.output_tokens, answer.cached_tokens) == (7, 3, 4)
    ends = [STREAM.index(text) + len(text) for text in (b' one"', b'"hm"', b' two"')]
    ends = [STREAM.index(b"\n\n", end) + 2 for end in ends]
    assert answer.chunk_ns == [next(i for i, border in enumerate(borders[1:]) if border >= end) for end in ends]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (event(token(" a")) + b"data: {half an eve\n\n", "malformed"),
        (b"data: 17\n\n", "malformed"),
        (event({"error": {"message": "no memory"}}), "error event"),
        (event({"error": "no memory"}), "error event"),
        (event(token(" a")), "died"),
        (b"data: [DONE]\n\n", "empty"),
        (b"", "died"),
    ],
)
def test_a_broken_stream_has_a_kind(body: bytes, kind: str) -> None:
    failure = read_answer(exchange_of((1, body))).failure
    assert failure is not None
    assert failure.kind == kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, "unauthorised"), (403, "unauthorised"), (404, "not found"), (422, "rejected"), (429, "busy"),
     (503, "busy"), (500, "server error"), (302, "redirected")],
)  # fmt: skip
def test_every_status_but_200_has_a_kind_and_its_body_on_one_line(status: int, kind: str) -> None:
    failure = read_answer(exchange_of((1, b"why\nit failed" + b"x" * 999), status=status)).failure
    assert failure is not None
    assert failure.kind == kind
    assert failure.detail.startswith(f"HTTP {status} why it failed")
    assert len(failure.detail) < 200


def test_a_document_instead_of_a_stream_is_said() -> None:
    failure = read_answer(exchange_of((1, b"{}"), kind=b"application/json")).failure
    assert failure == Failure("not streaming", "the answer is application/json, not a stream")


@given(data=st.binary(max_size=300))
def test_no_bytes_whatever_break_the_connection_or_the_reader(data: bytes) -> None:
    connection = Connection(lambda: 1, httptools.HttpResponseParser)
    connection.data_received(data)
    read_answer(exchange_of((1, data)))


def test_a_body_in_many_http_chunks_is_stamped_by_the_read_that_brought_it() -> None:
    clock = iter(range(10, 100, 10))
    connection = Connection(lambda: next(clock), httptools.HttpResponseParser)
    connection._exchange = exchange = Exchange()
    connection.data_received(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    connection.data_received(b"3\r\nabc\r\n2\r\nd")
    connection.data_received(b"e\r\n0\r\n\r\n")
    assert exchange.pieces == [(20, b"abc"), (20, b"d"), (30, b"e")]
    assert exchange.is_event_stream


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost:8000/v1/", "http://localhost:8000"),
        ("https://host/api/v1/chat/completions", "https://host:443/api"),
        ("http://[::1]:80/v1", "http://[::1]:80"),
    ],
)
def test_a_url_is_taken_as_users_paste_it(url: str, endpoint: str) -> None:
    assert endpoint_of(url).url == endpoint


@pytest.mark.parametrize(
    "url", ["http://", "ftp://host", "http://host:99999", "http://user:key@host", "http://h?key=1"]
)
def test_a_url_that_is_none_or_holds_a_key_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        endpoint_of(url)


def test_the_key_is_named_sent_and_never_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_KEY", "s3cret")
    endpoint = endpoint_of("http://127.0.0.1:1", key_variable="SERVER_KEY")
    assert b"Authorization: Bearer s3cret\r\n" in endpoint.head("GET", "/v1/models", 0)
    assert "s3cret" not in repr(endpoint)
    monkeypatch.setenv("SERVER_KEY", "s3cret\r\nX-Evil: 1")
    with pytest.raises(InputError) as caught:
        endpoint_of("http://127.0.0.1:1", key_variable="SERVER_KEY")
    assert "s3cret" not in str(caught.value)


@given(tokens=st.integers(2, 3000), seed=st.integers(0, 9), name=st.integers(0, 10**6))
def test_a_prompt_of_n_tokens_has_n_words_less_what_every_prompt_costs(tokens: int, seed: int, name: int) -> None:
    prompts = Prompts(overhead_tokens=1, seed=seed)
    assert len(prompts.text(tokens, name).split()) == tokens - 1
    assert prompts.text(tokens, name) == prompts.text(tokens, name)


def test_words_that_cost_two_tokens_make_half_as_many() -> None:
    prompts = measured_prompts((10, 110), (25, 225))
    assert (prompts.tokens_per_word, prompts.overhead_tokens, prompts.exact) == (2.0, 5.0, False)
    assert len(prompts.text(105, 1).split()) == 50


def test_a_server_that_cuts_prompts_is_found_out() -> None:
    for counted in ((17, 17), (17, 64)):  # of 145: a context of 64 tokens that nothing refuses
        with pytest.raises(InputError, match="cuts prompts"):
            measured_prompts((16, 144), counted)


def test_with_the_models_tokenizer_lengths_are_exact() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"<s>": 0, "<unk>": 1, "▁": 2}
    words = ["time", "year", "people", *(f"w{chr(97 + i)}{chr(97 + j)}" for i in range(6) for j in range(6))]
    for word in words:
        vocabulary[f"▁{word}"] = len(vocabulary)
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    prompts = exact_prompts(tokenizer, seed=3)
    assert prompts.exact
    assert prompts.overhead_tokens == 1
    for tokens in (2, 13, 512, 4001):
        assert len(tokenizer.encode(prompts.text(tokens, "x")).ids) == tokens
