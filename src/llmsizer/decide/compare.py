"""Own, rent or API over the volumes: each path at its cheapest candidate for the volume, and where they cross."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from llmsizer.decide.apis import OTHER_TIER, SIBLING, ApiChoice
from llmsizer.decide.candidates import Sized
from llmsizer.decide.study import Study
from llmsizer.facts.figure import Figure, exact, unknown
from llmsizer.facts.workload import Workload
from llmsizer.money.api import LEAVES_OUT as API_LEAVES_OUT
from llmsizer.money.api import api_cost
from llmsizer.money.comparison import Comparison, Crossover, PathCost, Step
from llmsizer.money.cost import USD_PER_MONTH, Path
from llmsizer.units import SECONDS_PER_MONTH, format_count, format_usd

LEAST_TOKENS, MOST_TOKENS = 1e6, 1e12  # a month, input and output
_SHOWN_PER_DECADE, _SEARCHED_PER_DECADE = 3, 12
_LEAVES_OUT = (
    "the intervals: crossovers are those of the middle values",
    "people who grow in number with the fleet",
    "prices that change with volume (commitments, spot, negotiation), growth, and the months a purchase takes",
    "volumes beyond a trillion tokens a month",
    *API_LEAVES_OUT,
)

UsdAt = Callable[[float], float | None]


def compare_study(found: Study, choices: Sequence[ApiChoice]) -> Comparison:
    """The paths that the scenario allows, from a million to a trillion tokens a month."""
    model, constraints = found.question.model, found.question.scenario.constraints
    grid = _volumes(_SHOWN_PER_DECADE)
    paths: list[PathCost] = []
    prices: dict[str, UsdAt] = {}
    machines: list[tuple[Path, bool]] = [("own", constraints.own), ("rent", constraints.rent)]
    for path in (path for path, allowed in machines if allowed):
        paths.append(_stairs(found, path, grid))
        prices[path] = _self_hosted_usd(found, path)
    paths += [_line(found, choice, grid) for choice in choices]
    if choices:
        # The same model where someone hosts it; else another one, and its name in the crossover says so.
        prices[f"API ({choices[0].label})"] = _api_usd(found, choices[0])
    crossovers = _crossovers(prices)
    return Comparison(
        model=model.name,
        reading=model.reading,
        tokens_per_month=tuple(grid),
        paths=tuple(paths),
        crossovers=crossovers,
        sentence=" ".join(crossover.text for crossover in crossovers)
        or "Only one path is allowed: nothing to compare.",
        leaves_out=_LEAVES_OUT,
    )


def at_volume(workload: Workload, tokens_per_month: float) -> Workload:
    """The same requests, more or fewer of them."""
    tokens = workload.prompt_tokens + workload.output_tokens
    # A workload holds at most a million requests a second; a trillion tokens a month of short requests may exceed it.
    rate = min(1e6, tokens_per_month / tokens / SECONDS_PER_MONTH)
    return workload.model_copy(update={"requests_per_second": rate})


def _volumes(per_decade: int) -> list[float]:
    """Powers of ten and what lies between, rounded as people say them: 1, 2, 5, 10 …"""
    decades = round(math.log10(MOST_TOKENS / LEAST_TOKENS))
    if per_decade == _SHOWN_PER_DECADE:
        return [LEAST_TOKENS * 10**d * m for d in range(decades) for m in (1, 2, 5)] + [MOST_TOKENS]
    return [LEAST_TOKENS * 10 ** (k / per_decade) for k in range(decades * per_decade + 1)]


def _self_hosted(found: Study, path: Path) -> Callable[[float], tuple[float, Sized] | None]:
    """The cheapest candidate of a path at a volume; None where none has a price."""
    # On the same GPUs the bill depends on the number of replicas alone: the fastest format of a width beats the others.
    fastest: dict[tuple[str, int], Sized] = {}
    # As in the recommendation, candidates that may miss the SLO count only where there are no others.
    robust = [sized for sized in found.sized if sized.is_robust]
    for sized in robust or found.sized:
        key = (sized.deployment.gpu.id, sized.gpus)
        if key not in fastest or sized.held.rate > fastest[key].held.rate:
            fastest[key] = sized

    def cheapest(tokens: float) -> tuple[float, Sized] | None:
        peak = at_volume(found.question.workload, tokens).peak_requests_per_second
        priced = [(usd, s) for s in fastest.values() if (usd := found.pricer.usd(s, path, peak)) is not None]
        return min(priced, key=lambda pair: pair[0], default=None)

    return cheapest


def _self_hosted_usd(found: Study, path: Path) -> UsdAt:
    cheapest = _self_hosted(found, path)

    def usd(tokens: float) -> float | None:
        best = cheapest(tokens)
        return None if best is None else best[0]

    return usd


def _api_usd(found: Study, choice: ApiChoice) -> UsdAt:
    def usd(tokens: float) -> float | None:
        return api_cost(choice.offer, at_volume(found.question.workload, tokens), found.book.today).usd_per_month.value

    return usd


def _stairs(found: Study, path: Path, grid: Sequence[float]) -> PathCost:
    """The lower edge of all candidates' stairs, which is stairs itself."""
    cheapest = _self_hosted(found, path)
    steps = []
    for tokens in grid:
        best = cheapest(tokens)
        if best is None:
            reason = "no candidate meets the SLO" if not found.sized else f"no price to {path} any candidate"
            steps.append(Step(tokens_per_month=tokens, usd_per_month=unknown(reason, USD_PER_MONTH), label=path))
            continue
        plan = found.pricer.plan(best[1], path, at_volume(found.question.workload, tokens))
        steps.append(
            Step(tokens_per_month=tokens, usd_per_month=plan.cost.usd_per_month, label=plan.label, units=plan.units)
        )
    return PathCost(path=path, label=path, steps=tuple(steps), note="the cheapest candidate at each volume")


def _line(found: Study, choice: ApiChoice, grid: Sequence[float]) -> PathCost:
    steps = []
    for tokens in grid:
        bill = api_cost(choice.offer, at_volume(found.question.workload, tokens), found.book.today)
        steps.append(Step(tokens_per_month=tokens, usd_per_month=bill.usd_per_month, label=choice.label))
    note = "" if choice.same_model else SIBLING if choice.is_sibling else OTHER_TIER
    return PathCost(path="api", label=choice.label, steps=tuple(steps), same_model=choice.same_model, note=note)


def _crossovers(prices: dict[str, UsdAt]) -> tuple[Crossover, ...]:
    """For each pair: the volume from which the one with the larger fixed part stays at or below the other."""
    grid = _volumes(_SEARCHED_PER_DECADE)
    curves = {name: [usd(tokens) for tokens in grid] for name, usd in prices.items()}
    names = list(prices)
    pairs = [(b, a) for i, a in enumerate(names) for b in names[i + 1 :]]
    return tuple(_crossover(below, above, prices, curves, grid) for below, above in pairs)


def _crossover(
    below: str,
    above: str,
    prices: dict[str, UsdAt],
    curves: dict[str, list[float | None]],
    grid: Sequence[float],
) -> Crossover:
    """Where ``above`` stops being dearer than ``below`` for good, within the volumes searched."""
    pairs = list(zip(curves[below], curves[above], strict=True))
    if any(b is None or a is None for b, a in pairs):
        missing = " and ".join(name for name in (below, above) if None in curves[name])
        return Crossover(
            cheaper_below=below,
            cheaper_above=above,
            state="not searched",
            tokens_per_month=None,
            text=f"{_begin(above)} against {_inside(below)}: not searched, since {missing} has no price.",
        )
    dearer = [a > b for b, a in pairs if a is not None and b is not None]
    if dearer[-1]:
        text = f"{_begin(above)} does not become cheaper than {_inside(below)} up to {_tokens(MOST_TOKENS)}."
        return Crossover(
            cheaper_below=below, cheaper_above=above, state="not reached", tokens_per_month=None, text=text
        )
    if not any(dearer):
        text = f"{_begin(above)} is never dearer than {_inside(below)} from {_tokens(LEAST_TOKENS)} up."
        return Crossover(
            cheaper_below=below, cheaper_above=above, state="reached", tokens_per_month=LEAST_TOKENS, text=text
        )
    last = max(i for i, is_dearer in enumerate(dearer) if is_dearer)
    tokens = _bisect(prices[below], prices[above], grid[last], grid[last + 1])
    usd = prices[below](tokens) or 0.0
    text = f"{_begin(above)} is cheaper than {_inside(below)} from {_tokens(tokens)} ({format_usd(usd)} a month)."
    return Crossover(cheaper_below=below, cheaper_above=above, state="reached", tokens_per_month=tokens, text=text)


def _inside(name: str) -> str:
    """A path as a noun inside a sentence."""
    return {"own": "owning", "rent": "renting"}.get(name, name)


def _begin(name: str) -> str:
    return _inside(name)[:1].upper() + _inside(name)[1:]


def _bisect(below: UsdAt, above: UsdAt, low: float, high: float) -> float:
    for _ in range(12):  # one part in ten thousand of a bracket a fifth wide
        middle = math.sqrt(low * high)
        cost_above, cost_below = above(middle), below(middle)
        assert cost_above is not None and cost_below is not None, "prices do not come and go with volume"
        low, high = (middle, high) if cost_above > cost_below else (low, middle)
    return high


def _tokens(tokens: float) -> str:
    return f"{format_count(tokens)} tokens a month"


def crossover_figure(crossover: Crossover) -> Figure:
    """The volume as a figure; unknown where it was not reached or not searched."""
    if crossover.tokens_per_month is None:
        return unknown(crossover.state, "tokens/month")
    return exact(crossover.tokens_per_month, "tokens/month", "calibrated", "comparison of the paths' costs")
