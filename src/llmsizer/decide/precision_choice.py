"""Which precision to serve a model in: dollars per million tokens at equal quality, by the kernel that will really run.

Each format is sized against the SLO on each GPU as a plan would be, and priced at its capacity: rent of a GPU-hour over
the tokens of that hour. What a fleet of whole replicas costs at a given volume is ``llmsizer plan``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmsizer.decide.bills import Bills
from llmsizer.decide.modelled import ModelledPhysics
from llmsizer.decide.quality import quality_recovery, rejected_by_divergence
from llmsizer.decide.question import TENSOR_PARALLEL, Memory
from llmsizer.errors import InputError, NoEvidenceError
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.deployment import Deployment, Parallelism
from llmsizer.facts.evidence import load_quality_prior
from llmsizer.facts.figure import Figure, unknown, weakest_basis
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.kernels import Kernel, KernelTable, load_kernels
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import Precision, get_precision
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.quality_parts import LongContext
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Workload
from llmsizer.money.cost import USD_PER_MTOK
from llmsizer.money.prices import PriceBook
from llmsizer.money.renting import gpu_hour_price
from llmsizer.traffic.energy import joules_per_output_token, power_of
from llmsizer.traffic.meanfield import StepSample, make_replica, probe
from llmsizer.traffic.sizing import Held, hold
from llmsizer.units import MEGA, SECONDS_PER_HOUR

JOULES = "J/output token"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheGain:
    """The same replica with another KV-cache format. Never part of the pick: nobody's table says what it loses."""

    format: str
    capacity_tokens: int
    gain: float  # of the 16-bit cache's tokens
    usd_per_million_tokens: Figure
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionOption:
    """One format on one GPU: what runs, what it keeps, what it costs; or why it is out."""

    precision: str
    gpu: str
    gpus: int
    kernel: str  # that will really run
    computes_in: str
    kernel_note: str
    kernel_source: str
    quality: Figure
    usd_per_million_tokens: Figure
    requests_per_second: Figure  # of one replica within the SLO
    usd_per_gpu_hour: Figure
    joules_per_output_token: Figure  # of the GPUs alone, at that rate
    kv_capacity_tokens: int | None = None
    caches: tuple[CacheGain, ...] = ()
    rejected: str = ""

    @property
    def label(self) -> str:
        return f"{self.precision} on {self.gpus}× {self.gpu}" if self.gpus else f"{self.precision} on {self.gpu}"


@dataclass(frozen=True, kw_only=True)
class PrecisionQuestion:
    """What is asked. ``engine_version`` None: the newest the data knows."""

    model: ModelSpec
    gpus: tuple[GpuSpec, ...]
    workload: Workload
    scenario: Scenario
    precisions: tuple[Precision, ...]
    kv_formats: tuple[str, ...] = ("bf16", "fp8")
    engine: str = "vllm"
    engine_version: str | None = None
    records: tuple[QualityRecord, ...] = ()
    usd_per_gpu_hour: float | None = None  # the user's own price


@dataclass(frozen=True, kw_only=True)
class _Sized:
    deployment: Deployment
    memory: Memory
    held: Held


def choose_precision(question: PrecisionQuestion, catalog: Catalog, book: PriceBook) -> tuple[PrecisionOption, ...]:
    """Options that keep the quality floor and run, cheapest first; then those that are out, with why.

    Raises InputError for an engine without kernel data.
    """
    table = load_kernels(catalog.root)
    if question.engine not in table.engines:
        known = ", ".join(table.engines)
        raise InputError(f"no kernel data for the engine {question.engine!r}; there is some for {known}")
    prior = load_quality_prior(catalog.root)
    options = []
    for gpu in question.gpus:
        for precision in question.precisions:
            quality = quality_recovery(question.model, precision, prior, question.records)
            options.append(_option(question, gpu, precision, quality, table, book))
    return tuple(sorted(options, key=_rank))


def _rank(option: PrecisionOption) -> tuple[bool, bool, float]:
    usd = option.usd_per_million_tokens.value
    return bool(option.rejected), usd is None, usd or 0.0


def _option(
    question: PrecisionQuestion,
    gpu: GpuSpec,
    precision: Precision,
    quality: Figure,
    table: KernelTable,
    book: PriceBook,
) -> PrecisionOption:
    kernel = table.find(question.engine, question.engine_version, precision, gpu)
    rejected = _why_out(question, gpu, precision, quality, kernel)
    best = None if rejected else _cheapest_width(question, gpu, precision, question.kv_formats[0])
    if isinstance(best, str):
        rejected, best = best, None
    price = _hour_price(question, gpu, book)
    return PrecisionOption(
        precision=precision.name,
        gpu=gpu.id,
        gpus=best.deployment.parallelism.gpus if best else 0,
        kernel=kernel.name if kernel and kernel.runs else "none" if kernel else "unknown",
        computes_in=str(kernel.compute) if kernel and kernel.compute else "unknown",
        kernel_note=kernel.note if kernel else "",
        kernel_source=f"{kernel.provenance.source} ({kernel.provenance.as_of})" if kernel else "",
        quality=quality,
        usd_per_million_tokens=_usd(best, price, question.workload, rejected),
        requests_per_second=_rate(best, rejected),
        usd_per_gpu_hour=price,
        joules_per_output_token=_joules(best, question.workload, book, rejected),
        kv_capacity_tokens=best.memory.fit.kv_capacity_tokens if best else None,
        caches=_caches(question, gpu, precision, best, price, table) if best else (),
        rejected=rejected,
    )


def _why_out(
    question: PrecisionQuestion, gpu: GpuSpec, precision: Precision, quality: Figure, kernel: Kernel | None
) -> str:
    engine = f"{question.engine} {question.engine_version or '(newest known)'}"
    if kernel is None:
        return f"unknown whether {engine} runs {precision.name} on {gpu.family}: no source names it"
    if not kernel.runs:
        return f"{engine} has no {precision.name} kernel for {gpu.family}: {kernel.note}"
    diverges = rejected_by_divergence(question.model, precision, question.records)
    if diverges:
        return diverges
    if quality.value is None:
        return f"quality unknown: {quality.estimate.reason}"
    floor = question.scenario.slo.quality_floor
    if quality.value < floor:
        return f"keeps {quality.value:.2%} ({quality.basis}), the floor is {floor:.2%}"
    return ""


def _cheapest_width(question: PrecisionQuestion, gpu: GpuSpec, precision: Precision, kv: str) -> _Sized | str:
    """The width with most requests a second on each GPU, or why no width works."""
    physics, best, why = ModelledPhysics(), None, "no tensor-parallel width divides the model's shape"
    most = min(question.scenario.constraints.max_gpus_per_replica, gpu.max_per_node)
    for width in TENSOR_PARALLEL:
        if width > most or not physics.allows(question.model, precision, width):
            continue
        found = _sized(question, _deployment(question, gpu, precision, kv, width), physics)
        if isinstance(found, str):
            why = found
        elif best is None or found.held.rate / width > best.held.rate / best.deployment.parallelism.gpus:
            best = found
    return best or why


def _sized(question: PrecisionQuestion, deployment: Deployment, physics: ModelledPhysics) -> _Sized | str:
    try:
        memory = physics.memory(deployment, question.workload)
    except NoEvidenceError as error:
        return str(error)
    points = probe(question.workload, memory.room) if memory.fits else None
    if points is None:
        return f"does not fit on {deployment.parallelism.gpus} GPUs: {memory.reason or 'not one request has room'}"
    (sample,) = physics.samples([(deployment, points)])
    if not isinstance(sample, StepSample):
        return str(sample)
    held = hold(make_replica(question.workload, memory.room, points, sample), question.scenario.slo)
    if held.rate <= 0:
        return f"misses the SLO on {deployment.parallelism.gpus} GPUs even at the least load"
    return _Sized(deployment=deployment, memory=memory, held=held)


def _deployment(question: PrecisionQuestion, gpu: GpuSpec, precision: Precision, kv: str, width: int) -> Deployment:
    return Deployment(
        model=question.model,
        gpu=gpu,
        weights=precision,
        kv_format=kv,
        parallelism=Parallelism(tensor=width),
        engine=question.engine,
        engine_version=question.engine_version,
        max_context_tokens=question.scenario.max_context_tokens or question.workload.context_tokens,
    )


def _hour_price(question: PrecisionQuestion, gpu: GpuSpec, book: PriceBook) -> Figure:
    """Dollars a GPU-hour: the user's own, else the cheapest offer that the scenario allows."""
    if question.usd_per_gpu_hour is not None:
        given = Estimate(value=question.usd_per_gpu_hour, basis="assumed", reason="given")
        return Figure(estimate=given, unit="USD/GPU/h", source="your own price")
    bills = Bills(scenario=question.scenario, book=book, workload=question.workload)
    prices = [gpu_hour_price(contract, book) for contract in bills.contracts_of(gpu.id)]
    known = [price for price in prices if price.value is not None]
    if not known:
        return unknown(f"no rental price of {gpu.name}; give your own (--usd-per-gpu-hour)", "USD/GPU/h")
    return min(known, key=lambda price: price.value or 0.0)


def _usd(sized: _Sized | None, price: Figure, workload: Workload, rejected: str) -> Figure:
    """Rent of the replica's GPUs over its tokens, input and output, at the largest load within the SLO."""
    if sized is None:
        return unknown(rejected, USD_PER_MTOK)
    if price.value is None:
        return unknown(price.estimate.reason, USD_PER_MTOK)
    gpus, held = sized.deployment.parallelism.gpus, sized.held

    def per_mtok(usd: float, rate: float) -> float:
        return usd * gpus / (rate * workload.tokens_per_request * SECONDS_PER_HOUR) * MEGA

    high = per_mtok(price.high or price.value, held.rate_low) if held.rate_low > 0 else None
    estimate = Estimate(
        value=per_mtok(price.value, held.rate),
        low=per_mtok(price.low or price.value, held.rate_high),
        high=high,
        basis=weakest_basis([held.replica.basis, price.basis]),
        reason="" if high is not None else "at the slow end of the step times the SLO is missed",
    )
    return Figure(estimate=estimate, unit=USD_PER_MTOK, source=price.source, as_of=price.as_of, stale=price.stale)


def _rate(sized: _Sized | None, rejected: str) -> Figure:
    if sized is None:
        return unknown(rejected, "requests/s")
    held = sized.held
    estimate = Estimate(value=held.rate, low=held.rate_low, high=held.rate_high, basis=held.replica.basis)
    return Figure(estimate=estimate, unit="requests/s")


def _joules(sized: _Sized | None, workload: Workload, book: PriceBook, rejected: str) -> Figure:
    """Of the GPUs by their power curve, at the rate that is held: host, network and cooling are the money's."""
    if sized is None:
        return unknown(rejected, JOULES)
    held, power = sized.held, power_of(sized.deployment, book.assumed)
    in_flight = min(held.edge.companions, float(held.replica.max_batch))
    estimate = joules_per_output_token(in_flight, held.rate * workload.generated_tokens, power)
    origin = book.assumed["full_batch_power_share"]
    return Figure(estimate=estimate, unit=JOULES, source=origin.source, as_of=origin.as_of, stale=origin.stale)


def _caches(
    question: PrecisionQuestion, gpu: GpuSpec, precision: Precision, best: _Sized, price: Figure, table: KernelTable
) -> tuple[CacheGain, ...]:
    """What the other cache formats hold at the same width."""
    found, own = [], best.memory.fit.kv_capacity_tokens
    width, physics = best.deployment.parallelism.tensor, ModelledPhysics()
    for kv in question.kv_formats[1:]:
        sized = _sized(question, _deployment(question, gpu, precision, kv, width), physics)
        if isinstance(sized, str) or own <= 0:
            continue
        capacity = sized.memory.fit.kv_capacity_tokens
        found.append(
            CacheGain(
                format=kv,
                capacity_tokens=capacity,
                gain=capacity / own,
                usd_per_million_tokens=_usd(sized, price, question.workload, ""),
                note=_cache_note(question, gpu, kv, table),
            )
        )
    return tuple(found)


def _cache_note(question: PrecisionQuestion, gpu: GpuSpec, kv: str, table: KernelTable) -> str:
    """What was measured of this cache on this model, else what is known against it."""
    own = [
        one
        for record in question.records
        for one in record.long_context
        if one.kv_format == kv and record.model in (question.model.name, question.model.hf_repo)
    ]
    if own:
        last = own[-1]
        return f"measured by {last.measure} against {last.reference_kv_format}: {_worst(last)}"
    cache = table.caches.get(kv.split("_")[0])
    measure = "quality at length unmeasured: llmsizer quality long-context"
    if cache is None:
        return measure
    if gpu.family not in cache.families:
        return f"no source names a {kv} cache on {gpu.family}; {measure}"
    return f"{measure}; {cache.caveat} ({cache.source})"


def _worst(one: LongContext) -> str:
    """The cell that lost most, in words."""
    if one.measure == "retrieval":
        cell = max(one.cells, key=lambda c: (c.reference_retrieved or 0) - (c.retrieved or 0))
        return f"{cell.retrieved} of {cell.reference_retrieved} needles kept at {cell.context_tokens:,} tokens"
    cell = max(one.cells, key=lambda c: c.kl_nats_per_token or 0.0)
    return f"KL {cell.kl_nats_per_token:.2g} nats/token at {cell.context_tokens:,} tokens"


def deployment_of(question: PrecisionQuestion, gpu: GpuSpec, precision: str, width: int) -> Deployment:
    """One replica of the question with its first cache format."""
    return _deployment(question, gpu, get_precision(precision), question.kv_formats[0], width)


def quality_words(quality: Figure) -> str:
    """What is kept, how that is known, and whether it can be told from the reference.

    A published range is over other models: it cannot tell this one from its reference, a measured one can.
    """
    if quality.value is None:
        return f"quality unknown: {quality.estimate.reason}"
    if quality.low is None or quality.high is None:
        return f"{quality.value:.2%} ({quality.basis})"
    band = f"{quality.value:.2%} [{quality.low:.2%}–{quality.high:.2%}] ({quality.basis}"
    if quality.basis != "measured":
        return f"{band}, of other models)"
    if quality.low <= 1.0 <= quality.high:
        return f"{band}, indistinguishable from the reference)"
    return f"{band})"


def precisions_of(names: Sequence[str]) -> tuple[Precision, ...]:
    """By name, each once. Raises UnknownNameError."""
    return tuple({p.name: p for p in map(get_precision, names)}.values())


def choice_sentence(options: Sequence[PrecisionOption], floor: float) -> str:
    """What to serve the model in, what it costs, and what the 16-bit reference costs; or why nothing is chosen."""
    priced = [o for o in options if not o.rejected and o.usd_per_million_tokens.value is not None]
    if not priced:
        running = [o for o in options if not o.rejected]
        if running:
            names = ", ".join(o.precision for o in running)
            return f"{names} keep {floor:.1%} of the quality, but nobody rents this GPU at a known price: give your own (--usd-per-gpu-hour)."
        why = "; ".join(dict.fromkeys(f"{o.precision} on {o.gpu}: {o.rejected}" for o in options[:3]))
        return f"No format keeps {floor:.1%} of the quality and runs: {why}."
    best = priced[0]
    usd = best.usd_per_million_tokens
    text = (
        f"Serve in {best.label}: ${usd.value:.3g} per 1M tokens at capacity ({usd.basis}); it runs as {best.kernel} "
        f"and keeps {quality_words(best.quality)} of the quality"
    )
    reference = next((o for o in priced if o.precision in ("bf16", "fp16")), None)
    if reference is None or reference.label == best.label:
        return f"{text}."
    return f"{text}; {reference.label} costs ${reference.usd_per_million_tokens.value:.3g}."
