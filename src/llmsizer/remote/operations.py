"""The operations behind every face: a question in, a JSON document out, the same as the command line prints."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from typing_extensions import TypedDict

from llmsizer.decide.answer import Recommendation, RecommendationDoc
from llmsizer.decide.recommend import recommend_today
from llmsizer.errors import InputError, UnknownNameError
from llmsizer.facts.catalog import Catalog, default_catalog
from llmsizer.facts.deployment import Deployment, Parallelism
from llmsizer.facts.precision import PRECISIONS, get_precision
from llmsizer.facts.records import ProfileRecord, QualityRecord
from llmsizer.facts.scenario import Scenario, load_scenario
from llmsizer.money.comparison import ComparisonDoc
from llmsizer.physics.answers.memory import MemoryDoc, answer_memory
from llmsizer.physics.answers.predict import predict_rows
from llmsizer.physics.calibration.store import StoredCalibration
from llmsizer.plain import plain
from llmsizer.remote.questions import (
    CatalogQuestion,
    MemoryQuestion,
    NewRecords,
    PlanQuestion,
    PredictQuestion,
    RecordsQuestion,
    ScenarioQuestion,
)

Question = TypeVar("Question", bound=BaseModel)
Keep = Callable[[Sequence[ProfileRecord]], "AddedDoc"]


class NamesDoc(TypedDict):
    """Names of one kind."""

    kind: str
    names: list[str]


class BriefDoc(RecommendationDoc):
    """A recommendation with its lists cut; ``left_off``: how many more each list has."""

    left_off: dict[str, int]


class RowsDoc(TypedDict):
    """The rows with the predicted columns appended."""

    rows: list[dict[str, str]]


class RecordsDoc(TypedDict):
    """Records that match; ``left_off`` more did too."""

    records: list[dict[str, Any]]
    left_off: int


class AddedDoc(TypedDict):
    """How many records were new, and how many were held already."""

    new: int
    known: int


@dataclass(frozen=True, kw_only=True)
class Own:
    """Own measurements, as answers use them."""

    calibration: StoredCalibration | None = None
    quality: tuple[QualityRecord, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Backing:
    """What the answers rest on beside the catalogue; of the one who asks only the records that ``keep`` took."""

    own: Callable[[], Own] = Own  # asked for every answer, as a store may have grown
    records: Callable[[], Sequence[ProfileRecord]] = field(default=tuple)
    keep: Keep | None = None  # None: nothing may be added


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[Question]):
    """One thing that can be asked."""

    name: str
    summary: str
    question: type[Question]
    answers: type[Any]  # the TypedDict of its answer
    run: Callable[[Question, Backing], Any]
    is_flat: bool = False  # the question has no nested parts: it can stand in an address
    only_reads: bool = True

    def answer(self, question: Mapping[str, Any], backing: Backing) -> Any:
        """From JSON to JSON. Raises ValidationError for a question of another shape, LlmSizerError for a bad one."""
        return plain(self.run(self.question.model_validate_json(_json(question)), backing))


def _json(value: object) -> bytes:
    from pydantic_core import to_json

    return to_json(value)


def _catalog(question: CatalogQuestion, _: Backing) -> NamesDoc:
    catalog = default_catalog()
    names: dict[str, Sequence[str]] = {
        "models": catalog.model_names,
        "gpus": catalog.gpu_names,
        "precisions": tuple(PRECISIONS),
        "workloads": catalog.workload_names,
        "scenarios": tuple(_shipped(catalog)),
    }
    wanted = question.containing.lower()
    return {"kind": question.kind, "names": sorted(name for name in names[question.kind] if wanted in name.lower())}


def _memory(question: MemoryQuestion, _: Backing) -> MemoryDoc:
    catalog = default_catalog()
    model = catalog.model(question.model)
    speculation = question.speculation.resolve(catalog.model) if question.speculation else None
    deployment = Deployment(
        model=model,
        gpu=catalog.gpu(question.gpu),
        weights=get_precision(question.weights or model.native_weights),
        kv_format=question.kv_format,
        parallelism=Parallelism(
            tensor=question.tensor_parallel, pipeline=question.pipeline_parallel, expert=question.expert_parallel
        ),
        engine=question.engine,
        engine_version=question.engine_version,
        max_context_tokens=question.context_tokens,
        speculation=speculation,
    )
    found = answer_memory(
        deployment,
        catalog.gpus_on_sale,
        concurrency=question.concurrency,
        shared_tokens=question.shared_prefix_tokens,
    )
    return found.to_dict()


def _recommendation(question: ScenarioQuestion, backing: Backing) -> Recommendation:
    catalog = default_catalog()
    scenario = _scenario(question.scenario, catalog)
    own = backing.own()
    return recommend_today(
        scenario,
        catalog,
        calibration=own.calibration,
        records=own.quality,
        find=lambda name, known: known.model(name),
    )


def _plan(question: PlanQuestion, backing: Backing) -> BriefDoc:
    found = _recommendation(question, backing)
    most = question.at_most
    nearest = sorted(found.rejections, key=lambda r: math.inf if r.shortfall is None else r.shortfall)
    brief = replace(
        found,
        plans=found.plans[:most],
        apis=found.apis[:most],
        rejections=tuple(nearest[:most]),
        comparison=found.comparison if question.with_comparison else None,
    )
    lengths = {"plans": len(found.plans), "apis": len(found.apis), "rejections": len(found.rejections)}
    return {**brief.to_dict(), "left_off": {name: max(length - most, 0) for name, length in lengths.items()}}


def _compare(question: ScenarioQuestion, backing: Backing) -> ComparisonDoc:
    comparison = _recommendation(question, backing).comparison
    if comparison is None:
        raise InputError("there is nothing to compare: the scenario allows neither owning, renting nor an API")
    return comparison.to_dict()


def _predict(question: PredictQuestion, backing: Backing) -> RowsDoc:
    return {"rows": predict_rows(question.rows, calibration=backing.own().calibration)}


def _records(question: RecordsQuestion, backing: Backing) -> RecordsDoc:
    found = [record for record in backing.records() if _matches(record, question)]
    found.sort(key=lambda record: record.measured_at)
    return {
        "records": [record.model_dump(mode="json", exclude_defaults=True) for record in found[-question.limit :]],
        "left_off": max(len(found) - question.limit, 0),
    }


def _matches(record: ProfileRecord, question: RecordsQuestion) -> bool:
    return (
        question.model.lower() in record.model.lower()
        and question.device.lower() in record.device.name.lower()
        and question.variant.lower() in ("", record.variant.lower())
        and question.engine.lower() in ("", record.engine.lower())
    )


def _add_records(question: NewRecords, backing: Backing) -> AddedDoc:
    if backing.keep is None:
        raise InputError("this server keeps no records; start it with --store")
    return backing.keep(question.records)


def _scenario(asked: Scenario | str, catalog: Catalog) -> Scenario:
    """The scenario, which may name nothing outside the catalogue: no file of this machine, no hub."""
    if isinstance(asked, str):
        shipped = _shipped(catalog)
        if asked not in shipped:
            raise UnknownNameError("scenario", asked, shipped)
        return load_scenario(catalog.root / "scenarios" / f"{asked}.toml")
    lengths = (asked.workload.prompt, asked.workload.output, asked.workload.reasoning)
    if any(length is not None and length.file is not None for length in lengths):
        raise InputError("workload: a file of lengths cannot be named from afar; give mean and p95 instead")
    if asked.speculation is not None and asked.speculation.draft_model is not None:
        catalog.model(asked.speculation.draft_model)
    return asked


def _shipped(catalog: Catalog) -> list[str]:
    return sorted(file.stem for file in (catalog.root / "scenarios").glob("*.toml"))


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        name="catalog",
        summary="Names of models, GPUs, precisions, workloads and scenarios that the other operations understand",
        question=CatalogQuestion,
        answers=NamesDoc,
        run=_catalog,
        is_flat=True,
    ),
    Operation(
        name="memory",
        summary="Where the VRAM of one GPU goes, whether the model fits, and what would make it fit",
        question=MemoryQuestion,
        answers=MemoryDoc,
        run=_memory,
    ),
    Operation(
        name="plan",
        summary="The cheapest setups that meet a scenario, why the others do not, how sure, and what would flip it",
        question=PlanQuestion,
        answers=BriefDoc,
        run=_plan,
    ),
    Operation(
        name="compare",
        summary="Owning, renting and APIs over the volume, and where they cross",
        question=ScenarioQuestion,
        answers=ComparisonDoc,
        run=_compare,
    ),
    Operation(
        name="predict",
        summary="Throughput, TTFT, TPOT and memory of each row with 90 % limits, or why there is no number",
        question=PredictQuestion,
        answers=RowsDoc,
        run=_predict,
    ),
    Operation(
        name="records",
        summary="What was measured, with its provenance",
        question=RecordsQuestion,
        answers=RecordsDoc,
        run=_records,
        is_flat=True,
    ),
    Operation(
        name="add_records",
        summary="Keep measurements in this server's store: all of them or, on an error, none",
        question=NewRecords,
        answers=AddedDoc,
        run=_add_records,
        only_reads=False,
    ),
)
