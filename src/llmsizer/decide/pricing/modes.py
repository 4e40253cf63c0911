"""How rented machines may run through the week: every mode that keeps the SLO, for a replica of a certain start-up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

from llmsizer.decide.candidates.sizing import Sized
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Workload
from llmsizer.facts.workload.hours import HOURS_PER_WEEK
from llmsizer.money.prices import PriceBook
from llmsizer.money.ranges import mid
from llmsizer.traffic.hours.elastic import (
    ALWAYS_ON,
    FLAT,
    TOLERATED_SHARE,
    Following,
    Sleep,
    WeekShape,
    caught_share,
    shape_of,
)
from llmsizer.units import SECONDS_PER_HOUR, format_seconds


@dataclass(frozen=True, kw_only=True)
class Modes:
    """Of one scenario: what its hours and its SLO allow. Demand is that at the end of its growth, as for a plan."""

    workload: Workload
    scenario: Scenario
    book: PriceBook
    _made: dict[tuple[float, float | None], tuple[Following, ...]] = field(default_factory=dict)

    @cached_property
    def shape(self) -> WeekShape | None:
        """None where nobody said when requests come."""
        if self.workload.hourly_weights:
            return shape_of(self.workload.hourly_weights)
        return FLAT if self.workload.peak_to_average == 1 else None

    @cached_property
    def window(self) -> tuple[WeekShape, float] | None:
        """The window that the scenario draws, and the share of requests that come in it."""
        hours = self.scenario.fleet.window_hours
        if hours is None or self.shape is None:
            return None
        weights = self.workload.hourly_weights or (1.0,) * HOURS_PER_WEEK
        busiest = max((weights[hour] for hour in hours), default=0.0)
        if not busiest:
            return None
        top = max(weights)
        served = math.fsum(weights[hour] for hour in hours) / math.fsum(weights)
        drawn = shape_of([busiest if hour in hours else 0.0 for hour in range(HOURS_PER_WEEK)])
        return WeekShape(
            now=drawn.now * busiest / top, peak_of_both=drawn.peak_of_both * busiest / top, hours=drawn.hours
        ), served

    def start_seconds(self, sized: Sized) -> float:
        """From asking for a machine to the first request: boot, weights over the load rate, engine."""
        boot, load, engine = (
            mid(self.book.assumed[name])
            for name in ("machine_boot_seconds", "model_load_bytes_per_second", "engine_init_seconds")
        )
        return boot + sized.fit.weights_bytes * sized.gpus / load + engine

    def of(self, sized: Sized) -> tuple[Following, ...]:
        """Every mode that keeps the SLO, always on first."""
        if self.shape is None:
            return (ALWAYS_ON,)
        hold = self.hold_seconds(sized) if self._may_wait(sized) else None
        key = (sized.fit.weights_bytes * sized.gpus, hold)
        if key not in self._made:
            self._made[key] = self._modes(self.shape, self.start_seconds(sized), hold)
        return self._made[key]

    def _modes(self, shape: WeekShape, start_seconds: float, hold_seconds: float | None) -> tuple[Following, ...]:
        start_share = min(1.0, start_seconds / SECONDS_PER_HOUR)
        modes = [ALWAYS_ON]
        if shape is not FLAT:
            modes.append(Following(mode="by-hour", shape=shape, start_share=start_share))
        if hold_seconds is not None:
            sleep = Sleep(start_seconds=start_seconds, hold_seconds=hold_seconds, turns=self.workload.turns)
            modes.append(
                Following(mode="scale-to-zero", shape=shape, start_share=start_share, closes=True, sleep=sleep)
            )
        elif not shape.now.all():
            modes.append(Following(mode="scale-to-zero", shape=shape, start_share=start_share, closes=True))
        if self.window is not None:
            drawn, served = self.window
            modes.append(
                Following(mode="active-window", shape=drawn, start_share=start_share, closes=True, served_share=served)
            )
        return tuple(modes)

    def _may_wait(self, sized: Sized) -> bool:
        """Whether even who wakes a sleeping service gets a first token within the SLO."""
        first = self.start_seconds(sized) + sized.replica.mid.first_token_p95_seconds
        return first <= self.scenario.slo.ttft_p95_seconds

    def hold_seconds(self, sized: Sized) -> float:
        """How long a conversation keeps a service up: its turns, the thinking between them, and the idle time."""
        stay, workload = sized.replica.idle_stay_seconds, self.workload
        return stay + 60 * self.scenario.fleet.idle_minutes + (workload.turns - 1) * workload.think_seconds

    def why_not_asleep(self, sized: Sized) -> str:
        """Why no replica may sleep in an hour that has demand; empty where one may, or the hours are unknown."""
        if self.shape is None or self._may_wait(sized):
            return ""
        start, workload = self.start_seconds(sized), self.workload
        grown = workload.growth.largest_factor if workload.growth else 1.0
        demands = self.shape.now[self.shape.now > 0]
        rate = workload.requests_per_second * grown * float(demands.min()) / self.shape.mean / workload.turns
        waiting = caught_share(rate, self.hold_seconds(sized), start)
        if waiting <= TOLERATED_SHARE:
            return "it would hardly ever sleep: requests keep it awake in every hour that has any"
        return (
            f"a start takes {format_seconds(start)}, a first token may take "
            f"{format_seconds(self.scenario.slo.ttft_p95_seconds)}: in the quietest hour with demand "
            f"{100 * waiting:.0f} % of conversations would begin with the wait, 5 % may"
        )
