"""What variants lose: perplexity, KL divergence and agreement with a reference on the same tokens, in one pass."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from llmsizer.errors import InputError, MeasurementError
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.variant import Variant
from llmsizer.installed import versions_of
from llmsizer.progress import Progress, silent
from llmsizer.quality.logits import Reader, Tokens, engine_of, open_reader
from llmsizer.quality.losses import DocumentLoss, expected_of, loss_of
from llmsizer.quality.pairs import differences
from llmsizer.quality.partial import Kept
from llmsizer.quality.statistics import INTERVAL_LEVEL, Floats, mean_by_document, quantile_by_document
from llmsizer.quality.text import MAX_DOCUMENT_TOKENS, check_same_tokens, hash_of, tokenize

ENGINE_PACKAGES = ("openvino", "openvino-genai", "transformers", "torch", "numpy")
Losses = list[DocumentLoss]
"""One variant's, a document each."""


def evaluate(
    variants: Sequence[Variant],
    reference: Variant,
    documents: Sequence[str],
    *,
    dataset: str,
    max_document_tokens: int = MAX_DOCUMENT_TOKENS,
    kept_in: Path | None = None,
    progress: Progress = silent,
) -> list[QualityRecord]:
    """Compare variants with a reference document by document, each through the engine that runs it.

    The reference computes in single precision, so that its own row, where it is also a variant, shows what the engine's
    16-bit arithmetic alone costs: the floor below which no difference means anything. What is finished is kept in
    ``kept_in``, from which the same call goes on.
    Raises InputError and MeasurementError.
    """
    labels = labels_of(variants)
    check_same_tokens(reference, variants)
    token_rows = tokenize(reference.path, documents, max_document_tokens)
    text_sha256 = hash_of(token_rows)
    keys = [_key(variant, reference, text_sha256) for variant in variants]
    kept = Kept(kept_in)
    with contextlib.ExitStack() as stack:
        reference_reader = stack.enter_context(open_reader(reference, compute="f32"))
        readers = [stack.enter_context(open_reader(variant)) for variant in variants]
        losses = compare(readers, reference_reader, token_rows, progress, keys=keys, kept=kept)
    by_label = dict(zip(labels, losses, strict=True))
    return [
        record_of(variant, reference, by_label[label], dataset=dataset, text_sha256=text_sha256).model_copy(
            update={"variant": label, "differences": differences(label, by_label)}
        )
        for variant, label in zip(variants, labels, strict=True)
    ]


def labels_of(variants: Sequence[Variant]) -> list[str]:
    """Their names; by their methods where two share a name. Raises InputError where two are the same."""
    names = [variant.name for variant in variants]
    labels = [v.name if names.count(v.name) == 1 else v.method for v in variants]
    repeated = next((label for label in labels if labels.count(label) > 1), None)
    if repeated is not None:
        raise InputError(f"two of the variants are {repeated}; give each once")
    return labels


def compare(
    readers: Sequence[Reader],
    reference: Reader,
    token_rows: Sequence[Tokens],
    progress: Progress = silent,
    *,
    keys: Sequence[str] = (),
    kept: Kept | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Losses]:
    """One pass over the tokens: every variant sees a document while its reference logits are at hand."""
    names, kept = keys or [str(i) for i in range(len(readers))], kept or Kept()
    finished = kept.read()
    losses: list[Losses] = [[] for _ in readers]
    seen, spent = 0, 0.0
    for index, tokens in enumerate(token_rows):
        missing = [i for i, name in enumerate(names) if (name, index) not in finished]
        began = clock()
        if missing:
            with _located("reference", index):
                expected = expected_of(reference(tokens)[:-1])
        for i, (reader, name) in enumerate(zip(readers, names, strict=True)):
            if i in missing:
                start = clock()
                logits = reader(tokens)[:-1]
                seconds = clock() - start
                with _located(name, index):
                    loss = loss_of(expected, logits, tokens[1:], seconds)
                kept.add(name, index, loss)
            losses[i].append(loss if i in missing else finished[name, index])
        spent += clock() - began
        seen += tokens.size * len(missing)
        rate = f": {seen / spent:,.0f} tokens/s" if spent > 0 and seen else ""
        progress(f"quality{rate}, document {index + 1} of {len(token_rows)}", (index + 1) / len(token_rows))
    return losses


@contextlib.contextmanager
def _located(name: str, index: int) -> Iterator[None]:
    """Says of an error whose logits and which document they were."""
    try:
        yield
    except MeasurementError as error:
        raise MeasurementError(f"{name.split('#')[0]}, document {index + 1}: {error}") from None


def _key(variant: Variant, reference: Variant, text_sha256: str) -> str:
    """The same only for the same weights, reference and tokens."""
    asked = "\n".join((variant.model_dump_json(), reference.model_dump_json(), text_sha256))
    return f"{variant.name}#{hashlib.sha256(asked.encode()).hexdigest()[:16]}"


def record_of(
    variant: Variant, reference: Variant, losses: Losses, *, dataset: str, text_sha256: str = ""
) -> QualityRecord:
    """The record of one variant's documents; intervals hold 90 % and count documents, not tokens."""
    tokens = _column(losses, lambda d: d.tokens)
    nll = mean_by_document(_column(losses, lambda d: d.nll), tokens)
    difference = mean_by_document(_column(losses, lambda d: d.nll - d.reference_nll), tokens)
    kl = mean_by_document(_column(losses, lambda d: d.kl), tokens)
    agreed = mean_by_document(_column(losses, lambda d: d.agreed), tokens)
    tail = quantile_by_document([d.kl_per_token for d in losses], 0.99)
    seconds = sum(d.seconds for d in losses)
    perplexity = math.exp(nll.value)
    return QualityRecord(
        model=variant.model,
        variant=variant.name,
        precision=variant.precision,
        method=variant.method,
        engine=engine_of(variant),
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
        kl_nats_p99=tail.value,
        kl_nats_p99_low=tail.low,
        kl_nats_p99_high=tail.high,
        top1_agreement=agreed.value,
        top1_agreement_low=max(0.0, agreed.low),
        top1_agreement_high=min(1.0, agreed.high),
        interval_level=INTERVAL_LEVEL,
        bits_per_weight=variant.bits_per_weight,
        weights_bytes=variant.weights_bytes,
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions={**variant.versions, **versions_of(*ENGINE_PACKAGES)},
        text_sha256=text_sha256,
        evaluation_tokens_per_second=float(tokens.sum()) / seconds if seconds > 0 else None,
    )


def _column(losses: Losses, value: Callable[[DocumentLoss], float]) -> Floats:
    return np.array([value(document) for document in losses], dtype=np.float64)
