"""Measured facts with their provenance, one operating point a record, kept as JSON lines.

Additive schema: a new optional field keeps the version, and a reader ignores keys it does not know. The version rises
only where an old reader would misread a row; rows of a version above its own a reader skips, and says so.
Version 1: static batches only. Version 2: ``load`` may say that requests arrived by themselves, see ``batch``.
``None`` means not measured, and ``unknown`` says why.
TTFT = first output token − arrival. TPOT = (end − first token)/(n − 1) per request. ITL = the raw gaps. Throughput =
output tokens of the whole batch per second of wall clock, prefill included.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llmsizer.facts.quality_parts import LongContext, PairedDifference, TaskScore
from llmsizer.facts.record_parts import (
    Counts,
    Distribution,
    Energy,
    HardwareState,
    Load,
    MemoryUse,
    Origin,
    Phases,
    QualityReference,
    SamplesFile,
    SteadyState,
    Throughput,
    Verdict,
)

SCHEMA_VERSION = 2
QUALITY_SCHEMA_VERSION = 1
MOST_COUNTED = 10**9  # requests at once, tokens: beyond it a file or a sender is broken
CUT_SHORT = "cut_short"  # the flag of a row whose point was stopped or broke off before all its repeats were taken


class DeviceRecord(BaseModel):
    """The machine a record was taken on; a CPU has no data sheet here, so its bandwidth and rate are measured."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    name: str
    kind: Literal["cpu", "gpu", "unknown"]
    cores: int | None = None
    memory_bytes: float | None = None
    copy_bytes_per_second: float | None = None
    read_bytes_per_second: float | None = None
    gemm_flops_per_second: dict[str, float] = {}
    driver: str | None = None
    operating_system: str | None = None
    instruction_sets: tuple[str, ...] = ()
    measured_at: str = ""


class ProfileRecord(BaseModel):
    """One operating point of one variant on one device."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    schema_version: int = SCHEMA_VERSION
    record_id: str  # hash of what was asked, so that a finished point is recognised
    status: Literal["ok", "failed"] = "ok"
    failure: str | None = None
    model: str
    model_config_hf: dict[str, object] = {}  # the architecture, so that a record stands by itself
    variant: str  # "fp16", "int8", "int4" …
    precision: str
    method: str = ""
    format: str = ""
    engine: str
    engine_version: str
    engine_options: dict[str, str] = {}  # what the engine chose: arithmetic, KV format, threads …
    device: DeviceRecord
    # Sequences in flight: of a static batch, of a closed loop its concurrency, of an open loop the most that were seen.
    batch: int = Field(ge=1, le=MOST_COUNTED)
    prompt_tokens: int = Field(ge=1, le=MOST_COUNTED)
    output_tokens: int = Field(ge=1, le=MOST_COUNTED)
    repeats: int = 0
    ttft_seconds: float | None = Field(default=None, ge=0)  # median over repeats
    ttft_seconds_low: float | None = None  # where the mean of 20 further runs lies; level stated in interval_level
    ttft_seconds_high: float | None = None
    tpot_seconds: float | None = Field(default=None, ge=0)
    tpot_seconds_low: float | None = None
    tpot_seconds_high: float | None = None
    itl_seconds_p95: float | None = None
    interval_level: float | None = None
    output_tokens_per_second: float | None = Field(default=None, ge=0)
    prefill_tokens_per_second: float | None = None
    load_seconds: float | None = None
    weights_bytes_on_disk: float | None = None
    process_peak_bytes: float | None = None  # resident set of the engine's process
    process_anonymous_bytes: float | None = None
    allocator_peak_bytes: float | None = None
    energy_joules: float | None = None
    ttft_samples: tuple[float, ...] = ()  # one per repeat, in the order taken
    tpot_samples: tuple[float, ...] = ()
    unknown: dict[str, str] = {}  # field → why it is None
    flags: tuple[str, ...] = ()  # validity: "unsteady", "thermal" …
    seed: int = 0
    versions: dict[str, str] = {}
    code_version: str = ""
    measured_at: str = ""
    sweep_id: str = ""  # rows of one sweep belong together, and were interleaved
    command: str = ""  # what was typed, without secrets
    accelerators: int | None = None  # used by the engine; None: as many as ``device`` says, one
    kernels: tuple[str, ...] = ()  # that really ran, from the engine's log: "MarlinLinearKernel" …
    load: Load | None = None  # None: a static batch
    counts: Counts | None = None
    distributions: dict[str, Distribution] = {}  # by the names in record_parts.METRICS
    throughput: Throughput | None = None
    phases: Phases | None = None
    memory: MemoryUse | None = None
    energy: Energy | None = None
    hardware: HardwareState | None = None
    steady: SteadyState | None = None
    verdict: Verdict | None = None
    quality: QualityReference | None = None
    samples: SamplesFile | None = None
    origin: Origin | None = None  # None: measured here

    @property
    def is_cut_short(self) -> bool:
        """Whether the row holds fewer repeats than were asked: a later row of the same record_id takes its place."""
        return self.status == "ok" and CUT_SHORT in self.flags

    @property
    def is_finished(self) -> bool:
        """Whether the point is done: it is not measured again."""
        return self.status == "ok" and not self.is_cut_short

    @property
    def is_imported(self) -> bool:
        """Measured by another program: it calibrates at a trust of its own."""
        return self.origin is not None

    @property
    def is_static_batch(self) -> bool:
        """All sequences began together and advanced together: what step times can be read from."""
        return self.load is None or self.load.pattern in ("batch", "single")

    @property
    def may_be_extrapolated(self) -> bool:
        """Whether a planner may carry the figures to other shapes and devices."""
        return (self.verdict is None or self.verdict.extrapolate) and "not_extrapolatable" not in self.flags

    @property
    def carries_step_times(self) -> bool:
        """Whether a calibration may learn from the row."""
        return self.status == "ok" and self.is_static_batch and self.may_be_extrapolated


class QualityRecord(BaseModel):
    """What a variant loses against its 16-bit reference on the same held-out tokens."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = QUALITY_SCHEMA_VERSION
    model: str
    variant: str
    precision: str
    method: str = ""
    engine: str
    dataset: str
    documents: int
    tokens: int
    perplexity: float
    perplexity_standard_error: float
    reference: str = ""
    perplexity_ratio: float | None = None  # variant / reference, paired by document
    perplexity_ratio_low: float | None = None
    perplexity_ratio_high: float | None = None
    kl_nats_per_token: float | None = None
    kl_nats_per_token_low: float | None = None
    kl_nats_per_token_high: float | None = None
    kl_nats_p99: float | None = None  # of single tokens; its interval counts documents
    kl_nats_p99_low: float | None = None
    kl_nats_p99_high: float | None = None
    top1_agreement: float | None = None
    top1_agreement_low: float | None = None
    top1_agreement_high: float | None = None
    bits_per_weight: float | None = None  # effective, over the whole file
    weights_bytes: float | None = None
    interval_level: float | None = None
    measured_at: str = ""
    versions: dict[str, str] = {}
    text_sha256: str = ""  # of the tokens examined: records of other tokens are not comparable
    kv_format: str = ""  # of the engine's cache, where it was chosen
    evaluation_tokens_per_second: float | None = None  # of this variant alone
    differences: tuple[PairedDifference, ...] = ()  # against the other variants of the same pass
    tasks: dict[str, TaskScore] = {}
    long_context: tuple[LongContext, ...] = ()  # one for each format of the KV cache
