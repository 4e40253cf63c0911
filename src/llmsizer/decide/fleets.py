"""The fleet that a simulation is asked about: the recommended one, or one given by name; ready for both methods."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass

from llmsizer.decide.answer import Plan
from llmsizer.decide.candidates.modelled import ModelledPhysics
from llmsizer.decide.pricing.study import speculation_of, workload_of
from llmsizer.decide.question import TENSOR_PARALLEL, Memory
from llmsizer.decide.recommend import recommend
from llmsizer.errors import InputError
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.deployment import Deployment, Parallelism
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import get_precision
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Workload
from llmsizer.physics.calibration.store import StoredCalibration
from llmsizer.physics.memory.parallelism import tensor_problem
from llmsizer.traffic.closed_form.meanfield import Replica as ClosedReplica
from llmsizer.traffic.closed_form.meanfield import make_replica, probe
from llmsizer.traffic.closed_form.sizing import hold, replicas_for


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetChoice:
    """What the user says of the fleet; what is left open is the recommendation's."""

    gpu: str | None = None
    weights: str | None = None
    tensor: int | None = None
    replicas: int | None = None


@dataclass(frozen=True, kw_only=True)
class ServedFleet:
    """Equal replicas on equal hosts, with the closed form's view of one of them."""

    label: str
    deployment: Deployment
    workload: Workload
    closed: ClosedReplica
    closed_rate_each: float  # requests per second that one replica holds within the SLO
    replicas: int  # all of them, spares included: spares serve too
    replicas_per_host: int


def served_fleet(
    model: ModelSpec,
    scenario: Scenario,
    catalog: Catalog,
    choice: FleetChoice,
    *,
    today: datetime.date,
    calibration: StoredCalibration | None = None,
) -> ServedFleet:
    """The fleet meant. Raises LlmSizerError where there is none: what was named does not fit, or nothing is left."""
    workload = workload_of(scenario, catalog)
    physics = ModelledPhysics(calibration)
    if choice.gpu and choice.weights:
        deployment = _named(model, scenario, catalog, choice, workload, physics)
        per_host = max(1, deployment.gpu.max_per_node // deployment.parallelism.gpus)
        return _served(deployment, scenario, workload, physics, choice.replicas, per_host)
    if choice.tensor:
        raise InputError("--tp needs --gpu and --weights too; without them the width is the recommendation's")
    narrowed = _narrowed(scenario, catalog, choice)
    recommendation = recommend(model, narrowed, catalog, today=today, physics=physics)
    plan = recommendation.best
    if plan is None:
        raise InputError(
            f"{recommendation.sentence.rstrip('.')}; name one with --gpu and --weights to simulate it all the same"
        )
    return _of_plan(plan, scenario, workload, physics, choice.replicas)


def fleet_of_plan(
    plan: Plan, scenario: Scenario, catalog: Catalog, *, calibration: StoredCalibration | None = None
) -> ServedFleet:
    """The fleet of a plan of the scenario's answer: what ``served_fleet`` gives of the first. Raises LlmSizerError."""
    return _of_plan(plan, scenario, workload_of(scenario, catalog), ModelledPhysics(calibration), None)


def _of_plan(
    plan: Plan, scenario: Scenario, workload: Workload, physics: ModelledPhysics, replicas: int | None
) -> ServedFleet:
    count = plan.replicas + plan.spare_replicas
    per_host = max(1, math.ceil(count / plan.units))
    return _served(plan.deployment, scenario, workload, physics, replicas or count, per_host)


def closed_form(deployment: Deployment, workload: Workload, physics: ModelledPhysics, memory: Memory) -> ClosedReplica:
    """One replica as the closed form sees it. Raises InputError, NoEvidenceError."""
    asked = probe(workload, memory.room)
    if asked is None:
        raise InputError(
            f"{deployment.label}: not one request of this workload fits beside the weights; take more memory"
        )
    (sample,) = physics.samples([(deployment, asked)])
    if isinstance(sample, Exception):
        raise sample
    return make_replica(workload, memory.room, asked, sample)


def _served(
    deployment: Deployment,
    scenario: Scenario,
    workload: Workload,
    physics: ModelledPhysics,
    replicas: int | None,
    replicas_per_host: int,
) -> ServedFleet:
    closed = closed_form(deployment, workload, physics, physics.memory(deployment, workload))
    rate = hold(closed, scenario.slo).rate
    if replicas is None:
        if rate <= 0:
            raise InputError(
                f"{deployment.label}: the closed form says that even an idle replica misses the SLO; "
                "say how many to simulate with --replicas"
            )
        replicas = replicas_for(workload.sizing_requests_per_second, rate) + scenario.spare_replicas
    return ServedFleet(
        label=f"{replicas} × {deployment.label}",
        deployment=deployment,
        workload=workload,
        closed=closed,
        closed_rate_each=rate,
        replicas=replicas,
        replicas_per_host=min(replicas_per_host, replicas),
    )


def _narrowed(scenario: Scenario, catalog: Catalog, choice: FleetChoice) -> Scenario:
    """The scenario with nothing but the named GPU or format allowed. Raises UnknownNameError."""
    only: dict[str, tuple[str, ...]] = {}
    if choice.gpu:
        only |= {"gpus": (catalog.gpu(choice.gpu).id,), "exclude_gpus": ()}
    if choice.weights:
        only["precisions"] = (get_precision(choice.weights).name,)
    return scenario.model_copy(update={"constraints": scenario.constraints.model_copy(update=only)})


def _named(
    model: ModelSpec,
    scenario: Scenario,
    catalog: Catalog,
    choice: FleetChoice,
    workload: Workload,
    physics: ModelledPhysics,
) -> Deployment:
    """The named deployment, at the named width or the smallest that fits."""
    assert choice.gpu and choice.weights
    gpu, weights = catalog.gpu(choice.gpu), get_precision(choice.weights)
    widths = [choice.tensor] if choice.tensor else [w for w in TENSOR_PARALLEL if w <= gpu.max_per_node]
    problem = ""
    for width in widths:
        problem = tensor_problem(model, weights, width) or ""
        if problem:
            continue
        deployment = Deployment(
            model=model,
            gpu=gpu,
            weights=weights,
            kv_format=scenario.constraints.kv_format,
            parallelism=Parallelism(tensor=width),
            max_context_tokens=scenario.max_context_tokens or workload.context_tokens,
            speculation=speculation_of(model, scenario, catalog),
        )
        memory = physics.memory(deployment, workload)
        if memory.fits:
            return deployment
        problem = f"does not fit; {memory.reason}" if memory.reason else "does not fit"
    raise InputError(f"{model.name} {weights.name} on {widths[-1]}× {gpu.name}: {problem}; try other weights or widths")
