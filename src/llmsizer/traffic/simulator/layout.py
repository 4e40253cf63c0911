"""What the kernel keeps in memory: one record per replica and per request in flight, and nothing per finished request.

Every array has a fixed record type, so that numba compiles each function once, and a request in flight stays in two
cache lines. Times are seconds, ``steps`` counts engine steps that a replica has done.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsizer.traffic.simulator.percentiles import BINS

NONE = -1
WORD_BITS = 32  # of the completion wheel's map: 32 in an int64, so that no arithmetic ever meets the sign
ROUND_ROBIN, LEAST_LOADED, PREFIX_AFFINE = 0, 1, 2
TTFT, TPOT, ITL, E2E = 0, 1, 2, 3
BUSY, BATCH, CONTEXT, ARRIVED, ADMITTED, FINISHED = 0, 1, 2, 3, 4, 5
SERIES_FIELDS = 6
BUCKETS = 240
MAX_KNOTS = 64
MAX_BLOCK_TOKENS = 256

Records = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STATE = np.dtype(
    [
        # What was asked for.
        ("max_sequences", "i8"),
        ("max_batched_tokens", "i8"),
        ("kv_blocks", "i8"),  # after the blocks that hold the shared prefix
        ("block_tokens", "i8"),
        ("cached_is_shared", "i8"),  # 1: cached prompt tokens live in blocks that all requests share
        ("wheel_mask", "i8"),
        ("routing", "i8"),
        ("spill", "f8"),  # prefix-affine: leave the preferred replica when it is this much busier than the least busy
        ("seconds_per_pair", "f8"),
        ("mixed_context_factor", "f8"),
        ("frontend_seconds", "f8"),
        ("measure_from", "f8"),
        ("buckets_per_second", "f8"),
        ("slo_ttft", "f8"),
        ("slo_tpot", "f8"),
        ("slo_e2e", "f8"),
        ("keep_records", "i8"),
        ("knots", "f8", (MAX_KNOTS,)),  # borders of the decode table's segments; the last one is beyond reach
        # What came of it.
        ("free_slots", "i8"),
        ("free_head", "i8"),  # free slots are chained by queue_next: the one used last is taken first
        ("next_replica", "i8"),
        ("arrived", "i8"),
        ("finished", "i8"),
        ("measured", "i8"),
        ("good", "i8"),
        ("preemptions", "i8"),
        ("prompt_tokens", "i8"),  # of admitted requests
        ("cached_tokens", "i8"),
        ("prefilled_tokens", "i8"),
        ("output_tokens", "i8"),  # emitted
        ("finished_tokens", "i8"),  # output tokens of finished requests
        ("gaps", "i8"),
        ("sum_ttft", "f8"),
        ("sum_tpot", "f8"),
        ("sum_e2e", "f8"),
        ("sum_gaps", "f8"),
        ("stuck", "i8"),
        ("histograms", "i8", (4, BINS)),  # [metric, bin]
        ("series", "f8", (BUCKETS + 2, SERIES_FIELDS)),  # the first row is the warm-up, the last is after the feeding
    ],
    align=True,
)
REPLICA = np.dtype(
    [
        ("clock", "f8"),  # end of the last step; the next one starts here or later
        ("ready_at", "f8"),
        ("steps", "i8"),
        ("context", "i8"),  # tokens stored for the sequences being decoded
        ("shared", "i8"),  # of these, tokens in shared blocks
        ("batch", "i8"),  # sequences being decoded
        ("seats", "i8"),  # sequences admitted: decoded or being prefilled
        ("reserved_blocks", "i8"),  # of sequences being prefilled
        ("next_done", "i8"),  # the step after which the next sequence is finished
        ("segment", "i8"),
        ("waiting", "i8"),
        ("allocated_tokens", "i8"),  # ever; the age of a cached prefix is counted in these
        ("peak_batch", "i8"),
        ("peak_context", "i8"),
        ("prefilling", "i4"),  # the one request whose prompt is partly done
        ("waiting_head", "i4"),
        ("waiting_tail", "i4"),
        ("newest", "i4"),  # the sequence admitted last: the first to be preempted
        ("phases", "i8", (MAX_BLOCK_TOKENS,)),  # sequences being decoded at each phase of their last block
    ],
    align=True,
)
SLOT = np.dtype(
    [
        ("arrival", "f8"),
        ("first_token", "f8"),  # negative until there is one
        ("last_token", "f8"),  # before a preemption
        ("request", "i8"),
        ("finish_step", "i8"),
        ("output_tokens", "i4"),
        ("left", "i4"),  # output tokens not yet emitted when its decoding (re)starts
        ("target", "i4"),  # tokens to be stored before the next token can be emitted
        ("prefill_left", "i4"),
        ("cached", "i4"),  # prompt tokens that a full prefix cache would hold
        ("hit", "i4"),  # of these, tokens found at admission
        ("admitted", "i4"),
        ("blocks", "i4"),  # reserved while prefilling
        ("group", "i4"),
        ("wheel_next", "i4"),
        ("queue_next", "i4"),
        ("older", "i4"),
        ("newer", "i4"),
        ("phase", "i4"),  # (stored tokens - steps) mod block: constant while decoding
    ],
    align=True,
)


class Sim(NamedTuple):
    """Everything the compiled functions share.

    Few arrays, each of one type: an array is seven words to hand to a function, a record is one.
    """

    state: Records  # one STATE
    replicas: Records  # REPLICA
    slots: Records  # SLOT
    wheel: NDArray[np.int32]  # [replica, finish step mod size] -> first slot that finishes there
    wheel_map: Ints  # [replica, word] bit set where the wheel holds a slot
    prefix_seen: Ints  # [replica, group] -> allocated_tokens when the prefix was last used, or -1
    decode: Floats  # [batch, segment, (seconds at no context, seconds per context token)]
    mixed: Floats  # [tokens in the step] a step with prompt tokens, without its attention
    records: Floats  # [request, (first token, end)] where asked for
