"""What a bundle starts: one replica under its engine, how many of them, and what they promise.

The same deployment, memory account and traffic model that made the plan. A plan is made for vLLM; for another engine
the replica is sized anew under that engine's rules, and the promise is that engine's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from llmsizer.decide.answer import Plan
from llmsizer.decide.candidates.modelled import ModelledPhysics
from llmsizer.decide.fleets import closed_form
from llmsizer.errors import InputError
from llmsizer.facts.deployment import Deployment, Parallelism
from llmsizer.facts.figure import Figure
from llmsizer.facts.precision import Precision
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Workload
from llmsizer.launch.engine_data import Engine, platform_of
from llmsizer.physics.memory.account import MemoryBudget, estimate_memory
from llmsizer.traffic.closed_form.capacity import LoadPoint
from llmsizer.traffic.closed_form.sizing import capacity, load_at, replicas_for

PLANNED_WITH = "vllm"
_SIXTEEN = ("bf16", "fp16", "fp32")
_SLOTS_TRIED = 64  # llama.cpp sizes its cache by slots: as many are tried before the load says how many it takes
# What each engine reads, beside the 16-bit formats. GGUF is llama.cpp's, and nobody else's here.
READS = {
    "vllm": ("fp8", "int8", "int8-wo", "int4", "nvfp4", "mxfp4"),
    "sglang": ("fp8", "int8", "int4", "nvfp4", "mxfp4"),
    "llama.cpp": ("gguf-q8_0", "gguf-q6_k", "gguf-q5_k_m", "gguf-q4_k_m", "gguf-q4_0", "gguf-q3_k_m"),
    "transformers": (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What one replica and the fleet are promised to do; each figure with its basis and interval."""

    requests_per_second: Figure  # that one replica holds within the SLO
    at_peak: LoadPoint  # of one replica, in the hour that sizes the fleet
    sequences: int  # at once, where a replica is at its limit
    kv_tokens: int  # of cache that they take, or that one request of the longest context takes


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Equal replicas of one engine."""

    engine: Engine
    scenario: Scenario
    workload: Workload
    deployment: Deployment
    budget: MemoryBudget
    promise: Promise
    replicas: int  # that the sizing hour needs
    spare_replicas: int
    checkpoint: str  # a repository, or a path inside /models
    label: str

    @property
    def served_name(self) -> str:
        return self.deployment.model.name

    @property
    def gpus(self) -> int:
        return self.deployment.parallelism.gpus

    @property
    def kv_capacity_tokens(self) -> int:
        """Of the replica: attention ranks have a cache each."""
        return self.deployment.parallelism.data * self.budget.kv_capacity_tokens

    @property
    def caches_prefixes(self) -> bool:
        return self.workload.cached_prompt_fraction > 0

    @property
    def all_replicas(self) -> int:
        return self.replicas + self.spare_replicas

    @property
    def is_local_checkpoint(self) -> bool:
        return self.checkpoint.startswith("/")


def fleet_of(
    plan: Plan,
    scenario: Scenario,
    workload: Workload,
    engine: Engine,
    *,
    physics: ModelledPhysics | None = None,
    checkpoint: str | None = None,
) -> Fleet:
    """The plan's fleet under an engine. Raises InputError where that engine cannot run it, or not within the SLO."""
    fleet = fleet_for(
        plan.deployment, scenario, workload, engine, physics=physics, checkpoint=checkpoint, label=plan.label
    )
    if engine.name != PLANNED_WITH:
        return replace(fleet, spare_replicas=plan.spare_replicas)
    promise = replace(
        fleet.promise,
        requests_per_second=plan.capacity.requests_per_second,
        at_peak=plan.at_peak,
    )
    return replace(fleet, promise=promise, replicas=plan.replicas, spare_replicas=plan.spare_replicas)


def fleet_for(
    asked: Deployment,
    scenario: Scenario,
    workload: Workload,
    engine: Engine,
    *,
    physics: ModelledPhysics | None = None,
    checkpoint: str | None = None,
    label: str = "",
) -> Fleet:
    """As many replicas of a deployment as the scenario's load takes under an engine. Raises InputError."""
    physics = physics or ModelledPhysics()
    refuse_format(asked, engine)
    engine.image(platform_of(asked.gpu))  # says so where there is no build for such a device
    planned = under(asked, engine)
    if engine.name == "llama.cpp":
        planned = replace(planned, max_sequences=_slots(planned, workload, scenario, physics))
    memory = physics.memory(planned, workload)
    if not memory.fits:
        raise InputError(f"{planned.label}: does not fit under {engine.label}: {memory.reason}")
    closed = closed_form(planned, workload, physics, memory)
    held = capacity(closed, scenario.slo)
    rate = held.requests_per_second.value or 0.0
    if rate <= 0:
        slow = held.unloaded.ttft_p95.estimate.text(suffix=" s")
        raise InputError(f"{planned.label}: misses the SLO even when idle (TTFT p95 {slow}); plan with a looser one")
    replicas = replicas_for(workload.sizing_requests_per_second, rate)
    at_once = max(1, min(math.ceil(held.at_capacity.batch or 1), closed.max_batch))
    ranks = planned.parallelism.data  # the engine's limit is that of each of them
    deployment = replace(planned, max_sequences=max(1, math.ceil(closed.max_batch / ranks)))
    budget = estimate_memory(deployment)
    return Fleet(
        engine=engine,
        scenario=scenario,
        workload=workload,
        deployment=deployment,
        budget=budget,
        promise=Promise(
            requests_per_second=held.requests_per_second,
            at_peak=load_at(closed, workload.sizing_requests_per_second / replicas),
            sequences=at_once,
            kv_tokens=_kv_tokens(at_once, workload, deployment.max_context_tokens, budget),
        ),
        replicas=replicas,
        spare_replicas=scenario.spare_replicas,
        checkpoint=checkpoint or default_checkpoint(deployment),
        label=label or deployment.label,
    )


def refuse_format(deployment: Deployment, engine: Engine) -> None:
    """Raise InputError where the engine does not read the weights' format or the cache's."""
    name = deployment.weights.name
    readable = (*_SIXTEEN, *READS[engine.name])
    if name not in readable:
        example = next((known for known in readable if "4" in known), readable[0])
        raise InputError(
            f"{engine.facts.title} does not read {name} weights; it reads {', '.join(readable)}: plan with "
            f'--precisions {example}, or constraints.precisions = ["{example}"] in the scenario'
        )
    if deployment.kv_format not in engine.facts.kv_formats:
        known = ", ".join(engine.facts.kv_formats)
        raise InputError(f"{engine.facts.title} keeps no {deployment.kv_format} cache; kv_format may be {known}")


def default_checkpoint(deployment: Deployment) -> str:
    """The maker's repository where it holds this format; else where ``llmsizer quantize`` is told to put one."""
    model, weights = deployment.model, deployment.weights
    published = weights.name in {"bf16", "fp16"} and model.native_weights in {"bf16", "fp16"}
    if model.hf_repo and (published or weights.name == model.native_weights):
        return model.hf_repo
    ending = ".gguf" if weights.name.startswith("gguf") else ""
    return f"/models/{model.name}-{weights.name}{ending}"


def block_scaled(model_native: str, weights: Precision) -> bool:
    """Whether the published weights are FP8 with one scale per 128×128 block, as makers of native FP8 publish them."""
    return weights.name == "fp8" and model_native == "fp8"


def under(deployment: Deployment, engine: Engine) -> Deployment:
    """The same replica as the engine spreads it: llama.cpp gives each GPU whole layers, one after the other."""
    spread = deployment.parallelism
    if engine.name in {"llama.cpp", "transformers"}:
        if engine.name == "transformers" and spread.gpus > 1:
            raise InputError("transformers serve runs on one GPU; plan with max_gpus_per_replica = 1")
        if deployment.servers > 1:
            raise InputError("llama.cpp is started on one server here; plan with fewer GPUs a replica, or take vllm")
        spread = Parallelism(tensor=1, pipeline=spread.gpus)
    if engine.name in {"llama.cpp", "transformers"} and deployment.speculates is not None:
        raise InputError(f"speculation under {engine.facts.title} is not modelled here; plan without it, or take vllm")
    if engine.name == "transformers" and deployment.gpu.is_cpu:
        deployment = replace(deployment, max_sequences=1)  # without continuous batching one request waits for another
    version = engine.version if engine.name in {"vllm", "sglang"} else None
    return replace(deployment, engine=engine.facts.memory_engine, engine_version=version, parallelism=spread)


def _slots(planned: Deployment, workload: Workload, scenario: Scenario, physics: ModelledPhysics) -> int:
    """As many slots as the load takes at the edge of the SLO: each holds the whole context, used or not."""
    tried = replace(planned, max_sequences=_SLOTS_TRIED)
    room = estimate_memory(tried).max_concurrency(planned.max_context_tokens)
    if room < 1:
        return 1
    tried = replace(planned, max_sequences=min(room, _SLOTS_TRIED))
    held = capacity(closed_form(tried, workload, physics, physics.memory(tried, workload)), scenario.slo)
    return max(1, min(math.ceil(held.at_capacity.batch or 1), room))


def _kv_tokens(sequences: int, workload: Workload, context_tokens: int, budget: MemoryBudget) -> int:
    """Cache of so many requests half-way through their answers in whole blocks, or of one at full length."""
    block = budget.layout.block_tokens
    mean = workload.prompt_tokens + workload.generated_tokens // 2
    shared = min(workload.shared_prefix_tokens, mean) // block * block
    together = shared + sequences * (math.ceil((mean - shared) / block) * block)
    ranks = budget.deployment.parallelism.data
    # Windows hold less than their share.
    held = ranks * max(budget.kv_capacity_tokens, budget.max_concurrency(mean) * mean)
    return min(max(together, context_tokens), held)
