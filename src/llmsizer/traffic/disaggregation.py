"""Prefill and decode apart, beside the same GPUs with both on every one of them: the same demand, the same seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import cpu_count

import numpy as np

from llmsizer.errors import InputError
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.provenance import Basis
from llmsizer.physics.memory.account import estimate_memory
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.energy import Energy, Power, added, energy_of
from llmsizer.traffic.service import DEFINITIONS, METRICS, Goal, Simulated, hours_for
from llmsizer.traffic.simulator.disaggregated import DisaggregatedResult, KvTransfer, Pool, simulate_disaggregated
from llmsizer.traffic.simulator.fleet import Fleet, Replica
from llmsizer.traffic.simulator.replications import Metric, interval
from llmsizer.traffic.simulator.results import SimulationVerdict
from llmsizer.units import GIGA, SECONDS_PER_HOUR

WARM_UP_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class KvLink:
    """What a prompt's KV cache travels over: each GPU sends its own part to its opposite number."""

    bytes_per_second: float  # of one GPU, one direction
    bytes_per_token: float  # of one GPU
    basis: Basis
    source: str

    @property
    def transfer(self) -> KvTransfer:
        return KvTransfer(seconds_per_token=self.bytes_per_token / self.bytes_per_second)


@dataclass(frozen=True, slots=True, kw_only=True)
class DisaggregatedLatency:
    """One latency in seconds through both pools, each percentile the mean over replications."""

    metric: str
    definition: str
    mean: Simulated
    p50: Simulated
    p95: Simulated
    p99: Simulated


@dataclass(frozen=True, kw_only=True)
class Disaggregated:
    """The service of two pools. Latencies have no values where the verdict is OVERLOADED."""

    prefill_replicas: int
    decode_replicas: int
    verdict: SimulationVerdict
    meets_slo: bool
    missed: str
    latencies: tuple[DisaggregatedLatency, ...]
    goodput_requests_per_second: Simulated
    prefill_utilisation: float
    decode_utilisation: float | None  # None where nothing reaches the decode pool
    transfer_seconds_mean_prompt: float
    link: KvLink
    energy: Energy

    def row(self, metric: str) -> DisaggregatedLatency:
        return next(row for row in self.latencies if row.metric == metric)


def kv_link(deployment: Deployment, bytes_per_second: float | None = None) -> KvLink:
    """The link that is given, or the GPU's own by its data sheet. Raises InputError where neither is known."""
    each = estimate_memory(deployment).kv_bytes_per_token
    if bytes_per_second is not None:
        return KvLink(bytes_per_second=bytes_per_second, bytes_per_token=each, basis="assumed",
                      source=f"{bytes_per_second / GIGA:g} GB/s for each GPU, as given")  # fmt: skip
    peer = deployment.gpu.peer_bytes_per_second
    if peer is None:
        raise InputError(f"no link between two {deployment.gpu.name} is known; give its speed with --kv-link")
    name = deployment.gpu.scaleup_link or "PCIe"
    return KvLink(
        bytes_per_second=peer,
        bytes_per_token=each,
        basis="datasheet",
        source=f"{peer / GIGA:g} GB/s for each GPU, {name} by data sheet, as if both pools stood in one domain",
    )


def disaggregate(
    replica: Replica,
    stream: Stream,
    goal: Goal,
    counts: tuple[int, int],
    link: KvLink,
    power: Power | str,
    *,
    gpus_per_replica: int,
    routing_fleet: Fleet | None = None,
    hours: float | None = None,
    replications: int = 5,
    seed: int = 0,
) -> Disaggregated:
    """So many replicas that only prefill and so many that only decode, under a steady demand. Raises LlmSizerError.

    The seeds are those of ``service.serve``: both see the same requests.
    """
    rate = stream.arrivals.requests_per_second
    duration = (hours if hours is not None else hours_for(rate)) * SECONDS_PER_HOUR
    routed = routing_fleet or Fleet()
    prefill, decode = (
        Pool(replica=replica, fleet=replace(routed, replicas=count, ready_at_seconds=())) for count in counts
    )

    def one(own_seed: int) -> DisaggregatedResult:
        return simulate_disaggregated(
            prefill,
            decode,
            link.transfer,
            stream,
            duration_seconds=duration,
            warmup_seconds=WARM_UP_SHARE * duration,
            seed=own_seed,
            targets=goal.targets,
        )

    seeds = [int(child.generate_state(1)[0]) for child in np.random.SeedSequence(seed).spawn(replications)]
    with ThreadPoolExecutor(cpu_count() or 1) as threads:
        runs = list(threads.map(one, seeds))
    return _disaggregated(runs, counts, goal, stream, link, power, gpus_per_replica)


def _disaggregated(
    runs: Sequence[DisaggregatedResult],
    counts: tuple[int, int],
    goal: Goal,
    stream: Stream,
    link: KvLink,
    power: Power | str,
    gpus_per_replica: int,
) -> Disaggregated:
    verdict = max((run.verdict for run in runs), key=("STABLE", "BACKLOGGED", "OVERLOADED").index)
    rows = tuple(_row(name, metric, runs) for name, metric in METRICS)
    by_metric = {metric: row for (_, metric), row in zip(METRICS, rows, strict=True)}
    missed = goal.missed(verdict, lambda metric: by_metric[metric].p95.value)
    decodes = [run.decode for run in runs if run.decode is not None]
    parts = [energy_of([run.prefill for run in runs], counts[0], gpus_per_replica, power)]
    if decodes:
        parts.append(energy_of(decodes, counts[1], gpus_per_replica, power))
    prompt = stream.prompt.mean_tokens + stream.shared_prefix_tokens
    return Disaggregated(
        prefill_replicas=counts[0],
        decode_replicas=counts[1],
        verdict=verdict,
        meets_slo=not missed,
        missed=missed,
        latencies=rows,
        goodput_requests_per_second=_number(runs, lambda run: run.good_per_second, "OVERLOADED: none that would last"),
        prefill_utilisation=float(np.mean([run.prefill.utilisation for run in runs])),
        decode_utilisation=float(np.mean([run.utilisation for run in decodes])) if decodes else None,
        transfer_seconds_mean_prompt=link.transfer.seconds_per_token * prompt,
        link=link,
        # The first token leaves the prefill pool, all others the decode pool, whose counter has the whole answers.
        energy=added(parts, parts[-1].output_tokens_per_second),
    )


def _row(name: str, metric: Metric, runs: Sequence[DisaggregatedResult]) -> DisaggregatedLatency:
    def value(key: str) -> Simulated:
        def of_run(run: DisaggregatedResult) -> float | None:
            found = getattr(run, metric)
            return None if found is None else getattr(found, f"{key}_seconds")

        overloaded = any(run.verdict == "OVERLOADED" for run in runs)
        why = "OVERLOADED: it grows as long as one watches" if overloaded else f"too few requests for {key}"
        return _number(runs, of_run, why)

    return DisaggregatedLatency(
        metric=name,
        definition=DEFINITIONS[name],
        mean=value("mean"),
        p50=value("p50"),
        p95=value("p95"),
        p99=value("p99"),
    )


def _number(
    runs: Sequence[DisaggregatedResult], of_run: Callable[[DisaggregatedResult], float | None], reason: str
) -> Simulated:
    values = [of_run(run) for run in runs]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Simulated(value=None, reason=reason)
    if len(known) == 1:
        return Simulated(value=known[0], reason="one run gives no interval")
    spread = interval(known)
    return Simulated(value=spread.mean, low=max(0.0, spread.low), high=spread.high)
