"""Images are pinned, secrets are references: in every file of a bundle."""

from __future__ import annotations

import re
from typing import Any

from llmsizer.launch.checks.finding import Finding

_SECRET_NAME = re.compile(r"(?i)(token|secret|password|passwd|api[_-]?key|access[_-]?key|credential)")
_SECRET_VALUE = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|AKIA[A-Z0-9]{16}|eyJ[\w-]{20,}\.[\w-]+\.[\w-]+)"
)
_REFERENCE = re.compile(r"\$\{\w+(:?[-?+][^}]*)?\}|\$\w+|\$\(\w+\)|")
_EMPTY_DEFAULT = re.compile(r"\$\{\w+:?-([^}]+)\}")
_PINNED = re.compile(r"[\w.-]+(:\d+)?(/[\w.-]+)*(:[\w][\w.-]*)?(@sha256:[0-9a-f]{64})?")


def image_findings(image: object, file: str) -> list[Finding]:
    """By digest or by a tag that stays what it is."""
    text = str(image or "")
    if "@sha256:" in text and _PINNED.fullmatch(text):
        return []
    name, colon, tag = text.rpartition(":")
    if not colon or "/" in tag or not name:
        return [
            Finding(
                name="image not pinned",
                file=file,
                what=f"{file}: image {text!r} has no tag; name a version or a digest",
            )
        ]
    if tag == "latest" or tag.endswith("-latest") or tag in {"main", "nightly", "dev", "edge", "stable"}:
        return [
            Finding(
                name="image not pinned", file=file, what=f"{file}: image {text!r} moves; name a version or a digest"
            )
        ]
    return []


def environment_findings(variables: Any, file: str) -> list[Finding]:
    """Compose's mapping or list, or Kubernetes' list: no secret has a value of its own."""
    pairs: list[tuple[str, object]] = []
    if isinstance(variables, dict):
        pairs = [(str(k), v) for k, v in variables.items()]
    elif isinstance(variables, list):
        for one in variables:
            if isinstance(one, dict):
                pairs.append((str(one.get("name")), one.get("value")))
            else:
                name, _, value = str(one).partition("=")
                pairs.append((name, value))
    return [
        Finding(
            name="secret value",
            file=file,
            what=f"{file}: {name} has its value written down; reference a secret or the environment",
        )
        for name, value in pairs
        if _SECRET_NAME.search(name) and value not in (None, "", "1", "0") and not _is_reference(str(value))
    ]


def text_findings(text: str, file: str) -> list[Finding]:
    """Tokens that look like what well-known services hand out."""
    found = _SECRET_VALUE.search(text)
    if not found:
        return []
    return [
        Finding(name="secret value", file=file, what=f"{file}: {found[0][:6]}… looks like a key; reference it instead")
    ]


def _is_reference(value: str) -> bool:
    return _REFERENCE.fullmatch(value) is not None and not _EMPTY_DEFAULT.fullmatch(value)
