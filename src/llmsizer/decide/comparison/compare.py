"""Own, rent or API over the volumes: each path at its cheapest candidate for the volume, and where they cross."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llmsizer.decide.comparison.cash import cash_flows, paybacks, ways_asked
from llmsizer.decide.comparison.curves import LEAST_TOKENS, MOST_TOKENS, Machines, api_curve, at_volume, tokens_of
from llmsizer.decide.pricing.apis import OTHER_TIER, SIBLING, ApiChoice
from llmsizer.decide.pricing.study import Study
from llmsizer.facts.figure import Figure, exact, unknown
from llmsizer.money.api import LEAVES_OUT as API_LEAVES_OUT
from llmsizer.money.api import api_cost
from llmsizer.money.comparison import Comparison, Crossover, FirstMonth, PathCost, Step
from llmsizer.money.cost import USD_PER_MONTH, Path
from llmsizer.money.crossing import Curve, crossing
from llmsizer.money.currency import format_usd, shown_in
from llmsizer.units import MONTHS_PER_YEAR, format_count

_DECADES = 6
_LEAVES_OUT = (
    "the intervals: crossovers are those of the middle values",
    "prices that change with volume (commitments, negotiation)",
    "what bridges the months until bought hardware serves",
    "volumes beyond a trillion tokens a month",
    *API_LEAVES_OUT,
)


def compare_study(found: Study, choices: Sequence[ApiChoice]) -> Comparison:
    """The paths that the scenario allows, from a million to a trillion tokens a month."""
    with shown_in(found.book.currency):
        return _compared(found, choices)


def _compared(found: Study, choices: Sequence[ApiChoice]) -> Comparison:
    model, constraints = found.question.model, found.question.scenario.constraints
    grid = [LEAST_TOKENS * 10**d * m for d in range(_DECADES) for m in (1, 2, 5)] + [MOST_TOKENS]
    allowed: list[tuple[Path, bool]] = [("own", constraints.own), ("rent", constraints.rent)]
    machines = {path: Machines(found=found, path=path) for path, is_allowed in allowed if is_allowed}
    paths = [_stairs(each, grid) for each in machines.values()]
    paths += [_line(found, choice, grid) for choice in choices]
    curves: dict[str, Curve] = {name: each.usd for name, each in machines.items()}
    if choices:
        # The same model where someone hosts it; else another one, and its name in the crossover says so.
        curves[f"API ({choices[0].label})"] = api_curve(found, choices[0])
    crossovers = _crossovers(found, curves, machines)
    ways = ways_asked(found, machines, choices)
    bills, flows = tuple(way.cost for way in ways), cash_flows(found, ways)
    return Comparison(
        model=model.name,
        reading=model.reading,
        tokens_per_month=tuple(grid),
        paths=tuple(paths),
        crossovers=crossovers,
        sentence=" ".join(crossover.text for crossover in crossovers)
        or "Only one path is allowed: nothing to compare.",
        leaves_out=_LEAVES_OUT,
        lens=found.book.options.lens,
        currency=found.book.currency,
        tokens_per_month_asked=tokens_of(found.question.workload),
        bills=bills,
        cash_flows=flows,
        paybacks=paybacks(bills, flows),
        flags=tuple(dict.fromkeys(f"{bill.label}: {flag}" for bill in bills for flag in bill.flags)),
    )


def _stairs(machines: Machines, grid: Sequence[float]) -> PathCost:
    """The lower edge of all candidates' stairs, which is stairs itself."""
    found, path = machines.found, machines.path
    loads = [at_volume(found.question.workload, tokens) for tokens in grid]
    cheapest = machines.cheapest_each(np.array(grid))
    plans = iter(
        found.pricer.plans([(path, best, load) for best, load in zip(cheapest, loads, strict=True) if best is not None])
    )
    why = "no candidate meets the SLO" if not found.sized else f"no price to {path} any candidate"
    steps = []
    for tokens, best in zip(grid, cheapest, strict=True):
        plan = next(plans) if best is not None else None
        usd = unknown(why, USD_PER_MONTH) if plan is None else plan.cost.usd_per_month
        label, units = (path, None) if plan is None else (plan.label, plan.units)
        steps.append(Step(tokens_per_month=tokens, usd_per_month=usd, label=label, units=units))
    return PathCost(path=path, label=path, steps=tuple(steps), note="the cheapest candidate at each volume")


def _line(found: Study, choice: ApiChoice, grid: Sequence[float]) -> PathCost:
    """Proportional to the volume, intervals included."""
    workload = found.question.workload
    usd = api_cost(choice.offer, workload, found.book).usd_per_month
    steps = tuple(
        Step(tokens_per_month=tokens, usd_per_month=usd.scaled(tokens / tokens_of(workload)), label=choice.label)
        for tokens in grid
    )
    note = "" if choice.same_model else SIBLING if choice.is_sibling else OTHER_TIER
    return PathCost(path="api", label=choice.label, steps=steps, same_model=choice.same_model, note=note)


def _crossovers(found: Study, curves: dict[str, Curve], machines: dict[Path, Machines]) -> tuple[Crossover, ...]:
    """For each pair: the volume from which the one with the larger fixed part stays at or below the other."""
    names = list(curves)
    crossovers = []
    for i, above in enumerate(names):
        for below in names[i + 1 :]:
            crossover = _crossover(below, above, curves[below], curves[above], machines)
            month = _first_month(found, below, above, curves[below], curves[above])
            text = f"{crossover.text} {month.text}" if month.state != "not searched" else crossover.text
            crossovers.append(replace(crossover, month=month, text=text))
    return tuple(crossovers)


def _crossover(below: str, above: str, low: Curve, high: Curve, machines: dict[Path, Machines]) -> Crossover:
    """Where ``above`` stops being dearer than ``below`` for good, within the volumes searched."""
    found = crossing(low, high, LEAST_TOKENS, MOST_TOKENS)
    if found is None:
        at_one = np.array([LEAST_TOKENS])
        missing = " and ".join(_inside(n) for n, c in ((below, low), (above, high)) if np.isnan(c(at_one)).any())
        pair = f"{_begin(above)} against {_inside(below)}"
        text = f"{pair}: not searched, since {missing} has no price that the scenario allows."
        return Crossover(
            cheaper_below=below, cheaper_above=above, state="not searched", tokens_per_month=None, text=text
        )
    tokens = found.for_good
    used = next((m.utilisation(tokens) for p, m in machines.items() if p == above and tokens is not None), None)
    usd = None if tokens is None else float(high(np.array([tokens]))[0])  # on the stairs the other may be above it
    return Crossover(
        cheaper_below=below,
        cheaper_above=above,
        state="not reached" if tokens is None else "reached",
        tokens_per_month=tokens,
        text=_words(below, above, found.first, tokens, usd, used),
        first_tokens_per_month=found.first,
        searched_up_to_tokens_per_month=MOST_TOKENS,
        required_utilisation=used,
    )


def _words(
    below: str, above: str, first: float | None, tokens: float | None, usd: float | None, used: float | None
) -> str:
    name, other = _begin(above), _inside(below)
    if tokens is None:
        text = f"{name} does not become cheaper than {other} for good up to {_tokens(MOST_TOKENS)}."
        return text if first is None else f"{text[:-1]}; at {_tokens(first)} it is, for a step."
    if tokens <= LEAST_TOKENS:
        return f"{name} is never dearer than {other} from {_tokens(LEAST_TOKENS)} up."
    load = "" if used is None else f", its machines {used:.0%} used on average"
    once = "" if first is None or first > 0.99 * tokens else f" (here and there already from {_tokens(first)})"
    return f"{name} is cheaper than {other} from {_tokens(tokens)} ({format_usd(usd)} a month{load}){once}."


def _first_month(found: Study, below: str, above: str, low: Curve, high: Curve) -> FirstMonth:
    """Under the scenario's growth, fleets sized anew each month; to the end of growth or horizon, the later of them."""
    growth, workload = found.question.workload.growth, found.question.workload
    if growth is None:
        return FirstMonth()
    months = np.arange(max(found.question.scenario.horizon_months, int(np.ceil(12 * growth.years))) + 1)
    factor = np.array([growth.factor_after(month / MONTHS_PER_YEAR) for month in months])
    volumes = tokens_of(workload) * factor
    dearer = high(volumes) - low(volumes)
    searched = int(months[-1])
    if np.isnan(dearer).any():
        return FirstMonth(text=f"{below} or {above} has no price")
    last = np.flatnonzero(dearer > 0)
    if last.size and last[-1] == searched:
        text = f"As the load grows it does not within {searched} months."
        return FirstMonth(state="not reached", searched_months=searched, text=text)
    month = int(last[-1]) + 1 if last.size else 0
    when = f"from month {month} on" if month else "from the start"
    text = f"As the load grows that is so {when} ({_tokens(float(volumes[month]))})."
    return FirstMonth(state="reached", month=month, searched_months=searched, text=text)


def _inside(name: str) -> str:
    """A path as a noun inside a sentence."""
    return {"own": "owning", "rent": "renting"}.get(name, name)


def _begin(name: str) -> str:
    return _inside(name)[:1].upper() + _inside(name)[1:]


def _tokens(tokens: float) -> str:
    return f"{format_count(tokens)} tokens a month"


def crossover_figure(crossover: Crossover) -> Figure:
    """The volume as a figure; unknown where it was not reached or not searched."""
    if crossover.tokens_per_month is None:
        return unknown(crossover.state, "tokens/month")
    return exact(crossover.tokens_per_month, "tokens/month", "calibrated", "comparison of the paths' costs")
