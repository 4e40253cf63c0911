"""How long prompts, answers and reasoning are, as a scenario says it: fixed, lognormal, or drawn from a file."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmsizer.errors import ScenarioError

Z95 = 1.6448536269514722  # the standard normal's 95th percentile
MOST_LENGTHS = 100_000
_MOST_TOKENS = 10_000_000

Tokens = Annotated[float, Field(ge=1, le=_MOST_TOKENS, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """A distribution as a workload keeps it: mean, tail, and the lengths themselves where they were given."""

    mean_tokens: int
    p95_tokens: int | None
    seen_tokens: tuple[int, ...] = ()


class LengthChoice(BaseModel):
    """``tokens`` alone · two of ``mean``, ``p50``, ``p95``, ``cv`` of a lognormal · ``file`` of lengths, one a line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["fixed", "lognormal", "empirical"]
    tokens: Tokens | None = None
    mean: Tokens | None = None
    p50: Tokens | None = None
    p95: Tokens | None = None
    cv: float | None = Field(default=None, ge=0, le=100, allow_inf_nan=False, description="deviation over mean")
    file: str | None = Field(default=None, max_length=4000, description="relative to the scenario's folder")
    column: str | None = Field(default=None, max_length=200, description="of a CSV; left out: the first")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        given = {name for name in type(self).model_fields if name != "kind" and getattr(self, name) is not None}
        allowed: dict[str, tuple[set[str], ...]] = {
            "fixed": ({"tokens"},),
            "lognormal": ({"mean", "p95"}, {"mean", "cv"}, {"mean", "p50"}, {"p50", "p95"}, {"p50", "cv"}),
            "empirical": ({"file"}, {"file", "column"}),
        }
        if given not in allowed[self.kind]:
            ways = " or ".join(" with ".join(sorted(way)) for way in allowed[self.kind])
            has = " with ".join(sorted(given)) or "nothing"
            raise ValueError(f"{self.kind} is given {has}; it takes {ways}")
        if self.kind == "lognormal":
            _lognormal(self)
        return self

    def resolve(self, where: str) -> Lengths:
        """Mean and tail of it. Raises ScenarioError where a file cannot be used."""
        if self.kind == "fixed":
            assert self.tokens is not None
            return Lengths(mean_tokens=round(self.tokens), p95_tokens=None)
        if self.kind == "lognormal":
            mean, p95 = _lognormal(self)
            return Lengths(mean_tokens=max(1, round(mean)), p95_tokens=max(1, round(mean), round(p95)))
        assert self.file is not None
        seen = sorted(_read(Path(self.file), self.column, where))
        mean = round(math.fsum(seen) / len(seen))
        tail = seen[min(len(seen) - 1, math.ceil(0.95 * len(seen)) - 1)]
        return Lengths(mean_tokens=mean, p95_tokens=max(mean, tail), seen_tokens=tuple(seen))


def _lognormal(choice: LengthChoice) -> tuple[float, float]:
    """Mean and 95th percentile from any two of mean, median, 95th percentile and coefficient of variation.

    mean = p50·exp(σ²/2), p95 = p50·exp(z·σ), cv² = exp(σ²) − 1. Raises ValueError where no such lognormal exists.
    """
    mean, p50, p95, cv = choice.mean, choice.p50, choice.p95, choice.cv
    if cv is not None:
        sigma = math.sqrt(math.log1p(cv**2))
    elif p50 is not None:
        above, name = (p95, "p95") if p95 is not None else (mean, "mean")
        assert above is not None
        if above < p50:
            raise ValueError(f"{name} = {above:g} is below p50 = {p50:g}; a lognormal's {name} lies above its median")
        sigma = math.log(above / p50) / Z95 if name == "p95" else math.sqrt(2 * math.log(above / p50))
    else:
        assert mean is not None and p95 is not None
        if p95 < mean or math.log(p95 / mean) > Z95**2 / 2:
            raise ValueError(f"no lognormal has p95 = {p95:g} over mean = {mean:g}; give 1 to 3.87 times the mean")
        sigma = Z95 - math.sqrt(Z95**2 - 2 * math.log(p95 / mean))
    if sigma > Z95:
        raise ValueError(
            f"a tail this long (sigma {sigma:.2f}) cannot be planned with: at most p95/p50 = 15, or cv = 3.7; "
            'give the lengths themselves with kind = "empirical"'
        )
    middle = mean / math.exp(sigma**2 / 2) if mean is not None else p50
    assert middle is not None
    return middle * math.exp(sigma**2 / 2), middle * math.exp(Z95 * sigma)


def _read(path: Path, column: str | None, where: str) -> list[int]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or "not a text file in UTF-8"
        raise ScenarioError(
            f"{where}: cannot read {str(path)[:200]!r}: {what}; give a file of lengths, one a line"
        ) from None
    rows = list(csv.reader(line for line in lines if line.strip() and not line.startswith("#")))
    at = 0
    if column is not None:
        if not rows or column not in rows[0]:
            raise ScenarioError(f"{where}: {path.name} has no column {column!r}; its head is {rows[0] if rows else []}")
        at = rows[0].index(column)
        rows = rows[1:]
    found = []
    for number, row in enumerate(rows, start=1):
        text = row[at] if at < len(row) else ""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 1 <= value <= _MOST_TOKENS or value != int(value):
            raise ScenarioError(
                f"{where}: length {number} of {path.name} is {text[:40]!r}; give a whole number from 1 up"
            )
        found.append(int(value))
    if not 1 <= len(found) <= MOST_LENGTHS:
        raise ScenarioError(f"{where}: {path.name} holds {len(found):,} lengths; give 1 to {MOST_LENGTHS:,}")
    return found
