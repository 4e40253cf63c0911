"""Named coefficients of the step-time formulas: value, unit, prior, plausible range, evidence.

All are positive and live as logarithms inside the fit. ``profiles/calibration/coefficients.json`` holds them; a factor
per class (``memory.efficiency.hopper``) multiplies its base.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmsizer.errors import CatalogError
from llmsizer.physics.steps.cases import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient:
    """One coefficient. ``prior_log_sd`` says how far evidence may pull it; ``low`` and ``high`` are its range."""

    name: str
    unit: str
    value: float
    prior: float
    prior_log_sd: float
    low: float
    high: float
    rows: int = 0  # observations whose prediction moves by 1 % or more when it moves by 10 %
    source: str = ""

    @property
    def is_plausible(self) -> bool:
        return self.low <= self.value <= self.high


class Coefficients:
    """The coefficients in a fixed order, with positions by name."""

    def __init__(self, items: Iterable[Coefficient]) -> None:
        self.items = tuple(items)
        self.position = {c.name: i for i, c in enumerate(self.items)}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, name: str) -> Coefficient:
        return self.items[self.position[name]]

    @property
    def logs(self) -> Floats:
        return np.asarray(np.log([c.value for c in self.items]), dtype=np.float64)

    @property
    def prior_logs(self) -> Floats:
        return np.asarray(np.log([c.prior for c in self.items]), dtype=np.float64)

    @property
    def prior_log_sds(self) -> Floats:
        return np.array([c.prior_log_sd for c in self.items])

    def positions(self, prefix: str, classes: Iterable[str]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Position of ``prefix.class`` for each class; one past the end (a factor of 1) where there is none."""
        names = classes.tolist() if isinstance(classes, np.ndarray) else [str(name) for name in classes]
        found = {name: self.position.get(f"{prefix}.{name}", len(self)) for name in set(names)}
        return np.fromiter(map(found.__getitem__, names), dtype=np.intp, count=len(names))

    @classmethod
    def load(cls, path: Path) -> Coefficients:
        """Raises CatalogError where the file is broken."""
        try:
            return cls.from_list(json.loads(path.read_text(encoding="utf-8"))["coefficients"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CatalogError(f"{path}: not a table of coefficients ({error}); re-fit it") from error

    @classmethod
    def from_list(cls, rows: Iterable[Mapping[str, object]]) -> Coefficients:
        return cls(Coefficient(**row) for row in rows)  # type: ignore[arg-type]
