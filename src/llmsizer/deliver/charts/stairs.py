"""Build against buy, drawn: stairs for machines, lines for tokens, a mark where they cross."""

from __future__ import annotations

from collections.abc import Iterator

from llmsizer.deliver.elements import svg
from llmsizer.deliver.elements.basis import mark
from llmsizer.deliver.elements.chart import Key, money_ticks, short_tokens
from llmsizer.money.comparison import Comparison, PathCost
from llmsizer.money.currency import shown

LEAST_USD_SHOWN = 10.0
OTHERS_DRAWN, SAME_DRAWN = 3, 6
WIDE = 560.0  # from here on, lines carry their names at their ends


def drawn_paths(comparison: Comparison) -> tuple[PathCost, ...]:
    """Machines, the same model's APIs, and of the other models the cheapest, the middle and the dearest."""
    others = sorted((p for p in comparison.paths if not p.same_model), key=_last_cost)
    few = others if len(others) <= OTHERS_DRAWN else [others[0], others[len(others) // 2], others[-1]]
    same = [p for p in comparison.paths if p.same_model]
    return (*same[:SAME_DRAWN], *few)


def _last_cost(path: PathCost) -> float:
    return next((s.usd_per_month.value for s in reversed(path.steps) if s.usd_per_month.value is not None), 0.0)


def line_css(path: PathCost) -> str:
    """The class of a line: by path, and dashed where it is another model."""
    return f"line-{path.path}" + ("" if path.same_model else " other-model")


def line_keys(comparison: Comparison) -> tuple[Key, ...]:
    """What each numbered line is, and how sure its cost."""
    return tuple(
        Key(symbol=str(index), css=f"swatch {line_css(path)}", words=_key_words(path))
        for index, path in enumerate(drawn_paths(comparison), 1)
    )


def _key_words(path: PathCost) -> str:
    bases = dict.fromkeys(step.usd_per_month.basis for step in path.steps)
    other = "" if path.same_model else ", another model"
    note = f" ({path.note})" if path.note and path.same_model else ""
    return f"{path.label}{other}{note}, {' or '.join(mark(basis) for basis in bases) or mark('unknown')}"


def known_runs(path: PathCost) -> Iterator[list[tuple[float, float, float, float]]]:
    """Unbroken runs of (volume, value, low, high): an unknown cost is a gap, never a zero."""
    run: list[tuple[float, float, float, float]] = []
    for step in path.steps:
        cost = step.usd_per_month
        if cost.value is None or cost.value <= 0:
            if run:
                yield run
            run = []
            continue
        low = cost.value if cost.low is None else cost.low
        high = cost.value if cost.high is None else cost.high
        run.append((step.tokens_per_month, cost.value, low, high))
    if run:
        yield run


def axes_of(comparison: Comparison, width: float, height: float) -> tuple[svg.Scale, svg.Scale]:
    """Logarithmic scales that hold every known cost of ten dollars or more."""
    runs = [run for path in drawn_paths(comparison) for run in known_runs(path)]
    costs = [c for run in runs for _, *values in run for c in values if c > 0]
    volumes = [v for v in comparison.tokens_per_month if v > 0] or [1e6, 1e9]
    lowest = max(LEAST_USD_SHOWN, min(costs, default=LEAST_USD_SHOWN) * 0.8)
    highest = max(max(costs, default=lowest) * 1.3, lowest * 10)
    right = 250 if width >= WIDE else 22
    x = svg.Scale(low=min(volumes), high=max(volumes) * 1.0001, start=52, end=width - right, logarithmic=True)
    return x, svg.Scale(low=lowest, high=highest, start=height - 40, end=24, logarithmic=True)


def draw_stairs(comparison: Comparison, tokens_per_month: float | None, width: float, alt: str) -> str:
    """The chart at one width."""
    height = 400.0 if width >= WIDE else 340.0
    x, y = axes_of(comparison, width, height)
    body = _axes(x, y, width)
    clip = f"clip{int(width)}"
    body.append(f'<clipPath id="{clip}">{svg.rect(x.start, 10, x.end - x.start, y.start - 10, fill="none")}</clipPath>')
    body.append(f'<g clip-path="url(#{clip})">')
    for path in drawn_paths(comparison):
        body.extend(_line(path, x, y))
    if tokens_per_month is not None and x.low <= tokens_per_month <= x.high:
        body.append(svg.line(x(tokens_per_month), 10, x(tokens_per_month), y.start, "own-volume"))
    body.append("</g>")
    body.extend(_crossings(comparison, x, y))
    body.extend(_ends(comparison, x, y, width))
    if tokens_per_month is not None and x.low <= tokens_per_month <= x.high:
        body.append(svg.text(x(tokens_per_month) - 5, 22, "your volume", css="axis", anchor="end"))
    return svg.document(width, height, alt, body)


def _axes(x: svg.Scale, y: svg.Scale, width: float) -> list[str]:
    body = []
    for tick in money_ticks(y.low, y.high, svg.decades):
        height = y(tick.at_usd)
        body.append(svg.line(x.start, height, x.end, height, "grid"))
        body.append(svg.text(x.start - 6, height + 4, tick.words, css="axis", anchor="end"))
    for volume in x.ticks:
        body.append(svg.line(x(volume), y.start, x(volume), y.start + 5, "tick"))
        body.append(svg.text(x(volume), y.start + 18, short_tokens(volume), css="axis", anchor="middle"))
    body.append(svg.line(x.start, y.start, x.end, y.start, "tick"))
    middle = (x.start + x.end) / 2
    body.append(svg.text(middle, y.start + 36, "tokens a month, in and out", css="axis", anchor="middle"))
    body.append(svg.text(0, 9, f"{shown().symbol.strip()} a month", css="axis"))
    return body


def _line(path: PathCost, x: svg.Scale, y: svg.Scale) -> Iterator[str]:
    for run in known_runs(path):
        shapes = [[(x(v), y(values[i])) for v, *values in run] for i in range(3)]
        if path.path != "api":
            shapes = [svg.stepped(shape) for shape in shapes]
        value, low, high = shapes
        if low != high:
            yield svg.path([*low, *reversed(high)], f"band {line_css(path)}", closed=True)
        yield svg.path(value, f"line {line_css(path)}")


def _crossings(comparison: Comparison, x: svg.Scale, y: svg.Scale) -> Iterator[str]:
    by_label = {path.label: path for path in comparison.paths}
    for crossover in comparison.crossovers:
        volume, path = crossover.tokens_per_month, by_label.get(crossover.cheaper_above)
        if volume is None or path is None or not x.low <= volume <= x.high:
            continue
        near = [s for s in path.steps if s.tokens_per_month >= volume and s.usd_per_month.value]
        if near and near[0].usd_per_month.value:
            height = min(max(y(near[0].usd_per_month.value), 14), y.start)
            yield f'<circle cx="{svg.number(x(volume))}" cy="{svg.number(height)}" r="6" class="crossing"/>'


def _ends(comparison: Comparison, x: svg.Scale, y: svg.Scale, width: float) -> Iterator[str]:
    ends = []
    for index, path in enumerate(drawn_paths(comparison), 1):
        runs = list(known_runs(path))
        if runs:
            ends.append((index, path, y(runs[-1][-1][1])))
    heights = svg.spread([height for *_, height in ends], 16, 16, y.start)
    for (index, path, _), height in zip(ends, heights, strict=True):
        label = str(index) if width < WIDE else svg.shortened(f"{index}  {path.label}", width - x.end - 12, 12)
        yield svg.text(x.end + 8, height + 4, label, css=f"line-end {line_css(path)}")
