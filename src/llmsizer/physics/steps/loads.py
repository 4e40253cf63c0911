"""The five kinds of load, each predicted as what it is, from step times and the memory left for the cache.

single-stream           one request at a time
single-batch-static     one fixed batch: all prompts, then all outputs in step
concurrency             closed loop of so many users, steady state
request_rate            open loop of so many requests per second; ``inf`` is everything at once
offline-max-throughput  everything at once, as many in flight as fit

Steady state of a continuous batch of B requests: in the time one request decodes its n tokens, B prompts are prefilled,
so a turn takes n·t_decode + B·t_prefill, each request sees t_decode + (B−1)/n·t_prefill per token, and B·n/turn is the
throughput (mean-field form of iteration-level scheduling, Yu et al., "Orca", 2022). An open loop is the fixed point
of Little's law, B = rate · end-to-end time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmsizer.physics.steps.cases import Cases, Floats
from llmsizer.physics.steps.formats import version_number
from llmsizer.physics.steps.formulas import StepModel, weight_bytes_per_gpu
from llmsizer.units import GIB

RESERVED_ONE_GPU_BYTES, RESERVED_MORE_GPUS_BYTES = 1.2 * GIB, 2.0 * GIB  # activations, graphs, communicators
PREFILL_PACK_TOKENS = 4096.0  # prompts are packed into passes of about this size by every engine that batches
STATIC_PACK_TOKENS = 8192.0
MANY_REQUESTS = 20_000.0  # an offline run whose request count is not stated: long enough that its end does not count
LEAST_CACHE_SHARE = 0.02  # of memory; a model that leaves less was measured with something offloaded
FIXED_POINT_STEPS = 40
QUEUED_REQUESTS = 1000.0  # of an open loop beyond capacity: public benchmarks send about so many
RAREST_REQUESTS = 1e-6  # a second; a rate of nothing is asked as next to nothing

MAX_SEQUENCES = {
    "vllm-first": 256.0,
    "vllm-v0": 256.0,
    "trtllm-cpp": 2048.0,
    "trtllm-pytorch": 2048.0,
    "sglang": 1024.0,
    "tgi": 128.0,
    "lmdeploy": 256.0,
    "qserve": 256.0,
}
VLLM_V1_LARGE, VLLM_V1_SMALL, VLLM_V1_LARGE_LEAST_BYTES = 1024.0, 256.0, 70 * GIB  # vllm/engine/arg_utils.py
OTHER_MAX_SEQUENCES = 64.0


def engine_max_sequences(engine: str, version: str, memory_bytes: float) -> float:
    """The engine's default limit of running sequences; vLLM V1 raises it on GPUs of 70 GiB and more."""
    if engine == "vllm-v1":
        number = version_number(version)
        large = memory_bytes >= VLLM_V1_LARGE_LEAST_BYTES and (number is None or number >= 10 or number > 100)
        return VLLM_V1_LARGE if large else VLLM_V1_SMALL
    return MAX_SEQUENCES.get(engine.removesuffix("-rocm"), OTHER_MAX_SEQUENCES)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTimes:
    """What physics says of each case: seconds, and output tokens per second of all GPUs together."""

    ttft_seconds: Floats
    tpot_seconds: Floats
    e2e_seconds: Floats
    output_tokens_per_second: Floats
    batch: Floats  # running together per replica
    saturated: Floats  # 1 where more is asked than fits or than can be served


def reserved_bytes(cases: Cases) -> Floats:
    return np.where(cases["tensor"] > 1, RESERVED_MORE_GPUS_BYTES, RESERVED_ONE_GPU_BYTES)


def sequence_cache_bytes(model: StepModel, tokens: Floats) -> Floats:
    """Cache bytes per GPU of one sequence that holds ``tokens``."""
    c = model.cases
    values = c["kv_values_full"] * tokens + c["kv_values_window"] * np.minimum(tokens, c["window_tokens"])
    return np.asarray(np.maximum(values, 1.0) * c["kv_bytes"] / model.kv_shards / c["pipeline"])


def most_sequences(model: StepModel) -> Floats:
    """Sequences per replica that memory and the engine's limit let run together."""
    c = model.cases
    free = c["memory_bytes"] * c["memory_fraction"] - weight_bytes_per_gpu(model) - reserved_bytes(c)
    free = np.maximum(free, LEAST_CACHE_SHARE * c["memory_bytes"])
    held = c["input_tokens"] + c["output_tokens"] * model.value("cache.reserved_output_share")
    fit = free / sequence_cache_bytes(model, held) * c["data"]
    texts = zip(c.text("engine"), c.text("engine_version"), c["memory_bytes"], strict=True)
    default = np.array([engine_max_sequences(str(e), str(v), float(m)) for e, v, m in texts])
    limit = np.where(np.isnan(c["max_sequences"]), default * c["data"], c["max_sequences"])
    return np.asarray(np.maximum(np.minimum(fit, limit), 1.0))


def load_times(model: StepModel) -> LoadTimes:
    """Times of every case under its load."""
    c, kind = model.cases, model.cases.text("load")
    fixed = (kind == "single-stream") | (kind == "single-batch-static")
    offline, rate = kind == "offline-max-throughput", kind == "request_rate"
    asked, requests = _asked(c)
    most = most_sequences(model)
    batch = np.minimum(asked, most)
    turn = _turn(model, batch)
    steady = _steady(model, turn, asked, batch)
    at_once = _at_once(model, turn, requests, batch)
    alone = _fixed_batch(model, turn, asked, batch)
    open_loop = _open_loop(model, most) if bool(rate.any()) else steady
    chosen = {
        field: np.select(
            [fixed, offline, rate],
            [getattr(alone, field), getattr(at_once, field), getattr(open_loop, field)],
            getattr(steady, field),
        )
        for field in ("ttft", "tpot", "e2e", "throughput", "batch", "saturated")
    }
    return LoadTimes(
        ttft_seconds=chosen["ttft"],
        tpot_seconds=chosen["tpot"],
        e2e_seconds=chosen["e2e"],
        output_tokens_per_second=chosen["throughput"] * c["replicas"],
        batch=chosen["batch"],
        saturated=chosen["saturated"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    decode: Floats  # seconds per token at the running batch
    one_prefill: Floats  # seconds of one prompt alone
    packed_prefill: Floats  # seconds per prompt and replica when prompts are packed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    ttft: Floats
    tpot: Floats
    e2e: Floats
    throughput: Floats  # of one replica
    batch: Floats
    saturated: Floats


def _asked(c: Cases) -> tuple[Floats, Floats]:
    """Requests in flight that the load asks for, and requests in all, per replica."""
    kind = c.text("load")
    value, batch = c["load_value"], c["batch_size"]
    first = np.where(np.isnan(batch), value, batch)
    users = np.where(np.isnan(value), batch, value)
    offline = np.nan_to_num(users, nan=MANY_REQUESTS, posinf=MANY_REQUESTS)
    asked = np.select(
        [kind == "single-stream", kind == "single-batch-static", kind == "offline-max-throughput"],
        [np.ones(len(c)), np.nan_to_num(first, nan=1.0), offline],
        np.where(kind == "request_rate", 1.0, np.nan_to_num(users, nan=1.0)),
    )
    requests = np.where(kind == "offline-max-throughput", offline, MANY_REQUESTS)
    return np.maximum(asked / c["replicas"], 1.0), np.maximum(requests / c["replicas"], 1.0)


def _turn(model: StepModel, batch: Floats) -> _Turn:
    c = model.cases
    prompt, end = c["input_tokens"], c["input_tokens"] + c["output_tokens"]
    pack = np.maximum(1.0, PREFILL_PACK_TOKENS / prompt)
    packed = model.prefill(prompt, pack).total / pack / c["data"] / c["pipeline"]
    return _Turn(
        decode=model.decode(batch, prompt, end).total,
        one_prefill=model.prefill(prompt, np.ones(len(c))).total,
        packed_prefill=packed * model.value("prefill.interference"),
    )


def _steady(model: StepModel, turn: _Turn, asked: Floats, batch: Floats) -> _Outcome:
    """Closed loop; a queue forms where more users are asked than run. First prompts of a run arrive together."""
    outputs = model.cases["output_tokens"]
    cycle = outputs * turn.decode + batch * turn.packed_prefill
    tpot = turn.decode + (batch - 1) / outputs * turn.packed_prefill
    waiting = np.maximum(asked / batch - 1, 0.0) * cycle
    burst = model.value("prefill.start_burst") * asked * turn.packed_prefill
    ttft = turn.one_prefill + model.value("overhead.request") + turn.decode / 2 + burst + waiting
    return _Outcome(
        ttft=ttft,
        tpot=tpot,
        e2e=ttft + (outputs - 1) * tpot,
        throughput=batch * outputs / cycle,
        batch=batch,
        saturated=(asked > batch).astype(np.float64),
    )


def _at_once(model: StepModel, turn: _Turn, requests: Floats, batch: Floats) -> _Outcome:
    """All requests queued at the start: the last batch drains half empty; TTFT is time in the queue."""
    outputs = model.cases["output_tokens"]
    running = np.minimum(batch, requests)
    cycle = outputs * turn.decode + running * turn.packed_prefill
    drain = 1.0 + model.value("offline.drain") * 0.5 * running / requests
    throughput = running * outputs / cycle / drain
    makespan = requests * outputs / throughput
    queue = makespan / 2 * (1 - running / requests)
    ttft = turn.one_prefill + running / 2 * turn.packed_prefill + queue
    # Of one batch alone a request sees on average half of the others' prompts after its own.
    seen_prefills = (running - 1) * (1 - 0.5 * running / requests)
    tpot = turn.decode + seen_prefills / outputs * turn.packed_prefill
    return _Outcome(
        ttft=ttft,
        tpot=tpot,
        e2e=ttft + (outputs - 1) * tpot,
        throughput=throughput,
        batch=running,
        saturated=np.ones_like(running),
    )


def _fixed_batch(model: StepModel, turn: _Turn, asked: Floats, batch: Floats) -> _Outcome:
    """One batch from start to end; what does not fit at once runs in waves."""
    c, outputs = model.cases, model.cases["output_tokens"]
    rank_batch = batch / c["data"]
    pack = np.minimum(rank_batch, np.maximum(1.0, STATIC_PACK_TOKENS / c["input_tokens"]))
    prefill = model.prefill(c["input_tokens"], pack).total / pack * rank_batch
    ttft = prefill + model.value("overhead.request")
    waves = np.maximum(asked / batch, 1.0)
    e2e = waves * (ttft + (outputs - 1) * turn.decode)
    return _Outcome(
        ttft=ttft,
        tpot=turn.decode,
        e2e=e2e,
        throughput=asked * outputs / e2e,
        batch=batch,
        saturated=(asked > batch).astype(np.float64),
    )


def _open_loop(model: StepModel, most: Floats) -> _Outcome:
    """Little's law by damped iteration; at capacity and beyond, the closed loop that is always full.

    Beyond capacity the queue grows as long as requests come: TTFT is then the mean wait of ``QUEUED_REQUESTS``.
    """
    c, outputs = model.cases, model.cases["output_tokens"]
    rate = np.maximum(np.nan_to_num(c["load_value"], nan=1.0, posinf=1e9), RAREST_REQUESTS) / c["replicas"]
    full_turn = _turn(model, most)
    full = _steady(model, full_turn, most, most)
    capacity = full.throughput / outputs
    saturated = rate >= capacity
    prompt, end = c["input_tokens"], c["input_tokens"] + outputs
    arrivals = np.minimum(rate, capacity)
    busy_with_prefill = np.minimum(arrivals * full_turn.packed_prefill, 0.95)
    running = np.ones(len(c))
    tpot = full_turn.decode
    for _ in range(FIXED_POINT_STEPS):
        tpot = model.decode(np.minimum(running, most), prompt, end).total / (1 - busy_with_prefill)
        wanted = np.clip(arrivals * (outputs * tpot + full_turn.one_prefill), 1.0, most)
        running = np.sqrt(running * wanted)
    tpot = np.where(saturated, full.tpot, np.minimum(tpot, full.tpot))
    wait = QUEUED_REQUESTS / 2 * np.maximum(1 / capacity - 1 / rate, 0.0)
    ttft = full_turn.one_prefill / (1 - busy_with_prefill) + model.value("overhead.request") + tpot / 2 + wait
    return _Outcome(
        ttft=ttft,
        tpot=tpot,
        e2e=ttft + (outputs - 1) * tpot,
        throughput=arrivals * outputs,
        batch=np.where(saturated, most, running),
        saturated=saturated.astype(np.float64),
    )
