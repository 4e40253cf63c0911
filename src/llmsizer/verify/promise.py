"""What a plan promises of one replica in its peak hour, in the terms in which a load generator measures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmsizer.decide.answer import Plan
from llmsizer.decide.pricing.study import workload_of
from llmsizer.errors import InputError, UnknownNameError
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.figure import Figure
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Workload
from llmsizer.profile.load.patterns import LENGTHS_DRAWN, Shape
from llmsizer.profile.load.slo import Limit
from llmsizer.traffic.closed_form.capacity import LoadPoint
from llmsizer.traffic.demand.lengths import WIDEST, Empirical, Length, length

MOST_TOKENS = 100_000_000  # in a tail, before it is cut to the context


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
    engine: str
    accelerators: int
    workload: Workload
    context_tokens: int  # that the plan reserves for one request
    requests_per_second: float
    figures: tuple[Promised, ...]
    limits: tuple[Limit, ...]

    @property
    def scenario_sha256(self) -> str:
        return hashlib.sha256(self.scenario.model_dump_json().encode()).hexdigest()

    @property
    def shape(self) -> Shape:
        """Requests as the plan counts them: lengths with their tails, within the context that it reserves.

        What the plan counts on finding in the cache, of a prefix or of earlier turns, is sent as a common beginning of
        whole prompts: so the promised rate is there from the first second and not only when conversations have grown.
        """
        workload = self.workload
        prompt, output = _tails(workload, self.context_tokens)
        return Shape(
            prompt=prompt,
            output=output,
            shared_prefix_tokens=min(
                round(workload.cached_prompt_fraction * workload.prompt_tokens), prompt.longest_tokens - 1
            ),
        )


def _tails(workload: Workload, context_tokens: int) -> tuple[Length, Length]:
    """Lengths of prompts and of all that is generated; what the context leaves over the means goes to both tails."""
    prompt, output = workload.prompt_tokens, workload.generated_tokens
    beyond_prompt = (workload.prompt_tokens_p95 or prompt) - prompt
    beyond_output = (workload.generated_tokens_p95 or output) - output
    left = max(0, context_tokens - prompt - output)
    share = beyond_prompt / (beyond_prompt + beyond_output) if beyond_prompt + beyond_output else 0.5
    longest_prompt = prompt + int(left * share)
    longest_output = prompt + output + left - longest_prompt
    reasoned = workload.reasoning_tokens  # before each answer whose length was seen
    return (
        _within(_length(prompt, beyond_prompt, workload.prompt_lengths), prompt, longest_prompt),
        _within(
            _length(output, beyond_output, tuple(seen + reasoned for seen in workload.output_lengths)),
            output,
            longest_output,
        ),
    )


def _length(mean_tokens: int, beyond_tokens: int, seen_tokens: Sequence[int]) -> Length:
    if seen_tokens:
        return Empirical(tokens=np.array(seen_tokens, dtype=np.int32))
    tail = min(mean_tokens + beyond_tokens, int(WIDEST * mean_tokens))
    return length(mean_tokens, tail if tail > mean_tokens else None, MOST_TOKENS)


def _within(lengths: Length, mean_tokens: int, longest_tokens: int) -> Length:
    """The same cut to the longest, the others longer in return: the mean is what load depends on most."""
    if lengths.longest_tokens <= longest_tokens:
        return lengths
    drawn = lengths.draw(LENGTHS_DRAWN, np.random.default_rng(0)).astype(np.float64)
    low, high = 0.0, float(longest_tokens)  # as many times as long
    for _ in range(60):
        factor = (low + high) / 2
        low, high = (factor, high) if np.minimum(drawn * factor, longest_tokens).mean() < mean_tokens else (low, factor)
    return Empirical(tokens=np.clip(np.rint(drawn * high), 1, longest_tokens).astype(np.int32))


def promise_of(scenario: Scenario, plan: Plan, catalog: Catalog, *, written: LoadPoint | None = None) -> Promise:
    """Raises InputError where the plan promises nothing that could be measured.

    ``written``: the peak hour as a file of the plan has it, where today's catalogue or evidence says otherwise.
    """
    if plan.path == "api":
        raise InputError(f"{plan.label}: an API's speed is not promised by the plan; there is nothing to verify")
    load, deployment = written or plan.at_peak, plan.deployment
    return Promise(
        scenario=scenario,
        plan=plan.label,
        model=deployment.model.name,
        model_config=_config(deployment.model.name, catalog),
        gpu=deployment.gpu.id,
        is_cpu=deployment.gpu.is_cpu,
        precision=deployment.weights.name,
        engine=deployment.engine,
        accelerators=deployment.parallelism.gpus,
        workload=workload_of(scenario, catalog),
        context_tokens=deployment.max_context_tokens,
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
