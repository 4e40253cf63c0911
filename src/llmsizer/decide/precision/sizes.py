"""Replicas of one question sized together: the step times of all of them are asked in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmsizer.decide.candidates.modelled import ModelledPhysics
from llmsizer.decide.question import Memory
from llmsizer.errors import NoEvidenceError
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.workload import Slo, Workload
from llmsizer.traffic.closed_form.meanfield import Probe, StepSample, make_replica, probe
from llmsizer.traffic.closed_form.sizing import Held, hold


@dataclass(frozen=True, kw_only=True)
class SizedReplica:
    """One replica with the largest rate it holds within the SLO, more than none."""

    deployment: Deployment
    memory: Memory
    held: Held

    @property
    def gpus(self) -> int:
        return self.deployment.parallelism.gpus

    @property
    def rate_of_a_gpu(self) -> float:
        """Requests a second over the GPUs: more is cheaper."""
        return self.held.rate / self.gpus


def size_replicas(deployments: Sequence[Deployment], workload: Workload, slo: Slo) -> list[SizedReplica | str]:
    """In the order given; why not, in the place of each that does not fit, has no evidence or misses the SLO."""
    physics = ModelledPhysics()
    rooms = [_room(deployment, workload, physics) for deployment in deployments]
    asked = [(d, room[1]) for d, room in zip(deployments, rooms, strict=True) if not isinstance(room, str)]
    samples = iter(physics.samples(asked))
    found: list[SizedReplica | str] = []
    for deployment, room in zip(deployments, rooms, strict=True):
        if isinstance(room, str):
            found.append(room)
        else:
            found.append(_held(deployment, *room, next(samples), workload, slo))
    return found


def _room(deployment: Deployment, workload: Workload, physics: ModelledPhysics) -> tuple[Memory, Probe] | str:
    try:
        memory = physics.memory(deployment, workload)
    except NoEvidenceError as error:
        return str(error)
    points = probe(workload, memory.room) if memory.fits else None
    if points is None:
        return f"does not fit on {deployment.parallelism.gpus} GPUs: {memory.reason or 'not one request has room'}"
    return memory, points


def _held(
    deployment: Deployment,
    memory: Memory,
    points: Probe,
    sample: StepSample | NoEvidenceError,
    workload: Workload,
    slo: Slo,
) -> SizedReplica | str:
    if isinstance(sample, NoEvidenceError):
        return str(sample)
    held = hold(make_replica(workload, memory.room, points, sample), slo)
    if held.rate <= 0:
        return f"misses the SLO on {deployment.parallelism.gpus} GPUs even at the least load"
    return SizedReplica(deployment=deployment, memory=memory, held=held)
