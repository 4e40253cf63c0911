"""Everything raised on purpose.

LlmSizerError                 one line for the user: what, where, what would work; exit code 1
├── UnknownNameError          no such model, GPU, precision, preset ...; names the nearest ones
├── InputError                a value, a file or a combination of them that cannot be used
│   └── ScenarioError         the same inside a scenario file, with the key's path
├── CatalogError              a file under profiles/ is broken
├── NetworkError              a hub or server could not be reached
├── MissingExtraError         an optional dependency is not installed; says which extra brings it
├── NoEvidenceError           a prediction was asked for where nothing supports one (abstention)
├── QuantizationError         a variant could not be made; nothing half-written is left
└── MeasurementError          a measurement could not be taken or believed

"Does not fit" and "nothing feasible" are answers, not errors: they are returned as rejections.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property


class LlmSizerError(Exception):
    """An error the user can fix. Its text is one line: what, where, and what would work."""


class UnknownNameError(LlmSizerError):
    """A name that the catalogue does not hold. ``also``: other spellings → the name that they stand for."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, also: Mapping[str, str] | None = None) -> None:
        self.kind, self.name = kind, name
        self._names = sorted(set(known))
        self._also = dict(also or {})
        super().__init__(kind, name)

    @cached_property
    def nearest(self) -> tuple[str, ...]:
        """Looked for only when somebody reads them: most are caught, and the next spelling is tried."""
        meant = self._also | {name: name for name in self._names}
        return tuple(dict.fromkeys(meant[near] for near in nearest_names(self.name, meant))) if self.name else ()

    def __str__(self) -> str:
        none = f"no {self.kind} named {self.name!r}" if self.name else f"no {self.kind} is named"
        return f"{none}; {suggest(self.nearest, self._names)}"


class InputError(LlmSizerError):
    """A value, file or combination that cannot be used."""


class ScenarioError(InputError):
    """A scenario that cannot be used; the text names the key."""


class CatalogError(LlmSizerError):
    """A file under ``profiles/`` that does not say what it should."""


class NetworkError(LlmSizerError):
    """A hub or server that could not be reached."""


class MissingExtraError(LlmSizerError):
    """An optional dependency that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional part that is not installed: pip install 'llmsizer[{extra}]'")


class NoEvidenceError(LlmSizerError):
    """Abstention: no evidence supports the prediction that was asked for."""


class QuantizationError(LlmSizerError):
    """A variant that could not be made."""


class MeasurementError(LlmSizerError):
    """A measurement that could not be taken or believed."""


def nearest_names(name: str, known: Iterable[str], *, limit: int = 4) -> tuple[str, ...]:
    """The known names closest in spelling, closest first; none where nothing is close."""
    lowered = {known_name.lower(): known_name for known_name in sorted(known)}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=limit, cutoff=0.5)
    inside = [low for low in lowered if name and name.lower() in low and low not in close]
    return tuple(lowered[low] for low in (*close, *inside))[:limit]


def suggest(nearest: Sequence[str], known: Sequence[str] = (), *, shown: int = 8) -> str:
    """The tail of an error line: the nearest names, else some of what is known."""
    if nearest:
        return f"did you mean {' or '.join(nearest)}?"
    if not known:
        return "none is known"
    more = f" and {len(known) - shown} more" if len(known) > shown else ""
    return f"known are {', '.join(known[:shown])}{more}"
