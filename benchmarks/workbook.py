"""Whether the workbook, recalculated by LibreOffice from its formulas alone, gives the program's figures: 22 scenarios.

Usage: python benchmarks/workbook.py [--output benchmarks/results/workbook.json]
Every scenario that ships, and variants of two of them in taxes, terms, lens, volumes, horizon, growth and assumptions.
Needs LibreOffice (soffice) and the extra ``report``. Computed values are taken out of the files before it sees them.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import papers  # noqa: E402
import recalculate  # noqa: E402
from llmsizer.deliver.workbook.money import program_cash  # noqa: E402
from llmsizer.facts.catalog import default_catalog  # noqa: E402
from llmsizer.facts.scenario import Scenario, load_scenario  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "workbook.json"
GROWTH = {"per_year": 0.8, "start": "2027-03-01", "until": "2029-03-01"}
RAMP = {"from_share": 0.05, "start": "2027-03-01", "until": "2028-09-01"}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "VAT of 19 %": ("eu-chat", {"money": {"vat_rate": 0.19}}),
    "leased": ("eu-chat", {"money": {"acquisition": "lease", "vat_rate": 0.19}, "horizon_months": 48}),
    "marginal": ("eu-chat-22b", {"money": {"lens": "marginal"}}),
    "reserved for a year, spot": ("build-or-buy", {"money": {"rent_term": "reserved-1y"},
                                                   "constraints": {"interruptible": True}}),
    "batch and a discount": ("build-or-buy", {"money": {"batch_share": 0.5, "batch_discount": 0.5,
                                                        "api_discount": 0.15}}),
    "replaced twice": ("eu-chat", {"horizon_months": 84, "assumptions": {"depreciation_years": 3}}),
    "a trillion tokens": ("build-or-buy", {"workload": {"preset": "rag", "tokens_per_month": 1e12}}),
    "growing": ("eu-chat-22b", {"workload": {"preset": "chat", "tokens_per_month": 5e10, "growth": GROWTH},
                                "fleet": {"headroom": 0.25}}),
    "ramping up, replaced": ("eu-chat-22b", {"workload": {"preset": "chat", "tokens_per_month": 3e11, "growth": RAMP},
                                             "horizon_months": 72, "assumptions": {"depreciation_years": 4},
                                             "money": {"vat_rate": 0.19}}),
    "over two servers": ("build-or-buy", {"model": "deepseek-v3", "spare_replicas": 0,
                                          "workload": {"preset": "chat", "tokens_per_month": 1e9},
                                          "slo": {"ttft_p95_seconds": 10.0, "tpot_p95_seconds": 0.2},
                                          "constraints": {"gpus": ["l40s"], "precisions": ["int4"]}}),
}  # fmt: skip


def scenarios() -> dict[str, Scenario]:
    """Those that ship, then variants."""
    folder = default_catalog().root / "scenarios"
    found = {path.stem: load_scenario(path) for path in sorted(folder.glob("*.toml"))}
    for name, (base, changes) in VARIANTS.items():
        data = copy.deepcopy(found[base].model_dump(mode="json", exclude_unset=True))
        for key, value in changes.items():
            data[key] = data.get(key, {}) | value if isinstance(value, dict) else value
        found[f"{base}, {name}"] = Scenario.model_validate(data | {"name": f"{base}, {name}"})
    return found


def compare(found: dict[str, Scenario], folder: Path) -> list[dict[str, Any]]:
    """Each scenario's workbook written, recalculated, and set against the file's and the program's figures."""
    files, made = [], []
    for number, scenario in enumerate(found.values()):
        started = time.perf_counter()
        decision = papers.decision(scenario)
        decided = time.perf_counter() - started
        files.append(papers.workbook(decision, folder / f"{number}.xlsx"))
        made.append((decision, decided, time.perf_counter() - started - decided))
    rows = []
    for name, path, computed, (decision, decided, written) in zip(
        found, files, recalculate.recalculated(files, folder), made, strict=True
    ):
        formulas, names = recalculate.formulas(path), recalculate.named(path)
        wrong = recalculate.differences(recalculate.cells(path), computed, set(formulas))
        off = [0.0]
        for one in decision.paths:
            figures = {"total_usd": one.cost.usd_per_month.value, "npv": program_cash(decision, one).npv_usd}
            for key, value in figures.items():
                cell = computed[names[f"{one.key}_{key}"]]
                off.append(abs(float(cell) - value) if value is not None else float(cell != "#N/A"))
        rows.append({"scenario": name, "formula_cells": len(formulas), "cells_off_by_more_than_half_a_cent": len(wrong),
                     "largest_difference_of_a_total_usd": max(off), "ways": len(decision.paths),
                     "decided_seconds": round(decided, 2), "written_seconds": round(written, 2),
                     "first_wrong": wrong[:3]})  # fmt: skip
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    program = recalculate.office()
    if program is None:
        print("LibreOffice is not installed: nothing to recalculate with", file=sys.stderr)
        return 1
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        rows = compare(scenarios(), Path(folder))
    for row in rows:
        off, most = row["cells_off_by_more_than_half_a_cent"], row["largest_difference_of_a_total_usd"]
        print(f"{row['scenario'][:48]:48} {row['formula_cells']:6,} formulas, {off} off, totals within ${most:.1e}")
    wrong = sum(row["cells_off_by_more_than_half_a_cent"] for row in rows)
    cells = sum(row["formula_cells"] for row in rows)
    print(f"{len(rows)} scenarios, {cells:,} formula cells, {wrong} off by more than half a cent ({version})")
    document = {"recalculated_by": version, "date": datetime.date.today().isoformat(), "scenarios": rows,
                "formula_cells": cells, "wrong_cells": wrong}  # fmt: skip
    arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
