"""`llmsizer profile URL` against real sockets on loopback: plumbing, records, and what users get wrong."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from known_answer_server import SERVED_MODEL, KnownAnswers, Programme, serving, steady
from llmsizer.cli import main
from llmsizer.errors import MeasurementError
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.profile.engines import openai_http
from llmsizer.profile.engines.openai_http import Session, Settings
from llmsizer.profile.load import figures
from llmsizer.profile.load.point import Ran, Task
from llmsizer.profile.load.pool import PoolWatch
from llmsizer.profile.load.wire import endpoint_of
from llmsizer.profile.load.workers import Target, run
from llmsizer.profile.store import read_records
from llmsizer.traffic.demand.lengths import Fixed

pytest.importorskip("httptools")

Start = Callable[[KnownAnswers], str]
QUICK = ["--prompt-tokens", "40", "--output-tokens", "4", "--requests", "20"]


def at_once(number: int, request: dict[str, Any]) -> Programme:
    return steady(0.002, 0.001, request["max_tokens"])


@pytest.fixture
def start() -> Iterator[Start]:
    """Servers on their own threads, stopped at the end."""
    with contextlib.ExitStack() as servers:
        yield lambda answers: servers.enter_context(serving(answers))


@pytest.fixture(autouse=True)
def known_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(openai_http, "describe_device", lambda: DeviceRecord(name="this CPU", kind="cpu"))
    monkeypatch.chdir(tmp_path)


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that fails; progress lines are no part of it."""
    assert main(["profile", *arguments]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("llmsizer: ")]
    assert len(lines) == 1
    return lines[0]


def records_of(path: str = "records.jsonl") -> list[ProfileRecord]:
    found, problems = read_records(Path(path), ProfileRecord)
    assert not problems
    return found


def test_points_become_records_with_samples_beside_them(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    url = start(KnownAnswers(at_once))
    begun = time.monotonic()
    assert main(["profile", url, "--concurrency", "1,4", *QUICK, "--json"]) == 0
    took_seconds = time.monotonic() - begun
    document = json.loads(capsys.readouterr().out)
    one, four = records_of()
    assert [r["record_id"] for r in document["records"]] == [one.record_id, four.record_id]
    assert (one.batch, four.batch, four.prompt_tokens, four.output_tokens) == (1, 4, 40, 4)
    assert four.load is not None
    assert (four.load.pattern, four.load.concurrency, four.load.endpoint) == ("closed", 4, f"{url}/v1/completions")
    assert four.counts is not None
    assert (four.counts.requests_ok, four.counts.output_tokens_server) == (20, 80)
    assert four.distributions["ttft"].n == 20
    assert four.ttft_seconds is not None
    assert 0.002 <= four.ttft_seconds < took_seconds  # what the server takes at the least
    assert not four.carries_step_times  # nobody said what is served
    assert four.samples is not None
    assert Path(four.samples.file).exists()


def test_a_full_pool_is_the_verdict_of_a_point(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PoolWatch, "why_full", lambda watch: "the server put 3 sequences out of its full KV pool")
    monkeypatch.setattr(figures, "CLIENT_BUSY_SHARE", 10.0)  # how busy this machine is must not decide the test
    monkeypatch.setattr(figures, "LATE_SECONDS", 60.0)
    assert main(["profile", start(KnownAnswers(at_once)), "--concurrency", "2", *QUICK]) == 0
    verdict = records_of()[0].verdict
    assert verdict is not None and (verdict.bound, verdict.extrapolate) == ("kv", False)
    assert "kv_bound" in records_of()[0].flags


def test_the_same_command_takes_finished_points_from_the_records(start: Start) -> None:
    answers = KnownAnswers(at_once)
    url = start(answers)
    assert main(["profile", url, "--concurrency", "2", *QUICK]) == 0
    asked = len(answers.bodies)
    assert main(["profile", url, "--concurrency", "2", *QUICK]) == 0
    assert len(answers.bodies) - asked == 3  # the probe alone
    assert len(records_of()) == 1


def test_a_search_prints_the_largest_rate_within_limits(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    url = start(KnownAnswers(lambda n, r: steady(0.001, 0.0005, r["max_tokens"]), queue_slots=1))
    slo = "p95 ttft <= 30ms"
    assert main(["profile", url, "--slo", slo, *QUICK, "--requests", "60", "--most-points", "4"]) == 0
    out = capsys.readouterr().out
    assert "requests/s" in out
    assert "p95 TTFT ≤ 30 ms" in out
    assert all(record.throughput and record.throughput.goodput_share is not None for record in records_of())


def test_requests_by_the_clock_and_a_trace_run_over_sockets(start: Start, tmp_path: Path) -> None:
    url = start(KnownAnswers(at_once))
    assert main(["profile", url, "--rate", "100", "--arrivals", "gamma", *QUICK]) == 0
    trace = tmp_path / "log.csv"
    trace.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,20,3\n0.01,30,4\n0.02,40,5\n")
    assert main(["profile", url, "--trace", str(trace)]) == 0
    gamma, replayed = records_of()
    assert gamma.load is not None
    assert (gamma.load.pattern, gamma.load.burstiness_cv) == ("gamma", 2.0)
    assert replayed.load is not None
    assert (replayed.load.pattern, replayed.load.trace) == ("trace", "log.csv")
    assert replayed.counts is not None
    assert replayed.counts.requests_ok == 3
    assert replayed.load.warmup_requests == 3


def test_a_server_that_refuses_unknown_keys_is_asked_without_them(start: Start) -> None:
    answers = KnownAnswers(at_once, refuses=("ignore_eos",))
    assert main(["profile", start(answers), "--concurrency", "1", *QUICK]) == 0
    assert "ignore_eos" not in answers.bodies[-1]
    (record,) = records_of()
    assert record.load is not None
    assert record.load.output_forced is False


@pytest.mark.parametrize("context", [48, 80, 200])
def test_a_small_context_is_asked_as_much_as_it_holds(start: Start, context: int) -> None:
    url = start(KnownAnswers(at_once, context_tokens=context, tells_context=False))
    assert main(["profile", url, "--concurrency", "1", *QUICK]) == 0
    (record,) = records_of()
    assert (record.prompt_tokens, record.output_tokens, record.flags.count("errors")) == (40, 4, 0)


def test_a_prompt_beyond_the_context_is_a_line_where_the_server_tells_it_and_else_a_row(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    line = complaint(capsys, start(KnownAnswers(at_once, context_tokens=80)), "--concurrency", "1")
    assert "640 tokens of prompt and output do not fit the server's context of 80" in line
    url = start(KnownAnswers(at_once, context_tokens=80, tells_context=False))
    assert main(["profile", url, "--concurrency", "1", "--requests", "3"]) == 1
    assert "the context holds 80 tokens" in str(records_of()[0].failure)
    line = complaint(capsys, start(KnownAnswers(at_once, context_tokens=30)), *QUICK)
    assert "answers 16 words but not 32" in line and "the context holds 30 tokens" in line


def test_chat_is_asked_as_chat(start: Start) -> None:
    answers = KnownAnswers(at_once)
    assert main(["profile", start(answers), "--api", "chat", "--concurrency", "1", *QUICK]) == 0
    assert answers.bodies[-1]["messages"][0]["role"] == "user"


def test_two_worker_processes_report_as_one(start: Start) -> None:
    url = start(KnownAnswers(at_once))

    def two(target: Target, task: Task, *, workers: int, on_answer: Callable[[int], None]) -> Ran:
        return run(target, task, workers=2, on_answer=on_answer)

    session = openai_http.Session(
        Target(endpoint=endpoint_of(url)),
        model=None,
        settings=openai_http.Settings(
            shape=openai_http.Shape(prompt=Fixed(tokens=20), output=Fixed(tokens=3)), requests=30
        ),
        records_path=Path("records.jsonl"),
        run_point=two,
    )
    record = session.measure(openai_http.Closed(concurrency=4)).record
    assert record.counts is not None
    assert record.counts.requests_ok == 30


def test_a_point_that_fails_is_a_record_and_the_others_are_kept(start: Start) -> None:
    # The probe asks three times, then come 2 to warm up and 20; what comes later is refused.
    url = start(KnownAnswers(lambda n, r: steady(0.001, 0.001, 4, breaks="" if n < 25 else "503")))
    assert main(["profile", url, "--concurrency", "1,2", *QUICK]) == 0
    first, second = records_of()
    assert (first.status, second.status) == ("ok", "failed")
    assert second.failure is not None
    assert second.failure.startswith("busy: HTTP 503")


def test_a_server_that_dies_in_the_middle_leaves_what_was_answered(start: Start) -> None:
    url = start(KnownAnswers(lambda n, r: steady(0.001, 0.001, 4, breaks="die" if n % 5 == 0 and n > 5 else "")))
    assert main(["profile", url, "--concurrency", "2", *QUICK]) == 0
    (record,) = records_of()
    assert record.counts is not None
    assert record.counts.errors["died"] > 0
    assert record.distributions["e2e"].n == record.counts.requests_ok
    assert "errors" in record.flags


@pytest.mark.parametrize(
    ("answers", "arguments", "words"),
    [
        (KnownAnswers(at_once), ["--model", "known-answer"], ["no model served there", SERVED_MODEL]),
        (KnownAnswers(at_once, key="k"), [], ["unauthorised", "--api-key-env"]),
        (KnownAnswers(lambda n, r: steady(0.002, 0.002, 4, breaks="not streaming")), [], ["not streaming"]),
        (KnownAnswers(lambda n, r: steady(0.002, 0.002, 4, breaks="malformed")), [], ["malformed"]),
        (KnownAnswers(lambda n, r: steady(0.002, 0.002, 4, breaks="die")), [], ["died"]),
        (KnownAnswers(lambda n, r: steady(0.002, 0.002, 4, breaks="429")), [], ["busy", "HTTP 429"]),
        (KnownAnswers(lambda n, r: steady(0.002, 0.002, 4, breaks="stall")), ["--stall-timeout", "0.1"], ["stalled"]),
        (KnownAnswers(at_once), ["--prompt-tokens", "200k"], ["context of 100,000"]),
        (KnownAnswers(at_once), ["--tokenizer", "."], ["no tokenizer.json"]),
        (KnownAnswers(at_once), ["--api-key-env", "NO_SUCH_VARIABLE"], ["NO_SUCH_VARIABLE"]),
        (KnownAnswers(at_once), ["--slo", "fast please"], ["p95 ttft <= 1s"]),
        (KnownAnswers(at_once), ["--concurrency", "0"], ["concurrency"]),
        (KnownAnswers(at_once), ["--shared-prefix", "40", "--prompt-tokens", "40"], ["shared prefix"]),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_what_cannot_be_measured_is_said_in_one_line(
    start: Start, capsys: pytest.CaptureFixture[str], answers: KnownAnswers, arguments: list[str], words: list[str]
) -> None:
    line = complaint(capsys, start(answers), *arguments)
    assert all(word in line for word in words), line


def test_an_unreachable_server_tls_on_a_plain_port_and_a_remote_host_are_said(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert "is it running?" in complaint(capsys, f"http://127.0.0.1:{unused.getsockname()[1]}")
    url = start(KnownAnswers(at_once))
    assert "TLS" in complaint(capsys, url.replace("http:", "https:"))
    assert "--allow-remote" in complaint(capsys, "http://example.invalid")
    assert "URL" in complaint(capsys, url, url)


def test_a_model_that_only_the_server_names_is_said_to_be_one_of_the_catalogue(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    url = start(KnownAnswers(at_once))
    given = ("--precision", "fp8", "--gpu", "h100", "--engine", "vllm", "--concurrency", "2", "--json", *QUICK)
    assert main(["profile", url, *given]) == 0
    assert "--model-is" in json.loads(capsys.readouterr().out)["no_prediction"]
    assert main(["profile", url, *given, "--model-is", "llama-3.1-8b"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {one["quantity"] for one in document["predictions"]} >= {"TTFT", "TPOT"}
    assert [record.model for record in records_of()] == [SERVED_MODEL, "llama-3.1-8b"]
    assert "did you mean llama-3.1-8b" in complaint(capsys, url, "--model-is", "lama-3.1-8b")


def test_a_server_that_never_comes_to_an_end_is_given_up(start: Start) -> None:
    url = start(KnownAnswers(lambda n, r: steady(0.01, 0.05, 1000)))  # 50 s, whatever max_tokens says
    target = Target(endpoint=endpoint_of(url))
    with pytest.raises(MeasurementError, match="longer --max-minutes"):
        Session(target, model=None, settings=Settings(total_seconds=0.3), records_path=Path("r.jsonl"))
