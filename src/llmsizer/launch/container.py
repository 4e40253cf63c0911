"""What one replica's container is, whoever starts it."""

from __future__ import annotations

import math
import re

from llmsizer.launch.engine_data import Platform, platform_of
from llmsizer.launch.fleet import Fleet
from llmsizer.launch.settings import model_words, settings_of
from llmsizer.units import GIB

READ_BYTES_PER_SECOND = 0.3e9  # of weights while loading, from a network disk; assumed
START_SECONDS = 240.0  # compiling and capturing graphs; assumed
_HOST_BYTES = 8 * GIB  # the engine's own processes; assumed
_CORES_PER_GPU = 4  # assumed: scheduler, tokenizer, one worker each
_SHARED_BYTES_PER_GPU = 4 * GIB  # of shared memory, for collectives; assumed
RESOURCES: dict[Platform, str] = {"cuda": "nvidia.com/gpu", "rocm": "amd.com/gpu", "intel": "gpu.intel.com/xe"}


def platform(fleet: Fleet) -> Platform:
    return platform_of(fleet.deployment.gpu)


def image(fleet: Fleet) -> str:
    return fleet.engine.image(platform(fleet))


def arguments(fleet: Fleet) -> list[str]:
    """Command line after the image's entry point."""
    words = [word for setting in settings_of(fleet) for word in setting.words]
    return [*model_words(fleet), *words]


def start_seconds(fleet: Fleet) -> int:
    """Until a replica answers: reading its weights, and the engine's own start."""
    return math.ceil((fleet.budget.replica_weight_bytes / READ_BYTES_PER_SECOND + START_SECONDS) / 60) * 60


def answer_seconds(fleet: Fleet) -> int:
    """The longest usual answer, which a replica that is told to stop still finishes."""
    tokens = fleet.workload.generated_tokens_p95 or fleet.workload.generated_tokens
    each = (
        fleet.promise.at_peak.tpot_p95.high
        or fleet.promise.at_peak.tpot_p95.value
        or fleet.scenario.slo.tpot_p95_seconds
    )
    return max(30, math.ceil(tokens * each / 10) * 10)


def memory_gib(fleet: Fleet) -> int:
    """Of the host: weights pass through it on their way to the GPU."""
    largest_shard = fleet.budget.weight_bytes
    cached = fleet.budget.kv_cache_bytes + fleet.budget.replica_weight_bytes if fleet.deployment.gpu.is_cpu else 0.0
    return math.ceil((_HOST_BYTES + largest_shard + cached) / GIB)


def cores(fleet: Fleet) -> int:
    return _CORES_PER_GPU * fleet.gpus


def shared_gib(fleet: Fleet) -> int:
    return math.ceil(_SHARED_BYTES_PER_GPU * fleet.gpus / GIB)


def name_of(fleet: Fleet) -> str:
    """A name that Kubernetes and Compose both take."""
    text = f"{fleet.served_name}-{fleet.deployment.weights.name}".lower()
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")[:48].strip("-")
