"""Variants against each other on the same documents: a difference counts where its paired interval leaves out zero."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from llmsizer.errors import InputError
from llmsizer.facts.quality_parts import PairedDifference
from llmsizer.facts.records import QualityRecord
from llmsizer.quality.losses import DocumentLoss
from llmsizer.quality.statistics import mean_by_document


def differences(name: str, by_name: Mapping[str, Sequence[DocumentLoss]]) -> tuple[PairedDifference, ...]:
    """The divergence of one variant less that of each other one."""
    own = by_name[name]
    tokens = np.array([d.tokens for d in own], dtype=np.float64)
    found = []
    for other, losses in by_name.items():
        if other == name:
            continue
        mean = mean_by_document(np.array([a.kl - b.kl for a, b in zip(own, losses, strict=True)]), tokens)
        found.append(
            PairedDifference(
                other=other,
                kl_nats_per_token=mean.value,
                kl_nats_per_token_low=mean.low,
                kl_nats_per_token_high=mean.high,
            )
        )
    return tuple(found)


def check_comparable(records: Sequence[QualityRecord]) -> None:
    """Raises InputError where records were not taken on the same tokens of the same model against one reference."""
    if not records:
        raise InputError("no quality record to compare; `llmsizer quality` writes them")
    first = records[0]
    for record in records[1:]:
        if record.model != first.model:
            raise InputError(
                f"{record.variant} is of {record.model}, {first.variant} of {first.model}; compare one model"
            )
        if record.text_sha256 != first.text_sha256:
            raise InputError(
                f"{record.variant} was examined on other text than {first.variant} "
                f"(hash {record.text_sha256[:12] or 'unknown'} and {first.text_sha256[:12] or 'unknown'}); "
                "examine all variants in one `llmsizer quality` run"
            )
        if record.reference != first.reference:
            raise InputError(
                f"{record.variant} was held against {record.reference or 'no reference'}, {first.variant} against "
                f"{first.reference or 'no reference'}; use one reference"
            )


def newest(records: Sequence[QualityRecord]) -> list[QualityRecord]:
    """The last record of each variant of a model, in the order they first came."""
    last: dict[tuple[str, str], QualityRecord] = {}
    for record in records:
        last[record.model, record.variant] = record
    return list(last.values())


def sentences(records: Sequence[QualityRecord]) -> list[str]:
    """What the pairs say in words, each pair once, the nearest in divergence first."""
    said: list[str] = []
    ordered = sorted(records, key=lambda r: r.kl_nats_per_token if r.kl_nats_per_token is not None else float("inf"))
    for better, worse in itertools.pairwise(ordered):
        pair = next((d for d in worse.differences if d.other == better.variant), None)
        if pair is None:
            continue
        span = f"[{pair.kl_nats_per_token_low:.2g} to {pair.kl_nats_per_token_high:.2g}] nats/token"
        if pair.is_distinguishable:
            said.append(f"{worse.variant} diverges more than {better.variant}: paired difference {span}")
        else:
            said.append(f"{worse.variant} and {better.variant} are indistinguishable: paired difference {span}")
    return said
