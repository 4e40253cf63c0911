"""Every held-out residual as one picture: a dot per group of rows, a line of dots per kind of measurement."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from llmsizer.physics.answers.validate import METRIC_OF_TARGET
from llmsizer.physics.rows.observations import Observations
from llmsizer.physics.steps.cases import Floats

WIDTH, LEFT, ROW, TOP = 860, 190, 62, 46
LIMIT = math.log(4)  # beyond a factor of four a dot sits on the edge, as a triangle would say
TICKS = (0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0)


def residual_svg(seen: Observations, columns: dict[str, Floats], unscored: str) -> str:
    """A strip per target; colours are the Okabe–Ito blue, orange and green, shapes differ too."""
    targets = [t for t in METRIC_OF_TARGET if ((seen.target == t) & (seen.source != unscored)).any()]
    height = TOP + ROW * len(targets) + 40
    body = [_frame(targets, height, list(columns))]
    for row, target in enumerate(targets):
        for place, residual in enumerate(columns.values()):
            y = TOP + ROW * row + 16 + 16 * place
            groups: dict[str, list[float]] = defaultdict(list)
            for i in np.flatnonzero((seen.target == target) & (seen.source != unscored)):
                # log(measured / predicted) seconds; throughput counts the other way round
                groups[str(seen.group[i])].append(float(residual[i]))
            body += [_dot(_x(float(np.median(v))), y + _jitter(name), place) for name, v in sorted(groups.items())]
    label = "Held-out residuals by kind of measurement, one mark per group of rows"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}" '
        f'font-family="sans-serif" font-size="13"><rect width="{WIDTH}" height="{height}" fill="#fff"/>'
        + "".join(body)
        + "</svg>\n"
    )


def write_residual_svg(path: Path, seen: Observations, columns: dict[str, Floats], unscored: str) -> None:
    path.write_text(residual_svg(seen, columns, unscored), encoding="utf-8")


def _x(log_ratio: float) -> float:
    clipped = max(-LIMIT, min(LIMIT, log_ratio))
    return LEFT + (clipped + LIMIT) / (2 * LIMIT) * (WIDTH - LEFT - 24)


def _jitter(name: str) -> float:
    return hashlib.sha256(name.encode()).digest()[0] / 255 * 10 - 5


def _dot(x: float, y: float, place: int) -> str:
    colour = ("#0072B2", "#D55E00", "#009E73")[place]
    common = f'fill="{colour}" fill-opacity="0.6"'
    if place == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" {common}/>'
    if place == 1:
        return f'<rect x="{x - 2.2:.1f}" y="{y - 2.2:.1f}" width="4.4" height="4.4" {common}/>'
    return f'<path d="M{x:.1f} {y - 3:.1f}l3 5.2h-6z" {common}/>'


def _frame(targets: list[str], height: float, names: list[str]) -> str:
    parts = []
    for tick in TICKS:
        x, strong = _x(math.log(tick)), tick == 1.0
        stroke = "#444" if strong else "#ddd"
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{height - 34}" stroke="{stroke}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 18}" text-anchor="middle" fill="#444">{tick:g}×</text>')
    for row, target in enumerate(targets):
        parts.append(f'<text x="8" y="{TOP + ROW * row + 36}" fill="#222">{METRIC_OF_TARGET[target]}</text>')
    for place, name in enumerate(names):
        parts.append(_dot(LEFT + 190 * place, 20, place))
        parts.append(f'<text x="{LEFT + 12 + 190 * place}" y="24" fill="#222">{name.replace("gpu", "GPU")}</text>')
    parts.append(f'<text x="8" y="{height - 18}" fill="#444">measured ÷ predicted time</text>')
    return "".join(parts)
