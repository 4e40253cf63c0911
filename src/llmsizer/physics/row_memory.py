"""VRAM of one row where the engine allocates what it needs: the memory account instead of a rule of thumb."""

from __future__ import annotations

import math

from llmsizer.errors import LlmSizerError
from llmsizer.facts.deployment import Deployment, Parallelism
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import get_precision
from llmsizer.physics.cases import Case
from llmsizer.physics.memory import memory_in_use

# Takes what the run needs, and its overheads are described (profiles/engines). Engines that reserve a pool show the
# pool, however few requests they serve.
ALLOCATES_AS_NEEDED = frozenset({"transformers"})
_BY_CLASS = {"16bit": "bf16", "fp8": "fp8", "int8": "int8-wo", "int8-wo": "int8-wo", "int4": "int4", "fp32": "fp32"}


def vram_in_use_bytes(case: Case, model: ModelSpec, gpu: GpuSpec) -> float | None:
    """Bytes of all GPUs together, or None where the account does not apply or the format is not described."""
    if case.engine not in ALLOCATES_AS_NEEDED or case.weight_class not in _BY_CLASS or gpu.memory_bytes is None:
        return None
    sequences = 1.0 if math.isnan(case.batch_size) else case.batch_size
    spread = Parallelism(tensor=int(case.tensor), pipeline=int(case.pipeline))
    try:
        asked = Deployment(
            model=model,
            gpu=gpu,
            weights=get_precision(_BY_CLASS[case.weight_class]),
            parallelism=spread,
            engine="transformers",
        )
        each = memory_in_use(
            asked,
            sequences=max(1, int(sequences)),
            prompt_tokens=int(case.input_tokens),
            context_tokens=int(case.input_tokens + case.output_tokens),
        )
    except LlmSizerError:  # a spread the shape forbids: the rule of thumb stays
        return None
    return each * spread.gpus
