"""Energy and carbon of a bill: joules and grams of CO₂ for a thousand tokens, at the plug of the data centre."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from typing_extensions import TypedDict

from llmsizer.facts.figure import Figure, FigureDoc, over_corners, unknown
from llmsizer.facts.provenance import Estimate
from llmsizer.money.formulas import serving_watts
from llmsizer.units import HOURS_PER_MONTH, KILO

JOULES_PER_KWH = 3.6e6
JOULES_PER_KTOK, GRAMS_PER_KTOK, KWH_PER_MONTH = "J/1000 tokens", "gCO2e/1000 tokens", "kWh/month"


class EnergyDoc(TypedDict):
    """The JSON form of energy and carbon; input and output tokens together."""

    kwh_per_month: FigureDoc
    joules_per_thousand_tokens: FigureDoc
    grams_co2_per_thousand_tokens: FigureDoc
    area: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What a fleet takes from the grid, cooling included, over all its tokens, input and output."""

    kwh_per_month: Figure
    joules_per_thousand_tokens: Figure
    grams_co2_per_thousand_tokens: Figure
    area: str

    def to_dict(self) -> EnergyDoc:
        return {
            "kwh_per_month": self.kwh_per_month.to_dict(),
            "joules_per_thousand_tokens": self.joules_per_thousand_tokens.to_dict(),
            "grams_co2_per_thousand_tokens": self.grams_co2_per_thousand_tokens.to_dict(),
            "area": self.area,
        }


def fleet_watts(
    book_of: Mapping[str, Figure],
    gpu_watts: Estimate,
    host_watts: Estimate,
    *,
    gpus: float,
    hosts: float,
    busy_gpus: float,
    busy_depth: float,
) -> Figure:
    """``money.formulas.serving_watts`` over the ranges of what it needs."""

    def draw(tdp: float, host: float, network: float, idle: float, one: float, full: float) -> float:
        return float(
            serving_watts(
                gpus=gpus,
                hosts=hosts,
                busy_gpus=busy_gpus,
                busy_depth=busy_depth,
                gpu_watts=tdp,
                host_watts=host,
                network_power_share=network,
                idle_power_share=idle,
                one_sequence_power_share=one,
                full_batch_power_share=full,
            )
        )

    names = ("network_power_share", "idle_power_share", "one_sequence_power_share", "full_batch_power_share")
    watts = over_corners(draw, gpu_watts, host_watts, *(book_of[name].estimate for name in names))
    origin = book_of["full_batch_power_share"]
    return Figure(estimate=watts, unit="W", source=origin.source, as_of=origin.as_of, stale=origin.stale)


def energy_of(watts: Figure, pue: Figure, grams_per_kwh: Figure, tokens_per_month: float, area: str) -> Energy:
    """From the mean draw of the computers. Unknown power or an unknown grid stays unknown."""
    kwh = over_corners(lambda draw, overhead: draw * overhead / KILO * HOURS_PER_MONTH, watts.estimate, pue.estimate)
    month = Figure(estimate=kwh, unit=KWH_PER_MONTH, source=watts.source, as_of=watts.as_of, stale=watts.stale)
    per_token = KILO / tokens_per_month
    if grams_per_kwh.value is None:
        carbon = unknown(grams_per_kwh.estimate.reason, GRAMS_PER_KTOK)
    else:
        estimate = over_corners(lambda energy, grid: energy * grid * per_token, kwh, grams_per_kwh.estimate)
        carbon = Figure(
            estimate=estimate,
            unit=GRAMS_PER_KTOK,
            source=grams_per_kwh.source,
            as_of=grams_per_kwh.as_of,
            stale=grams_per_kwh.stale,
        )
    return Energy(
        kwh_per_month=month,
        joules_per_thousand_tokens=month.scaled(JOULES_PER_KWH * per_token, JOULES_PER_KTOK),
        grams_co2_per_thousand_tokens=carbon,
        area=area,
    )
