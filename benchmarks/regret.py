"""What it costs to choose by predicted instead of measured cost, among configurations of one model that were measured.

    python benchmarks/regret.py [--json FILE]

A question is a model with prompt and answer lengths, and an SLO; its candidates are the GPUs × counts × formats ×
engine versions that somebody measured. Each is priced at the cheapest on-demand hour in the catalogue. The prediction
chooses the cheapest that it expects to meet the SLO; the choice is then charged what it truly costs: its own cheapest
measured point that meets the SLO. Regret is that over the truly cheapest configuration's cost, less one; a choice that
meets the SLO at no measured point is a miss, and counts as infinitely dear.

Every prediction is out of fold: the rows of its group (its GPU, its model) were not in the fit that made it.

- **under an SLO**: closed-loop rows, TPOT and TTFT measured. Tokens per second follow from them by Little's law,
  users × n / (TTFT + (n − 1) × TPOT), for measured and predicted alike.
  *By middle* takes every point whose predicted latencies meet the SLO, *sure first* those that meet it at the slow end
  of the 90 % interval where there are any, as ``llmsizer plan`` does.
- **offline**: as many tokens per dollar as possible, no SLO.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from accuracy import UNSCORED, hash_half, naive_seconds
from llmsizer.facts.aliases import names
from llmsizer.facts.catalog import load_catalog
from llmsizer.physics.calibration.evidence import public_rows
from llmsizer.physics.calibration.fitting import cross_validated_residuals, fold_labels, linearise, solve
from llmsizer.physics.calibration.store import COEFFICIENTS
from llmsizer.physics.rows.observations import Observations, is_offloaded, observe
from llmsizer.physics.rows.reading import Row, read_row
from llmsizer.physics.steps.cases import Floats
from llmsizer.physics.steps.coefficients import Coefficients

BAR = 0.05
FOLDS = ("group", "gpu", "model")
SLOS = ((0.020, 2.0), (0.030, 5.0), (0.050, 5.0), (0.100, 20.0))  # TPOT and TTFT, seconds
CONFIGURATION = ("gpu", "n_gpus", "tp", "ep", "dp", "weight_dtype", "kv_dtype", "engine", "engine_version", "source_id")


How = Literal["true", "said", "slow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measured operating point: dollars for a million output tokens and latencies, true and predicted."""

    question: tuple[str, ...]
    configuration: tuple[str, ...]
    true_usd: float
    said_usd: float
    true_tpot: float = 0.0
    said_tpot: float = 0.0
    true_ttft: float = 0.0
    said_ttft: float = 0.0
    slow_tpot: float = 0.0  # at the slow end of the 90 % interval
    slow_ttft: float = 0.0

    def meets(self, slo: tuple[float, float], how: How) -> bool:
        tpot, ttft = getattr(self, f"{how}_tpot"), getattr(self, f"{how}_ttft")
        return bool(tpot <= slo[0] and ttft <= slo[1])


def hourly_prices() -> dict[str, float]:
    """Dollars a GPU-hour on demand: the cheapest that the catalogue holds."""
    prices: dict[str, float] = {}
    for offer in load_catalog().offers():
        if offer.gpu and not offer.is_interruptible and not offer.gpu_only:
            prices[offer.gpu] = min(prices.get(offer.gpu, np.inf), offer.usd_per_gpu_hour)
    return prices


def usable(rows: list[Row]) -> list[Row]:
    """The rows that ``observe`` keeps, in its order."""
    kept = []
    for row in rows:
        case = read_row(row, names()).case
        if case is not None and not is_offloaded(case):
            kept.append(row)
    return kept


def points(
    seen: Observations, rows: list[Row], said_over_true: Floats, slow_over_said: Floats
) -> tuple[list[Point], list[Point]]:
    """Closed-loop points, and offline ones."""
    prices, gpus, cases = hourly_prices(), seen.cases.text("gpu"), seen.cases
    by_row: dict[int, dict[str, tuple[float, float, float]]] = defaultdict(dict)
    for i in range(len(seen)):
        if seen.source[i] != UNSCORED:
            said = float(seen.value[i] * said_over_true[i])
            by_row[int(seen.row[i])][str(seen.target[i])] = (
                float(seen.value[i]),
                said,
                said * float(slow_over_said[i]),
            )
    loaded, offline = [], []
    for at, found in by_row.items():
        gpu, row = str(gpus[at]), rows[at]
        if gpu not in prices:
            continue
        usd_per_second = prices[gpu] * float(cases.gpus[at]) / 3600
        question = (row["model"], row["input_len"], row["output_len"])
        configuration = tuple(str(row.get(key) or "") for key in CONFIGURATION)
        if "offline" in found:
            true, said = (usd_per_second * 1e6 / rate for rate in found["offline"][:2])
            offline.append(Point(question=question, configuration=configuration, true_usd=true, said_usd=said))
        users = float(cases["load_value"][at])
        if {"load-tpot", "load-ttft"} <= found.keys() and row["load_kind"] == "concurrency" and np.isfinite(users):
            (tpot, said_tpot, slow_tpot), (ttft, said_ttft, slow_ttft) = found["load-tpot"], found["load-ttft"]
            n = float(cases["output_tokens"][at])
            true, said = (
                usd_per_second * 1e6 * (first + (n - 1) * each) / (users * n)
                for first, each in ((ttft, tpot), (said_ttft, said_tpot))
            )
            loaded.append(
                Point(question=question, configuration=configuration, true_usd=true, said_usd=said, true_tpot=tpot,
                      said_tpot=said_tpot, slow_tpot=slow_tpot, true_ttft=ttft, said_ttft=said_ttft,
                      slow_ttft=slow_ttft)
            )  # fmt: skip
    return loaded, offline


def slow_end(seen: Observations, residual: Floats) -> Floats:
    """Factor from a prediction to the slow end of its 90 % interval, made from the other half of the groups."""
    half = np.array([hash_half(str(group)) for group in seen.group])
    factor = np.ones(len(seen))
    for target in np.unique(seen.target):
        for side in (False, True):
            made = (half != side) & (seen.target == target)
            if made.any():
                factor[(half == side) & (seen.target == target)] = np.exp(np.quantile(residual[made], 0.95))
    return factor


def cheapest(found: list[Point], slo: tuple[float, float] | None, how: How) -> dict[tuple[str, ...], float]:
    """Of each configuration its cheapest point within the SLO."""
    usd: dict[tuple[str, ...], float] = {}
    for point in found:
        if slo is None or point.meets(slo, how):
            cost = point.true_usd if how == "true" else point.said_usd
            usd[point.configuration] = min(usd.get(point.configuration, np.inf), cost)
    return usd


def regrets(found: list[Point], slo: tuple[float, float] | None, *, sure_first: bool) -> Iterator[tuple[float, float]]:
    """Of the choice by prediction, and the median over all configurations (a choice by chance), for each question."""
    by_question: dict[tuple[str, ...], list[Point]] = defaultdict(list)
    for point in found:
        by_question[point.question].append(point)
    for of_one in by_question.values():
        true = cheapest(of_one, slo, "true")
        # As in a recommendation: those that surely meet the SLO come first.
        said = (cheapest(of_one, slo, "slow") if sure_first else {}) or cheapest(of_one, slo, "said")
        if len({point.configuration for point in of_one}) < 2 or not true:
            continue  # nothing to choose, or nothing that meets the SLO
        best = min(true.values())
        chance = [true.get(configuration, np.inf) / best - 1 for configuration in {p.configuration for p in of_one}]
        # Where the prediction finds nothing within the SLO it recommends nothing: a miss too.
        chosen = min(said, key=said.__getitem__) if said else ()
        yield true.get(chosen, np.inf) / best - 1, float(np.median(chance))


def summary(
    found: list[Point], slos: tuple[tuple[float, float] | None, ...], *, sure_first: bool = False
) -> Mapping[str, float]:
    """Over all questions and SLOs."""
    pairs = [pair for slo in slos for pair in regrets(found, slo, sure_first=sure_first)]
    mine, chance = np.array(pairs).T
    met = mine[np.isfinite(mine)]
    return {
        "questions": len(mine),
        "median": float(np.median(mine)),
        "p90": float(np.quantile(mine, 0.9, method="lower")),
        "mean_of_met": float(met.mean()),
        "best_chosen": float((mine < 1e-9).mean()),
        "within_5_percent": float((mine <= BAR).mean()),
        "missed_slo": float(np.isinf(mine).mean()),
        "median_by_chance": float(np.median(chance)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    start = Coefficients.load(load_catalog().root / "calibration" / COEFFICIENTS)
    rows = list(public_rows())
    seen, kept = observe(rows, names()), usable(rows)
    assert len(kept) == len(seen.cases.text("gpu")), "rows and cases go side by side"
    problem, _ = linearise(start, seen)
    _, robust = solve(problem, rounds=4)
    residuals = {f"held-out {how}": cross_validated_residuals(problem, robust, fold_labels(seen, how)) for how in FOLDS}
    residuals["params × bytes ÷ bandwidth"] = naive_seconds(seen, start)
    table: dict[str, dict[str, Mapping[str, float]]] = {}
    print(f"{'':17}{'predicted by':30}{'questions':>10}{'median':>8}{'p90':>8}{'best':>7}{'≤ 5 %':>7}{'missed':>8}"
          f"{'by chance':>11}")  # fmt: skip
    for how, residual in residuals.items():
        ratio = np.exp(np.where(seen.metric == "throughput", residual, -residual))
        loaded, offline = points(seen, kept, ratio, slow_end(seen, residual))
        asked = (("SLO by middle", loaded, SLOS, False), ("SLO, sure first", loaded, SLOS, True),
                 ("offline", offline, (None,), False))  # fmt: skip
        for kind, found, slos, sure_first in asked:
            one = summary(found, slos, sure_first=sure_first)
            table.setdefault(kind, {})[how] = one
            print(
                f"{kind:17}{how:30}{one['questions']:10.0f}{one['median']:8.1%}{one['p90']:8.0%}{one['best_chosen']:7.0%}"
                f"{one['within_5_percent']:7.0%}{one['missed_slo']:8.0%}{one['median_by_chance']:11.0%}"
            )
    if options.json:
        text = json.dumps({"bar": BAR, "slos": SLOS, "regret": table}, indent=1).replace("Infinity", "null")
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
