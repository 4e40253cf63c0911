"""Each path's cost over the volume as a function: the cheapest candidate at each, all volumes at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from llmsizer.decide.candidates.sizing import Sized
from llmsizer.decide.pricing.apis import ApiChoice
from llmsizer.decide.pricing.bills import Demand, replica_counts
from llmsizer.decide.pricing.study import Study
from llmsizer.facts.workload import Workload
from llmsizer.money.api import api_usd
from llmsizer.money.cost import Path
from llmsizer.money.crossing import FIRST_POINTS, Curve, Vector
from llmsizer.units import SECONDS_PER_MONTH

LEAST_TOKENS, MOST_TOKENS = 1e6, 1e12  # a month, input and output
_MOST_REQUESTS_PER_SECOND = 1e6  # of a workload


def tokens_of(workload: Workload) -> float:
    """Input and output of an average month."""
    return workload.input_tokens_per_month + workload.output_tokens_per_month


def at_volume(workload: Workload, tokens_per_month: float) -> Workload:
    """The same requests, more or fewer of them, in a month of just that volume: nothing is kept free for growth.

    A trillion tokens of short requests may be more than a workload can hold.
    """
    rate = tokens_per_month / workload.tokens_per_request / SECONDS_PER_MONTH
    return workload.model_copy(update={"requests_per_second": min(_MOST_REQUESTS_PER_SECOND, rate), "growth": None})


@dataclass(frozen=True, kw_only=True)
class Machines:
    """The candidates of one path, owned or rented."""

    found: Study
    path: Path

    @cached_property
    def candidates(self) -> tuple[Sized, ...]:
        """The fastest format of each GPU and width: on the same machines the bill hardly depends on more."""
        return tuple(self.found.sized[place] for place in self._places)

    @cached_property
    def _places(self) -> list[int]:
        """Of the candidates among all replicas that were sized."""
        # As in the recommendation, candidates that may miss the SLO count only where there are no others.
        sized = self.found.sized
        robust = [place for place, one in enumerate(sized) if one.is_robust]
        fastest: dict[tuple[str, int], int] = {}
        for place in robust or range(len(sized)):
            key = (sized[place].deployment.gpu.id, sized[place].gpus)
            if key not in fastest or sized[place].held.rate > sized[fastest[key]].held.rate:
                fastest[key] = place
        return [place for place in fastest.values() if not np.isnan(self.found.usd_asked[self.path][place])]

    def demand(self, tokens: Vector) -> Demand:
        """The load of a month of each volume."""
        workload = at_volume(self.found.question.workload, LEAST_TOKENS)
        return Demand.of(workload, np.minimum(tokens, self._most_tokens) / tokens_of(workload))

    @property
    def _most_tokens(self) -> float:
        return _MOST_REQUESTS_PER_SECOND * self.found.question.workload.tokens_per_request * SECONDS_PER_MONTH

    def all_usd(self, tokens: Vector) -> Vector:
        """Candidate × volume."""
        return self._usd_of(self.candidates, tokens)

    def _usd_of(self, candidates: Sequence[Sized], tokens: Vector) -> Vector:
        if not candidates:
            return np.full((1, len(tokens)), np.nan)
        usd = self.found.pricer.bills.usd_of(candidates, self.path, self.demand(tokens))
        return np.where(np.isnan(usd), np.inf, usd)

    def usd(self, tokens: Vector) -> Vector:
        """The cheapest candidate's bill at each volume."""
        lowest: Vector = self._usd_of(self._contenders, tokens).min(axis=0)
        return lowest

    @cached_property
    def _contenders(self) -> tuple[Sized, ...]:
        """Those that are the cheapest somewhere. Bills never fall with the volume, so between two volumes a candidate
        costs at least what it does at the lower one, and the cheapest at most what that does at the upper one."""
        grid: Vector = np.geomspace(LEAST_TOKENS, MOST_TOKENS, FIRST_POINTS)
        every = self.all_usd(grid)
        lowest = every.min(axis=0)
        can_win = (every[:, :-1] <= lowest[1:] * (1 + 1e-9)).any(axis=1) | (every[:, -1] <= lowest[-1])
        return tuple(sized for sized, can in zip(self.candidates, can_win, strict=False) if can)

    def cheapest_each(self, tokens: Vector) -> list[Sized | None]:
        """The candidate to take at each volume; None where none has a price."""
        if not self.candidates:
            return [None] * len(tokens)
        is_searched = tokens.min() >= LEAST_TOKENS and tokens.max() <= MOST_TOKENS
        candidates = self._contenders if is_searched else self.candidates
        return [candidates[int(index)] for index in np.argmin(self._usd_of(candidates, tokens), axis=0)]

    def cheapest_asked(self) -> Sized | None:
        """The candidate to take for the scenario as it is, growth and all."""
        if not self.candidates:
            return None
        return self.candidates[int(np.argmin(self.found.usd_asked[self.path][self._places]))]

    def utilisation(self, tokens: float) -> float | None:
        """Mean load at a volume over what the serving replicas hold within the SLO; spares are not counted."""
        sized = self.cheapest_each(np.array([tokens]))[0]
        if sized is None:
            return None
        demand = self.demand(np.array([tokens]))
        held = replica_counts(demand.held, sized.held.rate) * sized.held.rate
        return float((demand.average / held)[0])


def api_curve(found: Study, choice: ApiChoice) -> Curve:
    """An API's bill is a line through nothing: every part of it counts tokens."""
    workload = found.question.workload
    usd = api_usd(choice.offer, workload, found.book)
    each = np.nan if usd is None else usd / tokens_of(workload)

    def curve(tokens: Vector) -> Vector:
        return tokens * each

    return curve
