"""Whether the odds of owning, renting and calling change when each path may take its best plan after one knows.

    python benchmarks/odds.py [--json FILE] [--plans 6]

An answer's odds are those of each path's first plan: one chooses before one knows. Here every draw may take the best of
a path's first plans: the most that looking at more plans could change. Seven scenarios that ship, and six large ones.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np

from llmsizer.decide.certainty.drivers import UncertainPath, own_path, rent_path
from llmsizer.decide.certainty.flip_points import over_draws
from llmsizer.decide.certainty.sure import Pick, _taken, uncertain_paths
from llmsizer.decide.certainty.uncertainty import DRAWS, SEED, _drivers_of, _wins
from llmsizer.decide.pricing.apis import api_choices
from llmsizer.decide.pricing.bills import Demand
from llmsizer.decide.pricing.study import Study, study
from llmsizer.decide.recommend import _priced
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.hub import load_model
from llmsizer.facts.scenario import Scenario, load_scenario
from llmsizer.money.draws import draw

TODAY = datetime.date(2026, 11, 21)
SHIPPED = ("build-or-buy", "eu-chat", "eu-chat-22b", "office-assistant", "one-a100", "consumer-cards", "card-for-10000")
LARGE = (
    ("mistral-small-4", "chat", 2e11), ("deepseek-v3", "chat", 5e10), ("qwen3-235b-a22b", "chat", 5e10),
    ("llama-3.3-70b", "rag", 2e10), ("gpt-oss-120b", "chat", 1e11), ("mistral-small-2409", "chat", 3e10),
)  # fmt: skip


def scenarios() -> dict[str, Scenario]:
    folder = default_catalog().root / "scenarios"
    found = {name: load_scenario(folder / f"{name}.toml") for name in SHIPPED}
    for model, preset, tokens in LARGE:
        asked = {"name": f"{model}, {tokens:.0e} tokens", "model": model, "electricity_area": "DEU",
                 "workload": {"preset": preset, "tokens_per_month": tokens}}  # fmt: skip
        found[str(asked["name"])] = Scenario.model_validate(asked)
    return found


def more_plans(found: Study, picks: list[Pick], count: int) -> list[UncertainPath]:
    """The plans of each path behind its first."""
    demand = Demand.of(found.question.workload)
    paths = [own_path(found, sized, plan.units, plan.label)
             for plan, sized in [pick for pick in picks if pick[0].path == "own"][1:count]]  # fmt: skip
    for plan, sized in [pick for pick in picks if pick[0].path == "rent"][1:count]:
        rental = found.pricer.bills.cheapest_rental(sized, demand)
        if rental is not None:
            paths.append(rent_path(found, sized, rental, plan.label))
    return paths


def odds(scenario: Scenario, count: int) -> dict[str, Any]:
    """By path: the odds of an answer, and those where a draw may take the best of the path's plans."""
    catalog = default_catalog()
    found = study(load_model(scenario.model, catalog), scenario, catalog, today=TODAY)
    picks = _priced(found)[0]
    choices = api_choices(found) if scenario.constraints.api else []
    firsts = uncertain_paths(found, picks, choices)
    taken, every = _taken(firsts, picks), [*firsts, *more_plans(found, picks, count)]
    values = draw(list(_drivers_of(every).values()), DRAWS, SEED)
    usd = {path.label: over_draws(path.usd(values), DRAWS) for path in every}
    serves = {path.label: over_draws(path.serves(values), DRAWS).astype(bool) for path in every}
    wins, _ = _wins(firsts, usd, serves)
    best: dict[str, Any] = {}
    for path in every:
        if not path.why_not:
            cost = np.where(serves[path.label] & ~np.isnan(usd[path.label]), usd[path.label], np.inf)
            best[path.path] = np.minimum(best.get(path.path, np.inf), cost)
    costs = np.array(list(best.values())).reshape(len(best), DRAWS)
    least = costs.min(axis=0, initial=np.inf)
    tied = (costs == least) & np.isfinite(least)
    shares = (tied / np.maximum(1, tied.sum(axis=0))).mean(axis=1)
    return {
        "taken": None if taken is None else taken.path,
        "first plans": {path.path: round(wins[path.label], 3) for path in firsts if path.label in wins},
        "best of each path": dict(zip(best, shares.round(3).tolist(), strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plans", type=int, default=6, help="of each path")
    options = parser.parse_args()
    rows = {name: odds(scenario, options.plans) for name, scenario in scenarios().items()}
    moved = others = 0
    for name, row in rows.items():
        print(f"{name[:36]:36} takes {row['taken']}: {row['first plans']} → {row['best of each path']}")
        pairs = [(row["first plans"].get(p, 0.0), share) for p, share in row["best of each path"].items()]
        moved += any(abs(now - then) >= 0.1 for then, now in pairs)
        likely = max(row["best of each path"], key=row["best of each path"].get, default=row["taken"])
        others += likely != max(row["first plans"], key=row["first plans"].get, default=likely)
    print(
        f"{len(rows)} scenarios: the likeliest path is another in {others}, odds move by 10 points or more in {moved}"
    )
    if options.json:
        about = {"plans": options.plans, "draws": DRAWS, "another_path": others, "moved_by_10_points": moved}
        options.json.write_text(json.dumps(about | {"scenarios": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
