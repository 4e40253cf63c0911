"""Words from outside, made harmless in HTML and SVG."""

from __future__ import annotations

import html


def escape(words: str) -> str:
    """Escaped for text and for quoted attributes; control characters, which no HTML may hold, are dropped."""
    return html.escape("".join(c for c in words if c >= " " or c in "\n\t"), quote=True)
