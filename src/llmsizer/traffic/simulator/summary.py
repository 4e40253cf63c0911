"""From the kernel's counters to a result."""

from __future__ import annotations

import numpy as np

from llmsizer.traffic.simulator import layout
from llmsizer.traffic.simulator.fleet import Observation, Replica
from llmsizer.traffic.simulator.layout import Sim
from llmsizer.traffic.simulator.results import Counts, Series, SimulationResult, judge, latency


def summarise(sim: Sim, replica: Replica, observation: Observation, *, gave_up: bool) -> SimulationResult:
    state = sim.state[0]
    series = time_series(sim)
    seats = replica.max_sequences * sim.replicas.size
    verdict = "OVERLOADED" if gave_up else judge(series, seats, finite=observation.finite)
    measured = observation.measured_seconds
    rows = [state["series"][1:-1, field] for field in (layout.BUSY, layout.BATCH, layout.CONTEXT)]
    busy, batch_seconds, context_seconds = (float(row.sum()) for row in rows)
    replica_seconds = measured * sim.replicas.size
    sums = (state["sum_ttft"], state["sum_tpot"], state["sum_gaps"], state["sum_e2e"])
    ttft, tpot, itl, e2e = (
        None if verdict == "OVERLOADED" else latency(state["histograms"][metric], float(total))
        for metric, total in zip((layout.TTFT, layout.TPOT, layout.ITL, layout.E2E), sums, strict=True)
    )
    has_goodput = observation.targets is not None and verdict != "OVERLOADED"
    return SimulationResult(
        verdict=verdict,
        duration_seconds=observation.duration_seconds,
        measured_seconds=measured,
        ttft=ttft,
        tpot=tpot,
        itl=itl,
        e2e=e2e,
        requests_per_second=float(series.arrived.sum()) / measured,
        finished_per_second=float(series.finished.sum()) / measured,
        good_per_second=int(state["good"]) / measured if has_goodput else None,
        utilisation=busy / replica_seconds,
        mean_batch=batch_seconds / measured,
        total_batch_seconds=float(state["series"][:, layout.BATCH].sum()),
        peak_batch=int(sim.replicas["peak_batch"].max()),
        mean_kv_tokens=context_seconds / measured,
        peak_kv_tokens=int(sim.replicas["peak_context"].max()),
        peak_waiting=int(series.waiting.max()),
        counts=count(sim),
        series=series,
        energy_joules=None
        if observation.power is None
        else observation.power.joules(
            replica_seconds, *(state["series"][1:-1, f] for f in (layout.BUSY, layout.BATCH))
        ),
        histograms=state["histograms"],
        first_token_seconds=sim.records[:, 0] if observation.keep_records else None,
        end_seconds=sim.records[:, 1] if observation.keep_records else None,
    )


def count(sim: Sim) -> Counts:
    state = sim.state[0]
    return Counts(
        arrived=int(state["arrived"]),
        finished=int(state["finished"]),
        measured=int(state["measured"]),
        good=int(state["good"]),
        preemptions=int(state["preemptions"]),
        prompt_tokens=int(state["prompt_tokens"]),
        cached_tokens=int(state["cached_tokens"]),
        prefilled_tokens=int(state["prefilled_tokens"]),
        output_tokens=int(state["output_tokens"]),
    )


def time_series(sim: Sim) -> Series:
    state = sim.state[0]
    width = 1.0 / float(state["buckets_per_second"])
    rows = state["series"][1:-1]
    waiting = np.cumsum(state["series"][:, layout.ARRIVED] - state["series"][:, layout.ADMITTED])[1:-1]
    return Series(
        start_seconds=float(state["measure_from"]) + width * np.arange(len(rows), dtype=np.float64),
        utilisation=rows[:, layout.BUSY] / (width * sim.replicas.size),
        batch=rows[:, layout.BATCH] / width,
        kv_tokens=rows[:, layout.CONTEXT] / width,
        arrived=rows[:, layout.ARRIVED].copy(),
        admitted=rows[:, layout.ADMITTED].copy(),
        finished=rows[:, layout.FINISHED].copy(),
        waiting=waiting,
    )
