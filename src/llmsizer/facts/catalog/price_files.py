"""Price lists that others keep, read from files a user has: models.dev, LiteLLM, SkyPilot. Nothing is downloaded.

Each reader returns rows in this catalogue's own terms: dollars a million tokens, dollars a GPU-hour. A price that is
missing or zero in the file is left out: no one sells at nothing.

models.dev   https://models.dev/api.json: provider → models → cost in dollars a million tokens, limit
LiteLLM      model_prices_and_context_window.json: model → …_cost_per_token in dollars a token, litellm_provider
SkyPilot     catalogs/v*/PROVIDER/vms.csv: InstanceType, AcceleratorName, AcceleratorCount, Price, SpotPrice, Region
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsizer.errors import InputError

MAX_FILE_BYTES = 200_000_000
PriceRow = dict[str, Any]
FORMATS = ("models.dev", "litellm", "skypilot")
_PER_MTOK = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceFile:
    """What a file says: rows of one kind, and how many entries it prices at nothing or not at all."""

    kind: str  # "apis" or "offers"
    format: str
    rows: tuple[PriceRow, ...]
    unpriced: int


def read_price_file(path: Path, format_name: str | None = None, provider: str | None = None) -> PriceFile:
    """The prices of a file; the format is recognised where it is not named. Raises InputError in one line."""
    text = _text(path)
    named = format_name or _recognised(text, path)
    if named == "skypilot":
        return _skypilot(text, path, provider or _folder_provider(path))
    data = _json(text, path)
    return (_models_dev if named == "models.dev" else _litellm)(data, path)


def _text(path: Path) -> str:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_FILE_BYTES:
            raise InputError(f"{path}: {size_bytes:,} bytes; a price list has at most {MAX_FILE_BYTES:,}")
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:  # UnicodeDecodeError and a null byte in a path are ValueErrors
        what = error.strerror if isinstance(error, OSError) and error.strerror else "not a text file in UTF-8"
        raise InputError(f"{path}: {what}; give models.dev api.json, LiteLLM's JSON or a SkyPilot CSV") from None


def _recognised(text: str, path: Path) -> str:
    head = text.lstrip()[:1]
    if head == "{":
        data = _json(text, path)
        entries = [entry for entry in data.values() if isinstance(entry, Mapping)]
        if any(isinstance(entry.get("models"), Mapping) for entry in [*entries, data.get("providers") or {}]):
            return "models.dev"
        if any("litellm_provider" in entry or "input_cost_per_token" in entry for entry in entries):
            return "litellm"
    elif "AcceleratorName" in text[:2000]:
        return "skypilot"
    raise InputError(f"{path}: no price list that is known; known formats: {', '.join(FORMATS)}")


def _json(text: str, path: Path) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON: {' '.join(str(error).split())[:120]}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: a JSON {type(data).__name__}; a price list is an object of entries")
    return data


def _price(value: object, where: str, factor: float = 1.0) -> float | None:
    """A positive price; None for a missing or zero one. Raises InputError for what is no price."""
    if value is None or value == "" or value == 0:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InputError(f"{where} = {str(value)[:40]!r}: not a price; give a number of dollars")
    return float(f"{value * factor:.10g}")


def _count(value: object) -> int | None:
    """A limit in whole tokens or requests; anything else is no limit that can be used."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 1:
        return None
    return int(value)


def _filled(row: PriceRow) -> PriceRow:
    return {key: value for key, value in row.items() if value is not None}


def _priced(rows: Iterator[PriceRow], kind: str, name: str, path: Path) -> PriceFile:
    every = list(rows)
    if not every:
        raise InputError(f"{path}: no entry with a price in it; is it really {name}?")
    whole = [row for row in every if "input_usd_per_mtok" in row and "output_usd_per_mtok" in row]
    return PriceFile(kind=kind, format=name, rows=tuple(whole), unpriced=len(every) - len(whole))


def _models_dev(data: Mapping[str, Any], path: Path) -> PriceFile:
    providers = data.get("providers") if isinstance(data.get("providers"), Mapping) else data

    def rows() -> Iterator[PriceRow]:
        for provider, entry in (providers or {}).items():
            models = entry.get("models") if isinstance(entry, Mapping) else None
            for model, facts in (models or {}).items() if isinstance(models, Mapping) else ():
                if isinstance(facts, Mapping):
                    yield _models_dev_row(str(provider), str(model), facts, path)

    return _priced(rows(), "apis", "models.dev", path)


def _models_dev_row(provider: str, model: str, facts: Mapping[str, Any], path: Path) -> PriceRow:
    cost, limit = facts.get("cost") or {}, facts.get("limit") or {}
    where = f"{path}: {provider}.{model}.cost"
    if not isinstance(cost, Mapping) or not isinstance(limit, Mapping):
        raise InputError(f"{where}: cost and limit are tables; is it really models.dev's api.json?")
    longer = cost.get("context_over_200k") or {}
    is_tier = isinstance(longer, Mapping) and bool(longer)
    row = {"provider": provider, "model": model, "name": facts.get("name")}
    for key, theirs in (("input", "input"), ("cached_input", "cache_read"), ("cache_write", "cache_write"),
                        ("output", "output")):  # fmt: skip
        row[f"{key}_usd_per_mtok"] = _price(cost.get(theirs), f"{where}.{theirs}")
        if is_tier:
            row[f"long_{key}_usd_per_mtok"] = _price(longer.get(theirs), f"{where}.context_over_200k.{theirs}")
    row |= {
        "reasoning_usd_per_mtok": _price(cost.get("reasoning"), f"{where}.reasoning"),
        "long_above_tokens": 200_000 if is_tier else None,
        "context_tokens": _count(limit.get("context")),
        "max_output_tokens": _count(limit.get("output")),
        "open_weights": facts.get("open_weights") if isinstance(facts.get("open_weights"), bool) else None,
        "deprecated": True if facts.get("status") == "deprecated" else None,
    }
    return _filled(row)


# LiteLLM's names of providers where they differ from this catalogue's.
_LITELLM_PROVIDERS = {
    "together_ai": "togetherai", "fireworks_ai": "fireworks-ai", "gemini": "google", "bedrock": "amazon-bedrock",
    "bedrock_converse": "amazon-bedrock", "cohere_chat": "cohere", "azure_ai": "azure", "nvidia_nim": "nvidia",
    "moonshot": "moonshotai", "ovhcloud": "ovhcloud",
}  # fmt: skip
_LITELLM_PRICES = {
    "input_usd_per_mtok": "input_cost_per_token",
    "cached_input_usd_per_mtok": "cache_read_input_token_cost",
    "cache_write_usd_per_mtok": "cache_creation_input_token_cost",
    "output_usd_per_mtok": "output_cost_per_token",
    "reasoning_usd_per_mtok": "output_cost_per_reasoning_token",
    "batch_input_usd_per_mtok": "input_cost_per_token_batches",
    "batch_output_usd_per_mtok": "output_cost_per_token_batches",
}
_TIER = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")


def _litellm(data: Mapping[str, Any], path: Path) -> PriceFile:
    def rows() -> Iterator[PriceRow]:
        for key, facts in data.items():
            is_entry = key != "sample_spec" and isinstance(facts, Mapping)
            if is_entry and facts.get("mode", "chat") in ("chat", "completion", "responses"):
                yield _litellm_row(str(key), facts, path)

    return _priced(rows(), "apis", "litellm", path)


def _litellm_row(key: str, facts: Mapping[str, Any], path: Path) -> PriceRow:
    theirs = str(facts.get("litellm_provider", "") or key.split("/")[0])
    provider = "google-vertex" if theirs.startswith("vertex_ai") else _LITELLM_PROVIDERS.get(theirs, theirs)
    model = key.removeprefix(f"{theirs}/").removeprefix(f"{theirs.split('-')[0]}/")
    row: PriceRow = {"provider": provider, "model": model}
    for own, name in _LITELLM_PRICES.items():
        row[own] = _price(facts.get(name), f"{path}: {key}.{name}", _PER_MTOK)
    tiers = sorted(int(match[1]) for name in facts if (match := _TIER.fullmatch(str(name))))
    if tiers:
        row["long_above_tokens"] = tiers[0] * 1000
        for own in ("input", "cached_input", "cache_write", "output"):
            name = f"{_LITELLM_PRICES[f'{own}_usd_per_mtok']}_above_{tiers[0]}k_tokens"
            row[f"long_{own}_usd_per_mtok"] = _price(facts.get(name), f"{path}: {key}.{name}", _PER_MTOK)
    row |= {
        "context_tokens": _count(facts.get("max_input_tokens")),
        "max_output_tokens": _count(facts.get("max_output_tokens")),
        "tokens_per_minute_limit": _count(facts.get("tpm")),
        "requests_per_minute_limit": _count(facts.get("rpm")),
    }
    return _filled(row)


# Names of regions by the zone they lie in; what is not listed is "unspecified", not guessed.
_ZONES = (
    ("GB", r"eu-west-2|europe-west2|uk.*|.*-gb-?.*|GB.*|UK.*"),
    ("CH", r"eu-central-2|europe-west6|switzerland.*|CH.*"),
    ("NO", r"norway.*|NO(-.*)?"),
    ("EU", r"eu-.*|europe-.*|.*europe|france.*|germany.*|sweden.*|italy.*|poland.*|spain.*|EU.*|FIN.*|SE(-.*)?|"
           r"FR(-.*)?|DE(-.*)?|NL(-.*)?|CZ(-.*)?|RO(-.*)?"),
    ("US", r"us-.*|.*us\d?|US(-.*)?"),
)  # fmt: skip


def zone_of(region: str) -> str:
    """The zone of a cloud's region."""
    return next((zone for zone, pattern in _ZONES if re.fullmatch(pattern, region)), "unspecified")


def _folder_provider(path: Path) -> str:
    folder = path.resolve().parent.name
    if re.fullmatch(r"v\d+|catalogs?|tmp|", folder) or not path.stem.startswith("vms"):
        raise InputError(f"{path}: a SkyPilot catalogue does not name its provider; give --provider NAME")
    return folder


def _skypilot(text: str, path: Path, provider: str) -> PriceFile:
    reader = csv.DictReader(io.StringIO(text))
    missing = {"AcceleratorName", "AcceleratorCount", "Price", "Region"} - set(reader.fieldnames or ())
    if missing:
        raise InputError(f"{path}: no column {', '.join(sorted(missing))}; a SkyPilot vms.csv has it")
    seen: dict[tuple[str, str, str], list[tuple[float, int, str, str]]] = {}
    unpriced = 0
    try:
        for line, row in enumerate(reader, start=2):
            name, where = row["AcceleratorName"] or "", f"{path}: line {line}"
            if not name:
                continue  # a machine without an accelerator
            count = _number(row["AcceleratorCount"], f"{where}: AcceleratorCount") or 0.0
            if count != int(count) or count < 1:
                continue  # a part of a GPU, or none
            for term, column in (("on-demand", "Price"), ("spot", "SpotPrice")):
                usd = _number(row.get(column), f"{where}: {column}")
                unpriced += usd is None
                if usd is not None:
                    entry = (usd / count, int(count), row["Region"] or "", row.get("InstanceType") or "")
                    seen.setdefault((zone_of(row["Region"] or ""), name, term), []).append(entry)
    except csv.Error as error:
        raise InputError(f"{path}: not readable as CSV: {error}") from None
    if not seen:
        raise InputError(f"{path}: no row with an accelerator and a price in it")
    return PriceFile(
        kind="offers",
        format="skypilot",
        rows=tuple(_offer(provider, key, entries) for key, entries in seen.items()),
        unpriced=unpriced,
    )


def _number(text: str | None, where: str) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{where} = {text[:40]!r}: not a number") from None
    return _price(value, where)


def _offer(provider: str, key: tuple[str, str, str], entries: list[tuple[float, int, str, str]]) -> PriceRow:
    zone, name, term = key
    usd, count, region, instance = min(entries)
    prices = [entry[0] for entry in entries]
    return {
        "provider": provider, "zone": zone, "listed": name, "term": term, "usd_per_gpu_hour": round(usd, 6),
        "median_usd_per_gpu_hour": round(statistics.median(prices), 6),
        "max_usd_per_gpu_hour": round(max(prices), 6), "region": region, "instance": instance,
        "gpus_per_instance": count,
    }  # fmt: skip
