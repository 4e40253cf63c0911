"""What a plan promises of one replica in its peak hour, in the terms in which a load generator measures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from llmsizer.decide.answer import Plan
from llmsizer.decide.study import workload_of
from llmsizer.errors import InputError, UnknownNameError
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.figure import Figure
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Workload
from llmsizer.profile.load.patterns import Shape
from llmsizer.profile.load.slo import Limit
from llmsizer.traffic.stream import stream_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Promised:
    """One figure of the plan and where a record holds the same: a metric's percentile, or its mean."""

    name: str
    figure: Figure
    metric: str  # of ``facts.record_parts.METRICS``
    percentile: str | None  # None: the mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """``requests_per_second``: that reach one replica in the peak hour."""

    scenario: Scenario
    plan: str
    model: str
    model_config: dict[str, Any]  # the maker's; empty for a model from outside the catalogue
    gpu: str
    is_cpu: bool
    precision: str
    accelerators: int
    workload: Workload
    requests_per_second: float
    figures: tuple[Promised, ...]
    limits: tuple[Limit, ...]

    @property
    def scenario_sha256(self) -> str:
        return hashlib.sha256(self.scenario.model_dump_json().encode()).hexdigest()

    def shape(self, context_tokens: int | None = None) -> Shape:
        """Requests as the plan's workload has them: lengths with their tails, shared prefix, turns.

        Where the workload only says that a share of the prompt is cached, that share is sent as a common beginning.
        """
        workload = self.workload
        stream = stream_of(workload, context_tokens=context_tokens)
        shared = workload.shared_prefix_tokens or round(workload.cached_prompt_fraction * workload.prompt_tokens)
        if workload.turns > 1:
            shared = workload.shared_prefix_tokens
        return Shape(
            prompt=stream.prompt,
            output=stream.output,
            shared_prefix_tokens=shared,
            turns=max(1, round(workload.turns)),
            think_seconds=workload.think_seconds if workload.turns > 1 else 0.0,
        )


def promise_of(scenario: Scenario, plan: Plan, catalog: Catalog) -> Promise:
    """Raises InputError where the plan promises nothing that could be measured."""
    if plan.path == "api":
        raise InputError(f"{plan.label}: an API's speed is not promised by the plan; there is nothing to verify")
    load, deployment = plan.at_peak, plan.deployment
    return Promise(
        scenario=scenario,
        plan=plan.label,
        model=deployment.model.name,
        model_config=_config(deployment.model.name, catalog),
        gpu=deployment.gpu.id,
        is_cpu=deployment.gpu.is_cpu,
        precision=deployment.weights.name,
        accelerators=deployment.parallelism.gpus,
        workload=workload_of(scenario, catalog),
        requests_per_second=load.requests_per_second,
        figures=(
            Promised(name="TTFT p95", figure=load.ttft_p95, metric="effective_ttft", percentile="p95"),
            Promised(name="TTFT mean", figure=load.ttft_mean, metric="effective_ttft", percentile=None),
            Promised(name="TPOT p95", figure=load.tpot_p95, metric="tpot", percentile="p95"),
            Promised(name="TPOT mean", figure=load.tpot_mean, metric="tpot", percentile=None),
        ),
        limits=(
            Limit(metric="ttft", fraction=0.95, seconds=scenario.slo.ttft_p95_seconds),
            Limit(metric="tpot", fraction=0.95, seconds=scenario.slo.tpot_p95_seconds),
        ),
    )


def _config(model: str, catalog: Catalog) -> dict[str, Any]:
    try:
        return catalog.model_config(model)
    except UnknownNameError:
        return {}
