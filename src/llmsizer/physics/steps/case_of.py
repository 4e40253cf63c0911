"""A deployment as a case of the step model."""

from __future__ import annotations

import math

from llmsizer.errors import NoEvidenceError
from llmsizer.facts.aliases import names
from llmsizer.facts.deployment import Deployment
from llmsizer.physics.steps.cases import Case, rates_of, shape_of
from llmsizer.physics.steps.formats import (
    LAYER_SPLIT_ENGINES,
    class_on_device,
    engine_class,
    engine_on,
    peak_flops,
)

_FORMAT_OF_PRECISION = {"fp16": "16bit", "bf16": "16bit", "nvfp4": "fp4", "int8-wo": "int8-wo"}


def case_of(deployment: Deployment) -> Case:
    """A deployment as a case without load. Raises NoEvidenceError for an engine nobody has measured."""
    engine = engine_class(deployment.engine, deployment.engine_version or "", "")
    if not engine:
        raise NoEvidenceError(f"no evidence for the engine {deployment.engine!r}; measure it with llmsizer profile")
    rates, weights = rates_of(deployment.gpu, deployment.parallelism.tensor), deployment.weights
    name = weights.name
    weight_class = _FORMAT_OF_PRECISION.get(name, "gguf" if name.startswith("gguf") else name)
    peak, weight_only = peak_flops(weight_class, rates)
    spread = deployment.parallelism
    in_turn = spread.tensor if engine in LAYER_SPLIT_ENGINES else 1  # GPUs that hold layers and wait for one another
    fraction = deployment.memory_fraction if deployment.memory_fraction is not None else 0.9
    return Case(
        **vars(shape_of(deployment.model)),
        **vars(rates),
        architecture=architecture_key(deployment),
        weight_class=class_on_device(weight_class, rates),
        weight_bytes=weights.bytes_per_quantized_weight,
        rest_bytes=weights.bytes_per_rest_weight,
        peak_flops=peak,
        is_weight_only=float(weight_only),
        kv_bytes=deployment.kv_bytes_per_value,
        engine=engine_on(engine, rates.family),
        engine_version=deployment.engine_version or "",
        tensor=spread.tensor / in_turn,
        pipeline=spread.pipeline * in_turn,
        expert=spread.expert,
        data=spread.data,
        replicas=1.0,
        input_tokens=float(deployment.max_context_tokens),
        output_tokens=1.0,
        load="concurrency",
        load_value=1.0,
        batch_size=math.nan,
        memory_fraction=fraction,
        max_sequences=math.nan if deployment.max_sequences is None else float(deployment.max_sequences * spread.data),
    )


def architecture_key(deployment: Deployment) -> str:
    """The family key that evidence about this model is pooled by."""
    spec = deployment.model
    return names().model(spec.hf_repo or spec.name, spec.total_params / 1e9).architecture
