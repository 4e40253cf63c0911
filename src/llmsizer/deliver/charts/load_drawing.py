"""Lines over two axes, and hours as a grid of numbers: what the charts of load are drawn with."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmsizer.deliver.elements import svg

WIDE = 560.0
LINE_STYLES = ("load-1", "load-2", "load-3")  # colour and dashes, in load.css
_MARK_ROW = 16.0  # pixels for the words of an upright mark, above the chart
HEAT_STEPS = 6  # .heat-0 … .heat-5
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A scale's bounds and how it is read; ``ticks`` where the scale's own are too few."""

    title: str
    low: float
    high: float
    words: Callable[[float], str]
    logarithmic: bool = False

    def scale(self, start: float, end: float) -> svg.Scale:
        return svg.Scale(low=self.low, high=self.high, start=start, end=end, logarithmic=self.logarithmic)

    def ticks(self, scale: svg.Scale) -> list[float]:
        """On a logarithmic axis of less than two decades 1, 2 and 5 of each; otherwise the scale's own."""
        own = scale.ticks
        if not self.logarithmic or len(own) > 2:
            return own
        fine = {tick * step for tick in (self.low_decade, *own) for step in (1, 2, 5)}
        return sorted(tick for tick in fine if self.low <= tick <= self.high)

    @property
    def low_decade(self) -> float:
        decade = 1.0
        while decade > self.low:
            decade /= 10
        while decade * 10 <= self.low:
            decade *= 10
        return decade


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points in order; ``style`` is an index into the line styles."""

    name: str
    points: tuple[tuple[float, float], ...]
    style: int
    dots: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A straight line across the chart at a value of one axis, with its words."""

    words: str
    at: float
    upright: bool
    css: str = "mark"


def draw_lines(lines: Sequence[Line], marks: Sequence[Mark], x_axis: Axis, y_axis: Axis, width: float, alt: str) -> str:
    """One chart. What lies outside the axes is cut off; marks outside are left out."""
    height = 340.0 if width >= WIDE else 300.0
    upright = sum(mark.upright for mark in marks)
    x, y = x_axis.scale(58, width - 16), y_axis.scale(height - 42, 26 + _MARK_ROW * upright)
    body = _axes(x_axis, y_axis, x, y)
    clip = f"load-{zlib.crc32(f'{alt} {width}'.encode())}"  # the same page has many charts
    body.append(f'<clipPath id="{clip}">{svg.rect(x.start, y.end, x.end - x.start, y.start - y.end, fill="none")}'
                "</clipPath>")  # fmt: skip
    body.append(f'<g clip-path="url(#{clip})">')
    for line in lines:
        style = LINE_STYLES[line.style % len(LINE_STYLES)]
        body.append(svg.path([(x(a), y(b)) for a, b in line.points], f"line {style}"))
        if line.dots:
            body.extend(
                f'<circle cx="{svg.number(x(a))}" cy="{svg.number(y(b))}" r="3" class="dot {style}"/>'
                for a, b in line.points
            )
    body.append("</g>")
    body.extend(_marks(marks, x_axis, y_axis, x, y))
    return svg.document(width, height, alt, body)


def _axes(x_axis: Axis, y_axis: Axis, x: svg.Scale, y: svg.Scale) -> list[str]:
    body = []
    for tick in y_axis.ticks(y):
        body.append(svg.line(x.start, y(tick), x.end, y(tick), "grid"))
        body.append(svg.text(x.start - 6, y(tick) + 4, y_axis.words(tick), css="axis", anchor="end"))
    for tick in x_axis.ticks(x):
        body.append(svg.line(x(tick), y.start, x(tick), y.start + 5, "tick"))
        body.append(svg.text(x(tick), y.start + 18, x_axis.words(tick), css="axis", anchor="middle"))
    body.append(svg.line(x.start, y.start, x.end, y.start, "tick"))
    body.append(svg.text((x.start + x.end) / 2, y.start + 36, x_axis.title, css="axis", anchor="middle"))
    body.append(svg.text(0, 12, y_axis.title, css="axis"))
    return body


def _marks(marks: Sequence[Mark], x_axis: Axis, y_axis: Axis, x: svg.Scale, y: svg.Scale) -> list[str]:
    body = []
    inside = [
        m for m in marks if (x_axis if m.upright else y_axis).low <= m.at <= (x_axis if m.upright else y_axis).high
    ]
    upright = sorted((m for m in inside if m.upright), key=lambda m: m.at)
    for row, mark in enumerate(upright):
        at = x(mark.at)
        # Each in a line of its own above the chart, on whichever side has room.
        anchor = "end" if at - x.start > x.end - at else "start"
        top = 26 + _MARK_ROW * row
        body.append(svg.line(at, top, at, y.start, mark.css))
        body.append(svg.text(at + (-5 if anchor == "end" else 5), top + 8, mark.words, css="mark-words", anchor=anchor))
    for mark in inside:
        if not mark.upright:
            body.append(svg.line(x.start, y(mark.at), x.end, y(mark.at), mark.css))
            body.append(svg.text(x.start + 6, y(mark.at) - 5, mark.words, css="mark-words"))
    return body


def draw_week(shares: Sequence[float], missed: Sequence[str], width: float, alt: str) -> str:
    """Days by hours with a number in each cell; on a narrow page the hours run down. ``shares`` of 0 to 1 and above."""
    days, down = len(shares) // 24, width < WIDE
    left, top = 40.0, 22.0
    columns, rows = (days, 24) if down else (24, days)
    step_x, step_y = (width - left) / columns, 20.0 if down else 30.0
    body: list[str] = []
    for column in range(columns):
        name = DAYS[column] if down else f"{column:02d}"
        body.append(svg.text(left + (column + 0.5) * step_x, top - 7, name, css="axis", anchor="middle"))
    for row in range(rows):
        name = f"{row:02d}" if down else (DAYS[row] if days == 7 else "day")
        body.append(svg.text(left - 8, top + (row + 0.5) * step_y + 4, name, css="axis", anchor="end"))
    for index, (share, why) in enumerate(zip(shares, missed, strict=True)):
        day, hour = divmod(index, 24)
        column, row = (day, hour) if down else (hour, day)
        at_x, at_y = left + column * step_x, top + row * step_y
        heat = int(min(share, 0.999) * HEAT_STEPS)
        title = f"{DAYS[day]} {hour:02d}:00: {share:.0%}{', misses ' + why if why else ''}"
        css = f"heat-{heat}" + (" missed" if why else "")
        body.append(svg.rect(at_x + 1, at_y + 1, step_x - 2, step_y - 2, fill="", css=css, title=title))
        words = f"{share * 100:.0f}{'!' if why else ''}" if share < 10 else "!"
        body.append(svg.text(at_x + step_x / 2, at_y + step_y / 2 + 4, words, css=f"on-heat-{heat}", anchor="middle"))
    return svg.document(width, top + rows * step_y + 4, alt, body)
