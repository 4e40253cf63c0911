"""SVG by hand: escaped text, two scales, a few shapes; colours are CSS variables so that a theme can change them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmsizer.deliver.elements.escaping import escape

CHARACTER_WIDTH = 0.56  # of the font size, on average, in a sans-serif face


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From values to pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        if self.logarithmic:
            value, low, high = (math.log10(max(v, 1e-300)) for v in (value, self.low, self.high))
        else:
            low, high = self.low, self.high
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Decades on a logarithmic scale, steps of 1, 2 or 5 on a linear one."""
        if self.logarithmic:
            return decades(self.low, self.high)
        return linear_ticks(self.low, self.high)


def decades(low: float, high: float) -> list[float]:
    """Powers of ten between two bounds."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**power for power in range(first, last + 1)]


def linear_ticks(low: float, high: float) -> list[float]:
    """Round values between two bounds."""
    span = high - low
    if span <= 0:
        return [low]
    rough = span / 5  # about as many
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [first * step + i * step for i in range(int((high - first * step) / step + 1e-9) + 1)]


def number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def text(x: float, y: float, words: str, *, css: str = "", anchor: str = "start") -> str:
    klass = f' class="{css}"' if css else ""
    return f'<text x="{number(x)}" y="{number(y)}"{klass} text-anchor="{anchor}">{escape(words)}</text>'


def rect(x: float, y: float, width: float, height: float, *, fill: str, css: str = "", title: str = "") -> str:
    klass = f' class="{css}"' if css else ""
    tip = f"<title>{escape(title)}</title>" if title else ""
    size = f'width="{number(max(width, 0))}" height="{number(max(height, 0))}"'
    return f'<rect x="{number(x)}" y="{number(y)}" {size} fill="{fill}"{klass}>{tip}</rect>'


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}" class="{css}"/>'


def path(points: Sequence[tuple[float, float]], css: str, *, closed: bool = False) -> str:
    moves = " ".join(f"{'M' if i == 0 else 'L'}{number(x)},{number(y)}" for i, (x, y) in enumerate(points))
    return f'<path d="{moves}{"Z" if closed else ""}" class="{css}"/>'


def stepped(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of stairs: level up to the next point, then straight up."""
    corners: list[tuple[float, float]] = []
    for index, (x, y) in enumerate(points):
        if index:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    return corners


def document(width: float, height: float, label: str, body: Sequence[str], css: str = "") -> str:
    """A drawing with its own label for those who do not see it."""
    return (
        f'<svg class="chart {css}" viewBox="0 0 {number(width)} {number(height)}" role="img" '
        f'aria-label="{escape(label)}" xmlns="http://www.w3.org/2000/svg">{"".join(body)}</svg>'
    )


def shortened(words: str, pixels: float, font_size: float = 13) -> str:
    """The words, cut to what fits."""
    room = max(1, int(pixels / (font_size * CHARACTER_WIDTH)))
    return words if len(words) <= room else words[: room - 1] + "…"


def text_width(words: str, font_size: float = 13) -> float:
    return len(words) * font_size * CHARACTER_WIDTH


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions pushed apart to at least a gap, kept in order and within bounds."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    placed = [0.0] * len(positions)
    floor = low
    for index in order:
        placed[index] = max(positions[index], floor)
        floor = placed[index] + gap
    ceiling = high
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return placed
