"""From the requests of a point to its figures: pure, so that a test can count them by hand.

TTFT = first chunk with output − sent. TPOT = (last − first)/(n − 1) with n the server's count of output tokens. ITL =
the raw gaps between chunks. E2E = last chunk − sent. The ``effective`` ones count from when the request was due.
The window, over which rates are taken, goes from the first counted request to the last counted answer where users wait
for answers, and over the counted arrivals where requests come by the clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmsizer.facts.record_parts import Counts, Distribution, SteadyState, Throughput
from llmsizer.profile.distribution import distribution_of
from llmsizer.profile.load.failures import CUT
from llmsizer.profile.load.patterns import Closed, Open, Pattern
from llmsizer.profile.load.point import Sent
from llmsizer.profile.load.slo import JUDGED_BY, Limit
from llmsizer.profile.steady import steady_state

SEVERAL_TOKENS = 1.05  # tokens a chunk, on average, from which gaps are no longer between tokens
MISMATCH_SHARE = 0.02
CACHED_SHARE = 0.05
FEW_REQUESTS = 100
CLIENT_BUSY_SHARE = 0.8
LATE_SECONDS = 0.005
LATE_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """One answered request in seconds; None where one token or one chunk has no gap."""

    ttft: float
    tpot: float | None
    gaps: NDArray[np.float64]
    e2e: float
    effective_ttft: float
    effective_e2e: float
    schedule_delay: float
    output_tokens: int

    def meets(self, limits: Sequence[Limit]) -> bool:
        """Whether this request kept every limit; a limit on ITL holds for its own share of the gaps."""
        for limit in limits:
            if limit.metric == "itl":
                value = float(np.quantile(self.gaps, limit.fraction, method="higher")) if self.gaps.size else 0.0
            else:
                value = getattr(self, JUDGED_BY[limit.metric]) or 0.0
            if value > limit.seconds:
                return False
        return True


def times_of(sent: Sent) -> Times | None:
    """The times of an answered request; None of a failed one."""
    if sent.failure is not None or not sent.chunk_ns:
        return None
    chunks, tokens = len(sent.chunk_ns), sent.output_tokens or len(sent.chunk_ns)
    first, last = sent.chunk_ns[0], sent.chunk_ns[-1]
    return Times(
        ttft=(first - sent.sent_ns) / 1e9,
        tpot=(last - first) / 1e9 / (tokens - 1) if tokens > 1 and chunks > 1 else None,
        gaps=np.diff(np.array(sent.chunk_ns, dtype=np.int64)).astype(np.float64) / 1e9,
        e2e=(last - sent.sent_ns) / 1e9,
        effective_ttft=(first - sent.scheduled_ns) / 1e9,
        effective_e2e=(last - sent.scheduled_ns) / 1e9,
        schedule_delay=(sent.sent_ns - sent.scheduled_ns) / 1e9,
        output_tokens=tokens,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a point says."""

    counts: Counts
    distributions: dict[str, Distribution]
    throughput: Throughput
    output_tokens_per_second: float | None
    window_seconds: float
    sent_per_second: float | None
    in_flight_mean: float
    in_flight_peak: int
    tokens_per_chunk: float | None
    saturated: bool
    steady: SteadyState
    flags: tuple[str, ...]
    worst_error: str | None  # the commonest kind, with the first detail seen
    limits: tuple[Limit, ...] = ()
    cpu_share: float = 0.0
    origin_ns: int = 0
    prompt_tokens: list[int] = field(default_factory=list)  # of counted requests, by the server where it tells

    def value(self, metric: str, percentile: str = "p50") -> float | None:
        distribution = self.distributions.get(metric)
        quantile = distribution.percentiles.get(percentile) if distribution else None
        return quantile.value if quantile else None


def figures(
    sent: Sequence[Sent],
    pattern: Pattern,
    *,
    limits: tuple[Limit, ...] = (),
    cpu_share: float = 0.0,
    client_tokens: Sequence[int] | None = None,
    reuses_prefixes: bool = False,
) -> Figures:
    """The figures of a point. ``client_tokens``: the client's own count of each answered counted request's output."""
    counted = sorted((s for s in sent if s.part == "counted"), key=lambda s: (s.scheduled_ns, s.index))
    pairs = [(s, t) for s in counted if (t := times_of(s)) is not None]
    times = [t for _, t in pairs]
    start, end = _window(sent, counted, pattern)
    window = (end - start) / 1e9
    ended = [t for s in sent if (t := times_of(s)) is not None and start < s.chunk_ns[-1] <= end]
    good = sum(t.meets(limits) for t in times)
    ok_rate = len(ended) / window if window > 0 else None
    share = good / len(counted) if counted else None
    per_chunk = _tokens_per_chunk([s for s, _ in pairs])
    several = per_chunk is not None and per_chunk > SEVERAL_TOKENS
    distributions = _distributions(times, chunks_hold_several=several)
    saturated = isinstance(pattern, Open) and _saturated(sent, len(counted), start, end)
    counts = _counts(counted, times, client_tokens)
    steady = _steady(times, saturated=saturated)
    return Figures(
        counts=counts,
        distributions=distributions,
        throughput=Throughput(
            requests_per_second=ok_rate,
            input_tokens_per_second=_input_rate(sent, start, end, window),
            goodput_requests_per_second=_good_rate(good, len(times), ok_rate) if limits and counted else None,
            goodput_share=share if limits else None,
            slo_seconds={limit.metric: limit.seconds for limit in limits},
        ),
        output_tokens_per_second=_token_rate(sent, start, end, window),
        window_seconds=window,
        sent_per_second=_sent_rate(counted, window),
        in_flight_mean=_in_flight_mean(sent, start, end),
        in_flight_peak=_in_flight_peak(sent),
        tokens_per_chunk=per_chunk,
        saturated=saturated,
        steady=steady,
        flags=(
            *_flags(counted, times, counts, distributions, per_chunk, saturated, cpu_share, reuses_prefixes),
            *(("unsteady",) if times and not steady.found else ()),
        ),
        worst_error=_worst_error(counted),
        limits=limits,
        cpu_share=cpu_share,
        origin_ns=start,
        prompt_tokens=[s.prompt_tokens or s.prompt_tokens_asked for s in counted],
    )


def _window(sent: Sequence[Sent], counted: Sequence[Sent], pattern: Pattern) -> tuple[int, int]:
    """Nanoseconds of the clock; empty where nothing counts."""
    if not counted:
        return 0, 0
    if isinstance(pattern, Open):
        later = [s.scheduled_ns for s in sent if s.part == "filler" and s.scheduled_ns >= counted[-1].scheduled_ns]
        start, end = counted[0].scheduled_ns, min(later, default=counted[-1].scheduled_ns)
        if end > start:
            return start, end
    start = min(s.sent_ns if isinstance(pattern, Closed) else s.scheduled_ns for s in counted)
    return start, max(s.chunk_ns[-1] if s.chunk_ns else s.ended_ns for s in counted)


def _distributions(times: Sequence[Times], *, chunks_hold_several: bool) -> dict[str, Distribution]:
    tpots = [t.tpot for t in times if t.tpot is not None]
    values: dict[str, Sequence[float]] = {
        "ttft": [t.ttft for t in times],
        "tpot": tpots,
        "itl": np.concatenate([t.gaps for t in times]).tolist() if times else [],
        "e2e": [t.e2e for t in times],
        "normalized_tpot": [t.e2e / t.output_tokens for t in times],
        "effective_ttft": [t.effective_ttft for t in times],
        "effective_e2e": [t.effective_e2e for t in times],
        "schedule_delay": [t.schedule_delay for t in times],
        "output_tokens_per_second_per_user": [1.0 / tpot for tpot in tpots if tpot > 0],
    }
    found = {
        name: distribution_of(
            series,
            name,
            unit="tok/s" if name == "output_tokens_per_second_per_user" else "s",
            weighting="token" if name == "itl" else "request",
        )
        for name, series in values.items()
        if len(series)
    }
    if chunks_hold_several and "itl" in found:
        found["itl"] = found["itl"].model_copy(update={"definition": "gaps between chunks of several tokens"})
    return found


def _counts(counted: Sequence[Sent], times: Sequence[Times], client_tokens: Sequence[int] | None) -> Counts:
    server = [s.output_tokens for s in counted if s.failure is None]
    server_total = sum(n for n in server if n is not None) if server and None not in server else None
    client_total = sum(client_tokens) if client_tokens is not None else None
    mismatch = abs(server_total - client_total) / server_total if server_total and client_total is not None else None
    prompts = [s.prompt_tokens for s in counted if s.failure is None]
    errors = Counter(s.failure.kind for s in counted if s.failure is not None)
    cut = errors.pop(CUT, 0)
    return Counts(
        requests_total=len(counted),
        requests_ok=len(times),
        requests_failed=sum(errors.values()),
        requests_incomplete=cut,
        input_tokens=sum(n for n in prompts if n is not None) if prompts and None not in prompts else None,
        output_tokens_client=client_total,
        output_tokens_server=server_total,
        token_mismatch_share=mismatch,
        errors=dict(errors),
    )


def _good_rate(good: int, answered: int, ok_rate: float | None) -> float | None:
    """Of what is answered a second, the share that kept the limits: failed requests are not in the rate already."""
    return None if ok_rate is None else ok_rate * good / answered if answered else 0.0


def _tokens_per_chunk(answered: Sequence[Sent]) -> float | None:
    told = [(s.output_tokens, len(s.chunk_ns)) for s in answered if s.output_tokens]
    return sum(tokens for tokens, _ in told) / sum(chunks for _, chunks in told) if told else None


def _token_rate(sent: Sequence[Sent], start: int, end: int, window: float) -> float | None:
    """Tokens that came within the window, whichever part their request belongs to."""
    if window <= 0:
        return None
    total = 0.0
    for s in sent:
        if s.chunk_ns:
            inside = sum(start < stamp <= end for stamp in s.chunk_ns)
            total += inside * (s.output_tokens or len(s.chunk_ns)) / len(s.chunk_ns)
    return total / window


def _input_rate(sent: Sequence[Sent], start: int, end: int, window: float) -> float | None:
    done = [s for s in sent if s.chunk_ns and start < s.chunk_ns[0] <= end]
    return sum(s.prompt_tokens or s.prompt_tokens_asked for s in done) / window if window > 0 else None


def _sent_rate(counted: Sequence[Sent], window: float) -> float | None:
    return len(counted) / window if window > 0 else None


def _in_flight_mean(sent: Sequence[Sent], start: int, end: int) -> float:
    """Requests in flight, averaged over the window."""
    overlap = sum(max(0, min(_end(s), end) - max(s.sent_ns, start)) for s in sent)
    return overlap / (end - start) if end > start else 0.0


def _in_flight_peak(sent: Sequence[Sent]) -> int:
    # An end before a beginning at the same instant: the user who was answered asks again.
    edges = sorted([(s.sent_ns, 1) for s in sent] + [(max(_end(s), s.sent_ns + 1), -1) for s in sent])
    return int(np.cumsum([step for _, step in edges]).max()) if edges else 0


def _end(sent: Sent) -> int:
    return max(sent.ended_ns, sent.chunk_ns[-1] if sent.chunk_ns else 0)


def _saturated(sent: Sequence[Sent], counted: int, start: int, end: int) -> bool:
    """Whether requests piled up: more of them waited at the end of the window than at its start, beyond chance."""

    def waiting(at: int) -> int:
        return sum(s.scheduled_ns <= at < _end(s) for s in sent)

    before, after = waiting(start), waiting(end)
    return bool(after - before > max(5.0, 0.1 * counted, 3.0 * max(before, 1) ** 0.5))


def _steady(times: Sequence[Times], *, saturated: bool) -> SteadyState:
    """By what each request took of the whole, in the order in which they were due."""
    return steady_state([t.effective_e2e for t in times]).model_copy(update={"saturated": saturated})


def _flags(
    counted: Sequence[Sent],
    times: Sequence[Times],
    counts: Counts,
    distributions: dict[str, Distribution],
    per_chunk: float | None,
    saturated: bool,
    cpu_share: float,
    reuses_prefixes: bool,
) -> tuple[str, ...]:
    """What a reader should know before believing the point."""
    delays = distributions.get("schedule_delay")
    ttft = distributions["ttft"].percentiles.get("p50") if "ttft" in distributions else None
    late = None if delays is None else delays.percentiles.get("p99") or delays.percentiles.get("p90")
    allowed = max(LATE_SECONDS, LATE_SHARE * (ttft.value if ttft else 0.0))
    prompts = sum(s.prompt_tokens or 0 for s in counted)
    cached = sum(s.cached_tokens or 0 for s in counted)
    asked = sum(s.prompt_tokens_asked for s in counted if s.prompt_tokens is not None)
    shorter = [s for s in counted if s.failure is None and s.output_tokens and s.output_tokens < s.output_tokens_asked]
    flags = {
        "too_few_samples": len(times) < FEW_REQUESTS,
        "errors": bool(counts.requests_failed or counts.requests_incomplete),
        "saturated": saturated,
        "client_bound": cpu_share > CLIENT_BUSY_SHARE or (late is not None and late.value > allowed),
        "token_mismatch": (counts.token_mismatch_share or 0.0) > MISMATCH_SHARE,
        "tokens_not_counted_by_server": bool(times) and counts.output_tokens_server is None,
        "several_tokens_per_chunk": per_chunk is not None and per_chunk > SEVERAL_TOKENS,
        "prefix_cache_hit": not reuses_prefixes and prompts > 0 and cached > CACHED_SHARE * prompts,
        "prompt_length_differs": not reuses_prefixes and abs(prompts - asked) > MISMATCH_SHARE * max(asked, 1),
        "output_shorter_than_asked": bool(shorter),
    }
    return tuple(name for name, holds in flags.items() if holds)


def _worst_error(counted: Sequence[Sent]) -> str | None:
    failures = [s.failure for s in counted if s.failure is not None]
    if not failures:
        return None
    kind, _ = Counter(failure.kind for failure in failures).most_common(1)[0]
    return next(failure.text() for failure in failures if failure.kind == kind)
