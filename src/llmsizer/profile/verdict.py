"""What held a point back, from bytes and FLOPs that it had to move and the rates that the device has.

MBU, model bandwidth utilisation (Databricks, "LLM Inference Performance Engineering", 2023):
    bytes a step must read (weights without the embedding table, and the KV cache of all sequences) ÷ step time ÷ the
    device's memory bandwidth.
MFU, model FLOPs utilisation (PaLM, arXiv 2204.02311, appendix B, for inference: the forward pass alone):
    FLOPs of the step ÷ step time ÷ the device's rate for 16-bit products.
Both take the bytes and FLOPs that the model needs, not those that the engine spends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmsizer.errors import LlmSizerError
from llmsizer.facts.aliases import names
from llmsizer.facts.architecture import model_from_config
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import PRECISIONS, kv_bytes_per_value
from llmsizer.facts.record_parts import Phases, Verdict
from llmsizer.facts.records import DeviceRecord, ProfileRecord

NEAR_LIMIT = 0.5  # of a limit: what sits above it is held back by it
FAR_FROM_LIMITS = 0.3  # of both: on a GPU the step is not made of work
IDLE_DEVICE = 0.7  # busy share below which the device waits for launches
THROTTLED_SHARE = 0.1  # of the readings
CLIENT_SHARE = 0.1  # of a step spent in the client, which the server does not know of
NOT_EXTRAPOLATABLE = "not_extrapolatable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One step of one phase: what it had to do, how long it took, what the device can do."""

    phase: Literal["prefill", "decode"]
    seconds: float
    weight_bytes: float
    kv_bytes: float
    flops: float
    on_gpu: bool
    bytes_per_second: float | None = None
    bandwidth_basis: Literal["measured", "datasheet"] | None = None
    flops_per_second: float | None = None
    device_busy_share: float | None = None
    throttled_share: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    client_share: float | None = None
    kv_pool_full: bool = False  # sequences waited or were put out because the pool had no room

    @property
    def mbu(self) -> float | None:
        """Share of the bandwidth limit; None where no bandwidth is known."""
        if not self.bytes_per_second or self.seconds <= 0:
            return None
        return (self.weight_bytes + self.kv_bytes) / self.seconds / self.bytes_per_second

    @property
    def mfu(self) -> float | None:
        """Share of the arithmetic limit; None where no rate is known."""
        if not self.flops_per_second or self.seconds <= 0:
            return None
        return self.flops / self.seconds / self.flops_per_second


def verdict_of(evidence: Evidence) -> Verdict:
    """What held the step back, the surest reason first; only a step made of the model's own work may be extrapolated.

    A device that is not held back by its own limits says nothing about another device or shape: throttled, waiting
    for launches, for a client or for room in the KV pool.
    """
    e = evidence
    if e.throttled_share is not None and e.throttled_share > THROTTLED_SHARE:
        reasons = ", ".join(e.throttle_reasons) or "no reason named"
        return Verdict(
            bound="throttled",
            extrapolate=False,
            why=f"clocks held back in {e.throttled_share:.0%} of readings: {reasons}",
        )
    if e.client_share is not None and e.client_share > CLIENT_SHARE:
        return Verdict(bound="client", extrapolate=False, why=f"{e.client_share:.0%} of the time is the client's own")
    if e.kv_pool_full:
        return Verdict(bound="kv", extrapolate=False, why="sequences waited for room in the KV pool")
    if e.device_busy_share is not None and e.device_busy_share < IDLE_DEVICE:
        why = f"the device was busy {e.device_busy_share:.0%} of the step: it waited for launches"
        return Verdict(bound="launch", extrapolate=False, why=why)
    return _by_limits(e)


def _by_limits(e: Evidence) -> Verdict:
    mbu, mfu = e.mbu, e.mfu
    if mbu is None and mfu is None:
        return Verdict(bound="mixed", why="neither bandwidth nor arithmetic rate of this device is known")
    figures = f"{_share('MBU', mbu)}, {_share('MFU', mfu)} in {e.phase}"
    if max(mbu or 0.0, mfu or 0.0) >= NEAR_LIMIT:
        if (mfu or 0.0) > (mbu or 0.0):
            return Verdict(bound="compute", why=figures)
        if e.kv_bytes > e.weight_bytes:
            return Verdict(bound="kv", why=f"{figures}; the KV cache is {_part(e):.0%} of the bytes read")
        return Verdict(bound="bandwidth", why=figures)
    unseen = e.on_gpu and e.device_busy_share is None
    if unseen and max(mbu or 0.0, mfu or 0.0) < FAR_FROM_LIMITS:
        why = f"{figures}: too little work for the time, and nobody measured how busy the device was"
        return Verdict(bound="launch", extrapolate=False, why=why)
    return Verdict(bound="mixed", why=f"{figures}: near neither limit")


def _share(name: str, value: float | None) -> str:
    return f"{name} unknown" if value is None else f"{name} {value:.0%}"


def _part(e: Evidence) -> float:
    return e.kv_bytes / (e.kv_bytes + e.weight_bytes)


def judged(record: ProfileRecord) -> ProfileRecord:
    """The record with MBU, MFU, verdict and flags, as far as its fields support them; failed ones stay as they are."""
    evidence = evidence_of(record)
    if evidence is None or record.verdict is not None:
        return record
    verdict = verdict_of(evidence)
    found = {
        "mbu": evidence.mbu,
        "mfu": evidence.mfu,
        "bandwidth_bytes_per_second": evidence.bytes_per_second,
        "bandwidth_basis": evidence.bandwidth_basis,
    }
    phases = (record.phases or Phases()).model_copy(update=found)
    mark = () if verdict.extrapolate else (f"{verdict.bound}_bound".replace("throttled_bound", "throttled"),)
    flags = (*record.flags, *mark, *(() if verdict.extrapolate else (NOT_EXTRAPOLATABLE,)))
    return record.model_copy(update={"phases": phases, "verdict": verdict, "flags": tuple(dict.fromkeys(flags))})


def evidence_of(record: ProfileRecord) -> Evidence | None:
    """The decode step of a static batch, or the prefill of one that made one token; None where too little is said."""
    if record.status != "ok" or not record.is_static_batch or not record.model_config_hf:
        return None
    seconds = record.tpot_seconds or record.ttft_seconds
    if not seconds:
        return None
    try:
        spec = model_from_config(record.model_config_hf, name=record.model)
    except LlmSizerError:
        return None
    decodes = record.tpot_seconds is not None
    bytes_per_second, basis = _bandwidth(record.device)
    hardware = record.hardware
    return Evidence(
        phase="decode" if decodes else "prefill",
        seconds=seconds,
        weight_bytes=weight_bytes_read(record, spec, tokens=record.batch * (1 if decodes else record.prompt_tokens)),
        kv_bytes=_kv_bytes(record, spec, decodes=decodes),
        flops=_flops(record, spec, decodes=decodes),
        on_gpu=record.device.kind == "gpu",
        bytes_per_second=bytes_per_second,
        bandwidth_basis=basis,
        flops_per_second=_flops_rate(record.device),
        device_busy_share=_busy_share(record),
        throttled_share=hardware.throttled_share if hardware else None,
        throttle_reasons=(hardware.throttle_reasons or ()) if hardware else (),
        kv_pool_full=_pool_is_short(record),
    )


def _busy_share(record: ProfileRecord) -> float | None:
    """By device events where the engine has them, else by the driver's utilisation.

    The driver counts a moment as busy where any kernel ran: it never says less than there was. So a low share is sure,
    and a high one proves nothing.
    """
    if record.phases and record.phases.device_busy_share is not None:
        return record.phases.device_busy_share
    seen = record.hardware.utilization_share_mean if record.hardware else None
    return seen if seen is not None and seen < IDLE_DEVICE else None


def _pool_is_short(record: ProfileRecord) -> bool:
    """Whether the batch's tokens do not fit the engine's pool at once, so that some sequences had to wait."""
    memory = record.memory
    if memory is None or not memory.kv_pool_bytes or not memory.kv_bytes_per_token:
        return False
    tokens = record.batch * (record.prompt_tokens + record.output_tokens)
    return tokens * memory.kv_bytes_per_token > memory.kv_pool_bytes


def weight_bytes_read(record: ProfileRecord, spec: ModelSpec, *, tokens: int) -> float:
    """Bytes of weights that a step over so many tokens reads: no embedding table, and of experts those touched."""
    on_device = record.memory.weights_bytes if record.memory else None
    on_disk = record.weights_bytes_on_disk
    # transformers may widen what it loads; others read what is stored, whatever copies they keep beside it
    stored = (on_device or on_disk) if record.engine.startswith("transformers") else (on_disk or on_device)
    precision = PRECISIONS.get(record.precision)
    rest = precision.bytes_per_rest_weight if precision else 2.0
    table = 0.0 if spec.tied_embeddings else spec.embedding_params * rest
    return max(0.0, (stored or 0.0) - table) * share_touched(spec, tokens)


def share_touched(spec: ModelSpec, tokens: int) -> float:
    """Of the layers' parameters, those that a step over so many tokens reads; 1 for a dense model."""
    hidden = spec.hidden_size
    idle = sum(
        g.count
        * (g.feed_forward.experts - g.feed_forward.expected_experts_touched(tokens))
        * g.feed_forward.expert_params(hidden)
        for g in spec.layer_groups
        if g.feed_forward.is_moe
    )
    return 1.0 - idle / (spec.layer_params + spec.lm_head_params)


def _kv_bytes(record: ProfileRecord, spec: ModelSpec, *, decodes: bool) -> float:
    context = record.prompt_tokens + record.output_tokens / 2 if decodes else record.prompt_tokens / 2
    return record.batch * spec.kv_values(context) * kv_value_bytes(record)


# What engines call the formats of their caches, beside the names the package knows.
KV_NAMES = {"f16": 2.0, "f32": 4.0, "float32": 4.0, "u8": 1.0, "i8": 1.0, "u4": 0.5, "i4": 0.5, "auto": 2.0}
GGML_KV_BYTES = {"q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32, "q4_0": 18 / 32}  # block ÷ values


def kv_value_bytes(record: ProfileRecord) -> float:
    """Bytes of one cached value in the format that the engine names; 16 bit where it names none or one unknown here."""
    named = record.engine_options.get("kv_cache", "").lower()
    sizes = []
    for name in named.split("/"):  # keys and values apart
        if name in KV_NAMES or name in GGML_KV_BYTES:
            sizes.append(KV_NAMES.get(name) or GGML_KV_BYTES[name])
        else:
            try:
                sizes.append(kv_bytes_per_value(name))
            except LlmSizerError:
                return 2.0
    return sum(sizes) / len(sizes)


def _flops(record: ProfileRecord, spec: ModelSpec, *, decodes: bool) -> float:
    if decodes:
        return record.batch * spec.forward_flops(1, record.prompt_tokens + record.output_tokens / 2)
    return record.batch * spec.forward_flops(record.prompt_tokens, record.prompt_tokens / 2)


def _bandwidth(device: DeviceRecord) -> tuple[float | None, Literal["measured", "datasheet"] | None]:
    measured = device.read_bytes_per_second or device.copy_bytes_per_second
    if measured:
        return measured, "measured"
    try:
        return names().gpu(device.name).memory_bytes_per_second, "datasheet"
    except LlmSizerError:
        return None, None


def _flops_rate(device: DeviceRecord) -> float | None:
    """The fastest 16-bit or wider product measured here, else the data sheet's."""
    measured = [rate for name, rate in device.gemm_flops_per_second.items() if name in ("fp16", "bf16", "fp32")]
    if measured:
        return max(measured)
    try:
        return names().gpu(device.name).flops_16bit_per_second
    except LlmSizerError:
        return None
