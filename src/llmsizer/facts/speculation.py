"""Speculative decoding as an input: how tokens are drafted, how many, and how often the model agrees.

Leviathan, Kalman, Matias, "Fast inference from transformers via speculative decoding" (ICML 2023). A step drafts k
tokens and verifies them in one pass; with each accepted with probability a, independently, it yields
(1 - a^(k+1)) / (1 - a) tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmsizer.errors import InputError, nearest_names, suggest
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import Precision
from llmsizer.facts.provenance import Basis

Method = Literal["draft-model", "eagle", "mtp", "ngram"]
"""Who drafts.

draft-model  a smaller model with the same vocabulary
eagle, mtp   a head of a few layers on the model's own hidden states
ngram        copied from the prompt: free, and as good as the prompt is repetitive
"""
METHODS: tuple[str, ...] = get_args(Method)
MOST_DRAFT_TOKENS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """How a replica speculates. Raises InputError where the parts do not go together."""

    method: Method = "ngram"
    draft_tokens: int  # drafted and verified per step; 0: none
    acceptance_rate: float  # probability that one drafted token is accepted
    acceptance_basis: Basis = "assumed"
    draft: ModelSpec | None = None
    draft_weights: Precision | None = None  # None: as the model's own
    draft_layers: int = 1  # of the head, where the method is eagle or mtp

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(
                f"no speculative method {self.method!r}; {suggest(nearest_names(self.method, METHODS), METHODS)}"
            )
        if not 0 <= self.draft_tokens <= MOST_DRAFT_TOKENS:
            raise InputError(f"speculative tokens = {self.draft_tokens}; give 0 to {MOST_DRAFT_TOKENS}")
        if not 0 <= self.acceptance_rate <= 1:
            raise InputError(f"acceptance rate = {self.acceptance_rate}; give a probability from 0 to 1")
        if (self.method == "draft-model") != (self.draft is not None):
            what = "needs one: name it" if self.draft is None else "has none: use draft-model"
            raise InputError(f"speculation by {self.method} and a draft model: {self.method} {what}")
        if self.draft_layers < 1:
            raise InputError(f"draft layers = {self.draft_layers}; give 1 or more")

    @property
    def is_active(self) -> bool:
        return self.draft_tokens > 0

    @property
    def tokens_per_step(self) -> float:
        """Expected tokens of a verified step; 1 where nothing is drafted, all k + 1 where all are accepted."""
        return float(sum(self.acceptance_rate**i for i in range(self.draft_tokens + 1)))

    @property
    def label(self) -> str:
        who = f"draft model {self.draft.name}" if self.draft else self.method
        return (
            f"{who}, {self.draft_tokens} tokens a step, acceptance {self.acceptance_rate:.0%} ({self.acceptance_basis})"
        )

    def check_target(self, model: ModelSpec) -> None:
        """Raise InputError where the draft cannot speak for the model: verifying compares token for token."""
        if self.draft is None:
            return
        ours, theirs = model.vocab_size, self.draft.vocab_size
        if abs(ours - theirs) > 0.01 * ours:  # the same tokenizer may be padded differently
            raise InputError(
                f"draft model {self.draft.name}: its vocabulary of {theirs:,} tokens is not that of {model.name}, "
                f"{ours:,}; take a smaller model of the same family"
            )


class SpeculationChoice(BaseModel):
    """The same as a scenario writes it, the draft by its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method | None = Field(default=None, description="left out: draft-model where one is named, else ngram")
    draft_tokens: int = Field(ge=0, le=MOST_DRAFT_TOKENS, description="drafted and verified per step")
    acceptance_rate: float = Field(ge=0, le=1, allow_inf_nan=False, description="of one drafted token")
    acceptance_measured: bool = Field(default=False, description="true where you measured it on your own traffic")
    draft_model: str | None = Field(default=None, min_length=1, max_length=120)

    @model_validator(mode="after")
    def _a_draft_model_is_named(self) -> Self:
        if self.method == "draft-model" and self.draft_model is None:
            raise ValueError("method draft-model without draft_model; name it")
        if self.method not in {None, "draft-model"} and self.draft_model is not None:
            raise ValueError(f"method {self.method} has no draft_model; drop one of them")
        return self

    def resolve(self, load: Callable[[str], ModelSpec]) -> Speculation:
        """With the draft model's geometry. Raises LlmSizerError for a name nobody knows."""
        return Speculation(
            method=self.method or ("draft-model" if self.draft_model else "ngram"),
            draft_tokens=self.draft_tokens,
            acceptance_rate=self.acceptance_rate,
            acceptance_basis="measured" if self.acceptance_measured else "assumed",
            draft=load(self.draft_model) if self.draft_model else None,
        )
