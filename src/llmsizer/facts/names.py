"""Names as people write them, made comparable."""

from __future__ import annotations

import re

_MAKERS = re.compile(r"\b(nvidia|amd|intel|geforce|instinct|radeon|quadro|tesla|apple|gpu)\b")
_SIZE = re.compile(r"(\d+)\s*gi?b\b|(?<![a-z0-9])(\d+)\s*g\b")  # 80GB, 80 GiB and, apart from the name, 80G


def plain_name(name: str) -> str:
    """Lower case without blanks and underscores: ``Mistral_Small 4`` → ``mistral-small-4``."""
    return re.sub(r"[\s_]+", "-", name.strip().lower())


def plain_gpu_name(name: str) -> str:
    """Maker, unit and punctuation left out: ``NVIDIA H100-SXM 80GB`` → ``h100sxm80``."""
    text = _SIZE.sub(lambda size: size[1] or size[2], re.sub(r"[-_/]+", " ", name.lower()))
    return re.sub(r"[^a-z0-9]+", "", _MAKERS.sub(" ", text))


def slug(text: str) -> str:
    """Letters and digits with dashes between: a stable part of an id."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
