"""What the predictor says of the points of load that were measured, to stand beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmsizer.errors import UnknownNameError
from llmsizer.facts.aliases import Names, ResolvedModel
from llmsizer.facts.architecture import model_from_config
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.records import ProfileRecord
from llmsizer.physics.answers.predict import predict_rows

# Measured distribution or field, predicted column, and what makes SI of the column.
QUANTITIES = {"TTFT": ("effective_ttft", "ttft_ms", 1e-3), "TPOT": ("tpot", "tpot_ms", 1e-3)}
RATE = "output tok/s"
# Traces, shared prefixes and conversations are no load that the predictor knows.
PREDICTABLE = ("single", "closed", "constant", "poisson", "gamma")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One mean that was measured and its prediction with 90 % limits; seconds, for ``output tok/s`` tokens/s."""

    record: ProfileRecord
    quantity: str
    measured: float
    predicted: float
    low: float
    high: float
    basis: str

    @property
    def is_within(self) -> bool:
        return self.low <= self.measured <= self.high


def beside(records: Sequence[ProfileRecord]) -> tuple[list[Beside], str]:
    """Predictions of all points that can have one, and why the first of the others has none ("" where all have)."""
    usable = [r for r in records if r.status == "ok" and r.load is not None and r.load.pattern in PREDICTABLE]
    unnamed = [record for record in usable if record.precision == "unknown"]
    if unnamed:
        return [], "nobody said what is served; --precision and --model-is, and --gpu where it is elsewhere, would"
    rows = predict_rows([_row(record) for record in usable], resolver=_with_configs(usable))
    found = [
        one for record, row in zip(usable, rows, strict=True) if not row["abstained"] for one in _pairs(record, row)
    ]
    without = next((row["abstained"] for row in rows if row["abstained"]), "")
    if without.startswith("no model named"):
        name = usable[0].model
        without = f"no model is called {name!r} here; --model-is says which it is: a catalogue name or a config.json"
    return found, without


class _Configured(Names):
    """Names, and those of records that bring their model's config with them."""

    def __init__(self, configs: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(default_catalog())
        self._configs = configs

    def model(self, name: str, billions: float | None = None) -> ResolvedModel:
        if name not in self._configs:
            return super().model(name, billions)
        spec = model_from_config(dict(self._configs[name]), name=name)
        try:
            architecture = super().model(name, spec.total_params / 1e9).architecture
        except UnknownNameError:
            architecture = "generic"
        return ResolvedModel(spec=spec, architecture=architecture, is_known=True)


def _with_configs(records: Sequence[ProfileRecord]) -> Names | None:
    configs = {record.model: record.model_config_hf for record in records if record.model_config_hf}
    return _Configured(configs) if configs else None


def _row(record: ProfileRecord) -> dict[str, str]:
    load = record.load
    rate = load.rate_per_second if load else None
    return {
        "engine": "" if record.engine == "openai-http" else record.engine,
        "engine_version": record.engine_version,
        "model": record.model,
        "weight_dtype": record.precision,
        "gpu": record.device.name,
        "n_gpus": str(record.accelerators or 1),
        "tp": str(record.accelerators or 1),
        "input_len": str(record.prompt_tokens),
        "output_len": str(record.output_tokens),
        "load_kind": "concurrency" if rate is None else "request_rate",
        "load_value": str(record.batch if rate is None else rate),
    }


def _pairs(record: ProfileRecord, row: dict[str, str]) -> list[Beside]:
    measured = {
        name: (distribution.mean, column, factor)
        for name, (metric, column, factor) in QUANTITIES.items()
        if (distribution := record.distributions.get(metric)) is not None
    }
    measured[RATE] = (record.output_tokens_per_second, "output_tok_s", 1.0)
    return [
        Beside(
            record=record,
            quantity=name,
            measured=value,
            predicted=float(row[f"pred_{column}"]) * factor,
            low=float(row[f"pred_{column}_low"]) * factor,
            high=float(row[f"pred_{column}_high"]) * factor,
            basis=row["basis"],
        )
        for name, (value, column, factor) in measured.items()
        if value is not None and row[f"pred_{column}"]
    ]
