"""Means over documents of unequal length, with intervals by document: tokens of one text are not independent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsizer.student import student_quantile

Floats = NDArray[np.float64]
INTERVAL_LEVEL = 0.90


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMean:
    """The mean over all tokens, its standard error from the scatter between documents, and the interval of that."""

    value: float
    standard_error: float  # NaN for a single document: its scatter is unknown
    low: float
    high: float


def mean_by_document(sums: Floats, tokens: Floats, *, level: float = INTERVAL_LEVEL) -> TokenMean:
    """Ratio estimate of the mean per token from the documents' sums, with the interval of Student's t.

    >>> round(mean_by_document(np.array([2.0, 4.0]), np.array([2.0, 2.0])).standard_error, 3)
    0.5
    """
    documents, total = sums.size, float(tokens.sum())
    value = float(sums.sum()) / total
    if documents < 2:
        return TokenMean(value=value, standard_error=math.nan, low=math.nan, high=math.nan)
    residuals = sums - value * tokens
    error = math.sqrt(float((residuals**2).sum()) * documents / (documents - 1)) / total
    margin = student_quantile(0.5 + level / 2, documents - 1) * error
    return TokenMean(value=value, standard_error=error, low=value - margin, high=value + margin)


def quantile_by_document(
    per_document: Sequence[Floats], quantile: float, *, level: float = INTERVAL_LEVEL
) -> TokenMean:
    """A quantile over all tokens; its interval is that of the share of tokens below, by document, turned into values.

    Woodruff (1952). The standard error is half the interval over Student's t.
    """
    values = np.concatenate(per_document)
    value = float(np.quantile(values, quantile))
    if len(per_document) < 2:
        return TokenMean(value=value, standard_error=math.nan, low=math.nan, high=math.nan)
    below = np.array([float((document <= value).sum()) for document in per_document])
    share = mean_by_document(below, np.array([float(document.size) for document in per_document]), level=level)
    margin = share.high - share.value
    low, high = np.quantile(values, [max(0.0, quantile - margin), min(1.0, quantile + margin)])
    error = (float(high) - float(low)) / 2 / student_quantile(0.5 + level / 2, len(per_document) - 1)
    return TokenMean(value=value, standard_error=error, low=float(low), high=float(high))
