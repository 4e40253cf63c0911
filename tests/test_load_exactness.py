"""Against a server whose every delay is programmed, under a clock that jumps, every figure is known exactly."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest

from known_answer_server import (
    SERVED_MODEL,
    KnownAnswers,
    Programme,
    VirtualLoop,
    connector,
    prompt_words,
    run_virtual,
    steady,
)
from llmsizer.profile.load.asking import Asking, Asks
from llmsizer.profile.load.figures import Figures, figures
from llmsizer.profile.load.patterns import Budget, Closed, Open, Pattern, Replay, Shape
from llmsizer.profile.load.point import Ran, Sent, Share, Task, run_point
from llmsizer.profile.load.prompts import Prompts
from llmsizer.profile.load.slo import parse_slo
from llmsizer.profile.load.wire import Client, endpoint_of
from llmsizer.traffic.demand.lengths import Fixed
from llmsizer.traffic.demand.requests import Requests

pytest.importorskip("httptools")

PROMPTS = Prompts(overhead_tokens=1)  # the mock counts a word as a token, and one for the begin of text
SHAPE = Shape(prompt=Fixed(tokens=40), output=Fixed(tokens=11))
TRACE = Requests(
    arrival_seconds=np.cumsum(np.resize([0.0, 0.03, 0.3], 200)),
    prompt_tokens=np.resize(np.array([20, 60], dtype=np.int32), 200),
    output_tokens=np.resize(np.array([11, 3, 7], dtype=np.int32), 200),
)
PATTERNS: dict[str, tuple[Pattern, Shape]] = {
    "single": (Closed(concurrency=1), SHAPE),
    "closed": (Closed(concurrency=16), SHAPE),
    "constant": (Open(requests_per_second=20, gap_cv=0), SHAPE),
    "poisson": (Open(requests_per_second=20, gap_cv=1), SHAPE),
    "gamma": (Open(requests_per_second=20, gap_cv=3), SHAPE),
    "trace": (Replay(requests=TRACE, name="trace.csv"), SHAPE),
    "shared prefix": (Closed(concurrency=4), replace(SHAPE, shared_prefix_tokens=24)),
    "multi-turn": (Closed(concurrency=4), replace(SHAPE, turns=3, think_seconds=0.5)),
}  # fmt: skip


def programme_of(number: int, request: dict[str, Any]) -> Programme:
    """Three kinds of answers, by the number of the request: 50, 80 or 200 ms, then 10, 12 or 30 ms a token."""
    ttft, tpot = ((0.05, 0.010), (0.08, 0.012), (0.2, 0.030))[number % 3]
    return steady(ttft, tpot, request["max_tokens"])


def run(
    pattern: Pattern,
    shape: Shape = SHAPE,
    *,
    answers: KnownAnswers | None = None,
    requests: int = 200,
    warmup: int = 6,
    seconds: float = 1000.0,
    stall_seconds: float = 30.0,
    share: Share = Share(),  # noqa: B008 (frozen)
) -> tuple[Ran, KnownAnswers]:
    known = answers or KnownAnswers(programme_of)

    async def main(loop: VirtualLoop) -> Ran:
        client = Client(
            endpoint_of("http://127.0.0.1:1"),
            clock=loop.clock_ns,
            connect=connector(known),
            stall_seconds=stall_seconds,
        )
        replay = pattern if isinstance(pattern, Replay) else None
        asks = Asks(
            shape=shape,
            asking=Asking(model=SERVED_MODEL, api="completions", prompts=PROMPTS),
            replay=replay,
            replay_warmup=warmup if replay else 0,
        )
        budget = Budget(requests=requests, warmup_requests=warmup, seconds=seconds, ramp_seconds=1.0)
        return await run_point(
            client, Task(pattern=pattern, asks=asks, budget=budget, share=share), cpu_seconds=lambda: 0.0
        )

    return run_virtual(main), known


def counted(ran: Ran) -> list[Sent]:
    return [sent for sent in ran.sent if sent.part == "counted"]


def expected(ran: Ran, known: KnownAnswers) -> list[Programme]:
    """The programme of each counted request, found by when it reached the server."""
    by_arrival: dict[int, list[Programme]] = {}
    for number, (arrival, body) in enumerate(zip(known.arrivals, known.bodies, strict=True)):
        by_arrival.setdefault(round(arrival * 1e9), []).append(programme_of(number, body))
    found = []
    for sent in counted(ran):
        candidates = by_arrival[sent.sent_ns]
        found.append(candidates.pop(0))
    return found


def nearest_rank(values: list[float], fraction: float) -> float:
    return sorted(values)[math.ceil(round(fraction * len(values), 9)) - 1]


@pytest.mark.parametrize("name", PATTERNS)
def test_every_percentile_of_every_pattern_is_what_the_server_was_programmed_to(name: str) -> None:
    pattern, shape = PATTERNS[name]
    ran, known = run(pattern, shape)
    found, programmes = figures(ran.sent, pattern, reuses_prefixes=True), expected(ran, known)
    assert len(programmes) == found.counts.requests_ok == 200 * shape.turns
    truth = {
        "ttft": [p.chunk_seconds[0] for p in programmes],
        "e2e": [p.chunk_seconds[-1] for p in programmes],
        "tpot": [(p.chunk_seconds[-1] - p.chunk_seconds[0]) / (len(p.chunk_seconds) - 1) for p in programmes],
        "itl": [b - a for p in programmes for a, b in pairwise(p.chunk_seconds)],
    }
    for metric, values in truth.items():
        for percentile, fraction in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
            assert found.value(metric, percentile) == pytest.approx(nearest_rank(values, fraction), abs=1e-8)
        assert found.distributions[metric].mean == pytest.approx(float(np.mean(values)), abs=1e-8)
    assert found.value("schedule_delay", "p99") == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("name", PATTERNS)
def test_goodput_of_every_pattern_is_exactly_the_share_programmed_to_be_good(name: str) -> None:
    pattern, shape = PATTERNS[name]
    ran, known = run(pattern, shape)
    found = figures(ran.sent, pattern, limits=parse_slo("p95 ttft <= 100ms, p95 tpot <= 11ms"))
    good = sum(programme.chunk_seconds[0] < 0.06 for programme in expected(ran, known))  # the first of the three kinds
    assert found.throughput.goodput_share == good / (200 * shape.turns)
    rate = found.throughput.requests_per_second
    assert rate is not None
    assert found.throughput.goodput_requests_per_second == pytest.approx(rate * good / (200 * shape.turns))


def by_hand(pattern: Pattern, *, answers: KnownAnswers | None = None, **options: Any) -> Figures:
    """50 ms, then 10 ms a token: 11 tokens take 150 ms."""
    ran, _ = run(pattern, answers=answers or KnownAnswers(lambda n, r: steady(0.05, 0.01, 11)), **options)
    return figures(ran.sent, pattern)


def test_a_single_stream_makes_eleven_tokens_every_150_ms() -> None:
    found = by_hand(Closed(concurrency=1))
    assert found.output_tokens_per_second == pytest.approx(11 / 0.15)
    assert found.throughput.requests_per_second == pytest.approx(1 / 0.15)
    assert found.in_flight_mean == pytest.approx(1.0)
    assert found.in_flight_peak == 1


def test_users_are_all_there_from_the_first_counted_request_to_the_last_answer() -> None:
    found = by_hand(Closed(concurrency=16))
    assert found.in_flight_mean == pytest.approx(16.0, rel=0.01)
    assert found.output_tokens_per_second == pytest.approx(16 * 11 / 0.15, rel=0.01)


def test_requests_by_the_clock_come_at_the_rate_and_keep_it() -> None:
    found = by_hand(Open(requests_per_second=10, gap_cv=0))
    assert found.throughput.requests_per_second == pytest.approx(10.0)
    assert found.output_tokens_per_second == pytest.approx(110.0)
    assert found.in_flight_mean == pytest.approx(1.5)  # Little: 10 per second x 150 ms
    assert not found.saturated


def test_gamma_gaps_have_the_variation_asked_for_and_constant_ones_have_none() -> None:
    for gap_cv in (0.0, 1.0, 2.0):
        times = list(islice(Open(requests_per_second=50, gap_cv=gap_cv).seconds(seed=1), 20_000))
        gaps = np.diff([0.0, *times])
        assert gaps.std() / gaps.mean() == pytest.approx(gap_cv, abs=0.1)
        assert gaps.mean() == pytest.approx(0.02, rel=0.05)


def test_a_trace_is_replayed_at_its_own_times_and_lengths() -> None:
    ran, known = run(PATTERNS["trace"][0], warmup=6)
    sent = sorted(counted(ran), key=lambda s: s.index)
    begun = sent[0].scheduled_ns - round(TRACE.arrival_seconds[0] * 1e9)
    due = [(s.scheduled_ns - begun) / 1e9 for s in sent]
    assert due == pytest.approx(TRACE.arrival_seconds.tolist(), abs=1e-8)
    assert [prompt_words(body) for body in known.bodies[6:]] == TRACE.prompt_tokens.tolist()
    assert [body["max_tokens"] for body in known.bodies[6:]] == TRACE.output_tokens.tolist()


def test_a_trace_is_warmed_up_by_its_first_requests_with_prompts_of_their_own() -> None:
    ran, known = run(PATTERNS["trace"][0], warmup=6)
    assert [prompt_words(body) for body in known.bodies[:6]] == TRACE.prompt_tokens[:6].tolist()
    assert len({body["prompt"] for body in known.bodies}) == len(known.bodies) == len(TRACE) + 6
    warm = sorted((s for s in ran.sent if s.part == "warm-up"), key=lambda s: s.index)
    assert [s.index for s in warm] == list(range(6))
    gap = warm[5].scheduled_ns - warm[0].scheduled_ns
    assert gap / 1e9 == pytest.approx(TRACE.arrival_seconds[5] - TRACE.arrival_seconds[0], abs=1e-8)
    assert warm[5].scheduled_ns < min(s.scheduled_ns for s in counted(ran))


def test_a_stalled_server_cannot_hide_the_requests_that_waited_for_it() -> None:
    # One at a time, 100 ms each, 10 a second. The 21st takes 2 s; the ones behind it wait for it.
    # The schedule goes on, so they are counted from when they were due and sent.
    answers = KnownAnswers(lambda n, r: steady(2.0 if n == 20 else 0.05, 0.005, 11), queue_slots=1)
    ran, _ = run(Open(requests_per_second=8, gap_cv=0), answers=answers, requests=100, warmup=0)
    found = figures(ran.sent, Open(requests_per_second=8, gap_cv=0))
    assert sum(times > 0.5 for times in (s.chunk_ns[0] / 1e9 - s.scheduled_ns / 1e9 for s in counted(ran))) > 20
    assert found.value("effective_ttft", "p90") == found.value("ttft", "p90")  # this client sent on time


def test_a_client_that_sends_late_counts_from_when_the_request_was_due() -> None:
    sent = Sent(
        index=0, part="counted", turn=0, scheduled_ns=0, sent_ns=300_000_000, ended_ns=10**9,
        chunk_ns=(400_000_000, 500_000_000), prompt_tokens_asked=1, output_tokens_asked=2, prompt_tokens=1,
        output_tokens=2, cached_tokens=0, failure=None,
    )  # fmt: skip
    found = figures([sent], Closed(concurrency=1))
    assert found.value("ttft") == pytest.approx(0.1)
    assert found.value("effective_ttft") == pytest.approx(0.4)
    assert found.value("effective_e2e") == pytest.approx(0.5)
    assert found.value("schedule_delay") == pytest.approx(0.3)
    assert "client_bound" not in found.flags  # of one request there is no p90: nothing is claimed


def test_requests_that_pile_up_are_called_saturated() -> None:
    answers = KnownAnswers(lambda n, r: steady(0.05, 0.01, 11), queue_slots=1)  # at most 6.7 per second
    assert by_hand(Open(requests_per_second=10, gap_cv=0), answers=answers).saturated
    answers = KnownAnswers(lambda n, r: steady(0.05, 0.01, 11), queue_slots=1)
    assert not by_hand(Open(requests_per_second=6, gap_cv=0), answers=answers).saturated


def test_warm_up_is_in_no_figure() -> None:
    answers = KnownAnswers(lambda n, r: steady(9.0 if n < 6 else 0.05, 0.01, 11))
    found = by_hand(Open(requests_per_second=10, gap_cv=0), answers=answers, warmup=6)
    assert found.distributions["e2e"].maximum == pytest.approx(0.15)


def test_chunks_of_several_tokens_are_said_and_tpot_is_per_token() -> None:
    # 4 chunks of 3 tokens, 30 ms apart: 11 gaps between 12 tokens in 90 ms.
    answers = KnownAnswers(lambda n, r: steady(0.05, 0.03, 4, tokens_per_chunk=3))
    found = by_hand(Closed(concurrency=2), answers=answers)
    assert found.tokens_per_chunk == 3.0
    assert "several_tokens_per_chunk" in found.flags
    assert found.value("tpot") == pytest.approx(0.09 / 11)
    assert found.value("itl") == pytest.approx(0.03)
    assert "chunks" in found.distributions["itl"].definition


def test_a_server_that_counts_nothing_is_flagged_and_chunks_stand_for_tokens() -> None:
    answers = KnownAnswers(lambda n, r: steady(0.05, 0.01, 11), counts_tokens=False)
    found = by_hand(Closed(concurrency=1), answers=answers)
    assert "tokens_not_counted_by_server" in found.flags
    assert found.counts.output_tokens_server is None
    assert found.value("tpot") == pytest.approx(0.01)


def test_counts_of_client_and_server_that_differ_are_flagged() -> None:
    ran, _ = run(Closed(concurrency=1), requests=10)
    same = figures(ran.sent, Closed(concurrency=1), client_tokens=[11] * 10)
    assert same.counts.token_mismatch_share == 0.0
    more = figures(ran.sent, Closed(concurrency=1), client_tokens=[12] * 10)
    assert more.counts.token_mismatch_share == pytest.approx(1 / 11)
    assert "token_mismatch" in more.flags


def test_no_two_prompts_begin_alike_and_each_is_as_long_as_asked() -> None:
    _, known = run(Closed(concurrency=8))
    prompts = [body["prompt"] for body in known.bodies]
    assert len({" ".join(prompt.split()[:8]) for prompt in prompts}) == len(prompts)
    assert {prompt_words(body) for body in known.bodies} == {40}


def test_shared_prefixes_are_shared_and_the_rest_is_not() -> None:
    shape = Shape(prompt=Fixed(tokens=40), output=Fixed(tokens=3), shared_prefix_tokens=24, prefix_groups=2)
    _, known = run(Closed(concurrency=4), shape)
    words = [body["prompt"].split() for body in known.bodies]
    assert len({tuple(row[:24]) for row in words}) == 2
    assert len({tuple(row[24:]) for row in words}) == len(words)
    assert {prompt_words(body) for body in known.bodies} == {40}


def test_each_turn_of_a_conversation_says_all_that_was_said_before() -> None:
    shape = Shape(prompt=Fixed(tokens=10), output=Fixed(tokens=5), turns=3, think_seconds=1.0)
    ran, known = run(Closed(concurrency=1), shape, requests=2, warmup=0)
    first, second, third = (body["prompt"] for body in known.bodies[:3])
    assert second.startswith(first + " time" * 5)
    assert third.startswith(second + " time" * 5)
    ends = sorted((sent.scheduled_ns, sent.ended_ns) for sent in ran.sent)
    assert ends[1][0] - ends[0][1] == pytest.approx(1e9, abs=10)  # a second to think, then due


def test_later_turns_add_to_the_shared_prefix_and_do_not_repeat_it() -> None:
    shape = Shape(prompt=Fixed(tokens=40), output=Fixed(tokens=3), shared_prefix_tokens=24, turns=3)
    ran, known = run(Closed(concurrency=1), shape, requests=2, warmup=0)
    # of 40 tokens 24 are shared: each later turn adds 16 to them, and the answers of 3 before it
    assert [prompt_words(body) for body in known.bodies[:3]] == [40, 40 + 3 + 16, 40 + 2 * (3 + 16)]
    assert [s.prompt_tokens_asked for s in ran.sent[:3]] == [s.prompt_tokens for s in ran.sent[:3]]
    assert len({tuple(body["prompt"].split()[:24]) for body in known.bodies}) == 1


def test_failures_are_counted_by_kind_and_in_no_latency() -> None:
    kinds = ["", "die", "429", "", "malformed", "error event", "stall", "not streaming", "500", "401"]

    def plan(number: int, request: dict[str, Any]) -> Programme:
        return steady(0.05, 0.01, 11, breaks=kinds[number % len(kinds)])

    found = by_hand(Open(requests_per_second=5, gap_cv=0), answers=KnownAnswers(plan), warmup=0, stall_seconds=3.0)
    assert found.counts.errors == {
        "died": 20, "busy": 20, "malformed": 20, "error event": 20, "stalled": 20, "not streaming": 20,
        "server error": 20, "unauthorised": 20,
    }  # fmt: skip
    assert found.counts.requests_ok == 40
    assert found.distributions["e2e"].n == 40
    assert found.distributions["e2e"].maximum == pytest.approx(0.15)
    assert "errors" in found.flags


def test_goodput_counts_a_failed_request_once() -> None:
    """Every other request fails, every answer is in time: what is good comes as fast as what is answered."""
    answers = KnownAnswers(lambda n, r: steady(0.05, 0.01, 11, breaks="429" if n % 2 else ""))
    pattern = Open(requests_per_second=5, gap_cv=0)
    ran, _ = run(pattern, answers=answers, warmup=0)
    found = figures(ran.sent, pattern, limits=parse_slo("p95 ttft <= 100ms")).throughput
    assert found.goodput_share == 0.5
    assert found.goodput_requests_per_second == found.requests_per_second == pytest.approx(2.5, rel=0.02)


def test_what_is_not_answered_when_the_time_is_up_is_incomplete_not_failed() -> None:
    answers = KnownAnswers(lambda n, r: steady(1e4 if n >= 10 else 0.05, 0.01, 11))
    pattern = Open(requests_per_second=5, gap_cv=0)
    found = by_hand(pattern, answers=answers, warmup=0, requests=50, seconds=20.0, stall_seconds=1e6)
    assert found.counts.requests_ok == 10
    assert found.counts.requests_incomplete == 40
    assert found.counts.requests_failed == 0


def test_workers_share_one_schedule_and_ask_every_request_once() -> None:
    pattern = Open(requests_per_second=20, gap_cv=1)
    whole = {s.index: s.scheduled_ns for s in run(pattern, requests=100)[0].sent if s.part == "counted"}
    parts: dict[int, int] = {}
    for worker in range(3):
        ran, _ = run(pattern, requests=100, share=Share(worker=worker, of=3))
        parts |= {s.index: s.scheduled_ns for s in ran.sent if s.part != "filler"}
    assert {index: parts[index] for index in whole} == whole
    assert sum(Share(worker=w, of=3).size(100) for w in range(3)) == 100
