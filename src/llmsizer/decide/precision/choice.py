"""Which precision to serve a model in: dollars per million tokens at equal quality, by the kernel that will really run.

Each format is sized against the SLO on each GPU as a plan would be, and priced at its capacity: rent of a GPU-hour over
the tokens of that hour. What a fleet of whole replicas costs at a given volume is ``llmsizer plan``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llmsizer.decide.candidates.modelled import ModelledPhysics
from llmsizer.decide.precision.sizes import SizedReplica, size_replicas
from llmsizer.decide.pricing.bills import Bills
from llmsizer.decide.quality import quality_recovery, rejected_by_divergence
from llmsizer.decide.question import TENSOR_PARALLEL
from llmsizer.errors import InputError
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.deployment import Deployment, Parallelism
from llmsizer.facts.figure import Figure, unknown, weakest_basis
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.kernels import Kernel, KernelTable, load_kernels
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import Precision, get_precision
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.quality_parts import LongContext
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.recovery import load_quality_prior
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Workload
from llmsizer.money.cost import USD_PER_MTOK
from llmsizer.money.currency import shown
from llmsizer.money.prices import PriceBook
from llmsizer.money.renting import gpu_hour_price
from llmsizer.traffic.energy import joules_per_output_token, power_of
from llmsizer.units import MEGA, SECONDS_PER_HOUR, plain_number

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
class _Entry:
    """One format on one GPU before it is sized: what runs, what it keeps, and why it is out if it is."""

    gpu: GpuSpec
    precision: Precision
    quality: Figure
    kernel: Kernel | None
    rejected: str


def choose_precision(question: PrecisionQuestion, catalog: Catalog, book: PriceBook) -> tuple[PrecisionOption, ...]:
    """Options that keep the quality floor and run, cheapest first; then those that are out, with why.

    Raises InputError for an engine without kernel data.
    """
    table = load_kernels(catalog.root)
    if question.engine not in table.engines:
        known = ", ".join(table.engines)
        raise InputError(f"no kernel data for the engine {question.engine!r}; there is some for {known}")
    prior = load_quality_prior(catalog.root)
    entries = []
    for gpu in question.gpus:
        for precision in question.precisions:
            quality = quality_recovery(question.model, precision, prior, question.records)
            kernel = table.find(question.engine, question.engine_version, precision, gpu)
            rejected = _why_out(question, gpu, precision, quality, kernel)
            entries.append(_Entry(gpu=gpu, precision=precision, quality=quality, kernel=kernel, rejected=rejected))
    best = _cheapest_widths(question, entries)
    caches = _with_other_caches(question, best)
    prices = {gpu.id: _hour_price(question, gpu, book) for gpu in question.gpus}
    options = [
        _option(question, entry, best[i], caches.get(i, {}), prices[entry.gpu.id], table, book)
        for i, entry in enumerate(entries)
    ]
    return tuple(sorted(options, key=_rank))


def _rank(option: PrecisionOption) -> tuple[bool, bool, float]:
    usd = option.usd_per_million_tokens.value
    return bool(option.rejected), usd is None, usd or 0.0


def _option(
    question: PrecisionQuestion,
    entry: _Entry,
    sized: SizedReplica | str,
    caches: Mapping[str, SizedReplica],
    price: Figure,
    table: KernelTable,
    book: PriceBook,
) -> PrecisionOption:
    kernel, rejected = entry.kernel, entry.rejected or (sized if isinstance(sized, str) else "")
    best = None if rejected or isinstance(sized, str) else sized
    return PrecisionOption(
        precision=entry.precision.name,
        gpu=entry.gpu.id,
        gpus=best.gpus if best else 0,
        kernel=kernel.name if kernel and kernel.runs else "none" if kernel else "unknown",
        computes_in=str(kernel.compute) if kernel and kernel.compute else "unknown",
        kernel_note=kernel.note if kernel else "",
        kernel_source=f"{kernel.provenance.source} ({kernel.provenance.as_of})" if kernel else "",
        quality=entry.quality,
        usd_per_million_tokens=_usd(best, price, question.workload, rejected),
        requests_per_second=_rate(best, rejected),
        usd_per_gpu_hour=price,
        joules_per_output_token=_joules(best, question.workload, book, rejected),
        kv_capacity_tokens=best.memory.fit.kv_capacity_tokens if best else None,
        caches=_caches(question, entry.gpu, best, caches, price, table) if best else (),
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


def _cheapest_widths(question: PrecisionQuestion, entries: Sequence[_Entry]) -> list[SizedReplica | str]:
    """Of each entry the width with most requests a second on each GPU, or why no width works."""
    physics, kv = ModelledPhysics(), question.kv_formats[0]
    asked = [
        (i, _deployment(question, entry.gpu, entry.precision, kv, width))
        for i, entry in enumerate(entries)
        if not entry.rejected
        for width in TENSOR_PARALLEL
        if width <= min(question.scenario.constraints.max_gpus_per_replica, entry.gpu.max_per_node)
        and physics.allows(question.model, entry.precision, width)
    ]
    sized = size_replicas([deployment for _, deployment in asked], question.workload, question.scenario.slo)
    best: list[SizedReplica | str] = ["no tensor-parallel width divides the model's shape"] * len(entries)
    for (i, _), found in zip(asked, sized, strict=True):
        known = best[i]
        if isinstance(known, str) or (not isinstance(found, str) and found.rate_of_a_gpu > known.rate_of_a_gpu):
            best[i] = found
    return best


def _with_other_caches(
    question: PrecisionQuestion, best: Sequence[SizedReplica | str]
) -> dict[int, dict[str, SizedReplica]]:
    """Entry → cache format → the same replica with that cache, where it holds anything."""
    asked = [
        (i, kv, replace(one.deployment, kv_format=kv))
        for i, one in enumerate(best)
        if not isinstance(one, str)
        for kv in question.kv_formats[1:]
    ]
    sized = size_replicas([deployment for *_, deployment in asked], question.workload, question.scenario.slo)
    caches: dict[int, dict[str, SizedReplica]] = {}
    for (i, kv, _), found in zip(asked, sized, strict=True):
        if not isinstance(found, str):
            caches.setdefault(i, {})[kv] = found
    return caches


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


def _usd(sized: SizedReplica | None, price: Figure, workload: Workload, rejected: str) -> Figure:
    """Rent of the replica's GPUs over its tokens, input and output, at the largest load within the SLO."""
    if sized is None:
        return unknown(rejected, USD_PER_MTOK)
    if price.value is None:
        return unknown(price.estimate.reason, USD_PER_MTOK)
    gpus, held = sized.gpus, sized.held

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


def _rate(sized: SizedReplica | None, rejected: str) -> Figure:
    if sized is None:
        return unknown(rejected, "requests/s")
    held = sized.held
    estimate = Estimate(value=held.rate, low=held.rate_low, high=held.rate_high, basis=held.replica.basis)
    return Figure(estimate=estimate, unit="requests/s")


def _joules(sized: SizedReplica | None, workload: Workload, book: PriceBook, rejected: str) -> Figure:
    """Of the GPUs by their power curve, at the rate that is held: host, network and cooling are the money's."""
    if sized is None:
        return unknown(rejected, JOULES)
    held, power = sized.held, power_of(sized.deployment, book.assumed)
    in_flight = min(held.edge.companions, float(held.replica.max_batch))
    estimate = joules_per_output_token(in_flight, held.rate * workload.generated_tokens, power)
    origin = book.assumed["full_batch_power_share"]
    return Figure(estimate=estimate, unit=JOULES, source=origin.source, as_of=origin.as_of, stale=origin.stale)


def _caches(
    question: PrecisionQuestion,
    gpu: GpuSpec,
    best: SizedReplica,
    others: Mapping[str, SizedReplica],
    price: Figure,
    table: KernelTable,
) -> tuple[CacheGain, ...]:
    """What the other cache formats hold at the same width."""
    own = best.memory.fit.kv_capacity_tokens
    if own <= 0:
        return ()
    return tuple(
        CacheGain(
            format=kv,
            capacity_tokens=sized.memory.fit.kv_capacity_tokens,
            gain=sized.memory.fit.kv_capacity_tokens / own,
            usd_per_million_tokens=_usd(sized, price, question.workload, ""),
            note=_cache_note(question, gpu, kv, table),
        )
        for kv, sized in others.items()
    )


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
            return (
                f"{names} keep {floor:.1%} of the quality, but nobody rents this GPU at a known price: "
                "give your own (--usd-per-gpu-hour)."
            )
        why = "; ".join(dict.fromkeys(f"{o.precision} on {o.gpu}: {o.rejected}" for o in options[:3]))
        return f"No format keeps {floor:.1%} of the quality and runs: {why}."
    best = priced[0]
    usd = best.usd_per_million_tokens
    text = (
        f"Serve in {best.label}: {_each(usd)} per 1M tokens at capacity ({usd.basis}); "
        f"it runs as {best.kernel} and keeps {quality_words(best.quality)} of the quality"
    )
    reference = next((o for o in priced if o.precision in ("bf16", "fp16")), None)
    if reference is None or reference.label == best.label:
        return f"{text}."
    return f"{text}; {reference.label} costs {_each(reference.usd_per_million_tokens)}."


def _each(usd: Figure) -> str:
    return f"{shown().symbol}{plain_number(shown().amount(usd.value or 0.0))}"
