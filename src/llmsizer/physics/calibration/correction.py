"""Physics and effects put together: calibrated seconds of every metric with their band."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from llmsizer.physics.calibration.effects import Effects, features
from llmsizer.physics.calibration.intervals import DISTANCES, FAMILY_UNSEEN, MODEL_AND_SETUP_UNSEEN, OWN, SETUP_UNSEEN
from llmsizer.physics.calibration.store import StoredCalibration
from llmsizer.physics.steps.cases import Cases, Floats, Words
from llmsizer.physics.steps.formats import setups_of
from llmsizer.physics.steps.formulas import LIGHT_TOLERANCE, StepModel
from llmsizer.physics.steps.loads import LoadTimes, load_times

METRICS = ("throughput", "ttft", "tpot", "e2e")
DRAWN_SHARE = 0.05  # by which the arrivals of a run of some hundred requests miss their rate

# Which kind of evidence corrects which metric, by load; e2e under load follows from TTFT and TPOT.
TARGET_OF: Mapping[str, Mapping[str, str]] = {
    "single-stream": {"throughput": "single", "ttft": "ttft", "tpot": "lone-tpot", "e2e": "single"},
    "single-batch-static": {"throughput": "static", "ttft": "ttft", "tpot": "lone-tpot", "e2e": "static"},
    "concurrency": {"throughput": "load-throughput", "ttft": "load-ttft", "tpot": "load-tpot", "e2e": "load-tpot"},
    "request_rate": {"throughput": "load-throughput", "ttft": "load-ttft", "tpot": "load-tpot", "e2e": "load-tpot"},
    "offline-max-throughput": {
        "throughput": "offline",
        "ttft": "offline-ttft",
        "tpot": "offline-tpot",
        "e2e": "offline-tpot",
    },
}

# What a row of a load measures above all, by which its distance from the evidence is said.
MAIN_TARGET: Mapping[str, str] = {
    "single-stream": "single",
    "single-batch-static": "static",
    "concurrency": "load-tpot",
    "request_rate": "load-tpot",
    "offline-max-throughput": "offline",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """Calibrated values: seconds, and output tokens per second; each with its 90 % limits."""

    value: Mapping[str, Floats]
    low: Mapping[str, Floats]
    high: Mapping[str, Floats]
    times: LoadTimes
    distance: Words


def distances(cases: Cases, calibration: StoredCalibration, target: Words | None = None) -> Words:
    """How far each case lies from the evidence, as a key of bands.

    Who publishes is in no column. But publishers seldom measure the same thing with one version of an engine on one
    GPU: where nobody measured a ``target`` so, the row is likely somebody else's, set up in ways that no column states
    either. Without targets that is left out: a deployment to plan for is set up by whoever asks.
    """
    gpu_unseen = ~np.isin(cases.text("gpu"), sorted(calibration.seen_gpus))
    model_unseen = ~np.isin(cases.text("architecture"), sorted(calibration.seen_architectures))
    family_unseen = ~np.isin(cases.text("family"), sorted(calibration.seen_families))
    found = np.array(DISTANCES)[gpu_unseen.astype(int) + 2 * model_unseen.astype(int)]
    pairs = np.char.add(np.char.add(cases.text("gpu"), "|"), cases.text("engine"))
    if target is not None:
        setups = setups_of(cases.text("engine"), cases.text("engine_version"), cases.text("gpu"), target)
        foreign = ~gpu_unseen & ~np.isin(setups, sorted(calibration.seen_setups))
        found = np.where(foreign, np.where(model_unseen, MODEL_AND_SETUP_UNSEEN, SETUP_UNSEEN), found)
    found = np.where(family_unseen, FAMILY_UNSEEN, found)
    return np.where(np.isin(pairs, sorted(calibration.own_gpus)), OWN, found)


def correct(cases: Cases, calibration: StoredCalibration, widening: Floats | None = None) -> Corrected:
    """Predict every metric of every case."""
    model = StepModel(cases, calibration.coefficients)
    times = load_times(model)
    loads = cases.text("load")
    distance = distances(cases, calibration, np.array([MAIN_TARGET[str(load)] for load in loads], dtype=np.str_))
    wide = np.ones(len(cases)) if widening is None else widening
    raw = {
        "throughput": times.output_tokens_per_second,
        "ttft": times.ttft_seconds,
        "tpot": times.tpot_seconds,
        "e2e": times.e2e_seconds,
    }
    value: dict[str, Floats] = {}
    low: dict[str, Floats] = {}
    high: dict[str, Floats] = {}
    for metric in METRICS:
        target = np.array([TARGET_OF[str(load)][metric] for load in loads], dtype=np.str_)
        shift = calibrated_shift(calibration.effects, cases, target, times.batch)
        below, above = calibration.bands.limits(target, distances(cases, calibration, target))
        sign = -1.0 if metric == "throughput" else 1.0
        value[metric] = raw[metric] * np.exp(sign * shift)
        first, second = value[metric] * np.exp(sign * below * wide), value[metric] * np.exp(sign * above * wide)
        low[metric], high[metric] = np.minimum(first, second), np.maximum(first, second)
    _throughput_under_load(cases, times, value, low, high)
    _not_faster_than_bytes(model, times, value, low, high)
    _end_to_end(cases, value, low, high)
    return Corrected(value=value, low=low, high=high, times=times, distance=distance)


def calibrated_shift(effects: Effects, cases: Cases, target: Words, batch: Floats) -> Floats:
    """Log seconds that effects add."""
    return effects.correction(features(cases, target, batch))


def _throughput_under_load(
    cases: Cases, times: LoadTimes, value: dict[str, Floats], low: dict[str, Floats], high: dict[str, Floats]
) -> None:
    """Below saturation Little's law: users get a token each TPOT, and an open loop delivers what comes.

    Beyond it throughput stays what the rows of saturated runs say: there TPOT depends on how long a run lasted.
    """
    load, calm = cases.text("load"), times.saturated == 0
    shared, follows = (load == "concurrency") & calm, (load == "request_rate") & calm
    raw, raw_tpot = times.output_tokens_per_second, times.tpot_seconds
    at = {"value": raw * raw_tpot / value["tpot"], "low": raw * raw_tpot / high["tpot"]}
    at["high"] = raw * raw_tpot / low["tpot"]
    offered = {"value": raw, "low": np.minimum(at["low"], raw), "high": raw * (1 + DRAWN_SHARE)}
    for name, part in (("value", value), ("low", low), ("high", high)):
        part["throughput"] = np.select([follows, shared], [offered[name], at[name]], part["throughput"])


def _not_faster_than_bytes(
    model: StepModel, times: LoadTimes, value: dict[str, Floats], low: dict[str, Floats], high: dict[str, Floats]
) -> None:
    """Effects are fits and may point past the speed of light; values stop there."""
    c = model.cases
    end = c["input_tokens"] + c["output_tokens"]
    least = LIGHT_TOLERANCE * model.least_decode_seconds(times.batch, c["input_tokens"], end)
    fastest = times.batch * c["replicas"] / least
    for part in (value, low, high):
        part["tpot"] = np.maximum(part["tpot"], least)
        part["e2e"] = np.maximum(part["e2e"], least * (c["output_tokens"] - 1))
        part["throughput"] = np.minimum(part["throughput"], fastest)


def _end_to_end(cases: Cases, value: dict[str, Floats], low: dict[str, Floats], high: dict[str, Floats]) -> None:
    """Under load a request takes its TTFT and then its tokens; limits add as if both ends came together."""
    lone = np.isin(cases.text("load"), ["single-stream", "single-batch-static"])
    gaps = np.maximum(cases["output_tokens"] - 1, 0)
    for part in (value, low, high):
        part["e2e"] = np.where(lone, part["e2e"], part["ttft"] + gaps * part["tpot"])
