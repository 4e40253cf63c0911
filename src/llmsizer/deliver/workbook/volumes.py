"""The sheet of the comparison over the volume: each path at its cheapest candidate, each row its own live bill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from llmsizer.decide.candidates.sizing import Sized
from llmsizer.decide.comparison.curves import Machines, at_volume
from llmsizer.decide.pricing.bills import Demand
from llmsizer.deliver.formulas.live import Live
from llmsizer.deliver.formulas.live_bills import Bill, bill_live, own_live, placed, rent_live
from llmsizer.deliver.formulas.places import AcrossRow, column_letters
from llmsizer.deliver.formulas.spreadsheet import Sheet
from llmsizer.deliver.papers.decision import Decision, LivePath
from llmsizer.money.currency import shown

_FIRST_COLUMN = 2  # of a block's inputs, after the volume and the candidate
_Machine = Literal["own", "rent"]


def volumes_sheet(sheet: Sheet, decision: Decision) -> None:
    """The summary over the volume first; below it a block for each path whose rows it points to."""
    comparison = decision.recommendation.comparison
    sheet.head(
        "Own, rent or API over the volume", "the cheapest candidate of each volume as the program found it; live"
    )
    if comparison is None:
        return
    volumes = comparison.tokens_per_month
    apis = [one for one in decision.paths if one.path == "api"]
    top = sheet.row
    sheet.row += len(volumes) + 3
    totals: dict[str, list[Live]] = {}
    path: _Machine
    for path in ("own", "rent"):
        if any(found.path == path for found in comparison.paths):
            totals[path] = _block(sheet, decision, path, volumes)
    sheet.line(comparison.sentence, style="plain")
    _table(sheet, decision, top, volumes, totals, apis)


def _table(
    sheet: Sheet,
    decision: Decision,
    top: int,
    volumes: Sequence[float],
    totals: dict[str, list[Live]],
    apis: Sequence[LivePath],
) -> None:
    heads = ["tokens a month", *totals, *(one.label for one in apis), "cheapest for this model"]
    for column, head in enumerate(heads):
        sheet.words(column, head, "header", row=top)
    after = sheet.row
    for index, volume in enumerate(volumes):
        sheet.row = top + 1 + index
        row = sheet.row + 1
        sheet.number(0, volume, "short")
        cells = {name: found[index] for name, found in totals.items()}
        for one in apis:
            cells[one.key] = one.bill.total / decision.shared.tokens * Live(f"$A{row}", volume)
        for column, cell in enumerate(cells.values(), start=1):
            sheet.number(column, cell, "money")
        same = [*totals, *(one.key for one in apis if one.same_model)]
        values = {name: cells[name].value for name in same if not math.isnan(cells[name].value)}
        if values:
            best = min(values, key=lambda name: values[name])
            span = f"{column_letters(1)}{row}:{column_letters(len(same))}{row}"
            each = ",".join(f"IFERROR({column_letters(c)}{row},1E+99)" for c in range(1, len(same) + 1))
            names = f"{column_letters(1)}${top + 1}:{column_letters(len(same))}${top + 1}"
            chosen = f"=INDEX({names},1,MATCH(MIN({each}),{span},0))"
            label = next((one.label for one in apis if one.key == best), best)
            sheet.formula(len(cells) + 1, chosen, label, "plain")
    sheet.row = after


def _block(sheet: Sheet, decision: Decision, path: _Machine, volumes: Sequence[float]) -> list[Live]:
    """A row for each volume: its candidate's inputs, what follows from them, every line of the bill, the total."""
    machines = Machines(found=decision.found, path=path)
    candidates = machines.cheapest_each(np.array(volumes))
    sheet.words(0, f"{path}: the cheapest candidate at each volume", "bold")
    sheet.row += 1
    header_row = sheet.row
    sheet.row += 1
    totals = []
    for volume, sized in zip(volumes, candidates, strict=True):
        sheet.number(0, volume, "input")
        if sized is None:
            sheet.words(1, "no candidate with a price")
            totals.append(Live("NA()", math.nan))
        else:
            totals.append(_row(sheet, decision, path, volume, sized, header_row))
        sheet.row += 1
    sheet.row += 1
    return totals


def _row(sheet: Sheet, decision: Decision, path: _Machine, volume: float, sized: Sized, header_row: int) -> Live:
    place = AcrossRow(row=sheet.row + 1, register=decision.register, column=_FIRST_COLUMN)
    bill = _bill(decision, path, Live(f"$A${sheet.row + 1}", volume), sized, place)
    sheet.words(1, f"{sized.deployment.weights.name} on {sized.gpus}× {sized.deployment.gpu.name}")
    for column, (key, _, number) in enumerate(place.cells, start=_FIRST_COLUMN):
        sheet.words(column, shown().name(key).replace("_", " "), "header", row=header_row)
        sheet.number(column, number, "money" if key.endswith("usd") else "short")
    return bill.total


def _bill(decision: Decision, path: _Machine, volume: Live, sized: Sized, place: AcrossRow) -> Bill:
    shared, pricer = decision.shared, decision.found.pricer
    load = placed(shared.load(volume, with_growth=False), place)
    if path == "own":
        return bill_live(own_live(sized, load, shared, place), shared, place)
    rental = pricer.bills.cheapest_rental(sized, Demand.of(at_volume(decision.found.question.workload, volume.value)))
    assert rental is not None, "a candidate that is rented has an offer"
    return bill_live(rent_live(sized, rental, load, shared, place), shared, place)
