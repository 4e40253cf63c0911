"""Prices brought up to date from a file: the difference to the catalogue, and writing it into the user's own file.

The package's profiles are never touched. What is written stands between two marks at the end of the overrides file;
the next refresh replaces what is between them, and leaves everything else as it is. A row the user wrote stays.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmsizer.errors import UnknownNameError
from llmsizer.facts.catalog import Catalog, load_catalog, marked_block, offer_id
from llmsizer.facts.catalog.overrides import Overrides
from llmsizer.facts.catalog.price_files import PriceFile, PriceRow
from llmsizer.facts.offer import ApiOffer, Offer
from llmsizer.files import whole_file

BEGIN = "# --- prices refreshed by llmsizer: this block is rewritten by the next refresh ---"
END = "# --- end of refreshed prices ---"
# SkyPilot names these without their memory.
_SKYPILOT_GPUS = {"A100": "a100-sxm-40", "A100-80GB": "a100-sxm-80", "H100": "h100-sxm-80", "H100-SXM": "h100-sxm-80",
                  "H200": "h200-sxm-141", "H200-SXM": "h200-sxm-141", "B200": "b200-sxm-180"}  # fmt: skip
_PROVENANCE = {
    "models.dev": "price list (via models.dev)",
    "litellm": "price list (via LiteLLM)",
    "skypilot": "price list (via SkyPilot's catalogue)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One price that differs; ``was`` or ``now`` is None where only one of both has it."""

    id: str
    key: str
    was: float | None
    now: float | None

    @property
    def ratio(self) -> float | None:
        return self.now / self.was if self.was and self.now else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """What a file would change: rows to write, the prices that differ, and what it leaves as it is."""

    kind: str
    format: str
    changes: tuple[Change, ...]
    rows: tuple[PriceRow, ...]  # to write, in the form of the overrides file
    same: int
    new: int
    not_in_file: int  # of the providers that the file names
    unpriced: int
    unmapped: tuple[str, ...] = ()  # GPUs that the catalogue does not hold
    provenance: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "format": self.format,
            "changes": [{"id": c.id, "key": c.key, "was": c.was, "now": c.now, "ratio": c.ratio} for c in self.changes],
            "to_write": len(self.rows),
            "same": self.same,
            "new": self.new,
            "not_in_file": self.not_in_file,
            "without_a_price": self.unpriced,
            "gpus_not_in_catalogue": list(self.unmapped),
            "provenance": self.provenance,
        }


def refresh_from(catalog: Catalog, file: PriceFile, path: Path, as_of: str, *, with_new: bool = False) -> Refresh:
    """Compare a file with the catalogue. ``with_new``: also take entries that the catalogue does not hold."""
    known: Mapping[str, ApiOffer | Offer]
    unmapped: tuple[str, ...] = ()
    if file.kind == "apis":
        known, found = {api.id: api for api in catalog.apis()}, _api_rows(file)
    else:
        known = {offer.id: offer for offer in catalog.offers()}
        found, unmapped = _offer_rows(catalog, file)
    changes: list[Change] = []
    rows: list[PriceRow] = []
    same = new = 0
    for name, row in found.items():
        old = known.get(name)
        if old is None:
            new += 1
            if with_new:
                rows.append(row)
                changes += [Change(id=name, key=k, was=None, now=v) for k, v in row.items() if "usd" in k]
            continue
        differing = _changes(name, old, row)
        changes += differing
        same += not differing
        # Written even where nothing differs: it is true as of the file's date.
        rows.append(_kept(old) | row)
    providers = {row["provider"].lower() for row in found.values()}
    absent = [old for name, old in known.items() if old.provider.lower() in providers and name not in found]
    origin = {"source": f"{path.name} ({file.format})", "as_of": as_of, "confidence": _PROVENANCE[file.format],
              "basis": "price list"}  # fmt: skip
    return Refresh(
        kind=file.kind,
        format=file.format,
        changes=tuple(changes),
        rows=tuple(rows),
        same=same,
        new=new,
        not_in_file=len(absent),
        unpriced=file.unpriced,
        unmapped=unmapped,
        provenance=origin,
    )


def _api_rows(file: PriceFile) -> dict[str, PriceRow]:
    return {f"{row['provider']}/{row['model']}": row for row in file.rows}


def _offer_rows(catalog: Catalog, file: PriceFile) -> tuple[dict[str, PriceRow], tuple[str, ...]]:
    """Rows by the id of the offer they are of; names of GPUs that the catalogue does not hold."""
    listed = {(o.provider.lower(), o.zone, o.gpu, o.term): o for o in reversed(catalog.offers())}
    rows: dict[str, PriceRow] = {}
    unmapped: dict[str, None] = {}
    for row in file.rows:
        name = str(row["listed"])
        try:
            gpu = catalog.gpu(_SKYPILOT_GPUS.get(name, name)).id
        except UnknownNameError:
            unmapped[name] = None
            continue
        old = listed.get((row["provider"].lower(), row["zone"], gpu, row["term"]))
        shown = old.gpu_as_listed if old else name
        provider = old.provider if old else row["provider"]
        values = {k: v for k, v in row.items() if k != "listed"} | {
            "gpu": gpu,
            "gpu_as_listed": shown,
            "provider": provider,
        }
        rows[offer_id(values)] = values
    return rows, tuple(unmapped)


def _changes(name: str, old: ApiOffer | Offer, row: PriceRow) -> list[Change]:
    prices = [key for key in type(old).model_fields if "usd" in key]
    pairs = [(key, getattr(old, key), row.get(key)) for key in prices]
    return [
        Change(id=name, key=key, was=was, now=now)
        for key, was, now in pairs
        if was != now and not (was is not None and now is not None and abs(now / was - 1) < 1e-6 if was else False)
    ]


def _kept(old: ApiOffer | Offer) -> PriceRow:
    """What the catalogue knows of an offer beside its prices: which model it serves, whether its weights are open."""
    data = old.model_dump(exclude_none=True, exclude_defaults=True)
    return {
        k: v
        for k, v in data.items()
        if "usd" not in k and k not in {"id", "provenance", "crosscheck", "long_above_tokens"}
    }


def write_refresh(refresh: Refresh, overrides: Path) -> int:
    """Put the rows into the overrides file; rows the user wrote win. Returns how many were written.

    Raises InputError, CatalogError; the file is then as it was.
    """
    text = overrides.read_text(encoding="utf-8") if overrides.exists() else ""
    own, block = marked_block.split(text, overrides, BEGIN, END)
    Overrides(marked_block.parsed(own, overrides), str(overrides))  # of the right shape, or it says what is not
    mine = {_key(refresh.kind, row) for row in marked_block.parsed(own, overrides).get(refresh.kind, [])}
    earlier = marked_block.parsed(block, overrides)
    for kind in ("apis", "offers"):
        earlier.setdefault(kind, [])
    fresh = {_key(refresh.kind, row): row | {"provenance": refresh.provenance} for row in refresh.rows}
    merged = {_key(refresh.kind, row): row for row in earlier[refresh.kind]} | fresh
    earlier[refresh.kind] = [row for key, row in merged.items() if key not in mine]
    rows = ((kind, row) for kind, found in earlier.items() for row in found)
    lines = [BEGIN, *(line for kind, row in rows for line in marked_block.row_lines(kind, row)), END]
    whole = f"{own.rstrip()}\n\n" if own.strip() else ""
    with whole_file(overrides) as partial:
        partial.write_text(whole + "\n".join(lines) + "\n", encoding="utf-8")
        catalog = load_catalog(overrides=partial)  # what is wrong is said before the file takes its place
        catalog.apis(), catalog.offers()
    return sum(key not in mine for key in fresh)


def _key(kind: str, row: PriceRow) -> str:
    parts = ("provider", "model") if kind == "apis" else ("provider", "zone", "gpu_as_listed", "term")
    return "/".join(str(row.get(part, "")).lower() for part in parts)


def file_date(path: Path) -> str:
    """The day the file was last written, as the date of its prices where none is given."""
    return datetime.date.fromtimestamp(path.stat().st_mtime).isoformat()
