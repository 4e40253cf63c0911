"""What one variant loses on one document, from two sets of logits: likelihood, KL divergence and agreement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import MeasurementError
from llmsizer.quality.logits import Logits, Tokens
from llmsizer.quality.statistics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentLoss:
    """Sums over one document, in nats and tokens, and the divergence at each of its positions."""

    nll: float
    reference_nll: float
    agreed: float
    kl_per_token: Floats
    seconds: float = 0.0  # that the variant took to read the document

    @property
    def tokens(self) -> int:
        return self.kl_per_token.size

    @property
    def kl(self) -> float:
        return float(self.kl_per_token.sum())


@dataclass(frozen=True, slots=True)
class Expected:
    """The reference's view of one document, computed once for all variants."""

    logits: Logits
    log_sum: Floats
    probabilities: NDArray[np.float32]


def expected_of(logits: Logits) -> Expected:
    """Raises MeasurementError where a logit is not finite."""
    log_sum = log_sum_exp(logits)
    probabilities = np.exp(logits - log_sum[:, None].astype(np.float32))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    return Expected(logits, log_sum, probabilities)


def log_sum_exp(logits: Logits) -> Floats:
    """log Σ exp of each row, summed in double precision. Raises MeasurementError where a logit is not finite."""
    peak = logits.max(axis=-1)
    if not np.isfinite(logits.min()) or not np.isfinite(peak).all():
        raise MeasurementError("the engine gave logits that are not finite; the variant or its arithmetic is broken")
    sums: Floats = np.exp(logits - peak[:, None]).sum(axis=-1, dtype=np.float64)
    result: Floats = peak + np.log(sums)
    return result


def loss_of(expected: Expected, logits: Logits, targets: Tokens, seconds: float = 0.0) -> DocumentLoss:
    """One document; the row at a position predicts the token after it. Raises MeasurementError.

    KL = Σ p (x − y) − (log Σ eˣ − log Σ eʸ): the difference of two close logits is exact in single precision, so that
    divergences of 1e-6 survive without double precision for the whole vocabulary.
    """
    if logits.shape != expected.logits.shape:
        own, other = logits.shape[-1], expected.logits.shape[-1]
        raise MeasurementError(
            f"logits over {own:,} tokens, the reference gives {other:,}; compare variants of one model"
        )
    rows = np.arange(targets.size)
    log_sum = log_sum_exp(logits)
    shift = np.einsum("tv,tv->t", expected.probabilities, expected.logits - logits)
    return DocumentLoss(
        nll=float((log_sum - logits[rows, targets]).sum()),
        reference_nll=float((expected.log_sum - expected.logits[rows, targets]).sum()),
        agreed=float((expected.logits.argmax(axis=-1) == logits.argmax(axis=-1)).sum()),
        kl_per_token=shift - (expected.log_sum - log_sum),
        seconds=seconds,
    )
