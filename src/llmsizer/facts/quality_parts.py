"""The parts of a quality record beyond its headline figures; ``None`` means not measured, never zero."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_KL_NATS = 0.1  # a token, beyond which a variant is broken; published 4-bit ones of one model lie at 0.01 to 0.06


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class PairedDifference(_Part):
    """This variant less another one on the same tokens, document by document."""

    other: str
    kl_nats_per_token: float
    kl_nats_per_token_low: float
    kl_nats_per_token_high: float

    @property
    def is_distinguishable(self) -> bool:
        """Whether the interval leaves out zero."""
        return not self.kl_nats_per_token_low <= 0.0 <= self.kl_nats_per_token_high


class TaskScore(_Part):
    """One task's items answered by this variant and by the reference."""

    metric: str
    items: int = Field(ge=1)
    score: float
    score_standard_error: float | None = None
    reference_score: float | None = None
    difference: float | None = None  # score − the reference's, paired by item
    difference_low: float | None = None
    difference_high: float | None = None
    recovery: float | None = None  # score ÷ the reference's; None where the reference scores nothing
    recovery_low: float | None = None
    recovery_high: float | None = None
    only_reference_right: int | None = None  # items that this variant lost …
    only_variant_right: int | None = None  # … and won; both None for metrics that are not right or wrong
    mcnemar_p: float | None = None  # exact, two-sided

    @property
    def is_distinguishable(self) -> bool | None:
        """Whether the paired interval leaves out zero; None where there is none."""
        if self.difference_low is None or self.difference_high is None:
            return None
        return not self.difference_low <= 0.0 <= self.difference_high


class LongContextCell(_Part):
    """One context length; retrieval also by where in it the needle lay."""

    context_tokens: int
    depth: float | None = None  # 0 the beginning, 1 the end; None for divergence
    kl_nats_per_token: float | None = None
    kl_nats_per_token_low: float | None = None
    kl_nats_per_token_high: float | None = None
    top1_agreement: float | None = None
    retrieved: int | None = None
    reference_retrieved: int | None = None
    trials: int


class LongContext(_Part):
    """What a KV-cache format or a variant does at length; ``measure`` says which of the two was used."""

    measure: Literal["retrieval", "divergence"]
    kv_format: str
    reference_kv_format: str
    cells: tuple[LongContextCell, ...]
    why: str = ""  # the measure was chosen so
