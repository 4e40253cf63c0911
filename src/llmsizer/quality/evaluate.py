"""What a variant loses: perplexity, KL divergence and agreement with the 16-bit reference on the same tokens."""

from __future__ import annotations

import contextlib
import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError, MeasurementError
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.variant import Variant
from llmsizer.installed import optional, versions_of
from llmsizer.progress import Progress, silent
from llmsizer.quality.logits import ENGINES, Logits, Reader, Tokens, open_reader
from llmsizer.quality.statistics import INTERVAL_LEVEL, Floats, mean_by_document

MAX_DOCUMENT_TOKENS = 256  # the context that the reference model was trained for
MIN_DOCUMENT_TOKENS = 16
ENGINE_PACKAGES = ("openvino", "openvino-genai", "transformers", "torch", "numpy")


@dataclass(slots=True)
class Loss:
    """Running sums of one variant, a row per document."""

    nll: list[float] = field(default_factory=list)
    reference_nll: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    agreed: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    kl_per_token: list[NDArray[np.float64]] = field(default_factory=list)


def evaluate(
    variants: Sequence[Variant],
    reference: Variant,
    documents: Sequence[str],
    *,
    dataset: str,
    max_document_tokens: int = MAX_DOCUMENT_TOKENS,
    progress: Progress = silent,
) -> list[QualityRecord]:
    """Compare variants with a reference document by document, each through the engine that runs it.

    The reference computes in single precision, so that its own row, where it is also a variant, shows what the engine's
    16-bit arithmetic alone costs: the floor below which no difference means anything.
    """
    token_rows = tokenize(reference.path, documents, max_document_tokens)
    with contextlib.ExitStack() as stack:
        reference_reader = stack.enter_context(open_reader(reference, compute="f32"))
        readers = [stack.enter_context(open_reader(variant)) for variant in variants]
        losses = compare(readers, reference_reader, token_rows, progress)
    return [_record(variant, reference, loss, dataset=dataset) for variant, loss in zip(variants, losses, strict=True)]


def tokenize(folder: Path, documents: Sequence[str], max_document_tokens: int) -> list[Tokens]:
    """The documents' first tokens, by the tokenizer beside the weights; shorter ones than 16 are left out."""
    tokenizers = optional("tokenizers", what="reading text", extra="quantize")
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise InputError(f"{folder}: no tokenizer.json, which quality needs to read text; add it beside the weights")
    tokenizer = tokenizers.Tokenizer.from_file(str(file))
    rows = (tokenizer.encode(text).ids[:max_document_tokens] for text in documents)
    kept = [np.array(row, dtype=np.int64) for row in rows if len(row) >= MIN_DOCUMENT_TOKENS]
    if len(kept) < 2:
        raise InputError(
            f"{len(kept)} documents of at least {MIN_DOCUMENT_TOKENS} tokens; two or more are needed for an interval"
        )
    return kept


@dataclass(frozen=True, slots=True)
class Expected:
    """The reference's view of one document, computed once for all variants."""

    logits: Logits
    log_sum: Floats
    probabilities: NDArray[np.float32]


def compare(
    readers: Sequence[Reader], reference: Reader, token_rows: Sequence[Tokens], progress: Progress = silent
) -> list[Loss]:
    """One pass over the tokens: every variant sees a document while its reference logits are at hand."""
    losses = [Loss() for _ in readers]
    for index, tokens in enumerate(token_rows):
        expected = _expected(reference(tokens)[:-1])
        for reader, loss in zip(readers, losses, strict=True):
            _add(loss, expected, reader(tokens)[:-1], tokens[1:])
        progress("quality", (index + 1) / len(token_rows))
    return losses


def _expected(logits: Logits) -> Expected:
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


def _add(loss: Loss, expected: Expected, logits: Logits, targets: Tokens) -> None:
    """One document; the row at a position predicts the token after it.

    KL = Σ p (x − y) − (log Σ eˣ − log Σ eʸ): the difference of two close logits is exact in single precision, so that
    divergences of 1e-6 survive without double precision for the whole vocabulary.
    """
    rows = np.arange(targets.size)
    log_sum = log_sum_exp(logits)
    shift = np.einsum("tv,tv->t", expected.probabilities, expected.logits - logits)
    kl: Floats = shift - (expected.log_sum - log_sum)
    loss.nll.append(float((log_sum - logits[rows, targets]).sum()))
    loss.reference_nll.append(float((expected.log_sum - expected.logits[rows, targets]).sum()))
    loss.kl.append(float(kl.sum()))
    loss.kl_per_token.append(kl)
    loss.agreed.append(float((expected.logits.argmax(axis=-1) == logits.argmax(axis=-1)).sum()))
    loss.tokens.append(float(targets.size))


def _record(variant: Variant, reference: Variant, loss: Loss, *, dataset: str) -> QualityRecord:
    tokens = np.array(loss.tokens)
    nll = mean_by_document(np.array(loss.nll), tokens)
    difference = mean_by_document(np.array(loss.nll) - np.array(loss.reference_nll), tokens)
    kl = mean_by_document(np.array(loss.kl), tokens)
    agreed = mean_by_document(np.array(loss.agreed), tokens)
    perplexity = math.exp(nll.value)
    return QualityRecord(
        model=variant.model,
        variant=variant.name,
        precision=variant.precision,
        method=variant.method,
        engine=ENGINES[variant.format],
        dataset=dataset,
        documents=tokens.size,
        tokens=int(tokens.sum()),
        perplexity=perplexity,
        perplexity_standard_error=perplexity * nll.standard_error,  # delta method
        reference=f"{reference.name} ({reference.method}) in fp32",
        perplexity_ratio=math.exp(difference.value),
        perplexity_ratio_low=math.exp(difference.low),
        perplexity_ratio_high=math.exp(difference.high),
        kl_nats_per_token=kl.value,
        kl_nats_per_token_low=kl.low,
        kl_nats_per_token_high=kl.high,
        kl_nats_p99=float(np.quantile(np.concatenate(loss.kl_per_token), 0.99)),
        top1_agreement=agreed.value,
        top1_agreement_low=agreed.low,
        top1_agreement_high=agreed.high,
        interval_level=INTERVAL_LEVEL,
        bits_per_weight=variant.bits_per_weight,
        weights_bytes=variant.weights_bytes,
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions={**variant.versions, **versions_of(*ENGINE_PACKAGES)},
    )
