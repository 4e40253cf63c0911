"""What formulas leave over, pooled by engine, architecture, GPU, format and regime.

The log residual of a prediction is a sum of named effects, each shrunk towards zero by as much as its block's spread
says (a hierarchical model with fixed spreads: Gelman & Hill 2007). A class without evidence has effect zero, so an
unseen GPU gets its family's and engine's effects and the physics of its own data sheet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from llmsizer.physics.cases import Cases, Floats, Words, maker_class
from llmsizer.physics.formats import POOLED_ENGINES

Ints = np.ndarray[tuple[int, ...], np.dtype[np.intp]]


@dataclass(frozen=True, slots=True)
class Block:
    """Effects of one kind: one per combination of ``keys``, times a slope feature, with one spread."""

    keys: tuple[str, ...]
    spread: float  # standard deviation of the effect in log seconds
    slope: str = "one"

    @property
    def name(self) -> str:
        return "×".join(self.keys) + ("" if self.slope == "one" else f"~{self.slope}")


BLOCKS = (
    Block(("target",), 0.114),
    Block(("engine",), 0.092),
    Block(("engine", "target"), 0.500),
    Block(("version", "target"), 0.111),
    Block(("maker", "engine"), 0.500),
    Block(("maker", "engine"), 0.500, "prompt"),
    Block(("maker", "engine"), 0.500, "weight"),
    Block(("family", "format"), 0.097),
    Block(("architecture", "gpu"), 0.038),
    Block(("architecture", "format"), 0.066),
    Block(("moe", "family"), 0.131),
    Block(("degree", "engine"), 0.129),
    Block(("degree", "family"), 0.059),
    Block(("degree", "architecture"), 0.064),
    Block(("data", "engine"), 0.026),
    Block(("stages", "engine"), 0.500),
    Block(("pooled_engine", "target"), 0.500, "batch"),
    Block(("pooled_engine", "target"), 0.500, "batch_squared"),
    Block(("family", "phase"), 0.444, "batch"),
    Block(("moe", "pooled_engine"), 0.106, "batch"),
    Block(("version", "target"), 0.304, "batch"),
    Block(("architecture", "phase"), 0.037, "batch"),
    Block(("gpu", "engine"), 0.039, "batch"),
    Block(("pooled_engine", "target"), 0.500, "prompt"),
    Block(("kv", "engine"), 0.032, "prompt"),
    Block(("pooled_engine", "target"), 0.492, "output"),
    Block(("pooled_engine", "phase"), 0.500, "size"),
    Block(("pooled_engine", "target"), 0.500, "batch_by_prompt"),
    Block(("gpu", "engine"), 0.025, "batch_squared"),
    Block(("gpu", "engine"), 0.162, "weight"),
    Block(("gpu", "engine", "degree"), 0.017),
    Block(("format", "engine", "target"), 0.068),
    Block(("format", "engine"), 0.051, "batch"),
    Block(("architecture", "engine"), 0.084, "batch"),
    Block(("architecture", "gpu", "engine"), 0.013),
    Block(("gpu", "version"), 0.059),
    Block(("architecture", "version"), 0.015),
    Block(("moe", "engine", "format"), 0.085),
)


# Filled by the user's own records only: what this machine's engine and format do here. The spread is as wide as two
# set-ups of one GPU differ, so that a handful of records decides.
OWN_BLOCKS = (
    Block(("gpu", "engine", "phase"), 0.50),
    Block(("gpu", "engine", "format", "phase"), 0.25),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Words and slopes of observations or predictions, one per row."""

    words: Mapping[str, Words]
    slopes: Mapping[str, Floats]

    def labels(self, block: Block) -> Words:
        out = self.words[block.keys[0]]
        for key in block.keys[1:]:
            out = np.char.add(np.char.add(out, "|"), self.words[key])
        return np.char.add(f"{block.name}:", out)


def features(cases: Cases, target: Words, batch: Floats) -> Features:
    """Features of cases (already one per observation); slopes are centred and of order one."""
    engine = cases.text("engine")
    minor = [re.sub(r"^(v?\d+\.\d+).*", r"\1", str(v)) for v in cases.text("engine_version")]
    degree = np.minimum(cases["tensor"] * cases["pipeline"], 16).astype(int)
    log_batch = np.log2(np.maximum(batch, 1.0)) / 5 - 0.5
    stored = (cases["dense_params"] + cases["experts"] * cases["expert_params"] * cases["moe_layers"]) / 1e9
    per_gpu_ms = stored * 1e9 * cases["weight_bytes"] / cases.gpus / cases["memory_bytes_per_second"] * 1e3
    phase = np.where(np.char.find(target, "ttft") >= 0, "prefill", "decode")
    words = {
        "target": target,
        "phase": phase,
        "engine": engine,
        "pooled_engine": np.array([POOLED_ENGINES.get(str(e), str(e)) for e in engine], dtype=np.str_),
        "version": np.array([f"{e} {v}" for e, v in zip(engine, minor, strict=True)], dtype=np.str_),
        "family": cases.text("family"),
        "maker": np.array([maker_class(str(f)) for f in cases.text("family")], dtype=np.str_),
        "gpu": cases.text("gpu"),
        "architecture": cases.text("architecture"),
        "format": cases.text("weight_class"),
        "moe": np.where(cases["experts"] > 0, "moe", "dense"),
        "degree": degree.astype(np.str_),
        "data": np.where(cases["data"] > 1, "dp", "-"),
        "stages": np.where(cases["pipeline"] > 1, "pp", "-"),
        "kv": cases["kv_bytes"].astype(np.str_),
    }
    slopes = {
        "one": np.ones(len(cases)),
        "batch": log_batch,
        "batch_squared": log_batch**2,
        "prompt": np.log2(np.maximum(cases["input_tokens"], 1.0)) / 5 - 2,
        "output": np.log2(np.maximum(cases["output_tokens"], 1.0)) / 4 - 2,
        "weight": np.log2(np.maximum(per_gpu_ms, 1e-3)) / 3 - 0.5,
        "size": np.log2(np.maximum(stored, 0.05) / 10) / 3,
        "batch_by_prompt": log_batch * (np.log2(np.maximum(cases["input_tokens"], 1.0)) / 5 - 2),
        "batch_by_degree": log_batch * np.log2(np.maximum(cases["tensor"], 1.0)) / 3,
    }
    return Features(words=words, slopes=slopes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Columns of the linear problem: one per effect that at least two groups (or the fit's floor) support."""

    names: tuple[str, ...]
    matrix: Floats  # spread × slope where the row has the label, else 0


def design(feature: Features, group: Words, least_groups: int = 2) -> Design:
    """The design matrix over labels that occur in ``least_groups`` groups or more."""
    names: list[str] = []
    columns: list[Floats] = []
    for block in BLOCKS:
        labels, inverse = np.unique(feature.labels(block), return_inverse=True)
        slope = feature.slopes[block.slope] * block.spread
        for i, label in enumerate(labels):
            mask = inverse == i
            if len(set(group[mask].tolist())) >= least_groups:
                names.append(str(label))
                columns.append(np.where(mask, slope, 0.0))
    return Design(names=tuple(names), matrix=np.stack(columns, axis=1) if columns else np.zeros((len(group), 0)))


class Effects:
    """Fitted effects by name, in units of their block's spread."""

    def __init__(self, values: Mapping[str, float]) -> None:
        self.values = dict(values)

    def correction(self, feature: Features) -> Floats:
        """Sum of effects in log seconds for every row; a label without evidence adds nothing."""
        total = np.zeros(len(feature.slopes["one"]))
        for block in (*BLOCKS, *OWN_BLOCKS):
            labels, inverse = np.unique(feature.labels(block), return_inverse=True)
            found = np.array([self.values.get(str(label), 0.0) for label in labels])
            total += found[inverse] * feature.slopes[block.slope] * block.spread
        return total

    def has(self, block: str, label: str) -> bool:
        return f"{block}:{label}" in self.values
