"""What one measured run says about the machine: efficiencies fitted by replaying it in the simulator.

The simulator is the model of the scheduler, so the run needs no special load: any log with arrival, first token and end
of each request will do. The six efficiencies are moved, from where public kernel latencies put them, until the replayed
requests begin and end when the measured ones did (damped Gauss-Newton, robust against single requests).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError
from llmsizer.facts.deployment import Deployment
from llmsizer.traffic.demand.requests import Requests
from llmsizer.traffic.simulator.engine import replay
from llmsizer.traffic.simulator.fleet import Fleet, Replica
from llmsizer.traffic.simulator.results import SimulationResult
from llmsizer.traffic.simulator.terms import Efficiencies, Link, term_steps, term_table

Floats = NDArray[np.float64]
TTFT_FLOOR_SECONDS = 0.2  # a first token that comes within a step or two says little about step times
ROBUST_FROM = 0.05  # relative errors beyond this count less and less
# How firmly each efficiency is held, in units of one request's error: overheads least.
FIRMNESS = np.array([3.0, 1.0, 3.0, 0.3, 0.3, 3.0])


@dataclass(frozen=True, kw_only=True)
class MeasuredRun:
    """A run of a replica, or of equal ones: what came when, and when its first and last tokens went out."""

    deployment: Deployment
    requests: Requests
    first_token_seconds: Floats
    end_seconds: Floats
    max_sequences: int
    max_batched_tokens: int
    kv_tokens: int
    link: Link | None = None
    replicas: int = 1  # data-parallel ranks behind one door
    shares_experts: bool = False  # whether these ranks spread the experts among them

    def __post_init__(self) -> None:
        self.requests.checked("the measured run")
        for what, times in (("first tokens", self.first_token_seconds), ("ends", self.end_seconds)):
            if times.shape != self.requests.arrival_seconds.shape or not np.all(times > self.requests.arrival_seconds):
                raise InputError(f"the measured run's {what} do not each come after an arrival; check the clocks")

    def replica(self, efficiencies: Efficiencies) -> Replica:
        ranks = self.replicas if self.shares_experts else 1
        steps = term_steps(self.deployment, efficiencies, self.link, ranks)
        longest = int((self.requests.prompt_tokens + self.requests.output_tokens).max())
        table = term_table(
            steps,
            max_sequences=self.max_sequences,
            max_batched_tokens=self.max_batched_tokens,
            max_context_tokens=longest,
        )
        return Replica(
            steps=table,
            kv_tokens=self.kv_tokens,
            max_sequences=self.max_sequences,
            max_batched_tokens=self.max_batched_tokens,
        )

    def replayed(self, efficiencies: Efficiencies) -> SimulationResult:
        return replay(self.replica(efficiencies), self.requests, fleet=self.fleet, keep_records=True)

    @property
    def fleet(self) -> Fleet:
        return Fleet(replicas=self.replicas, routing="least loaded")


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFit:
    """Fitted efficiencies, and how far the replay still is from the run: median relative error of requests' E2E."""

    efficiencies: Efficiencies
    residual: float


def calibrate(run: MeasuredRun, prior: Efficiencies | None = None, *, rounds: int = 20) -> MachineFit:
    """Efficiencies under which the replayed run begins and ends its requests as the measured one did."""
    start = (prior or Efficiencies()).logs()

    def errors(logs: Floats) -> Floats:
        return np.concatenate([relative_errors(run, Efficiencies.of_logs(logs)), (logs - start) * FIRMNESS])

    logs = least_squares(errors, start, rounds)
    fitted = Efficiencies.of_logs(logs)
    e2e = relative_errors(run, fitted)[: len(run.requests)]
    return MachineFit(efficiencies=fitted, residual=float(np.median(np.abs(e2e))))


def relative_errors(run: MeasuredRun, efficiencies: Efficiencies) -> Floats:
    """Log ratios of replayed to measured E2E, TTFT (at half weight) and decoding time, request by request."""
    result = run.replayed(efficiencies)
    first, end = result.first_token_seconds, result.end_seconds
    assert first is not None and end is not None
    arrival, many = run.requests.arrival_seconds, run.requests.output_tokens > 1
    e2e = np.log((end - arrival) / (run.end_seconds - arrival))
    ttft = np.log((first - arrival + TTFT_FLOOR_SECONDS) / (run.first_token_seconds - arrival + TTFT_FLOOR_SECONDS))
    decoding = np.log((end - first)[many] / (run.end_seconds - run.first_token_seconds)[many])
    return np.concatenate([e2e, 0.5 * ttft, decoding])


def least_squares(errors: Callable[[Floats], Floats], start: Floats, rounds: int) -> Floats:
    """Damped Gauss-Newton (Levenberg-Marquardt) with a soft L1 loss; stops where no step helps any more."""
    at, damping = start.copy(), 1e-2
    current = errors(at)
    for _ in range(rounds):
        weights = (1 + (current / ROBUST_FROM) ** 2) ** -0.5
        slopes = np.stack([(errors(at + 0.01 * unit) - current) / 0.01 for unit in np.eye(at.size)], axis=1)
        normal = slopes.T @ (weights[:, None] * slopes)
        downhill = slopes.T @ (weights * current)
        improved = False
        while damping < 1e6 and not improved:
            candidate = at - np.linalg.solve(normal + damping * np.diag(np.diag(normal)), downhill)
            found = errors(candidate)
            improved = _loss(found) < _loss(current) * (1 - 1e-4)
            damping *= 0.3 if improved else 4.0
        if not improved:
            break
        at, current = candidate, found
    return at


def _loss(errors: Floats) -> float:
    return float(np.sum(np.sqrt(1 + (errors / ROBUST_FROM) ** 2) - 1))
