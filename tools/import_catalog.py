"""Convert a folder of catalogue tables (CSV and JSON) into the TOML files under ``profiles/``.

    python tools/import_catalog.py SOURCE_FOLDER [--out profiles]

Files it did not write (added by hand) are left alone. Units become base units; no price is derived.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from import_names import ALLOCATABLE_GIB, GPU_ALIASES, GPU_OF_LISTING, MEMORY_OVERRIDES, MODEL_EXTRAS, served_model

GIB = 2**30
PROVENANCE_KEYS = ("source", "as_of", "confidence", "basis", "licence", "note")
RATES = {
    "fp32": "fp32_tflops",
    "tf32": "tf32_dense_tflops",
    "fp16": "fp16_dense_tflops",
    "bf16": "bf16_dense_tflops",
    "fp8": "fp8_dense_tflops",
    "int8": "int8_dense_tops",
    "int4": "int4_dense_tops",
    "fp4": "fp4_dense_tflops",
}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float | None:
    return float(text) if text.strip() else None


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def toml_value(value: object) -> str:
    """A TOML literal; a missing value in a row is the empty string."""
    if value is None:
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 10_000 else f"{value:_}"
    if isinstance(value, float):
        for power in (12, 9):
            if abs(value) >= 10**power:
                return f"{value / 10**power:.10g}e{power}"
        return f"{int(value):_}" if value == int(value) else f"{value:.10g}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, Sequence):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    raise TypeError(f"no TOML for {value!r}")


def table(name: str, values: Mapping[str, Any]) -> list[str]:
    """One table with its scalar keys, then its nested tables; nulls are left out."""
    nested = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    scalars = [f"{key} = {toml_value(v)}" for key, v in values.items() if v not in (None, "") and key not in nested]
    lines = ["", f"[{name}]", *scalars] if name and scalars else scalars
    for key, value in nested.items():
        lines += table(f"{name}.{key}" if name else key, value)
    return lines


def write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines).strip() + "\n", encoding="utf-8")


def provenance(
    source: str, as_of: str, confidence: str, basis: str, licence: str = "", note: str = ""
) -> dict[str, str]:
    return dict(zip(PROVENANCE_KEYS, (source, as_of, confidence, basis, licence, note), strict=True))


def write_rows(path: Path, columns: Sequence[str], entries: list[dict[str, Any]], head: Mapping[str, str]) -> None:
    """A file of rows: shared provenance at the head; a row names only what differs from it."""
    shared = {
        key: Counter(str(entry.get(key, "")) for entry in entries).most_common(1)[0][0]
        for key in PROVENANCE_KEYS
        if key not in head
    } | dict(head)
    differing = [key for key in PROVENANCE_KEYS if any(entry.get(key, shared[key]) != shared[key] for entry in entries)]
    if "{" in shared["source"]:
        differing = [key for key in differing if key != "source"]
    used = [column for column in columns if any(entry.get(column) not in (None, "") for entry in entries)] + differing
    lines = [*table("provenance", shared), "", "[table]", f"columns = {toml_value(used)}", "rows = ["]
    for entry in entries:
        cells = [entry.get(c) if c not in differing or entry.get(c) != shared[c] else "=" for c in used]
        lines.append("  [" + ", ".join(toml_value(cell) for cell in cells) + "],")
    write(path, [*lines, "]"])


def import_gpus(source: Path, out: Path) -> None:
    for row in rows(source / "hardware.csv"):
        memory, memory_provenance = gpu_memory(row)
        note = "; ".join(part for part in (row["note"], row["memory_unit_note"]) if part)
        origin = " ; ".join(part for part in (row["source_url"], row["source_url_2"]) if part)
        body: dict[str, Any] = {
            "id": row["id"],
            "name": row["name"],
            "vendor": row["vendor"],
            "device_class": row["class"],
            "memory_bytes": memory,
            "memory_bytes_per_second": float(row["bandwidth_gb_s"]) * 1e9,
            "memory_type": row["memory_type"],
            "tdp_watts": number(row["tdp_w"]),
            "scaleup_link": row["scaleup_link"] if row["scaleup_link"] != "none" else "",
            "scaleup_bytes_per_second": scaled(row["scaleup_gb_s_bidir_per_gpu"], 1e9),
            "pcie_gen": whole(row["pcie_gen"]),
            "pcie_lanes": whole(row["pcie_lanes"]),
            "form_factor": row["form_factor"],
            "release_year": whole(row["release_year"]),
            "compute_capability": row["compute_capability"],
            "max_per_node": whole(row["max_per_node"]) or 1,
            "aliases": list(GPU_ALIASES.get(row["id"], ())),
            "note": note,
            "flops_per_second": {name: scaled(row[column], 1e12) for name, column in RATES.items() if row[column]},
            "provenance": provenance(origin, row["as_of"], row["confidence"], "datasheet", note=row["verification"]),
        }
        by_field = {"memory_bytes": memory_provenance} if memory_provenance else {}
        if row["id"] in ALLOCATABLE_GIB:
            gib, log = ALLOCATABLE_GIB[row["id"]]
            body["allocatable_bytes"] = round(gib * GIB)
            by_field["allocatable_bytes"] = provenance(log, "2026", "as logged", "measured")
        body["provenance_by_field"] = by_field
        write(out / "gpus" / f"{row['id']}.toml", table("", body))


def gpu_memory(row: dict[str, str]) -> tuple[int | None, dict[str, str]]:
    """Bytes the driver shows where reported; else the label read as GiB, less inline ECC on data-centre GDDR6."""
    reported, label = number(row["memory_gib_reported"]), number(row["memory_gb"])
    if reported is not None:
        exact = re.search(r"(\d{5,6}) MiB", row["memory_unit_note"])
        reported = int(exact[1]) / 1024 if exact else reported
        note = row["memory_unit_note"] or "memory the driver reports"
        return round(reported * GIB), provenance(
            row["source_url_2"] or row["source_url"], row["as_of"], "as reported", "measured", note=note
        )
    if row["id"] in MEMORY_OVERRIDES:
        gib, why = MEMORY_OVERRIDES[row["id"]]
        return round(gib * GIB), provenance(row["source_url"], row["as_of"], "assumed", "assumed", note=why)
    if label is None:
        return None, {}
    if row["class"] == "datacenter-inference" and row["memory_type"] == "GDDR6":
        why = "label read as GiB less 1/16 for inline ECC, as the L40S and L4 report (44.99 of 48, 22.5 of 24 GiB)"
        return round(label * GIB * 15 / 16), provenance(row["source_url"], row["as_of"], "assumed", "assumed", note=why)
    why = "label read as GiB: memory stacks are sized in powers of two"
    return round(label * GIB), provenance(row["source_url"], row["as_of"], "assumed", "assumed", note=why)


def scaled(text: str, factor: float) -> float | None:
    value = number(text)
    return None if value is None else value * factor


def whole(text: str) -> int | None:
    value = number(text)
    return None if value is None else int(value)


def import_models(source: Path, out: Path) -> None:
    for path in sorted((source / "models").glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        extra = MODEL_EXTRAS.get(data["id"], {})
        config = {key: value for key, value in data["config"].items() if not key.startswith("_")}
        config["model_type"] = str(config["model_type"]).removesuffix("-like")
        served = config.pop("served_context_recommended", None)
        config |= extra.get("config", {})
        private = [f"{key[1:]}: {value}" for key, value in data["config"].items() if key.startswith("_")]
        notes = "; ".join(part for part in (data["note"], *private, extra.get("note", "")) if part)
        body = {
            "id": data["id"],
            "hf_repo": data["hf_repo"],
            "licence": extra.get("licence"),
            "native_weights": extra.get("native_weights"),
            "served_context_tokens": served,
            "params_beside_text": extra.get("params_beside_text"),
            "notes": notes,
            "published": {
                "total_params": data["published"]["total_params_b"] * 1e9,
                "active_params": data["published"]["active_params_b"] * 1e9,
            },
            "provenance": provenance(data["source"], data["as_of"], data["confidence"], "published"),
            "config": config,
        }
        write(out / "models" / f"{data['id']}.toml", table("", body))


def import_offers(source: Path, out: Path) -> None:
    by_provider: dict[str, list[dict[str, Any]]] = {}
    for row in rows(source / "cloud_prices.csv"):
        by_provider.setdefault(row["provider"], []).append(
            {
                "zone": row["zone"],
                "gpu": GPU_OF_LISTING.get((row["gpu"], row["gpu_mem_gb"])),
                "gpu_as_listed": f"{row['gpu']} ({row['gpu_mem_gb']} GB)",
                "term": row["pricing"],
                "usd_per_gpu_hour": float(row["cheapest_usd_per_gpu_hour"]),
                "median_usd_per_gpu_hour": number(row["median_usd_per_gpu_hour"]),
                "max_usd_per_gpu_hour": number(row["max_usd_per_gpu_hour"]),
                "region": row["cheapest_region"],
                "instance": row["cheapest_instance"],
                "gpus_per_instance": whole(row["cheapest_gpu_count"]) or 1,
                "gpu_only": bool(re.search(r"billed separately|GPU only", row["note"] + row["gpu"])),
                "source": row["source_url"],
                "as_of": row["as_of"],
                "confidence": row["confidence"],
                "basis": "price list",
                "licence": row["source_license"],
                "note": row["note"],
            }
        )
    columns = ["zone", "gpu", "gpu_as_listed", "term", "usd_per_gpu_hour", "median_usd_per_gpu_hour",
               "max_usd_per_gpu_hour", "region", "instance", "gpus_per_instance", "gpu_only"]  # fmt: skip
    for provider, entries in by_provider.items():
        if not any(entry["gpu_only"] for entry in entries):
            for entry in entries:
                entry["gpu_only"] = None
        path = out / "offers" / f"{slug(provider)}.toml"
        write_rows(path, columns, entries, {})
        path.write_text(f"provider = {toml_value(provider)}\n\n" + path.read_text(encoding="utf-8"), encoding="utf-8")


def import_apis(source: Path, out: Path) -> None:
    prices = ("input", "cached_input", "cache_write", "output")
    by_provider: dict[str, list[dict[str, Any]]] = {}
    for row in rows(source / "api_prices.csv"):
        entry: dict[str, Any] = {"model": row["model"], "name": row["name"] if row["name"] != row["model"] else None}
        entry |= {f"{name}_usd_per_mtok": number(row[f"{name}_usd_per_mtok"]) for name in prices}
        entry |= {
            "context_tokens": whole(row["context_tokens"]),
            "max_output_tokens": whole(row["max_output_tokens"]),
            "open_weights": {"True": True, "False": False}.get(row["open_weights"]),
            "serves": served_model(row["provider"], row["model"]),
            "deprecated": True if row["deprecated"] else None,
            "crosscheck": row["crosscheck_genai_prices"],
            "source": row["source_url"],
            "as_of": row["as_of"],
            "confidence": row["confidence"],
            "basis": "price list",
            "licence": row["license"],
            "note": "",
        }
        by_provider.setdefault(row["provider"], []).append(entry)
    columns = ["model", "name", *(f"{name}_usd_per_mtok" for name in prices), "context_tokens", "max_output_tokens",
               "open_weights", "serves", "deprecated", "crosscheck"]  # fmt: skip
    for provider, entries in by_provider.items():
        template = entries[0]["source"].replace(entries[0]["model"], "{model}")
        if any(template.replace("{model}", entry["model"]) != entry["source"] for entry in entries):
            raise ValueError(f"{provider}: sources do not follow one template")
        path = out / "apis" / f"{slug(provider)}.toml"
        write_rows(path, columns, entries, {"source": template})
        path.write_text(f"provider = {toml_value(provider)}\n\n" + path.read_text(encoding="utf-8"), encoding="utf-8")


def import_facts(source: Path, out: Path) -> None:
    """Purchase prices, energy and ownership facts."""
    purchases = [
        {"item": r["item_id"], "kind": r["price_type"], "unit": r["unit"], "usd": number(r["price"]),
         "basis": "price list" if "MSRP" in r["confidence"] or "vendor" in r["confidence"] else "assumed"} | origin(r)
        for r in rows(source / "purchase_prices.csv")
    ]  # fmt: skip
    write_rows(out / "purchase" / "prices.toml", ["item", "kind", "unit", "usd"], purchases, {})
    groups: dict[str, list[dict[str, Any]]] = {}
    for r in rows(source / "energy.csv"):
        low, high = value_range(r["value"])
        basis = "published" if "statistics" in r["confidence"] or "LCA" in r["confidence"] else "assumed"
        fact = {key: r[key] for key in ("metric", "area", "unit", "segment", "period")}
        name = {"electricity_price": "electricity", "pue": "pue"}.get(r["metric"], "carbon")
        groups.setdefault(name, []).append(fact | {"low": low, "high": high, "basis": basis} | origin(r))
    for name, facts in groups.items():
        columns = ["metric", "area", "low", "high", "unit", "segment", "period"]
        write_rows(out / "energy" / f"{name}.toml", columns, facts, {})
    tco = []
    for r in rows(source / "tco_facts.csv"):
        low, high = value_range(r["value"])
        fact = {"parameter": r["parameter"], "text": r["value"], "low": low, "high": high, "unit": r["unit"]}
        basis = "published" if "10-K" in r["confidence"] or "filings" in r["confidence"] else "assumed"
        tco.append(fact | {"context": r["context"], "basis": basis} | origin(r))
    write_rows(out / "tco" / "facts.toml", ["parameter", "text", "low", "high", "unit", "context"], tco, {})


def origin(row: Mapping[str, str]) -> dict[str, str]:
    return {"source": row["source_url"], "as_of": row["as_of"], "confidence": row["confidence"], "licence": "",
            "note": row.get("note") or ""}  # fmt: skip


def value_range(text: str) -> tuple[float | None, float | None]:
    """A number or a range such as ``4-6``; anything with words stays text only."""
    match = re.fullmatch(r"~?(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?", text.strip())
    if match is None:
        return None, None
    return float(match[1]), float(match[2] or match[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "profiles")
    arguments = parser.parse_args()
    for convert in (import_gpus, import_models, import_offers, import_apis, import_facts):
        convert(arguments.source, arguments.out)


if __name__ == "__main__":
    main()
