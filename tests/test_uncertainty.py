"""How sure an answer is: laws of draws, tornado, flip points and the value of information, by hand where that goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deciding import CATALOG, TODAY, RooflinePhysics
from llmsizer.decide.answer import Plan, Recommendation
from llmsizer.decide.certainty.drivers import DEMAND, Said, UncertainPath, pace_of
from llmsizer.decide.certainty.sure import sureness, uncertain_paths
from llmsizer.decide.certainty.uncertainty import uncertainty_of
from llmsizer.decide.pricing.apis import api_choices
from llmsizer.decide.pricing.bills import Demand
from llmsizer.decide.pricing.study import Study, study
from llmsizer.decide.recommend import _priced, recommend
from llmsizer.errors import CatalogError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.operators import load_jurisdictions
from llmsizer.facts.scenario import Scenario, parse_scenario
from llmsizer.money.draws import Driver, conditional_means, draw, information_usd, normal_share, variance_share

FEW = '[constraints]\ngpus = ["h100-sxm-80", "l40s", "l4"]\n'


def asked(text: str = "", tokens: float = 3e10) -> Scenario:
    return parse_scenario(
        f'model = "mistral-small-2409"\nelectricity_area = "DEU"\n{text}\n{FEW}\n'
        f'[workload]\npreset = "chat"\ntokens_per_month = {tokens}'
    )


def looked_into(scenario: Scenario) -> Study:
    model = default_catalog().model(scenario.model)
    return study(model, scenario, CATALOG, today=TODAY, physics=RooflinePhysics())


@cache
def found(tokens: float = 3e10) -> Study:
    return looked_into(asked(tokens=tokens))


@cache
def paths(tokens: float = 3e10) -> Sequence[UncertainPath]:
    one = found(tokens)
    return uncertain_paths(one, _priced(one)[0], api_choices(one))


def line(label: str, usd: float, driver: Driver | None = None) -> UncertainPath:
    """A path that costs its driver, or always the same."""
    return UncertainPath(
        path="rent",
        label=label,
        drivers=() if driver is None else (driver,),
        said={} if driver is None else {driver.name: Said(words=driver.name, unit="USD")},
        bill=lambda values: np.array([usd]) if driver is None else values[driver.name] * usd,
        meets=lambda values: np.ones(1, dtype=bool),
    )


def ranged(name: str, low: float, mid: float, high: float, **more: float | str) -> Driver:
    return Driver(name=name, low=low, mid=mid, high=high, **more)  # type: ignore[arg-type]


# draws ----------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=3), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_ranges_middle_is_its_median_and_no_draw_leaves_it(ends: list[float], seed: int) -> None:
    low, mid, high = sorted(ends)
    driver = ranged("x", low, mid, high)
    drawn = draw([driver], 400, seed).get("x", np.full(400, mid))
    assert drawn.min() >= low * (1 - 1e-12) and drawn.max() <= high * (1 + 1e-12)
    assert np.count_nonzero(drawn <= mid * (1 + 1e-9)) >= 200 and np.count_nonzero(drawn >= mid * (1 - 1e-9)) >= 200


def test_quantiles_of_a_range_and_of_an_interval_by_hand() -> None:
    ten, ninety_five = np.array([-1.2815516]), np.array([1.6448536])
    assert ranged("x", 0, 10, 30).at(ten)[0] == pytest.approx(10 * 0.2**0.5, rel=1e-4)  # low + (mid − low)·√(2·0.1)
    assert ranged("x", 0, 10, 30).at(-ten)[0] == pytest.approx(30 - 20 * 0.2**0.5, rel=1e-4)
    interval = Driver(name="x", low=0.8, mid=1.0, high=1.5, shape="interval")
    assert interval.at(ninety_five)[0] == pytest.approx(1.5) and interval.at(-ninety_five)[0] == pytest.approx(0.8)


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    drivers = [ranged("x", 0, 1, 2), ranged("y", 0, 1, 2)]
    one, same, other = (draw(drivers, 100, seed) for seed in (1, 1, 2))
    assert (one["x"] == same["x"]).all() and (one["x"] != other["x"]).any() and (one["x"] != one["y"]).any()


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
def test_drivers_of_a_group_move_together_as_much_as_is_stated(rho: float) -> None:
    drivers = [ranged(name, 0, 0.5, 1, group="market", correlation=rho) for name in "xy"]
    drawn = draw(drivers, 20_000, 3)
    expected = 6 / np.pi * np.arcsin(rho / 2)  # rank correlation of a Gaussian copula
    ranks = [np.argsort(np.argsort(drawn[name])) for name in "xy"]
    assert np.corrcoef(*ranks)[0, 1] == pytest.approx(expected, abs=0.02)


def test_the_normal_table_is_the_normal_distribution() -> None:
    z = np.array([-1.959964, 0.0, 1.0])
    assert normal_share(z) == pytest.approx([0.025, 0.5, 0.8413447], abs=1e-6)


# value of information -------------------------------------------------------------------------------------------------


def test_the_value_of_perfect_information_of_two_paths_and_two_outcomes_by_hand() -> None:
    # Rent costs 100. Owning costs 60 or 180, as likely as not: 120 on average, so one rents at 100.
    # Knowing first, one would own in half of the cases: (60 + 100) / 2 = 80. The knowledge is worth 20.
    outcome = np.tile([0.0, 1.0], 500)
    costs = {"rent": np.full(1000, 100.0), "own": np.where(outcome == 0, 60.0, 180.0)}
    assert information_usd(costs, None) == pytest.approx(20)
    assert information_usd(costs, outcome, slices=2) == pytest.approx(20)
    assert information_usd(costs, np.arange(1000.0) % 7, slices=2) == pytest.approx(0, abs=0.5)  # of something else


@given(st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_knowing_one_thing_is_worth_no_more_than_knowing_all(seed: int) -> None:
    generator = np.random.default_rng(seed)
    costs = {name: generator.lognormal(size=500) for name in "abc"}
    assert 0 <= information_usd(costs, generator.random(500)) <= information_usd(costs, None) + 1e-12


def test_shares_of_variance_by_hand_and_means_by_slice() -> None:
    x, y = (np.random.default_rng(n).permutation(np.linspace(0, 1, 8000)) for n in (1, 2))
    assert variance_share(3 * x + y, x) == pytest.approx(0.9, abs=0.01)  # 9 / (9 + 1)
    assert conditional_means(np.array([5.0, 1, 2, 6]), np.array([3.0, 0, 1, 2]), 2).tolist() == [1.5, 5.5]


# the whole ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1e8, 3e10])
def test_at_the_middle_of_every_driver_each_path_costs_what_its_plan_says(tokens: float) -> None:
    picks, _ = _priced(found(tokens))
    for path in paths(tokens):
        if path.path != "api":
            plan = next(plan for plan, _ in picks if plan.path == path.path)
            assert path.usd({})[0] == pytest.approx(plan.cost.usd_per_month.value)
        else:
            assert path.usd({})[0] == pytest.approx(api_choices(found(tokens))[0].usd_per_month)


def test_without_any_width_the_draws_are_the_deterministic_answer() -> None:
    certain = [replace(p, drivers=tuple(replace(d, low=d.mid, high=d.mid) for d in p.drivers)) for p in paths()]
    sure = uncertainty_of(certain, certain[0], draws=50)
    for path, spread in zip(certain, sure.paths, strict=True):
        expected = pytest.approx(path.usd({})[0])
        assert spread.usd_p10 == expected and spread.usd_p50 == expected and spread.usd_p90 == expected
    assert not sure.tornado and not sure.information and sure.perfect_information_usd_per_month == 0
    assert sorted(spread.wins for spread in sure.paths if spread.wins is not None)[-1] == 1


@pytest.mark.parametrize("tokens", [1e8, 3e10, 1e12])
def test_quantiles_are_in_order_and_probabilities_sum_to_one(tokens: float) -> None:
    sure = uncertainty_of(paths(tokens), paths(tokens)[0], draws=500)
    for spread in sure.paths:
        assert spread.usd_p10 <= spread.usd_p50 <= spread.usd_p90
    assert sum(s.wins for s in sure.paths if s.wins is not None) + sure.none_within_slo == pytest.approx(1)
    assert all(0 <= one.variance_share <= 1 and one.usd_per_month >= 0 for one in sure.information)


@given(st.floats(1, 3), st.floats(1, 3))
@settings(max_examples=15, deadline=None)
def test_widening_a_driver_never_narrows_its_bar(down: float, up: float) -> None:
    before = {bar.driver: bar.width_usd for bar in uncertainty_of(paths(), paths()[0], draws=20).tornado}
    for name in (DEMAND, "people_fte_own", "usd_per_kwh"):
        wide = [
            replace(p, drivers=tuple(replace(d, low=d.low / down, high=d.high * up) if d.name == name else d
                                     for d in p.drivers))
            for p in paths()
        ]  # fmt: skip
        after = {bar.driver: bar.width_usd for bar in uncertainty_of(wide, wide[0], draws=20).tornado}
        assert after[name] >= before[name] * (1 - 1e-9)


def test_demand_moves_the_number_of_replicas_in_whole_steps() -> None:
    path = next(p for p in paths() if p.path == "rent")
    usd = path.usd({DEMAND: np.linspace(0.2, 3, 400)})
    steps = np.diff(usd)
    assert (steps > -1e-9).all()
    large = steps[steps > steps.max() / 2]
    assert 3 < large.size < 60  # stairs, not a line
    growing = found().pricer.bills.usd(_priced(found())[0][0][1], "rent", Demand.of(found().question.workload, 2.0))
    assert growing is not None


def test_slower_steps_hold_less_and_beyond_a_limit_miss_the_slo() -> None:
    sized = next(s for s in found().sized if s.is_robust)
    pace = pace_of(sized, found().question.scenario.slo, 0.8)
    factors = np.geomspace(0.7, 1.4, 30)
    assert pace.rate(np.ones(1))[0] == pytest.approx(sized.held.rate)
    assert pace.rate(np.array([pace.driver.high]))[0] == pytest.approx(sized.held.rate_low, rel=1e-6)
    within = pace.serves(factors)
    assert (np.diff(pace.rate(factors)[within]) <= 1e-12).all() and within[0]


def test_a_flip_is_where_both_paths_cost_the_same_and_one_not_reached_is_told_apart() -> None:
    # Owning costs 100; renting 50 × its price of 1, between 0.5 and 3: dearer from a price of 2 on.
    price = ranged("price", 0.5, 1, 3)
    own, rent = line("own", 100.0), line("rent", 50.0, price)
    sure = uncertainty_of([rent, own], rent, draws=1000)
    (flip,) = sure.flips
    assert flip.state == "reached" and flip.direction == "above" and flip.value == pytest.approx(2, rel=1e-9)
    wins = {spread.label: spread.wins for spread in sure.paths}
    # P(price > 2) = (3 − 2)² / (3 − 1)² / 2 = 1/8
    assert wins["own"] == pytest.approx(1 / 8, abs=0.002)
    never = uncertainty_of([rent, line("own", 1e9)], rent, draws=10)
    assert [flip.state for flip in never.flips] == ["not reached"] and never.flips[0].value is None
    unknown = uncertainty_of([rent, line("own", float("nan"))], rent, draws=10)
    assert [flip.state for flip in unknown.flips] == ["not searched"]


def test_flips_of_a_real_answer_turn_the_order_and_not_before() -> None:
    machine = next(p for p in paths() if p.path == "rent")
    sure = uncertainty_of(paths(), machine, draws=50)
    reached = [flip for flip in sure.flips if flip.state == "reached"]
    assert reached
    for flip in reached:
        other = next(p for p in paths() if p.label == flip.against)
        said = machine.said.get(flip.driver) or other.said[flip.driver]
        assert flip.value is not None

        def gap(at: float, driver: str = flip.driver, other: UncertainPath = other, scale: float = said.scale) -> float:
            values = {driver: np.array([at / scale])}
            return float((other.usd(values) - machine.usd(values))[0])

        assert gap(flip.value) * gap(flip.now) <= 0
        assert gap(flip.value + (flip.now - flip.value) * 1e-6) * gap(flip.now) >= 0


def test_a_recommendation_says_how_sure_it_is_in_its_first_sentence() -> None:
    scenario = asked(tokens=3e10)
    answer = recommend(default_catalog().model(scenario.model), scenario, CATALOG, today=TODAY,
                       physics=RooflinePhysics())  # fmt: skip
    assert answer.uncertainty is not None and "P10–P90" in answer.sentence.split(". ")[0]
    assert answer.uncertainty.recommended in [spread.label for spread in answer.uncertainty.paths]
    same = sureness(found(), _priced(found())[0], api_choices(found()))
    assert same == answer.uncertainty  # deterministic, and the same in library and answer
    assert answer.uncertainty.to_dict()["information"][0]["measurement"]


def test_few_draws_agree_with_many() -> None:
    few, many = (uncertainty_of(paths(), paths()[0], draws=n) for n in (8_192, 60_000))
    for one, other in zip(few.paths, many.paths, strict=True):
        assert one.usd_p10 == pytest.approx(other.usd_p10, rel=0.01)
        assert one.usd_p50 == pytest.approx(other.usd_p50, rel=0.01)
        assert one.usd_p90 == pytest.approx(other.usd_p90, rel=0.01)


# what a constraint excludes -------------------------------------------------------------------------------------------


def answer_to(text: str) -> Recommendation:
    body = "\n".join(f'gpus = ["h100-sxm-80", "l40s"]\n{text}'.splitlines())
    scenario = parse_scenario(
        f'model = "mistral-small-2409"\nelectricity_area = "DEU"\n[constraints]\n{body}\n'
        '[workload]\npreset = "chat"\ntokens_per_month = 3e10'
    )
    model = default_catalog().model(scenario.model)
    return recommend(model, scenario, CATALOG, today=TODAY, physics=RooflinePhysics())


def test_servers_are_filled_no_further_than_a_rack_can_feed_and_boards_that_draw_more_are_out() -> None:
    free, tight = answer_to(""), answer_to("max_kw_per_rack = 2.0")
    assert any(p.path == "own" and p.deployment.gpu.id == "h100-sxm-80" for p in free.plans)
    owned = [p for p in tight.plans if p.path == "own"]
    assert owned and {p.deployment.gpu.id for p in owned} == {"l40s"}
    # (2,000 W / 1.075 − 500 W) / 350 W a card: three in a server
    assert all(p.gpus <= 3 * p.units for p in owned)
    (out,) = [r for r in tight.rejections if r.candidate.startswith("own: H100")]
    # eight boards of 700 W and 2,300 W beside them, and 7.5 % for the network
    assert "8.49 kW" in out.reason and out.nearest_fix == "max_kw_per_rack = 8.5"
    assert answer_to("max_kw_per_rack = 6.6").to_dict()["plans"]


def test_hardware_that_comes_too_late_is_rented_instead_and_says_by_how_much() -> None:
    soon = answer_to("max_lead_months = 1")
    assert {p.path for p in soon.plans} == {"rent"}
    (out,) = [r for r in soon.rejections if r.candidate == "own"]
    assert out.nearest_fix.startswith("max_lead_months = 3") and out.shortfall == pytest.approx(2)
    assert {p.path for p in answer_to("max_lead_months = 3").plans} == {"own", "rent"}


def test_a_licence_that_is_not_known_to_be_acceptable_is_a_rejection() -> None:
    none = answer_to('licences = ["Apache-2.0"]')
    assert not none.plans and "licence" in none.rejections[0].reason


def test_no_plan_beats_one_of_the_pareto_plans_in_everything_and_each_other_is_beaten() -> None:
    found_ = answer_to("")
    best = [p for p in found_.plans if p.label in found_.pareto]
    assert found_.plans[0].label in found_.pareto and 0 < len(best) < len(found_.plans)

    def marks(plan: Plan) -> tuple[float, ...]:
        energy = plan.cost.energy
        assert (
            energy is not None and plan.at_peak.ttft_p95.value is not None and plan.quality_recovery.value is not None
        )
        joules = energy.joules_per_thousand_tokens.value
        assert joules is not None
        usd = plan.cost.usd_per_month.value
        assert usd is not None
        return usd, plan.at_peak.ttft_p95.value, -plan.quality_recovery.value, joules

    for plan in found_.plans:
        beaten = any(all(a <= b for a, b in zip(marks(o), marks(plan), strict=True)) and marks(o) != marks(plan)
                     for o in found_.plans)  # fmt: skip
        assert beaten == (plan not in best), plan.label


def test_every_operator_has_a_jurisdiction_with_a_source_and_a_provider_of_the_price_lists(tmp_path: Path) -> None:
    known = load_jurisdictions(CATALOG.root)
    assert {"US", "EU", "GB"} >= set(known.values()) and known["Genesis Cloud"] == "EU"
    assert set(known) <= {offer.provider for offer in (*CATALOG.offers(), *CATALOG.apis())}
    (tmp_path / "operators.toml").write_text('[[operator]]\nprovider = "X"\nsource = "s"\n', encoding="utf-8")
    with pytest.raises(CatalogError, match="operator 1: jurisdiction is missing; give a text"):
        load_jurisdictions(tmp_path)
    (tmp_path / "operators.toml").write_text('[[operator]]\nprovider = "X"\njurisdiction = "EU"\n', encoding="utf-8")
    with pytest.raises(CatalogError, match="operator 1"):
        load_jurisdictions(tmp_path)
