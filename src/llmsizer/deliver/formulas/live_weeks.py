"""The hours of the week as formulas: what ``traffic.elastic`` sums, over the rows of the sheet of hours.

The sheet holds the distinct pairs of an hour and the one that follows; one formula sums them for a path or a volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmsizer.decide.pricing.modes import Modes
from llmsizer.deliver.formulas.live import Live, most, rounded_up
from llmsizer.deliver.formulas.places import column_letters
from llmsizer.deliver.formulas.spreadsheet import Sheet
from llmsizer.facts.workload.hours import HOURS_PER_WEEK
from llmsizer.traffic.hours.elastic import KEPT_SCORE, MOST_HELD, ROUNDING, STEP, Following, Packing, WeekShape

SHEET = "hours"
_TOP = 6  # the first row of numbers, counted from 1 as sheets do
_DEMAND, _WINDOW = 0, 4  # first columns of the two blocks
_HEADS = ("demand of the hour", "the larger of it and the next hour's", "hours a week")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What a fleet's hours are counted from, each a cell: replicas that the peak hour needs, spares, and so on."""

    needed: Live
    average: Live
    spare: Live
    per_unit: Live
    instances: Live
    start_share: Live
    lost: Live | None = None
    start_seconds: Live | None = None
    hold_seconds: Live | None = None
    turns: Live | None = None


def kept_up_live(serving: Live, lost: Live | None) -> Live:
    """``traffic.elastic.kept_up`` of one number."""
    if lost is None:
        return serving
    up = 1 - lost
    noise = up * lost * KEPT_SCORE**2
    root = (noise**0.5 + (noise + up * 4 * (serving - STEP)) ** 0.5) / (up * 2)
    return most(serving, rounded_up(root**2, ROUNDING))


def billed_share_live(following: Following, packed: Packed, packing: Packing) -> Live:
    """``Following.billed_share`` of one load."""
    now, both, hours = _ranges(following)
    value = following.billed_share(np.array([packed.needed.value]), np.array([packed.average.value]), packing)[0]
    start = packed.start_share.text
    terms = f"((1-{start})*{_units(now, packed, following)}+{start}*{_units(both, packed, following)})"
    if packed.hold_seconds is not None and packed.start_seconds is not None and packed.turns is not None:
        mean = f"(SUMPRODUCT({now},{hours})/{HOURS_PER_WEEK})"
        rate = f"{packed.average.text}/{packed.turns.text}/{mean}*{now}"
        held = f"({rate}*{packed.hold_seconds.text})"
        held = f"(({held}+{MOST_HELD}-ABS({held}-{MOST_HELD}))/2)"  # the smaller of both
        terms = f"(1-1/({rate}*{packed.start_seconds.text}+EXP({held})))*{terms}"
    return Live(f"SUMPRODUCT({hours}*{terms})/{HOURS_PER_WEEK}/{packed.instances.text}", float(value), 2)


def _units(demand: str, packed: Packed, following: Following) -> str:
    """Instances at each demand of a range, without functions that take a range for one list of numbers."""
    count = f"ROUNDUP({packed.needed.text}*{demand}-{ROUNDING:.9f},0)"
    serving = f"(({count}+1+ABS({count}-1))/2)"  # the larger of it and 1
    if packed.lost is not None:
        up = (1 - packed.lost).text
        noise = ((1 - packed.lost) * packed.lost * KEPT_SCORE**2).text
        root = f"((({noise})^0.5+({noise}+4*({up})*({serving}-{STEP}))^0.5)/2/({up}))"
        kept = f"ROUNDUP({root}^2-{ROUNDING:.9f},0)"
        serving = f"(({kept}+{serving}+ABS({kept}-{serving}))/2)"
    units = f"ROUNDUP(({serving}+{packed.spare.text})/{packed.per_unit.text},0)"
    return f"{units}*({demand}>0)" if following.closes else units


def _ranges(following: Following) -> tuple[str, str, str]:
    first = _WINDOW if following.mode == "active-window" else _DEMAND
    last = _TOP + len(following.shape.hours) - 1
    now, both, hours = (column_letters(first + at) for at in range(3))
    return tuple(f"'{SHEET}'!${c}${_TOP}:${c}${last}" for c in (now, both, hours))  # type: ignore[return-value]


def hours_sheet(sheet: Sheet, modes: Modes) -> None:
    """Distinct hours of the week, in shares of the busiest one: what rented machines follow where they do."""
    sheet.head("Hours of the week", "demand in shares of the busiest hour's; machines that follow it are counted here")
    blocks = [(_DEMAND, "demand", modes.shape), (_WINDOW, "window", modes.window[0] if modes.window else None)]
    for first, title, shape in blocks:
        sheet.words(first, title if shape is not None else f"{title}: not given", "bold", row=_TOP - 3)
        if shape is not None:
            _block(sheet, first, shape)
    sheet.row = _TOP + max((len(shape.hours) for _, _, shape in blocks if shape is not None), default=0)


def _block(sheet: Sheet, first: int, shape: WeekShape) -> None:
    for at, head in enumerate(_HEADS):
        sheet.words(first + at, head, "header", row=_TOP - 2)
    for index, row in enumerate(zip(shape.now, shape.peak_of_both, shape.hours, strict=True), start=_TOP - 1):
        for at, value in enumerate(row):
            sheet.number(first + at, float(value), "input", row=index)
