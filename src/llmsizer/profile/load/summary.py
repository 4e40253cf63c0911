"""What a run on a server says, in sentences with their figures."""

from __future__ import annotations

from collections.abc import Sequence

from llmsizer.facts.records import ProfileRecord
from llmsizer.profile.load.record import point_name
from llmsizer.profile.load.search import KNEE_SHARE, Edge, Knee
from llmsizer.profile.load.slo import Limit
from llmsizer.units import format_seconds


def value(record: ProfileRecord, metric: str, percentile: str = "p50") -> float | None:
    """A percentile of a metric in a record; None where it has none."""
    distribution = record.distributions.get(metric)
    quantile = distribution.percentiles.get(percentile) if distribution else None
    return quantile.value if quantile else None


def knee_sentence(knee: Knee, records: Sequence[ProfileRecord]) -> str:
    if knee.at is None:
        return "No number of users could be measured; see the failures above."
    ends = {
        "out of time": " The time was up (--max-minutes) before more was tried.",
        "out of points": " More users were not tried (--most-points).",
    }
    below = f" ({knee.below} do not)" if knee.below is not None else ""
    at = next((r for r in records if r.load and r.load.concurrency == knee.at and r.status == "ok"), None)
    each = "" if at is None else f"; there {_each(at)}"
    users = "1 user reaches" if knee.at == 1 else f"{knee.at} users reach"
    return (
        f"{users} {KNEE_SHARE:.0%} of the best throughput seen, {knee.best_throughput:,.0f} tok/s{below}"
        f"{each}.{ends.get(knee.stopped, '')}"
    )


def edge_sentence(edge: Edge, searched: str, limits: Sequence[Limit], records: Sequence[ProfileRecord]) -> str:
    kept = " and ".join(limit.text() for limit in limits)
    unit = "users at once" if searched == "users" else "requests/s"
    if edge.held is None:
        least = "" if edge.missed is None else f": {edge.missed:.3g} {unit} already miss it"
        return f"No load tried keeps {kept}{least}.{_ended(edge)}"
    held = f"{round(edge.held):,}" if searched == "users" else f"{edge.held:.3g}"
    at = _record_at(records, searched, edge.held)
    each = "" if at is None else f"; there {_each(at)}"
    sure = "" if at is None or all(limit.judge(at.distributions) == "held" for limit in limits) else (
        " More requests would be needed to be 95 % sure of it (--requests)."
    )  # fmt: skip
    if edge.missed is None:
        return f"Serves {held} {unit} or more with {kept}: no load tried missed it{each}.{sure}{_ended(edge)}"
    missed = f"{round(edge.missed):,}" if searched == "users" else f"{edge.missed:.3g}"
    return f"Serves {held} {unit} with {kept}, {missed} not{each}.{sure}{_ended(edge)}"


def _ended(edge: Edge) -> str:
    """Why a search stopped before it had found what it looked for."""
    return {
        "out of time": " The time was up before the search was done: a longer --max-minutes goes on from here.",
        "out of points": " The search ended at its --most-points; more of them go on from here.",
    }.get(edge.stopped, "")


def _record_at(records: Sequence[ProfileRecord], searched: str, load: float) -> ProfileRecord | None:
    for record in records:
        if record.load is None or record.status != "ok":
            continue
        asked = record.load.concurrency if searched == "users" else record.load.rate_per_second
        if asked is not None and abs(asked - (max(1, round(load)) if searched == "users" else load)) < 1e-9:
            return record
    return None


def _each(record: ProfileRecord) -> str:
    """``first token after 84 ms (p95), then 21 tok/s each``."""
    for percentile in ("p95", "p50"):
        first, then = value(record, "effective_ttft", percentile), value(record, "tpot", percentile)
        if first is not None:
            speed = "" if not then else f", then {1 / then:.3g} tok/s for each"
            return f"first token after {format_seconds(first)} ({percentile}){speed}"
    return "too few answers for percentiles"


def point_sentence(record: ProfileRecord) -> str:
    rate = record.output_tokens_per_second
    return f"With {point_name(record)}: {_each(record)}; {0.0 if rate is None else rate:,.0f} tok/s together."
