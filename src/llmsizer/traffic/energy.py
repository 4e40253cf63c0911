"""What serving draws: GPU power at the simulated load, joules per output token, and how much of it goes to waiting.

    watts of a GPU = TDP · (idle · (1 - u) + u · (one + (full - one) · ln batch / ln 256))

``u`` is the share of time in which a replica steps, and the batch that of its steps, both stretch by stretch from the
simulation. The three shares of the TDP are editable assumptions with sources (``profiles/assumptions/power.toml``).
Only GPUs are counted: host, network and cooling are the money's, which multiplies by PUE.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmsizer.errors import InputError
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.figure import Figure, over_corners
from llmsizer.facts.provenance import Basis, Estimate
from llmsizer.traffic.simulator.fleet import PowerCurve
from llmsizer.traffic.simulator.results import SimulationResult
from llmsizer.units import KILO, SECONDS_PER_HOUR

SHARES = ("idle_power_share", "one_sequence_power_share", "full_batch_power_share")
FITTED_ON = "h100-sxm-80"
METHOD = "GPU power by a curve over simulated utilisation and batch; host, network and cooling not counted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """The power curve of one replica at the mids of its assumptions, and at all lows and all highs."""

    mid: PowerCurve
    low: PowerCurve
    high: PowerCurve
    basis: Basis
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """A fleet's GPUs under a load. Unknown where the TDP is; per token unknown where OVERLOADED or nothing comes."""

    watts: Estimate  # of all GPUs, mean over time
    joules_per_output_token: Estimate
    watt_hours_per_1000_output_tokens: Estimate
    idle_share: Estimate  # of the energy: drawn while no step runs
    output_tokens_per_second: float
    gpus: int
    method: str = METHOD


def power_of(deployment: Deployment, assumed: Mapping[str, Figure]) -> Power | str:
    """The power of one replica by its GPU's TDP and the assumed shares, or why it is not known.

    Raises InputError where the shares fall from idle to one sequence to a full batch.
    """
    tdp, gpus = deployment.gpu.tdp_watts, deployment.parallelism.gpus
    if not tdp:
        return f"the power draw of {deployment.gpu.name} is not in the catalogue"
    shares = [assumed[name].estimate for name in SHARES]
    ends = [[e.value if end is None else end for e, end in zip(shares, row, strict=True)]
            for row in ([e.value for e in shares], [e.low for e in shares], [e.high for e in shares])]  # fmt: skip
    mid, low, high = (_curve([share or 0.0 for share in row], tdp * gpus) for row in ends)
    same = deployment.gpu.id == FITTED_ON
    basis: Basis = "calibrated" if same else "assumed"
    if any(e.reason == "set in the scenario" for e in shares):
        basis = "assumed"
    where = "" if same else f"; the curve is an H100's, as shares of {deployment.gpu.name}'s TDP"
    return Power(mid=mid, low=low, high=high, basis=basis, reason=f"{tdp:g} W TDP by data sheet{where}")


def _curve(shares: Sequence[float], tdp_watts: float) -> PowerCurve:
    idle, one, full = shares
    if not idle <= one <= full:
        raise InputError(
            f"power falls from idle ({idle:g} of TDP) to one sequence ({one:g}) to a full batch ({full:g}); "
            f"give {', '.join(SHARES)} in that order"
        )
    return PowerCurve(idle_watts=idle * tdp_watts, one_watts=one * tdp_watts, full_watts=full * tdp_watts)


def energy_of(
    runs: Sequence[SimulationResult],
    replicas: int,
    gpus_per_replica: int,
    power: Power | str,
    *,
    times: float = 1.0,
) -> Energy:
    """The energy of simulated runs of one fleet. The interval is that of the curve, not of chance.

    ``replicas``: simulated ones, each of which stands for so many ``times``.
    """
    gpus = round(replicas * times) * gpus_per_replica
    rate = times * sum(_output_tokens(run) for run in runs) / sum(run.measured_seconds for run in runs)
    if isinstance(power, str):
        missing = Estimate(value=None, basis="unknown", reason=power)
        return Energy(watts=missing, joules_per_output_token=missing, watt_hours_per_1000_output_tokens=missing,
                      idle_share=missing, output_tokens_per_second=rate, gpus=gpus)  # fmt: skip

    def over(value: Callable[[PowerCurve], float]) -> Estimate:
        found = [value(curve) for curve in (power.mid, power.low, power.high)]
        return Estimate(value=found[0], low=min(found), high=max(found), basis=power.basis, reason=power.reason)

    watts = over(lambda curve: times * sum(_watts(run, replicas, curve) for run in runs) / len(runs))
    idle = over(lambda curve: _idle_share(runs, replicas, curve))
    if any(run.verdict == "OVERLOADED" for run in runs) or not rate > 0:
        why = "no output token comes" if not rate > 0 else "OVERLOADED: what comes out is not what was asked for"
        joules = Estimate(value=None, basis="unknown", reason=why)
    else:
        joules = watts.scaled(1 / rate)
    return Energy(
        watts=watts,
        joules_per_output_token=joules,
        watt_hours_per_1000_output_tokens=joules.scaled(KILO / SECONDS_PER_HOUR),
        idle_share=idle,
        output_tokens_per_second=rate,
        gpus=gpus,
    )


def joules_per_output_token(in_flight: float, output_tokens_per_second: float, power: Power | str) -> Estimate:
    """Of one replica in the closed form, ``in_flight`` requests in it on average: no simulation is run.

    It steps while someone is inside, ``1 - exp(-in_flight)`` of the time, with the batch of those times.
    """
    if isinstance(power, str) or not output_tokens_per_second > 0:
        why = power if isinstance(power, str) else "no output token comes"
        return Estimate(value=None, basis="unknown", reason=why)
    busy = -math.expm1(-in_flight)
    batch = np.array([max(1.0, in_flight / busy) if busy > 0 else 1.0])

    def watts(curve: PowerCurve) -> float:
        return curve.idle_watts * (1 - busy) + busy * float(curve.stepping_watts(batch)[0])

    found = [watts(curve) / output_tokens_per_second for curve in (power.mid, power.low, power.high)]
    return Estimate(value=found[0], low=min(found), high=max(found), basis=power.basis, reason=power.reason)


def added(parts: Sequence[Energy], output_tokens_per_second: float) -> Energy:
    """Pools that serve together, per token that leaves the last of them."""

    def watts(*each: float) -> float:
        return sum(each)

    def share(*each: float) -> float:
        half = len(each) // 2
        return sum(w * s for w, s in zip(each[:half], each[half:], strict=True)) / sum(each[:half])

    together = over_corners(watts, *(part.watts for part in parts), reason=parts[0].watts.reason)
    idle = over_corners(share, *(p.watts for p in parts), *(p.idle_share for p in parts), reason=parts[0].watts.reason)
    rate = output_tokens_per_second
    missing = [part.joules_per_output_token for part in parts if part.joules_per_output_token.value is None]
    joules = missing[0] if missing else together.scaled(1 / rate)
    return Energy(
        watts=together,
        joules_per_output_token=joules,
        watt_hours_per_1000_output_tokens=joules.scaled(KILO / SECONDS_PER_HOUR),
        idle_share=idle,
        output_tokens_per_second=rate,
        gpus=sum(part.gpus for part in parts),
    )


def _output_tokens(run: SimulationResult) -> float:
    """Of the measured time: all output tokens, in proportion to the time that sequences spent decoding in it."""
    if run.total_batch_seconds > 0:
        return run.counts.output_tokens * run.mean_batch * run.measured_seconds / run.total_batch_seconds
    return run.counts.output_tokens * run.measured_seconds / run.duration_seconds


def _watts(run: SimulationResult, replicas: int, curve: PowerCurve) -> float:
    series = run.series
    width = float(series.start_seconds[1] - series.start_seconds[0])  # of a run that was cut short, its plan's
    busy = series.utilisation * width * replicas
    return curve.joules(run.measured_seconds * replicas, busy, series.batch * width) / run.measured_seconds


def _idle_share(runs: Sequence[SimulationResult], replicas: int, curve: PowerCurve) -> float:
    waiting = sum(max(1 - run.utilisation, 0.0) * replicas * curve.idle_watts for run in runs)
    total = sum(_watts(run, replicas, curve) for run in runs)
    return float(np.clip(waiting / total, 0.0, 1.0)) if total > 0 else 0.0
