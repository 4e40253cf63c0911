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
from llmsizer.quantize.logits import ENGINES, Logits, Reader, Tokens, open_reader
from llmsizer.quantize.statistics import INTERVAL_LEVEL, Floats, mean_by_document

MAX_DOCUMENT_TOKENS = 512
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


def compare(
    readers: Sequence[Reader], reference: Reader, token_rows: Sequence[Tokens], progress: Progress = silent
) -> list[Loss]:
    """One pass over the tokens: every variant sees a document while its reference logits are at hand."""
    losses = [Loss() for _ in readers]
    for index, tokens in enumerate(token_rows):
        expected = log_probabilities(reference(tokens))
        for reader, loss in zip(readers, losses, strict=True):
            _add(loss, expected, log_probabilities(reader(tokens)), tokens)
        progress("quality", (index + 1) / len(token_rows))
    return losses


def log_probabilities(logits: Logits) -> Floats:
    """Log-softmax in double precision, since the differences looked for are of 1e-5. Raises MeasurementError."""
    if not np.isfinite(logits).all():
        raise MeasurementError("the engine gave logits that are not finite; the variant or its arithmetic is broken")
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def _add(loss: Loss, expected: Floats, actual: Floats, tokens: Tokens) -> None:
    """Positions 0 … n−2 predict tokens 1 … n−1."""
    expected, actual, targets = expected[:-1], actual[:-1], tokens[1:]
    rows = np.arange(targets.size)
    kl = (np.exp(expected) * (expected - actual)).sum(axis=-1)
    loss.nll.append(-float(actual[rows, targets].sum()))
    loss.reference_nll.append(-float(expected[rows, targets].sum()))
    loss.kl.append(float(kl.sum()))
    loss.kl_per_token.append(kl)
    loss.agreed.append(float((expected.argmax(axis=-1) == actual.argmax(axis=-1)).sum()))
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
