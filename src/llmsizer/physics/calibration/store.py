"""The calibration as files under ``profiles/calibration``: coefficients, effects, bands and what evidence covers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from llmsizer.errors import CatalogError
from llmsizer.facts.catalog import load_catalog
from llmsizer.physics.calibration.effects import Effects, Span
from llmsizer.physics.calibration.intervals import Band, Bands
from llmsizer.physics.steps.coefficients import Coefficients

COEFFICIENTS, EFFECTS, BANDS = "coefficients.json", "effects.json", "bands.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCalibration:
    """Coefficients, effects, bands, and the classes that evidence covers."""

    coefficients: Coefficients
    effects: Effects
    bands: Bands
    seen_gpus: frozenset[str]
    seen_families: frozenset[str]
    seen_architectures: frozenset[str]
    seen_engines: frozenset[str]
    seen_setups: frozenset[str] = frozenset()  # engine, with and without its version, GPU, what was measured
    own_gpus: frozenset[str] = frozenset()  # "gpu|engine" of the user's own records


def load_stored(folder: Path) -> StoredCalibration:
    """Raises CatalogError where a file is missing or broken."""
    try:
        effects = json.loads((folder / EFFECTS).read_text(encoding="utf-8"))
        bands = json.loads((folder / BANDS).read_text(encoding="utf-8"))
        kinds = ("gpus", "families", "architectures", "engines", "setups")
        seen = {key: frozenset(effects["seen"][key]) for key in kinds}
        return StoredCalibration(
            coefficients=Coefficients.load(folder / COEFFICIENTS),
            effects=Effects(
                {name: float(value) for name, value in effects["effects"].items()},
                {name: Span(*span) for name, span in effects["spans"].items()},
            ),
            bands=Bands({key: Band(**band) for key, band in bands["bands"].items()}),
            seen_gpus=seen["gpus"],
            seen_families=seen["families"],
            seen_architectures=seen["architectures"],
            seen_engines=seen["engines"],
            seen_setups=seen["setups"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CatalogError(
            f"{folder}: no usable calibration ({error}); re-fit it with benchmarks/fit_coefficients.py"
        ) from error


@cache
def default_calibration() -> StoredCalibration:
    """The calibration that ships with the profiles."""
    return load_stored(load_catalog().root / "calibration")


def save_stored(folder: Path, stored: StoredCalibration, *, note: str) -> None:
    """Write the three files; small effects are left out, they change nothing that is printed."""
    folder.mkdir(parents=True, exist_ok=True)
    coefficients = {"note": note, "coefficients": [asdict(c) for c in stored.coefficients.items]}
    effects = {
        "note": note
        + " Effects are in units of their block's spread (physics/calibration/effects.py), of log seconds.",
        "seen": {
            "gpus": sorted(stored.seen_gpus),
            "families": sorted(stored.seen_families),
            "architectures": sorted(stored.seen_architectures),
            "engines": sorted(stored.seen_engines),
            "setups": sorted(stored.seen_setups),
        },
        "spans": {
            name: [round(v, 4) for v in (span.centre, span.low, span.high)]
            for name, span in sorted(stored.effects.spans.items())
            if abs(stored.effects.values.get(name, 0.0)) >= 0.01
        },
        "effects": {name: round(v, 3) for name, v in sorted(stored.effects.values.items()) if abs(v) >= 0.01},
    }
    bands = {"note": note, "bands": {key: asdict(band) for key, band in stored.bands.bands.items()}}
    for name, content in ((COEFFICIENTS, coefficients), (EFFECTS, effects), (BANDS, bands)):
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
