"""The strip of the cheapest way over the volume: borders, gaps, what may not be taken, and its words."""

from __future__ import annotations

import re

import pytest

from llmsizer.deliver.charts.ways import Stretch, stretches, way_at, ways_alt, ways_html
from llmsizer.facts.figure import exact, unknown
from llmsizer.money.comparison import Comparison, Crossover, PathCost, Step
from llmsizer.money.cost import USD_PER_MONTH, Path

VOLUMES = (1e6, 1e7, 1e8, 1e9)
NAMES: dict[Path, str] = {"own": "Own", "rent": "Rent", "api": "API"}


def path(way: Path, usd: tuple[float | None, ...], *, same_model: bool = True) -> PathCost:
    steps = tuple(
        Step(
            tokens_per_month=volume,
            usd_per_month=unknown("no price", USD_PER_MONTH)
            if cost is None
            else exact(cost, USD_PER_MONTH, "calibrated", ""),
            label=way,
        )
        for volume, cost in zip(VOLUMES, usd, strict=True)
    )
    return PathCost(path=way, label=way, steps=steps, same_model=same_model)


def comparison(*paths: PathCost, crossovers: tuple[Crossover, ...] = ()) -> Comparison:
    return Comparison(
        model="m", reading="", tokens_per_month=VOLUMES, paths=paths, crossovers=crossovers, sentence="", leaves_out=()
    )


def crossover(below: str, above: str, at: float) -> Crossover:
    return Crossover(cheaper_below=below, cheaper_above=above, state="reached", tokens_per_month=at, text="")


RENT, API = path("rent", (50, 50, 50, 50)), path("api", (1, 10, 100, 1000))


def test_a_border_stands_at_the_crossover_that_was_searched() -> None:
    found = stretches(comparison(RENT, API, crossovers=(crossover("API (x)", "rent", 5e7),)))
    assert [(one.path, one.first_tokens, one.last_tokens) for one in found] == [("api", 1e6, 5e7), ("rent", 5e7, 1e9)]


def test_without_a_crossover_there_the_border_is_halfway_in_powers_of_ten() -> None:
    first, second = stretches(comparison(RENT, API))
    assert first.last_tokens == second.first_tokens == pytest.approx((1e7 * 1e8) ** 0.5)


def test_another_model_and_what_may_not_be_taken_win_nothing() -> None:
    other = path("api", (0.1, 0.1, 0.1, 0.1), same_model=False)
    assert {one.path for one in stretches(comparison(RENT, API, other))} == {"api", "rent"}
    assert [one.path for one in stretches(comparison(RENT, API), {"api"})] == ["rent"]


def test_an_unknown_cost_is_a_gap_and_no_zero() -> None:
    found = stretches(comparison(path("rent", (None, 50, None, 50))))
    assert [(one.first_tokens, one.last_tokens) for one in found] == [(1e7, 1e7), (1e9, 1e9)]
    assert way_at(found, 1e8) is None
    assert stretches(comparison(path("rent", (None, None, None, None)))) == ()
    assert stretches(comparison()) == ()


def test_the_way_at_a_volume_is_that_of_its_stretch() -> None:
    found = stretches(comparison(RENT, API))
    assert (way_at(found, 1e6), way_at(found, 1e9), way_at(found, 1e10)) == ("api", "rent", None)


def test_the_strip_is_as_wide_as_its_stretches_and_names_them_and_your_volume() -> None:
    found = stretches(comparison(RENT, API, crossovers=(crossover("api", "rent", 1e8 / 10**0.5),)))
    drawn = ways_html(found, NAMES, 1e8, yours="you: 100 million", alt="said")
    widths = [float(width) for width in re.findall(r";width:([\d.]+)%", drawn)]
    assert widths == [50.0, 50.0]  # log10 of 1e6 to 10^7.5 to 1e9
    assert re.findall(r">(API|Rent|you: 100 million)</div>", drawn) == ["API", "Rent", "you: 100 million"]
    assert 'aria-label="said"' in drawn
    assert re.findall(r">(\d+[MB])</div>", drawn) == ["1M", "10M", "100M", "1B"]


def test_hostile_words_stay_words() -> None:
    found = (Stretch(path="own", first_tokens=1e6, last_tokens=1e9),)
    drawn = ways_html(found, {"own": "<b>"}, 1e8, yours='"><script>', alt='"><script>')
    assert "<script" not in drawn
    assert "<b>" not in drawn
    assert ways_html((), NAMES, 1e8, yours="", alt="") == ""


def test_the_words_for_those_who_cannot_see_it_name_every_stretch() -> None:
    found = (
        Stretch(path="api", first_tokens=1e6, last_tokens=5e7),
        Stretch(path="rent", first_tokens=5e7, last_tokens=1e9),
    )
    said = ways_alt(found, NAMES, "{way} from {low} to {high}", lambda volume: f"{volume / 1e6:g} M")
    assert said == "API from 1 M to 50 M; Rent from 50 M to 1000 M"
