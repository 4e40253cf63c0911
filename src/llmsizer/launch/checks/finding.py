"""One thing that is wrong with a bundle."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """``name`` is which check found it; ``what`` says where, what is wrong and what would do, in one line."""

    name: str
    file: str
    what: str
