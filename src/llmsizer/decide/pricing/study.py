"""One scenario looked into: the question, its prices, and every replica that fits and meets the SLO."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from llmsizer.decide.answer import Rejection
from llmsizer.decide.candidates.modelled import ModelledPhysics
from llmsizer.decide.candidates.sizing import Sized, kept_formats, size_candidates
from llmsizer.decide.pricing.bills import Demand
from llmsizer.decide.pricing.fleets import PATHS, Pricer
from llmsizer.decide.question import Physics, Question
from llmsizer.errors import ScenarioError, UnknownNameError
from llmsizer.facts.assumptions import assumed_values
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.hub import load_model
from llmsizer.facts.kernels import load_support
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import PRECISIONS, Precision, get_precision
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.recovery import load_quality_prior
from llmsizer.facts.scenario import Constraints, Scenario
from llmsizer.facts.speculation import Speculation
from llmsizer.facts.workload import Workload
from llmsizer.money.cost import Path
from llmsizer.money.prices import PriceBook, price_book
from llmsizer.traffic.closed_form.meanfield import Vector

_ENGINE = "vllm"
_SIZINGS_KEPT = 8  # each holds some hundred replicas


@dataclass(frozen=True, kw_only=True)
class Study:
    """What both the recommendation and the comparison are made of."""

    question: Question
    book: PriceBook
    pricer: Pricer
    sized: tuple[Sized, ...]
    rejections: tuple[Rejection, ...]

    @cached_property
    def usd_asked(self) -> Mapping[Path, Vector]:
        """Dollars a month of each of ``sized`` by path at the load that was asked; NaN where the path is ruled out."""
        demand, bills = Demand.of(self.question.workload), self.pricer.bills
        return {path: bills.usd_of(self.sized, path, demand)[:, 0] for path in PATHS}


def study(
    model: ModelSpec,
    scenario: Scenario,
    catalog: Catalog,
    *,
    today: datetime.date,
    physics: Physics | None = None,
    records: Sequence[QualityRecord] = (),
) -> Study:
    """Size every allowed candidate for the scenario's lengths and SLO. Raises LlmSizerError."""
    question = Question(
        model=model,
        workload=workload_of(scenario, catalog),
        scenario=scenario,
        physics=physics or ModelledPhysics(),
        prior=load_quality_prior(catalog.root),
        support=load_support(_ENGINE, catalog.root),
        records=records,
        speculation=speculation_of(model, scenario, catalog),
        siblings=_siblings(model, catalog),
    )
    book = price_book(catalog, scenario, today)
    too_long = _context_too_long(question) or _licence_refused(question)
    if too_long is not None or not (scenario.constraints.own or scenario.constraints.rent):
        sized: list[Sized] = []
        rejected = [too_long] if too_long else []
    else:
        kept, refused = kept_formats(question, formats_of(model, scenario))
        asked = _Sizing(catalog=catalog, question=question, gpus=allowed_gpus(scenario, catalog), precisions=kept)
        is_usual = physics is None and not records
        sized, missed = _sized(asked) if is_usual else size_candidates(question, asked.gpus, kept)
        rejected = refused + missed
    pricer = Pricer(question=question, book=book)
    return Study(question=question, book=book, pricer=pricer, sized=tuple(sized), rejections=tuple(rejected))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sizing:
    """What sizes depend on. Neither volume nor money is among it: another volume is the same replicas, counted anew.

    Nor is the quality asked for: it has chosen the formats.
    """

    catalog: Catalog
    question: Question
    gpus: Sequence[GpuSpec]
    precisions: Sequence[Precision]

    @cached_property
    def key(self) -> tuple[object, ...]:
        question, scenario = self.question, self.question.scenario
        lengths = question.workload.model_copy(update={"requests_per_second": 1.0, "volume_note": ""})
        limits = (scenario.constraints.max_gpus_per_replica, scenario.constraints.kv_format)
        names = (tuple(gpu.id for gpu in self.gpus), tuple(precision.name for precision in self.precisions))
        slo = scenario.slo
        said = (slo.ttft_p95_seconds, slo.tpot_p95_seconds, question.context_tokens, question.speculation)
        return (self.catalog, question.model, lengths, *said, *limits, *names)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Sizing) and self.key == other.key


@lru_cache(maxsize=_SIZINGS_KEPT)
def _sized(asked: _Sizing) -> tuple[list[Sized], list[Rejection]]:
    """A page or a sweep over volumes asks for the same replicas again and again."""
    return size_candidates(asked.question, asked.gpus, asked.precisions)


def workload_of(scenario: Scenario, catalog: Catalog) -> Workload:
    """The scenario's workload with its preset looked up. Raises UnknownNameError, ScenarioError."""
    preset = scenario.workload.preset
    workload = scenario.workload.resolve(
        None if preset is None else catalog.workload(preset),
        assumed=assumed_values(scenario.assumptions, catalog.root) if scenario.workload.users else None,
        root=catalog.root,
    ).model_copy(update={"headroom": scenario.fleet.headroom})
    least = workload.tokens_per_request
    if scenario.max_context_tokens is not None and scenario.max_context_tokens < least:
        raise ScenarioError(
            f"max_context_tokens = {scenario.max_context_tokens} is less than a mean request of {least} tokens; "
            f"give {workload.context_tokens} or leave it out"
        )
    return workload


def speculation_of(model: ModelSpec, scenario: Scenario, catalog: Catalog) -> Speculation | None:
    """With the draft model looked up. Raises LlmSizerError where it cannot draft for the model."""
    if scenario.speculation is None:
        return None
    found = scenario.speculation.resolve(lambda name: load_model(name, catalog))
    found.check_target(model)
    return found


def _siblings(model: ModelSpec, catalog: Catalog) -> tuple[str, ...]:
    """Other readings of the model's name; none for a model from outside the catalogue."""
    try:
        return tuple(other.name for other in catalog.readings(model.name) if other.name != model.name)
    except UnknownNameError:
        return ()


def formats_of(model: ModelSpec, scenario: Scenario) -> list[Precision]:
    """The formats that were asked for. Where none was chosen, those of a model that its maker publishes quantized.

    A format wider than what was published holds nothing more: it is looked at only where it is asked for.
    """
    asked = [get_precision(name) for name in scenario.constraints.precisions]
    native = PRECISIONS.get(model.native_weights)
    if scenario.constraints.precisions != Constraints().precisions or native is None or not native.is_quantized:
        return asked
    narrower = [p for p in asked if p != native and p.weight_bits <= native.weight_bits]
    return [native, *narrower]


def allowed_gpus(scenario: Scenario, catalog: Catalog) -> list[GpuSpec]:
    """Accelerators the scenario allows. Raises UnknownNameError for a name the catalogue does not hold."""
    constraints = scenario.constraints
    excluded = {catalog.gpu(name).id for name in constraints.exclude_gpus}
    named = {catalog.gpu(name).id for name in constraints.gpus}
    return [g for g in catalog.gpus() if g.id not in excluded and (g.id in named if named else not g.is_cpu)]


def _licence_refused(question: Question) -> Rejection | None:
    allowed, licence = question.scenario.constraints.licences, question.model.licence
    if not allowed or (licence or "").lower() in {name.lower() for name in allowed}:
        return None
    what = f"the weights come under {licence}" if licence else "the licence of the weights is not in the catalogue"
    return Rejection(
        candidate=question.model.name,
        kind="constraint",
        reason=f"{what}; asked {' or '.join(allowed)}",
        nearest_fix=f"licences with {licence}" if licence else "look it up at its maker, then leave licences out",
    )


def _shorter(question: Question) -> str:
    """What of the scenario to change so that a request fits the model."""
    most, workload = question.model.max_context_tokens, question.workload
    if question.scenario.max_context_tokens is not None and workload.context_tokens <= most:
        return "leave max_context_tokens out"
    if workload.tokens_per_request <= most:
        return f"max_context_tokens = {most}, which cuts the longest requests"
    room = most - workload.generated_tokens
    if room < 1:
        return f"answers of less than {most:,} tokens"
    return f"prompts of at most {room:,} tokens (workload.prompt_tokens)"


def _context_too_long(question: Question) -> Rejection | None:
    model, context = question.model, question.context_tokens
    if context <= model.max_context_tokens:
        return None
    return Rejection(
        candidate=model.name,
        kind="constraint",
        reason=f"a request takes {context:,} tokens of context; the model holds {model.max_context_tokens:,}",
        nearest_fix=f"{_shorter(question)}, or a model with a longer context",
        shortfall=context / model.max_context_tokens - 1,
    )
