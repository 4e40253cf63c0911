"""The README's accuracy table: errors on held-out groups, held-out GPUs and held-out models, beside two naive peers.

    python benchmarks/accuracy.py [--json accuracy.json] [--plot residuals.svg]

Every figure is out of fold: the rows of the group (GPU, model, publisher of the source) were not in the fit that
predicted them. Group error is the median absolute percentage error of its rows; the table shows median and 90th
percentile over groups. Community rows calibrate but are not scored. How far effects may scatter was chosen by the
marginal likelihood of the rows (``physics/calibration/spreads.py``); no fold took part in the choice.

Intervals are told thrice: of held-out groups, and of held-out publishers with bands from the other half of all groups
("… publisher") and from the other publishers alone ("… the next"): nothing of that publisher, not even its scatter.

Peers, on the same rows: parameters × bytes ÷ bandwidth with arithmetic at the data-sheet rate, and the same divided by
one efficiency constant per GPU and phase (fitted on the other groups).
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from llmsizer.facts.aliases import names
from llmsizer.facts.catalog import load_catalog
from llmsizer.physics.answers.validate import METRIC_OF_TARGET
from llmsizer.physics.calibration.evidence import public_rows
from llmsizer.physics.calibration.fitting import (
    bands_by_distance,
    cross_validated_residuals,
    fold_labels,
    linearise,
    solve,
)
from llmsizer.physics.calibration.intervals import COVERAGE, DISTANCES, MODEL_AND_SETUP_UNSEEN, SETUP_UNSEEN
from llmsizer.physics.calibration.store import COEFFICIENTS
from llmsizer.physics.rows.observations import Observations, observe
from llmsizer.physics.steps.cases import Floats, Words
from llmsizer.physics.steps.coefficients import Coefficients
from llmsizer.physics.steps.formats import setups_of
from llmsizer.physics.steps.formulas import StepModel
from llmsizer.physics.steps.loads import most_sequences
from residual_plot import write_residual_svg

BARS = {"load-tpot": 0.10, "lone-tpot": 0.10, "offline": 0.12, "single": 0.10, "static": 0.12, "ttft": 0.20}
FOLDS = ("group", "gpu", "model", "source")
PLOTTED = ("group", "gpu", "model")
UNSCORED = "llmfit-community"


def errors(seen: Observations, residual: Floats, target: str) -> tuple[float, float, int]:
    """Median and 90th percentile over groups of the group's median error."""
    error = np.abs(np.exp(np.where(seen.metric == "throughput", residual, -residual)) - 1)
    by_group: dict[str, list[float]] = defaultdict(list)
    for i in np.flatnonzero((seen.target == target) & (seen.source != UNSCORED)):
        by_group[str(seen.group[i])].append(float(error[i]))
    medians = [float(np.median(values)) for values in by_group.values()]
    return float(np.median(medians)), float(np.quantile(medians, 0.9)), len(medians)


def naive_seconds(seen: Observations, start: Coefficients) -> Floats:
    """Peer 1 as a log residual: weights over bandwidth per token, 2 FLOPs per parameter over the 16-bit rate."""
    c = seen.cases
    model = StepModel(c, start)
    stored = c["dense_params"] + c["experts"] * c["expert_params"] * c["moe_layers"] + c["stored_embedding_params"]
    active = c["dense_params"] + c["experts_per_token"] * c["expert_params"] * c["moe_layers"] + c["head_params"]
    step = stored * c["weight_bytes"] / (c["memory_bytes_per_second"] * c.gpus)
    prefill = 2 * active * c["input_tokens"] / (c["flops_16bit"] * c.gpus)
    asked = np.nan_to_num(
        np.where(np.isnan(c["batch_size"]), c["load_value"], c["batch_size"]), nan=256.0, posinf=256.0
    )
    batch = np.minimum(np.where(c.text("load") == "single-stream", 1.0, asked), most_sequences(model))
    whole = batch * prefill + c["output_tokens"] * step
    rate = batch * c["output_tokens"] / whole
    value = {"ttft": batch * prefill, "tpot": step, "e2e": whole, "throughput": rate}
    value["ttft"] = np.where(c.text("load") == "single-stream", prefill, value["ttft"])
    predicted = np.empty(len(seen))
    for metric, column in value.items():
        mask = seen.metric == metric
        predicted[mask] = column[seen.row[mask]]
    ratio = np.log(seen.value / predicted)
    return np.where(seen.metric == "throughput", -ratio, ratio)


def constant_per_gpu(seen: Observations, naive: Floats, folds: Words) -> Floats:
    """Peer 2: the naive time times one constant per GPU and phase from the other folds; all GPUs' where it has none."""
    gpu = seen.cases.take(seen.row).text("gpu")
    phase = np.where(np.char.find(seen.target, "ttft") >= 0, "prefill", "decode")
    out = naive.copy()
    for fold in np.unique(folds):
        held = folds == fold
        for name in np.unique(phase[held]):
            train = ~held & (phase == name)
            overall = float(np.median(naive[train]))
            for device in np.unique(gpu[held & (phase == name)]):
                same = train & (gpu == device)
                mask = held & (phase == name) & (gpu == device)
                out[mask] = naive[mask] - (float(np.median(naive[same])) if same.any() else overall)
    return out


def held_out_distances(seen: Observations, folds: Words) -> Words:
    """The distance at which each row would be predicted, had the fit never seen its fold."""
    cases = seen.cases.take(seen.row)
    engine, version, gpu = (cases.text(key) for key in ("engine", "engine_version", "gpu"))
    anyhow = setups_of(engine, np.full_like(version, ""), gpu, seen.target)  # a version not stated may be any
    columns = {"gpu": (gpu, gpu), "model": (cases.text("architecture"),) * 2}
    columns["set-up"] = (setups_of(engine, version, gpu, seen.target), anyhow)
    unseen = {name: np.zeros(len(seen), dtype=bool) for name in columns}
    for fold in np.unique(folds):
        held = folds == fold
        for name, (words, wider) in columns.items():
            unseen[name][held] = ~np.isin(words[held], np.union1d(words[~held], wider[~held]))
    found = np.array(DISTANCES)[unseen["gpu"].astype(int) + 2 * unseen["model"].astype(int)]
    foreign = np.where(unseen["model"], MODEL_AND_SETUP_UNSEEN, SETUP_UNSEEN)
    return np.where(unseen["set-up"] & ~unseen["gpu"], foreign, found).astype(np.str_)


def intervals(seen: Observations, residuals: dict[str, Floats], how: str, parts: Words) -> dict[str, dict[str, float]]:
    """What intervals of held-out rows are worth, by target: bands of a part of the rows are made from the other parts.

    ``inside``: share of rows in the 90 % interval. ``width``: its log width (0.69 is a factor of 2 from end to end).
    ``score``: width + 20 × how far outside (Gneiting & Raftery 2007, eq. 43): the honest narrow one has the lowest.
    """
    distance, residual = held_out_distances(seen, fold_labels(seen, how)), residuals[how]
    publishers = fold_labels(seen, "source")
    low, high = np.zeros(len(seen)), np.zeros(len(seen))
    for part in np.unique(parts):
        made, tested = parts != part, parts == part
        others = {h: r[made] for h, r in residuals.items()}
        bands = bands_by_distance(seen.target[made], seen.group[made], others, publishers[made])
        low[tested], high[tested] = bands.limits(seen.target[tested], distance[tested])
    inside = ((residual >= low) & (residual <= high)).astype(np.float64)
    score = high - low + 2 / (1 - COVERAGE) * (np.maximum(low - residual, 0) + np.maximum(residual - high, 0))
    columns = {"inside": inside, "width": high - low, "score": score}
    scored = seen.source != UNSCORED
    masks = {t: (seen.target == t) & scored for t in METRIC_OF_TARGET} | {"all": scored}
    return {t: {k: round(float(v[m].mean()), 4) for k, v in columns.items()} for t, m in masks.items() if m.any()}


def hash_half(text: str) -> bool:
    return sum(map(ord, text)) % 2 == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, metavar="SVG", help="write the residual plot")
    options = parser.parse_args()
    begun = time.perf_counter()
    start = Coefficients.load(load_catalog().root / "calibration" / COEFFICIENTS)
    seen = observe(public_rows(), names())
    problem, _ = linearise(start, seen)
    _, robust = solve(problem, rounds=4)
    residuals = {how: cross_validated_residuals(problem, robust, fold_labels(seen, how)) for how in FOLDS}
    naive = naive_seconds(seen, start)
    constant = constant_per_gpu(seen, naive, fold_labels(seen, "group"))
    columns = {
        **{f"held-out {how}": r for how, r in residuals.items()},
        "bytes ÷ bandwidth": naive,
        "constant per GPU": constant,
    }
    halves = np.array([str(hash_half(str(group))) for group in seen.group])
    worth = {how: intervals(seen, residuals, how, halves) for how in FOLDS}
    worth["next publisher"] = intervals(seen, residuals, "source", fold_labels(seen, "source"))
    inside = {how: {t: found["inside"] for t, found in table.items()} for how, table in worth.items()}
    heads = f"{'inside 90 %':>14}{'… publisher':>13}{'… the next':>12}{'bar':>7}{'groups':>8}"
    print(f"{'':28}" + "".join(f"{name:>20}" for name in columns) + heads)
    table = {}
    for target, label in METRIC_OF_TARGET.items():
        if not ((seen.target == target) & (seen.source != UNSCORED)).any():
            continue
        found = {name: errors(seen, residual, target) for name, residual in columns.items()}
        table[target] = {name: {"median": v[0], "p90": v[1], "groups": v[2]} for name, v in found.items()}
        cells = "".join(f"{f'{v[0]:.1%} / {v[1]:.0%}':>20}" for v in found.values())
        bar = f"{BARS[target]:.0%}" if target in BARS else ""
        groups = next(iter(found.values()))[2]
        covered = f"{inside['group'][target]:>14.1%}{inside['source'][target]:>13.1%}"
        covered += f"{inside['next publisher'][target]:>12.1%}"
        print(f"{label:28}{cells}{covered}{bar:>7}{groups:>8}")
    for how, table_of in worth.items():
        told = table_of["all"]
        print(f"intervals, {how}: {told['inside']:.1%} inside, width {told['width']:.2f}, score {told['score']:.2f}")
    print(f"median / 90th percentile over groups; {len(seen)} observations; {time.perf_counter() - begun:.0f} s")
    if options.plot:
        write_residual_svg(options.plot, seen, {f"held-out {how}": residuals[how] for how in PLOTTED}, UNSCORED)
    if options.json:
        options.json.write_text(
            json.dumps({"errors": table, "coverage": inside, "intervals": worth}, indent=1), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
