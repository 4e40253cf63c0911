"""How long requests are: fixed, lognormal from a mean and a 95th percentile, or drawn from what was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError

Z95 = 1.6448536269514722  # the standard normal's 95th percentile
WIDEST = math.exp(Z95**2 / 2) * (1 - 1e-9)  # p95 over mean of the widest lognormal: 3.87


class Length(Protocol):
    """A distribution of whole tokens, 1 or more and at most ``longest_tokens``."""

    @property
    def mean_tokens(self) -> float: ...

    @property
    def longest_tokens(self) -> int: ...

    def draw(self, size: int, rng: np.random.Generator) -> NDArray[np.int32]: ...


@dataclass(frozen=True, kw_only=True)
class Fixed:
    tokens: int

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise InputError(f"a length of {self.tokens} tokens; give 1 or more")

    @property
    def mean_tokens(self) -> float:
        return float(self.tokens)

    @property
    def longest_tokens(self) -> int:
        return self.tokens

    def draw(self, size: int, rng: np.random.Generator) -> NDArray[np.int32]:
        return np.full(size, self.tokens, dtype=np.int32)


@dataclass(frozen=True, kw_only=True)
class Lognormal:
    """Lognormal with a given mean and 95th percentile; what is longer than ``longest_tokens`` is cut to it.

    With mean m = exp(mu + sigma²/2) and p95 = exp(mu + z sigma), sigma is the smaller root of
    sigma²/2 - z sigma + ln(p95/m) = 0; there is one only up to p95/m = exp(z²/2) = 3.87.
    """

    mean_tokens: float
    p95_tokens: float
    longest_tokens: int

    def __post_init__(self) -> None:
        if not 1 <= self.mean_tokens <= self.p95_tokens < math.inf:
            raise InputError(f"mean {self.mean_tokens} and p95 {self.p95_tokens} tokens; give 1 <= mean <= p95")
        if self.longest_tokens < self.p95_tokens:
            raise InputError(
                f"p95 of {self.p95_tokens} tokens is beyond the longest allowed, {self.longest_tokens}; "
                "allow longer ones or lower the p95"
            )
        if self.p95_tokens > self.mean_tokens * math.exp(Z95**2 / 2):
            raise InputError(
                f"no lognormal has p95 {self.p95_tokens} over mean {self.mean_tokens} (at most 3.87 times); "
                "give the lengths themselves"
            )

    @property
    def sigma(self) -> float:
        return lognormal_sigma(self.mean_tokens, self.p95_tokens)

    @property
    def mu(self) -> float:
        return math.log(self.mean_tokens) - self.sigma**2 / 2

    def draw(self, size: int, rng: np.random.Generator) -> NDArray[np.int32]:
        # Single precision is exact to a token up to 16 million and twice as fast.
        normal = rng.standard_normal(size, dtype=np.float32)
        normal *= np.float32(self.sigma)
        normal += np.float32(self.mu)
        np.exp(normal, out=normal)
        np.clip(normal, np.float32(1.0), np.float32(self.longest_tokens), out=normal)
        np.rint(normal, out=normal)
        return normal.astype(np.int32)


@dataclass(frozen=True, kw_only=True)
class Empirical:
    """Drawn with replacement from lengths that were seen."""

    tokens: NDArray[np.int32]

    def __post_init__(self) -> None:
        if self.tokens.size == 0 or int(self.tokens.min()) < 1:
            raise InputError("an empirical length needs one or more lengths, each of 1 token or more")

    @property
    def mean_tokens(self) -> float:
        return float(self.tokens.mean())

    @property
    def longest_tokens(self) -> int:
        return int(self.tokens.max())

    def draw(self, size: int, rng: np.random.Generator) -> NDArray[np.int32]:
        return self.tokens[rng.integers(0, self.tokens.size, size)]


def length(mean_tokens: float, p95_tokens: float | None, longest_tokens: int) -> Length:
    """Lognormal where a tail is given, else fixed."""
    if p95_tokens is None or p95_tokens == mean_tokens:
        return Fixed(tokens=max(1, round(mean_tokens)))
    return Lognormal(mean_tokens=max(1.0, mean_tokens), p95_tokens=p95_tokens, longest_tokens=longest_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """A length as a few values with weights, from the shortest to the longest."""

    tokens: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def mean_tokens(self) -> float:
        return float(self.weights @ self.tokens)

    @property
    def squared_variation(self) -> float:
        return float(self.weights @ self.tokens**2) / self.mean_tokens**2 - 1


_PARTS = np.array([0.05, 0.2, 0.25, 0.25, 0.15, 0.05, 0.04, 0.01])  # of all lengths, from the shortest
_EDGES = (-math.inf, -1.6449, -0.6745, 0.0, 0.6745, 1.2816, 1.6449, 2.3263, math.inf)  # the normal's, between them


@lru_cache(maxsize=256)
def lognormal_bins(mean_tokens: float, squared_variation: float, longest_tokens: float) -> Bins:
    """Each value is the mean of its part of the lengths; what is longer than ``longest_tokens`` is cut to it."""
    if squared_variation <= 0:
        return Bins(tokens=np.array([min(mean_tokens, longest_tokens)]), weights=np.ones(1))
    sigma = math.sqrt(math.log1p(squared_variation))
    # The mean of a lognormal up to a quantile is the mean times the normal's share below that, σ further down.
    below = np.array([0.5 * (1 + math.erf((edge - sigma) / math.sqrt(2))) for edge in _EDGES])
    return Bins(tokens=np.minimum(mean_tokens * np.diff(below) / _PARTS, longest_tokens), weights=_PARTS)


def bins_of(seen: Sequence[int], longest_tokens: float) -> Bins:
    """The same of lengths that were seen."""
    ordered = np.sort(np.minimum(np.array(seen, dtype=np.float64), longest_tokens))
    ends = np.unique(np.rint(np.cumsum(_PARTS) * ordered.size).astype(np.intp))
    pieces = [piece for piece in np.split(ordered, ends[:-1]) if piece.size]
    weights = np.array([piece.size / ordered.size for piece in pieces])
    return Bins(tokens=np.array([piece.mean() for piece in pieces]), weights=weights)


def lognormal_sigma(mean_tokens: float, p95_tokens: float) -> float:
    """Of the logarithm; ln(p95/mean) = zσ − σ²/2 is largest at σ = z: heavier tails than that no lognormal has."""
    return Z95 - math.sqrt(max(Z95**2 - 2 * math.log(p95_tokens / mean_tokens), 0.0))
