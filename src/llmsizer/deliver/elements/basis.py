"""How sure a number is, as a shape and a word: colour only repeats what they say."""

from __future__ import annotations

from llmsizer.facts.provenance import Basis

MARKS: dict[Basis, str] = {
    "measured": "●",
    "calibrated": "◆",
    "datasheet": "■",
    "price list": "▲",
    "published": "□",
    "assumed": "○",
    "unknown": "?",
}

MEANINGS: dict[Basis, str] = {
    "measured": "taken here, or by a named source that ran it",
    "calibrated": "predicted by a formula fitted on named records, whose residual error is stated",
    "datasheet": "the maker's own specification",
    "price list": "a provider's published price on a date",
    "published": "read in, or derived exactly from, a published description such as a model's configuration",
    "assumed": "a stated assumption that can be changed; press estimates are assumptions",
    "unknown": "not known, with the reason; never counted as 0",
}


def mark(basis: Basis) -> str:
    """Shape and word: ``● measured``."""
    return f"{MARKS[basis]} {basis}"
