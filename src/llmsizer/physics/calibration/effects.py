"""What formulas leave over, pooled by engine, architecture, GPU, format and regime.

The log residual of a prediction is a sum of named effects, each shrunk towards zero by as much as its block's spread
says (a hierarchical model with fixed spreads: Gelman & Hill 2007). A class without evidence has effect zero, so an
unseen GPU gets its family's and engine's effects and the physics of its own data sheet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmsizer.physics.steps.cases import Cases, Floats, Words, maker_class
from llmsizer.physics.steps.formats import POOLED_ENGINES

Ints = np.ndarray[tuple[int, ...], np.dtype[np.intp]]


@dataclass(frozen=True, slots=True)
class Block:
    """Effects of one kind: one per combination of ``keys``, times a slope feature, with one spread."""

    keys: tuple[str, ...]
    spread: float  # standard deviation of the effect in log seconds
    slope: str = "one"
    is_own: bool = False  # of the user's own records: kept apart from the public effects of the same keys

    @property
    def name(self) -> str:
        prefix = "own " if self.is_own else ""
        return prefix + "×".join(self.keys) + ("" if self.slope == "one" else f"~{self.slope}")


# Spreads: ``python benchmarks/fit_coefficients.py --spreads`` (marginal likelihood, physics/calibration/spreads.py).
BLOCKS = (
    Block(("engine",), 0.068, "data_parallel"),
    Block(("engine",), 0.056, "staged"),
    Block(("gpu", "engine", "phase"), 0.038),
    Block(("engine", "phase"), 0.277),
    Block(("engine", "target"), 0.157),
    Block(("version", "target"), 0.089),
    Block(("maker", "engine", "phase"), 0.077),
    Block(("maker", "engine"), 0.056, "prompt"),
    Block(("family", "format"), 0.050),
    Block(("architecture", "gpu"), 0.041),
    Block(("architecture", "format"), 0.033),
    Block(("degree", "engine"), 0.063),
    Block(("degree", "family"), 0.052),
    Block(("degree", "architecture"), 0.038),
    Block(("engine", "stage"), 0.087),
    Block(("pooled_engine", "stage"), 0.092, "weight"),
    Block(("pooled_engine", "target"), 0.124, "batch"),
    Block(("pooled_engine", "target"), 0.094, "batch_squared"),
    Block(("family", "phase"), 0.078, "batch"),
    Block(("moe", "pooled_engine"), 0.090, "batch"),
    Block(("version", "target"), 0.045, "batch"),
    Block(("gpu", "engine"), 0.038, "batch"),
    Block(("kv", "engine"), 0.054, "prompt"),
    Block(("pooled_engine", "target"), 0.147, "output"),
    Block(("pooled_engine", "phase"), 0.103, "size"),
    Block(("pooled_engine", "target"), 0.044, "batch_by_prompt"),
    Block(("gpu", "engine", "phase"), 0.092, "weight"),
    Block(("gpu", "engine", "degree"), 0.034),
    Block(("format", "engine", "target"), 0.029),
    Block(("format", "engine"), 0.051, "batch"),
    Block(("architecture", "engine"), 0.048, "batch"),
    Block(("gpu", "version"), 0.036),
    Block(("architecture", "version"), 0.023),
    Block(("moe", "engine", "format"), 0.084),
)


CENTRED = frozenset(
    {"batch", "several", "batch_squared", "batch_by_prompt", "batch_by_degree", "prompt", "output", "weight", "size"}
)
LEAST_SPAN = 0.02
_STAGES = {
    **dict.fromkeys(("single", "static", "lone-tpot"), "fixed batch"),
    **dict.fromkeys(("load-tpot", "offline", "load-throughput", "offline-tpot"), "continuous batch"),
    **dict.fromkeys(("ttft", "load-ttft", "offline-ttft"), "prefill"),
}

# Filled by the user's own records only: what this machine's engine and format do here. The spread is as wide as two
# set-ups of one GPU differ, so that a handful of records decides.
OWN_BLOCKS = (
    Block(("gpu", "engine", "phase"), 0.50, is_own=True),
    Block(("gpu", "engine", "format", "phase"), 0.25, is_own=True),
    Block(("gpu", "engine", "phase"), 0.50, "batch", is_own=True),
    Block(("gpu", "engine", "format", "phase"), 0.25, "batch", is_own=True),
    # One row is multiplied by other kernels than several: under llama.cpp on a CPU two rows take 2.5 times one's time.
    Block(("gpu", "engine", "phase"), 0.50, "several", is_own=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Words and slopes of observations or predictions. Rows that have their words in common share a kind."""

    words: Mapping[str, Words]  # of each kind
    slopes: Mapping[str, Floats]  # of each row
    kind: Ints  # of each row

    def labels(self, block: Block) -> Words:
        """Of each kind."""
        out = self.words[block.keys[0]]
        for key in block.keys[1:]:
            out = np.char.add(np.char.add(out, "|"), self.words[key])
        return np.char.add(f"{block.name}:", out)


def _distinct(words: Mapping[str, Words], block: Block, numbers: Mapping[str, Ints]) -> tuple[list[str], Ints]:
    """A block's labels, each once, and which of them every kind has; by the words' numbers, quicker to compare."""
    mixed = np.zeros(len(numbers[block.keys[0]]), dtype=np.intp)
    for key in block.keys:
        mixed = mixed * (int(numbers[key].max(initial=0)) + 1) + numbers[key]
    _, first, inverse = np.unique(mixed, return_index=True, return_inverse=True)
    columns = [words[key][first].tolist() for key in block.keys]
    return [f"{block.name}:{'|'.join(parts)}" for parts in zip(*columns, strict=True)], inverse


def _numbered(words: Words) -> Ints:
    """A number for each word, the same for the same word."""
    listed = words.tolist()
    places = {word: place for place, word in enumerate(dict.fromkeys(listed))}
    return np.fromiter(map(places.__getitem__, listed), dtype=np.intp, count=len(listed))


def words_of(cases: Cases) -> dict[str, Words]:
    """What of the words depends on the deployment alone."""
    engine = cases.text("engine")
    versions = cases.text("engine_version").tolist()
    minor_of = {version: re.sub(r"^(v?\d+\.\d+).*", r"\1", str(version)) for version in set(versions)}
    minor = [minor_of[version] for version in versions]
    degree = np.minimum(cases["tensor"] * cases["pipeline"], 16).astype(int)
    return {
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
        "kv": cases["kv_bytes"].astype(np.str_),
    }


def features(
    cases: Cases, target: Words, batch: Floats, words: Mapping[str, Words] | None = None, kind: Ints | None = None
) -> Features:
    """Features of cases (already one per observation); slopes are centred and of order one.

    ``words``: ``words_of`` fewer cases that these repeat, with ``kind`` saying which of them, and of the targets, each
    row has.
    """
    log_batch = np.log2(np.maximum(batch, 1.0)) / 5 - 0.5
    stored = (cases["dense_params"] + cases["experts"] * cases["expert_params"] * cases["moe_layers"]) / 1e9
    per_gpu_ms = stored * 1e9 * cases["weight_bytes"] / cases.gpus / cases["memory_bytes_per_second"] * 1e3
    of_target = {
        "target": target,
        "phase": np.where(np.char.find(target, "ttft") >= 0, "prefill", "decode"),
        "stage": np.array([_STAGES[str(t)] for t in target], dtype=np.str_),
    }
    slopes = {
        "one": np.ones(len(cases)),
        "batch": log_batch,
        "several": np.clip(batch - 1.0, 0.0, 1.0),
        "batch_squared": log_batch**2,
        "prompt": np.log2(np.maximum(cases["input_tokens"], 1.0)) / 5 - 2,
        "output": np.log2(np.maximum(cases["output_tokens"], 1.0)) / 4 - 2,
        "weight": np.log2(np.maximum(per_gpu_ms, 1e-3)) / 3 - 0.5,
        "size": np.log2(np.maximum(stored, 0.05) / 10) / 3,
        "batch_by_prompt": log_batch * (np.log2(np.maximum(cases["input_tokens"], 1.0)) / 5 - 2),
        "data_parallel": (cases["data"] > 1).astype(np.float64),
        "staged": (cases["pipeline"] > 1).astype(np.float64),
        "batch_by_degree": log_batch * np.log2(np.maximum(cases["tensor"], 1.0)) / 3,
    }
    return Features(
        words=of_target | dict(words or words_of(cases)),
        slopes=slopes,
        kind=np.arange(len(cases)) if kind is None else kind,
    )


@dataclass(frozen=True, slots=True)
class Span:
    """Where a label's evidence lies on its slope: an effect counts from the centre and is not extrapolated."""

    centre: float
    low: float
    high: float

    def of(self, slope: Floats) -> Floats:
        return np.clip(slope, self.low, self.high) - self.centre


_NO_SPAN = Span(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Columns of the linear problem: one per effect that at least two groups (or the fit's floor) support."""

    names: tuple[str, ...]
    matrix: Floats  # spread × (slope − centre) where the row has the label, else 0
    spans: Mapping[str, Span]


def design(feature: Features, group: Words, least_groups: int = 2, blocks: Sequence[Block] = BLOCKS) -> Design:
    """The design matrix over labels that occur in ``least_groups`` groups or more.

    Slopes are centred per label on the mean of its groups (within-group centring, Gelman & Hill 2007, §12), so that an
    engine measured at one prompt length alone gets a level and no slope.
    """
    names: list[str] = []
    columns: list[Floats] = []
    spans: dict[str, Span] = {}
    for block in blocks:
        labels, inverse = np.unique(feature.labels(block)[feature.kind], return_inverse=True)
        slope = feature.slopes[block.slope]
        for i, label in enumerate(labels):
            mask = inverse == i
            members = group[mask]
            kinds, place = np.unique(members, return_inverse=True)
            if len(kinds) < least_groups:
                continue
            column = slope
            if block.slope in CENTRED:
                own = slope[mask]
                means = np.bincount(place, own) / np.bincount(place)
                span = Span(float(means.mean()), float(own.min()), float(own.max()))
                if span.high - span.low < LEAST_SPAN:
                    continue
                spans[str(label)] = span
                column = span.of(slope)
            names.append(str(label))
            columns.append(np.where(mask, column * block.spread, 0.0))
    matrix = np.stack(columns, axis=1) if columns else np.zeros((len(group), 0))
    return Design(names=tuple(names), matrix=matrix, spans=spans)


class Effects:
    """Fitted effects by name, in units of their block's spread."""

    def __init__(self, values: Mapping[str, float], spans: Mapping[str, Span] | None = None) -> None:
        self.values = dict(values)
        self.spans = dict(spans or {})

    def correction(self, feature: Features) -> Floats:
        """Sum of effects in log seconds for every row; a label without evidence adds nothing."""
        total = np.zeros(len(feature.kind))
        numbers = {key: _numbered(words) for key, words in feature.words.items()}
        for block in (*BLOCKS, *OWN_BLOCKS):
            labels, inverse = _distinct(feature.words, block, numbers)
            found = np.array([self.values.get(label, 0.0) for label in labels])
            if not found.any():
                continue
            which = inverse[feature.kind]
            slope = feature.slopes[block.slope]
            if block.slope in CENTRED:
                spans = [self.spans.get(label, _NO_SPAN) for label in labels]
                low, high, centre = (
                    np.array([getattr(s, end) for s in spans])[which] for end in ("low", "high", "centre")
                )
                slope = np.clip(slope, low, high) - centre
            total += found[which] * slope * block.spread
        return total
