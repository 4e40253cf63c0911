"""What layouts beyond one tensor-parallel group add to a pass, and how much wider their intervals are.

Pipeline stages are as slow as the longest of them and hand their activations on; over several servers that goes
through the network, whose rate and latency nobody measured here. Of data-parallel attention the step model knows the
all-to-all.
"""

from __future__ import annotations

import numpy as np

from llmsizer.facts.deployment import Deployment
from llmsizer.physics.memory.parallelism import stages
from llmsizer.physics.steps.cases import Floats, rates_of
from llmsizer.physics.steps.formulas import SPILLING_ENGINES

SERVER_LINK_BYTES_PER_SECOND = 12.5e9  # 100 Gb/s for a replica between two servers; assumed
SERVER_LINK_SECONDS, STAGE_SECONDS = 100e-6, 30e-6  # of each hand-over, to another server and within one; assumed
_HANDED_VALUES = 2  # hidden states and residual, 16 bit each
# Log intervals are so many times wider: few rows of pipelines and of data-parallel attention were seen, and none of a
# replica over several servers.
WIDENING_IN_A_SERVER, WIDENING_OVER_SERVERS = 1.5, 2.0


def is_staged(deployment: Deployment) -> bool:
    """Whether stages or ranks work at once; llama.cpp and its like give GPUs layers that wait for one another."""
    spread = deployment.parallelism
    return (spread.pipeline > 1 or spread.data > 1) and deployment.engine not in SPILLING_ENGINES


def widening(deployment: Deployment) -> float:
    """By how much the interval of a layout is wider than that of tensor parallelism in one server."""
    if not is_staged(deployment):
        return 1.0
    if deployment.servers > 1:
        return WIDENING_OVER_SERVERS
    return WIDENING_IN_A_SERVER


def longest_stage(deployment: Deployment) -> float:
    """Layers of the longest stage over their mean: 61 layers in two stages are 31 and 30, so 1.016."""
    model, pipeline = deployment.model, deployment.parallelism.pipeline
    return max(stage.layers for stage in stages(model, pipeline)) * pipeline / model.layers


def handover_seconds(deployment: Deployment, tokens: Floats) -> Floats:
    """Of ``tokens`` through all stages: a latency and a message at each boundary, within a server or to another one."""
    spread = deployment.parallelism
    message = 2.0 * _HANDED_VALUES * deployment.model.hidden_size * tokens
    outside = deployment.servers - 1
    inside = spread.pipeline - 1 - outside
    link = rates_of(deployment.gpu, spread.gpus).link_bytes_per_second
    within = inside * (STAGE_SECONDS + message / link)
    return np.asarray(within + outside * (SERVER_LINK_SECONDS + message / SERVER_LINK_BYTES_PER_SECOND))
