"""Do the 90 % intervals cover? Each figure estimated 500 times from documents drawn anew, by document and by token.

Simulated: documents differ, tokens of one document resemble each other, lengths differ, divergence is skewed as
measured divergence is. Resampled (with ``--documents``): documents drawn from those of a real evaluation of the
reference model, whose mean over all of them is the truth.

    python benchmarks/quality_intervals.py [--documents FILE]
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmsizer.quality.partial import Kept
from llmsizer.quality.statistics import INTERVAL_LEVEL, mean_by_document, quantile_by_document
from llmsizer.quality.tasks import paired_score
from llmsizer.student import student_quantile

RESULTS = Path(__file__).parent / "results" / "quality_intervals.json"
TIMES, DOCUMENTS, SEED = 500, 40, 0
BAND = (0.85, 0.95)
Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator], list[Floats]]
"""One sample: per document the values of its tokens."""


def divergence(generator: np.random.Generator) -> list[Floats]:
    """Skewed twice over: lognormal between documents (σ 0.4) and within (σ 1)."""
    lengths = generator.integers(64, 256, DOCUMENTS)
    levels = 1e-3 * np.exp(generator.normal(-0.08, 0.4, DOCUMENTS))  # mean 1e-3
    return [level * np.exp(generator.normal(-0.5, 1.0, n)) for level, n in zip(levels, lengths, strict=True)]


def paired_difference(generator: np.random.Generator) -> list[Floats]:
    """Two variants on the same documents: what is left when what they share cancels, mean 1e-4."""
    lengths = generator.integers(64, 256, DOCUMENTS)
    levels = generator.normal(1e-4, 3e-4, DOCUMENTS)
    return [level + generator.normal(0, 1e-3, n) for level, n in zip(levels, lengths, strict=True)]


def agreement(generator: np.random.Generator) -> list[Floats]:
    """The same first choice or not; documents agree in 90 to 100 %, mean 0.975."""
    lengths = generator.integers(64, 256, DOCUMENTS)
    shares = generator.beta(39, 1, DOCUMENTS)
    return [(generator.random(n) < share).astype(np.float64) for share, n in zip(shares, lengths, strict=True)]


def covers(draw: Draw, truth: float) -> dict[str, float]:
    """Share of the intervals that hold the truth, by document as the program does and by token as it does not."""
    generator = np.random.default_rng(SEED)
    held = {"by_document": 0, "by_token": 0}
    for _ in range(TIMES):
        documents = draw(generator)
        sums = np.array([d.sum() for d in documents])
        tokens = np.array([float(d.size) for d in documents])
        mean = mean_by_document(sums, tokens)
        held["by_document"] += mean.low <= truth <= mean.high
        flat = np.concatenate(documents)
        margin = student_quantile(0.5 + INTERVAL_LEVEL / 2, flat.size - 1) * flat.std(ddof=1) / math.sqrt(flat.size)
        held["by_token"] += abs(flat.mean() - truth) <= margin
    return {name: count / TIMES for name, count in held.items()}


def covers_tail() -> float:
    """The 99th percentile of divergence by token, whose truth is taken from two million tokens."""
    generator = np.random.default_rng(SEED)
    truth = float(np.quantile(np.concatenate([x for _ in range(300) for x in divergence(generator)]), 0.99))
    held = 0
    for _ in range(TIMES):
        found = quantile_by_document(divergence(generator), 0.99)
        held += found.low <= truth <= found.high
    return held / TIMES


def covers_tasks() -> dict[str, float]:
    """Two models on the same 200 items that agree on nine of ten: difference −0.02, recovery 0.68 ÷ 0.70."""
    generator = np.random.default_rng(SEED)
    held = {"difference": 0, "recovery": 0}
    for _ in range(TIMES):
        kind = generator.choice(4, 200, p=[0.64, 0.06, 0.04, 0.26])  # both right, reference only, variant only, none
        own = {str(i): float(k in (0, 2)) for i, k in enumerate(kind)}
        reference = {str(i): float(k in (0, 1)) for i, k in enumerate(kind)}
        score = paired_score(own, reference, metric="acc")
        assert score.difference_low is not None and score.difference_high is not None
        assert score.recovery_low is not None and score.recovery_high is not None
        held["difference"] += score.difference_low <= -0.02 <= score.difference_high
        held["recovery"] += score.recovery_low <= 0.68 / 0.70 <= score.recovery_high
    return {name: count / TIMES for name, count in held.items()}


def resampled(file: Path) -> dict[str, dict[str, float]]:
    """Coverage over documents of a real evaluation, from the file that an unfinished one leaves."""
    by_variant: dict[str, list[Floats]] = {}
    for (name, _), loss in sorted(Kept(file).read().items()):
        by_variant.setdefault(name.split("#")[0], []).append(loss.kl_per_token)
    found = {}
    for name, documents in by_variant.items():
        flat = np.concatenate(documents)

        def draw(generator: np.random.Generator, documents: list[Floats] = documents) -> list[Floats]:
            return [documents[i] for i in generator.integers(0, len(documents), DOCUMENTS)]

        found[name] = covers(draw, float(flat.mean()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=Path, help="the .unfinished file of an evaluation")
    arguments = parser.parse_args()
    simulated = {
        "KL divergence": covers(divergence, 1e-3),
        "difference of two variants": covers(paired_difference, 1e-4),
        "top-1 agreement": covers(agreement, 0.975),
    }
    tasks, tail = covers_tasks(), covers_tail()
    result = {
        "level": INTERVAL_LEVEL,
        "times": TIMES,
        "documents": DOCUMENTS,
        "simulated": simulated,
        "kl_p99_by_document": tail,
        "task_by_item": tasks,
        "resampled_from_measured": resampled(arguments.documents) if arguments.documents else {},
    }
    held = [c["by_document"] for c in simulated.values()] + [tail, *tasks.values()]
    result["within_band"] = all(BAND[0] <= share <= BAND[1] for share in held)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
