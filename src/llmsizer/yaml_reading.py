"""YAML from strangers: plain data only, and no merge keys, which a page of text can multiply beyond any memory."""

from __future__ import annotations

from typing import Any

from llmsizer.errors import InputError
from llmsizer.installed import optional

_MERGE = "tag:yaml.org,2002:merge"


def yaml_documents(text: str, *, what: str, extra: str) -> list[Any]:
    """Every document of a text. Raises InputError in one line, MissingExtraError without a reader."""
    yaml = optional("yaml", what=what, extra=extra)
    reader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Plain(reader):  # type: ignore[misc]
        def flatten_mapping(self, node: Any) -> None:
            for key, _ in node.value:
                if key.tag == _MERGE:
                    raise yaml.YAMLError("merge keys (<<) are not read: write the values out")

    try:
        return list(yaml.load_all(text, Loader=Plain))
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise InputError(" ".join(str(error).split())[:200]) from None
