"""The parts of a profile record beyond its headline figures; every one optional, every field in SI units.

``None`` means not measured, never zero; the record's ``unknown`` says why under the dotted name, such as
``energy.joules``. A part that does not apply to a point (no energy window in a load run, say) is ``None`` as a whole.
Definitions: TTFT = first output token − start. TPOT = (end − first token)/(n − 1) per request. ITL = the raw gaps.
E2E = end − start. *Start* is when the request was sent; the ``effective_`` metrics count from when the schedule wanted
it sent, so that a client or server that falls behind its schedule cannot hide it (coordinated omission).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Pattern = Literal[
    "batch", "single", "closed", "constant", "poisson", "gamma", "trace", "shared-prefix", "multi-turn", "burst"
]
Bound = Literal["launch", "bandwidth", "compute", "kv", "client", "throttled", "mixed"]
EnergySource = Literal["nvml-counter", "nvml-power", "amdsmi-counter", "amdsmi-power", "xpu-power", "rapl"]

# Names under ``ProfileRecord.distributions``; a reader must accept others. All in seconds but the last, in tokens/s.
METRICS = (
    "ttft",
    "tpot",
    "itl",
    "e2e",
    "normalized_tpot",  # E2E / output tokens
    "effective_ttft",  # from the scheduled time
    "effective_e2e",
    "schedule_delay",  # sent − scheduled: how far the load generator itself was behind
    "output_tokens_per_second_per_user",
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Quantile(_Part):
    """One percentile; ``low`` and ``high`` enclose the true one at the distribution's ``level``.

    ``high`` is None where so few values cannot bound it from above: then the percentile is known from below only.
    """

    value: float
    low: float | None = None
    high: float | None = None


class Distribution(_Part):
    """How one metric was distributed over requests, tokens or runs."""

    unit: Literal["s", "tok/s", "tok", "W"] = "s"
    definition: str = ""  # in words, as the same name means different things elsewhere
    weighting: Literal["request", "token", "run"] = "request"
    n: int = Field(ge=0)
    n_effective: float | None = None  # of independent values, after autocorrelation
    mean: float | None = None
    mean_low: float | None = None
    mean_high: float | None = None
    standard_deviation: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    percentiles: dict[str, Quantile] = {}  # "p50", "p90", "p95", "p99"; one that n cannot carry is left out
    level: float = 0.90
    method: str = ""  # "order statistics", "block bootstrap" …


class Load(_Part):
    """What was asked of the engine or server, and whether the generator kept to it."""

    pattern: Pattern
    concurrency: int | None = None  # requests in flight that a closed loop keeps
    rate_per_second: float | None = None  # arrivals asked for
    achieved_rate_per_second: float | None = None  # arrivals really sent
    burstiness_cv: float | None = None  # of the gaps: 0 constant, 1 Poisson
    duration_seconds: float | None = None  # of the measured window
    warmup_requests: int | None = None
    warmup_seconds: float | None = None
    prompt_tokens_mean: float | None = None
    prompt_tokens_min: int | None = None
    prompt_tokens_max: int | None = None
    output_tokens_mean: float | None = None
    output_tokens_min: int | None = None
    output_tokens_max: int | None = None
    output_forced: bool | None = None  # the end token was ignored
    shared_prefix_tokens: int | None = None
    turns: int | None = None
    trace: str | None = None  # name of the replayed trace
    streaming: bool | None = None
    endpoint: str | None = None  # without user, password or key


class Counts(_Part):
    """Requests and tokens, counted by both sides where both count."""

    requests_total: int | None = None
    requests_ok: int | None = None
    requests_failed: int | None = None
    requests_incomplete: int | None = None  # cut off by the end of the window
    input_tokens: int | None = None
    output_tokens_client: int | None = None
    output_tokens_server: int | None = None
    token_mismatch_share: float | None = None  # |server − client| / server
    errors: dict[str, int] = {}  # kind → requests


class Throughput(_Part):
    """Rates over the measured window's wall clock, prefill included."""

    requests_per_second: float | None = None
    input_tokens_per_second: float | None = None
    output_tokens_per_second_low: float | None = None  # around the record's output_tokens_per_second
    output_tokens_per_second_high: float | None = None
    output_tokens_per_second_per_accelerator: float | None = None
    goodput_requests_per_second: float | None = None  # requests that met every limit of ``slo_seconds``
    goodput_share: float | None = None  # of all requests, failed ones included
    slo_seconds: dict[str, float] = {}  # metric name → limit, e.g. {"ttft": 1.0, "tpot": 0.05}


class Phases(_Part):
    """What a first user waits for, and what a step is made of."""

    compile_seconds: float | None = None
    first_call_seconds: float | None = None
    time_to_ready_seconds: float | None = None  # start of the process until it answers
    prefill_device_seconds: float | None = None  # by device events
    decode_step_device_seconds: float | None = None
    decode_step_wall_seconds: float | None = None
    decode_tokens_per_second: float | None = None  # without prefill
    device_busy_share: float | None = None
    mbu: float | None = None  # bytes a step must read × steps/s ÷ the device's bandwidth
    mfu: float | None = None  # useful FLOPs/s ÷ the device's rate for this arithmetic
    bandwidth_bytes_per_second: float | None = None  # that the mbu was taken of
    bandwidth_basis: Literal["measured", "datasheet"] | None = None


class MemoryUse(_Part):
    """Bytes by who counts them: allocator, device, process, host."""

    weights_bytes: float | None = None  # exactly, on the device
    kv_pool_bytes: float | None = None
    kv_blocks: int | None = None
    kv_bytes_per_token: float | None = None
    peak_allocated_bytes: dict[str, float] = {}  # phase → the allocator's peak
    peak_reserved_bytes: dict[str, float] = {}
    device_used_delta_bytes: float | None = None  # used on the device now − before this process
    device_process_bytes: float | None = None  # as the driver attributes it; hidden in most containers
    graph_pool_bytes: float | None = None
    host_resident_peak_bytes: float | None = None
    host_anonymous_peak_bytes: float | None = None  # no file backs it: mapped weights are not in here


class Energy(_Part):
    """Energy of the device over one window. The idle power is stated beside it and never subtracted in silence."""

    joules: float | None = None
    idle_watts: float | None = None
    mean_watts: float | None = None
    peak_watts: float | None = None
    window_seconds: float | None = None
    source: EnergySource | None = None
    cross_check_relative_error: float | None = None  # counter against integrated power
    output_tokens: int | None = None  # made in the window
    joules_per_output_token: float | None = None
    joules_per_token: float | None = None  # input and output
    cpu_joules: float | None = None


class HardwareState(_Part):
    """How the device and the machine were while the point was measured."""

    sm_clock_hertz_min: float | None = None
    sm_clock_hertz_mean: float | None = None
    memory_clock_hertz_mean: float | None = None
    temperature_celsius_max: float | None = None
    power_limit_watts: float | None = None
    throttle_reasons: tuple[str, ...] | None = None  # () looked and found none; None nobody could look
    throttled_share: float | None = None  # of the samples
    foreign_processes: tuple[str, ...] | None = None  # on the device, "pid name"; () none, None not visible
    utilization_share_mean: float | None = None
    load_average: float | None = None  # of the host, last minute
    foreign_cpu_share: float | None = None  # of all cores, by others
    samples: int | None = None
    sample_period_seconds: float | None = None


class SteadyState(_Part):
    """Whether the measured stretch was stationary; ``found=False`` is a result, and its figures are not to be used."""

    found: bool
    start: int | None = None  # index of the first value of the steady stretch
    end: int | None = None  # one past its last
    variation: float | None = None  # standard deviation ÷ mean inside it
    trend: Literal["plateau", "drifting-up", "drifting-down"] | None = None
    trend_p_value: float | None = None
    saturated: bool | None = None  # queueing grows without end: the rate is above capacity
    reason: str = ""


class Verdict(_Part):
    """What held the point back, and whether the planner may carry it to other shapes."""

    bound: Bound
    extrapolate: bool = True
    why: str = ""  # one sentence with the figures it rests on


class QualityReference(_Part):
    """Where the quality of the same variant was measured."""

    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    dataset: str = ""
    tokens: int | None = None
    content_id: str | None = None  # of the quality record


class SamplesFile(_Part):
    """The raw samples beside the record: compressed JSON lines of RequestSample."""

    file: str  # relative to the folder of the record's file
    sha256: str
    count: int


class Origin(_Part):
    """Where another tool's file was the source of a record; a record without one was measured by this program."""

    format: str  # of the file: "guidellm-2", "llama-bench" …
    tool: str = ""  # that measured, where another program wrote the file
    tool_version: str = ""
    file: str = ""  # its name, without folders
    sha256: str = ""
    position: str = ""  # of the point inside the file, such as "benchmarks[2]"
    converted: dict[str, str] = {}  # our field → what it was there and what was done to it


class RequestSample(_Part):
    """One request as it was seen; times are seconds since the start of the point's window."""

    scheduled_seconds: float | None = None
    sent_seconds: float
    first_token_seconds: float | None = None
    end_seconds: float | None = None
    token_seconds: tuple[float, ...] = ()  # every token's (or chunk's) arrival, the first included
    tokens_at: tuple[int, ...] = ()  # tokens in each chunk, where not one each
    prompt_tokens: int | None = None
    output_tokens: int | None = None  # as the client counts
    output_tokens_server: int | None = None
    worker: int | None = None
    warmup: bool = False
    error: str | None = None
