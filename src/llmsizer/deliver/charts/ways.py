"""Which way is the cheapest at which volume: one strip from a million to a trillion tokens, with your volume on it.

Drawn as boxes whose widths are shares of the strip's, so that its words keep their size on every screen, and in the
colour of the text around it, so that it suits light and dark. No chart library has to be loaded for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf, log10, sqrt

from llmsizer.deliver.charts.colours import PATH_COLOURS, WORDS_ON_MARKS
from llmsizer.deliver.elements.chart import short_tokens
from llmsizer.deliver.elements.escaping import escape
from llmsizer.money.comparison import Comparison, PathCost
from llmsizer.money.cost import Path

_LEAST_NAMED = 0.07  # of the strip: a narrower stretch is named by its tip and by the words that go with the strip
_TOP, _THICK, _HEIGHT = 26, 28, 84  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Volumes over which one way stays the cheapest, in tokens a month."""

    path: Path
    first_tokens: float
    last_tokens: float


def stretches(comparison: Comparison, left_out: Collection[Path] = ()) -> tuple[Stretch, ...]:
    """The cheapest way of the model that was asked for, volume by volume; ways left out may not be taken."""
    volumes = comparison.tokens_per_month
    costs = [
        (path.path, _usd_at(path, volumes))
        for path in comparison.paths
        if path.same_model and path.path not in left_out
    ]
    cheapest = [min(costs, key=lambda cost: cost[1][at])[0] if costs else None for at in range(len(volumes))]
    known = [way if any(usd[at] < inf for _, usd in costs) else None for at, way in enumerate(cheapest)]
    runs = [(way, [at for at, _ in run]) for way, run in groupby(enumerate(known), key=lambda one: one[1])]
    found: list[Stretch] = []
    for index, (way, run) in enumerate(runs):
        if way is None:
            continue
        start, end = volumes[run[0]], volumes[run[-1]]
        if index and runs[index - 1][0] is not None:
            start = found[-1].last_tokens
        if index + 1 < len(runs):
            after = runs[index + 1][0]
            end = end if after is None else _border(comparison, (way, after), end, volumes[run[-1] + 1])
        found.append(Stretch(path=way, first_tokens=start, last_tokens=end))
    return tuple(found)


def _usd_at(path: PathCost, volumes: Sequence[float]) -> list[float]:
    """The cost at each volume; infinite where it is not known."""
    known = {step.tokens_per_month: step.usd_per_month.value for step in path.steps}
    return [inf if (usd := known.get(volume)) is None else usd for volume in volumes]


def _border(comparison: Comparison, ways: tuple[Path, Path], low: float, high: float) -> float:
    """Where the second takes over from the first: a crossover that was searched, else about the middle."""
    for crossover in comparison.crossovers:
        names = (_way(crossover.cheaper_below), _way(crossover.cheaper_above))
        at = crossover.tokens_per_month
        if names == ways and at is not None and low <= at <= high:
            return at
    return sqrt(low * high)


def _way(name: str) -> str:
    return name if name in ("own", "rent") else "api"


def way_at(found: Sequence[Stretch], tokens_per_month: float) -> Path | None:
    """The cheapest way at a volume; None beyond the strip."""
    return next((one.path for one in found if one.first_tokens <= tokens_per_month <= one.last_tokens), None)


def ways_alt(found: Sequence[Stretch], names: Mapping[Path, str], between: str, volume: Callable[[float], str]) -> str:
    """The strip for those who cannot see it; ``between`` has places for way, low and high, ``volume`` says tokens."""
    said = (
        between.format(way=names[one.path], low=volume(one.first_tokens), high=volume(one.last_tokens)) for one in found
    )
    return "; ".join(said)


def ways_html(
    found: Sequence[Stretch], names: Mapping[Path, str], tokens_per_month: float, *, yours: str, alt: str
) -> str:
    """The strip; ``names`` of the ways and ``yours``, the words at your volume, in the page's language."""
    if not found:
        return ""
    low, high = found[0].first_tokens, found[-1].last_tokens

    def share(volume: float) -> float:
        return log10(volume / low) / log10(high / low) if high > low > 0 else 0.5

    body = [_band(one, share(one.first_tokens), share(one.last_tokens), names[one.path]) for one in found]
    decade = 10.0 ** round(log10(low))
    while decade <= high * 1.001:
        body.append(_words_at(share(decade), _TOP + _THICK + 6, short_tokens(decade)))
        decade *= 10
    if low <= tokens_per_month <= high:
        body.append(_words_at(share(tokens_per_month), 0, yours, strong=True))
        place = f"left:{share(tokens_per_month):.2%};top:{_TOP - 6}px;height:{_THICK + 12}px;width:3px"
        body.append(f'<div style="position:absolute;{place};margin-left:-1px;background:currentColor"></div>')
    style = f"position:relative;height:{_HEIGHT}px;font-size:14px;line-height:20px"
    return f'<div role="img" aria-label="{escape(alt)}" style="{style}">{"".join(body)}</div>'


def _band(one: Stretch, start: float, end: float, name: str) -> str:
    tip = f"{name}: {_rounded(one.first_tokens)} – {_rounded(one.last_tokens)}"
    place = f"left:{start:.2%};width:{max(end - start, 0.002):.2%};top:{_TOP}px;height:{_THICK}px"
    look = (
        f"background:{PATH_COLOURS[one.path]};color:{WORDS_ON_MARKS};line-height:{_THICK}px;font-weight:600;"
        "padding-left:8px;overflow:hidden;white-space:nowrap;box-shadow:inset -2px 0 0 #ffffff"
    )
    said = escape(name) if end - start >= _LEAST_NAMED else ""
    return f'<div title="{escape(tip)}" style="position:absolute;{place};{look}">{said}</div>'


def _rounded(volume: float) -> str:
    return short_tokens(float(f"{volume:.3g}"))


def _words_at(at: float, top: int, words: str, *, strong: bool = False) -> str:
    """Words centred on a share of the width; at an end they stay within the strip."""
    moved = 0 if at < 0.06 else -100 if at > 0.94 else -50
    weight = ";font-weight:600" if strong else ""
    place = f"position:absolute;left:{at:.2%};top:{top}px;transform:translateX({moved}%);white-space:nowrap{weight}"
    return f'<div style="{place}">{escape(words)}</div>'
