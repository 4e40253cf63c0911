"""Formats side by side for a question, kept while the question stays the same."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from llmsizer.decide.precision.choice import PrecisionOption, PrecisionQuestion, choose_precision, precisions_of
from llmsizer.decide.precision.side_by_side import SideBySide, published_quality, side_by_side
from llmsizer.decide.pricing.study import workload_of
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.figure import Figure
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.scenario import Scenario
from llmsizer.money.prices import price_book

SECOND_CACHE = "fp8"


@dataclass(frozen=True, kw_only=True)
class Formats:
    """Everything the page draws of one GPU."""

    question: PrecisionQuestion
    options: tuple[PrecisionOption, ...]  # cheapest of equal quality first, then those that are out
    side: SideBySide
    published: Mapping[str, Figure]  # quality by format, own records left out


def formats(scenario: Scenario, gpu: str, usd_per_gpu_hour: float | None, records: Sequence[QualityRecord]) -> Formats:
    """Raises LlmSizerError."""
    names = tuple(f"{r.model} {r.variant} {r.dataset} {r.measured_at}" for r in records)
    return _formats(scenario.model_dump_json(), gpu, usd_per_gpu_hour, names, datetime.date.today(), tuple(records))


@st.cache_resource(max_entries=64, show_spinner=False)
def _formats(
    scenario: str,
    gpu: str,
    usd_per_gpu_hour: float | None,
    names: tuple[str, ...],
    today: datetime.date,
    _records: tuple[QualityRecord, ...],
) -> Formats:
    catalog, asked = default_catalog(), Scenario.model_validate_json(scenario)
    question = PrecisionQuestion(
        model=catalog.model(asked.model),
        gpus=(catalog.gpu(gpu),),
        workload=workload_of(asked, catalog),
        scenario=asked,
        precisions=precisions_of(asked.constraints.precisions),
        kv_formats=tuple(dict.fromkeys((asked.constraints.kv_format, SECOND_CACHE))),
        records=_records,
        usd_per_gpu_hour=usd_per_gpu_hour,
    )
    options = choose_precision(question, catalog, price_book(catalog, asked, today))
    return Formats(
        question=question,
        options=options,
        side=side_by_side(question, options, question.gpus[0]),
        published=published_quality(question, catalog),
    )
