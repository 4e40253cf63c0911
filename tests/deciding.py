"""Questions for the decision's tests, and physics that is simple enough to follow by hand."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from llmsizer.decide.answer import Plan, Recommendation
from llmsizer.decide.candidates.modelled import ModelledPhysics
from llmsizer.decide.recommend import recommend
from llmsizer.errors import NoEvidenceError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.scenario import Scenario, load_scenario, parse_scenario
from llmsizer.traffic.closed_form.meanfield import Probe, StepSample

TODAY = datetime.date(2026, 11, 21)
CATALOG = default_catalog()
PROFILES = Path(__file__).parent.parent / "profiles"
SCENARIOS = sorted((PROFILES / "scenarios").glob("*.toml"))


class RooflinePhysics(ModelledPhysics):
    """Real memory; weights and cache over most of the bandwidth, arithmetic over some of the peak."""

    def samples(self, asked: Sequence[tuple[Deployment, Probe]]) -> list[StepSample | NoEvidenceError]:
        return [roofline(deployment, points) for deployment, points in asked]


def roofline(d: Deployment, points: Probe) -> StepSample:
    model, gpus, batch = d.model, d.parallelism.gpus, np.array(points.batches, dtype=float)
    params = np.minimum(model.total_params, model.active_params * batch) if model.is_moe else model.total_params
    read = params * d.weights.bytes_per_quantized_weight + batch * model.kv_values(points.context_tokens) * 2
    prefill_rate = (d.gpu.flops_16bit_per_second or 1e12) * 0.4 * gpus / 2 / model.active_params
    return StepSample(
        decode_seconds=read / (d.gpu.memory_bytes_per_second * 0.7 * gpus) + 0.004,
        first_token_seconds=0.02 + points.prompt_tokens / prefill_rate,
        first_token_p95_seconds=0.02 + points.prompt_tokens_p95 / prefill_rate,
        prefill_seconds=points.prompt_tokens / prefill_rate,
        overhead_seconds=0.01,
        decode_interval=(0.9, 1.1),
        prefill_interval=(0.9, 1.1),
    )


class BlindPhysics(ModelledPhysics):
    """No evidence for any step time."""

    def samples(self, asked: Sequence[tuple[Deployment, Probe]]) -> list[StepSample | NoEvidenceError]:
        return [NoEvidenceError("nobody measured this") for _ in asked]


def scenario(text: str = "", *, model: str = "mistral-small-2409", **workload: float) -> Scenario:
    lines = "\n".join(f"{key} = {value}" for key, value in ({"tokens_per_month": 1e9} | workload).items())
    return parse_scenario(f'model = "{model}"\nelectricity_area = "DEU"\n{text}\n[workload]\npreset = "chat"\n{lines}')


FEW = '[constraints]\ngpus = ["h100-sxm-80", "l40s", "a100-sxm-80", "l4"]\n'


def answer(asked: Scenario) -> Recommendation:
    return recommend(CATALOG.model(asked.model), asked, CATALOG, today=TODAY, physics=RooflinePhysics())


@cache
def answer_to_file(name: str) -> Recommendation:
    return answer(load_scenario(PROFILES / "scenarios" / f"{name}.toml"))


def usd(plan: Plan) -> float:
    value = plan.cost.usd_per_month.value
    assert value is not None
    return value
