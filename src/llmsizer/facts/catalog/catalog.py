"""The catalogue: the only reader of ``profiles/``. Lazy by kind, so that a question costs the files it needs.

Lookup order of the folder: argument ▸ ``$LLMSIZER_PROFILES`` ▸ installed with the package ▸ source checkout. One file
of the user's own (argument or ``$LLMSIZER_OVERRIDES``) changes or adds facts without touching the shared ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from llmsizer.errors import CatalogError, InputError, UnknownNameError
from llmsizer.facts.architecture import model_from_config
from llmsizer.facts.catalog.overrides import Overrides, load_overrides
from llmsizer.facts.engine import EngineSpec, newest_first, version_note
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.names import plain_gpu_name, plain_name, slug
from llmsizer.facts.offer import ApiOffer, EnergyFact, Offer, PurchasePrice, TcoFact
from llmsizer.facts.profile_files import (
    check,
    find_profiles,
    make_provenance,
    read_rows,
    read_toml,
    take_provenance,
    toml_files,
)
from llmsizer.facts.workload import Workload
from llmsizer.facts.workload.hours import weights_of

Row = TypeVar("Row", bound=BaseModel)


class Catalog:
    """Models, accelerators, prices and presets with their provenance. Obtain one from ``load_catalog``."""

    def __init__(self, root: Path, overrides: Overrides) -> None:
        self.root = root
        self._overrides = overrides
        self._models: dict[str, ModelSpec] = {}
        self._engines_found: dict[tuple[str, str | None], EngineSpec] = {}

    # models -----------------------------------------------------------------------------------------------------------

    @cached_property
    def model_names(self) -> tuple[str, ...]:
        """Ids of all models, without readings."""
        return self._names("models")

    def models(self) -> tuple[ModelSpec, ...]:
        return tuple(self._model_file(name) for name in self.model_names)

    def model(self, name: str) -> ModelSpec:
        """A model by id, hub id or reading, case-insensitive. Raises UnknownNameError with the nearest names."""
        wanted = plain_name(name)
        for reading in self._readings:
            if wanted in {plain_name(other) for other in reading.get("answers_to", [reading["name"]])}:
                return self._read_as(reading)
        if name in self.model_names:
            return self._model_file(name)
        for known in self.model_names:
            if plain_name(known) == wanted:
                return self._model_file(known)
        if "/" in name:
            last = plain_name(name.rsplit("/", 1)[-1])  # most ids begin with the model's own name: read that file first
            for known in sorted(self.model_names, key=lambda own: not last.startswith(plain_name(own))):
                if self._model_file(known).hf_repo.lower() == name.strip().lower():
                    return self._model_file(known)
        raise UnknownNameError("model", name, [*self.model_names, *(str(r["name"]) for r in self._readings)])

    def readings(self, name: str) -> tuple[ModelSpec, ...]:
        """Every model an ambiguous name can mean, the default first; one for a name that is clear."""
        first = self.model(name)
        ids = {str(r["name"]): str(r.get("of", r["name"])) for r in self._readings}
        wanted = next((group for own, group in ids.items() if self._read_as_name(own) == first.name), None)
        if wanted is None:
            return (first,)
        return tuple(self._read_as(r) for r in self._readings if r.get("of", r["name"]) == wanted)

    def model_config(self, name: str) -> dict[str, Any]:
        """The maker's config of a model by the name that its ``ModelSpec`` has. Raises UnknownNameError."""
        own = next((reading for reading in self._readings if reading["name"] == name), None)
        file = name if own is None else str(own["model"])
        if file not in self.model_names:
            raise UnknownNameError("model", name, self.model_names)
        where, data = self._entry("models", file)
        config = data.get("config")
        if not isinstance(config, Mapping):
            raise CatalogError(f"{where}: config is missing; give the keys of config.json as a table")
        return dict(config)

    @cached_property
    def _readings(self) -> tuple[Mapping[str, Any], ...]:
        path = self.root / "readings.toml"
        if not path.exists():
            return ()
        entries = read_toml(path).get("reading", [])
        for entry in entries:
            for key in ("name", "model", "text"):
                if not isinstance(entry.get(key), str):
                    raise CatalogError(f"{path}: reading.{key} is missing; give a text")
        return tuple(entries)

    def _read_as_name(self, own: str) -> str:
        reading = next(r for r in self._readings if r["name"] == own)
        return str(reading["name"] if "of" in reading else reading["model"])

    def _read_as(self, reading: Mapping[str, Any]) -> ModelSpec:
        """A reading with a model of its own keeps that model's name; a borrowed geometry takes the reading's."""
        spec = replace(self._model_file(str(reading["model"])), reading=str(reading["text"]))
        if "of" not in reading:
            return spec
        return replace(
            spec,
            name=str(reading["name"]),
            hf_repo="",
            licence=reading.get("licence"),
            provenance=take_provenance(reading, f"{self.root / 'readings.toml'}: {reading['name']}"),
            notes=f"geometry of {spec.name}; {spec.notes}".strip("; "),
        )

    def _model_file(self, name: str) -> ModelSpec:
        if name not in self._models:
            where, data = self._entry("models", name)
            self._models[name] = _model(data, where, name)
        return self._models[name]

    # accelerators -----------------------------------------------------------------------------------------------------

    @cached_property
    def gpu_names(self) -> tuple[str, ...]:
        return self._names("gpus")

    def gpus(self) -> tuple[GpuSpec, ...]:
        return tuple(self._gpu_by_id.values())

    def gpu(self, name: str) -> GpuSpec:
        """An accelerator by id, printed name or alias, however it is spelled. Raises UnknownNameError."""
        found = self._gpu_by_id.get(name) or self._gpu_by_plain_name.get(plain_gpu_name(name))
        if found is None:
            raise UnknownNameError("GPU", name, self.gpu_names, also=self.gpu_spellings)
        return found

    @cached_property
    def gpus_on_sale(self) -> tuple[GpuSpec, ...]:
        """Those that some price list rents or sells: a card that nobody sells helps nobody."""
        priced = {offer.gpu for offer in self.offers()} | {price.item for price in self.purchase_prices()}
        return tuple(gpu for gpu in self.gpus() if gpu.id in priced)

    @cached_property
    def gpu_spellings(self) -> dict[str, str]:
        """What is understood beside the ids, and which it means: ``h100`` → ``h100-sxm-80``."""
        return {alias.lower(): gpu.id for gpu in self._gpu_by_id.values() for alias in gpu.aliases}

    @cached_property
    def _gpu_by_id(self) -> dict[str, GpuSpec]:
        return {name: self._gpu_file(name) for name in self.gpu_names}

    def _gpu_file(self, name: str) -> GpuSpec:
        where, data = self._entry("gpus", name)
        origin = take_provenance(data, where)
        by_field = {
            key: make_provenance(section, f"{where}: provenance_by_field.{key}")
            for key, section in data.get("provenance_by_field", {}).items()
        }
        values = {"memory_bytes": None} | dict(data) | {"provenance": origin, "provenance_by_field": by_field}
        return check(GpuSpec, values, where)

    @cached_property
    def _gpu_by_plain_name(self) -> dict[str, GpuSpec]:
        by_name: dict[str, GpuSpec] = {}
        for gpu in self._gpu_by_id.values():
            for name in (gpu.id, gpu.name, *gpu.aliases):
                other = by_name.setdefault(plain_gpu_name(name), gpu)
                if other is not gpu:
                    raise CatalogError(f"{self.root / 'gpus'}: {name!r} names both {other.id} and {gpu.id}")
        return by_name

    # prices and other rows --------------------------------------------------------------------------------------------

    def offers(self, gpu: str | None = None, *, provider: str | None = None) -> tuple[Offer, ...]:
        """GPUs by the hour, cheapest first; of one GPU (id or alias) or provider where asked."""
        wanted = None if gpu is None else self.gpu(gpu).id
        found = [
            o
            for o in self._offers
            if wanted in (None, o.gpu) and (provider is None or o.provider.lower() == provider.lower())
        ]
        return tuple(sorted(found, key=lambda offer: offer.usd_per_gpu_hour))

    @cached_property
    def _offers(self) -> tuple[Offer, ...]:
        return self._provider_rows(Offer, "offers", offer_id)

    def apis(self, model: str | None = None, *, provider: str | None = None) -> tuple[ApiOffer, ...]:
        """Tokens by the million; of one catalogue model (the checkpoint behind the API) or provider where asked."""
        wanted = None if model is None else self.model(model).name
        return tuple(
            a
            for a in self._apis
            if wanted in (None, a.serves) and (provider is None or a.provider.lower() == provider.lower())
        )

    @cached_property
    def _apis(self) -> tuple[ApiOffer, ...]:
        return self._provider_rows(ApiOffer, "apis", lambda cells: f"{cells['provider']}/{cells.get('model', '')}")

    def purchase_prices(self, item: str | None = None) -> tuple[PurchasePrice, ...]:
        """Prices seen for a GPU id or a server item; all where none is named."""
        return tuple(row for row in self._purchases if item in (None, row.item))

    @cached_property
    def _purchases(self) -> tuple[PurchasePrice, ...]:
        """One's own price under a name that is not listed, a quote say, stands for all that are listed of its item."""
        rows, count = self._rows(PurchasePrice, "purchase"), len(self._overrides.rows("purchase"))
        listed, own = rows[: len(rows) - count], rows[len(rows) - count :]
        quoted = {row.item for row in own} - {row.item for row in own if row.name in {other.name for other in listed}}
        replaced = {row.name for row in own}
        return (*(row for row in listed if row.item not in quoted and row.name not in replaced), *own)

    def energy(self, metric: str | None = None, area: str | None = None) -> tuple[EnergyFact, ...]:
        """Electricity price, PUE and carbon intensity by area (ISO 3166 alpha-3)."""
        return tuple(r for r in self._energy if metric in (None, r.metric) and area in (None, r.area))

    @cached_property
    def _energy(self) -> tuple[EnergyFact, ...]:
        return self._replaced(EnergyFact, "energy", lambda row: row.name)

    def tco(self, parameter: str | None = None) -> tuple[TcoFact, ...]:
        """Published figures of ownership cost."""
        return tuple(row for row in self._rows(TcoFact, "tco") if parameter in (None, row.parameter))

    def _rows(self, kind: type[Row], folder: str) -> tuple[Row, ...]:
        rows = [
            check(kind, cells | {"provenance": origin}, where)
            for path in toml_files(self.root / folder)
            for where, cells, origin in read_rows(path)
        ]
        return (*rows, *(check(kind, data, where) for where, data in self._overrides.rows(folder)))

    def _replaced(self, kind: type[Row], folder: str, name_of: Callable[[Row], str]) -> tuple[Row, ...]:
        """The same, a row of the overrides in place of those of its name."""
        rows, own = self._rows(kind, folder), len(self._overrides.rows(folder))
        replaced = {name_of(row) for row in rows[len(rows) - own :]} if own else set()
        kept = (row for row in rows[: len(rows) - own] if name_of(row) not in replaced)
        return (*kept, *rows[len(rows) - own :])

    def _provider_rows(self, kind: type[Row], folder: str, name_of: Callable[[dict[str, Any]], str]) -> tuple[Row, ...]:
        """Rows of files by provider; a row of the overrides replaces the one of the same id."""
        by_id: dict[str, Row] = {}
        for path in toml_files(self.root / folder):
            for where, cells, origin in read_rows(path):
                cells |= {"provenance": origin}
                self._add(kind, by_id, cells | {"id": name_of(cells)}, where)
        for where, data in self._overrides.rows(folder):
            values: dict[str, Any] = {"provider": "own"} | data
            if kind is Offer:
                own_offer = {"zone": "unspecified", "term": "on-demand", "gpu_as_listed": data.get("gpu") or ""}
                values = own_offer | values
            values.setdefault("id", name_of(values))
            by_id.pop(str(values["id"]), None)
            self._add(kind, by_id, values, where)
        return tuple(by_id.values())

    @staticmethod
    def _add(kind: type[Row], by_id: dict[str, Row], values: dict[str, Any], where: str) -> None:
        if values["id"] in by_id:
            raise CatalogError(f"{where}: {values['id']} is listed twice; give each row its own zone, listing or term")
        by_id[values["id"]] = check(kind, values, where)

    # presets and engines ----------------------------------------------------------------------------------------------

    @cached_property
    def workload_names(self) -> tuple[str, ...]:
        return self._names("workloads")

    def workload(self, name: str) -> Workload:
        """A preset workload. Raises UnknownNameError."""
        if name not in self.workload_names:
            raise UnknownNameError("workload", name, self.workload_names)
        where, data = self._entry("workloads", name)
        take_provenance(data, where)
        keys = {k: v for k, v in data.items() if k not in {"id", "provenance", "description"}}
        if isinstance(keys.get("hours"), str):
            try:
                keys["hourly_weights"] = weights_of(keys["hours"], keys.get("peak_to_average"), self.root)
            except (ValueError, TypeError) as error:
                raise CatalogError(f"{where}: hours: {error}") from None
        return check(Workload, keys, where)

    def engine(self, name: str, version: str | None = None) -> EngineSpec:
        """How an engine reserves memory: the newest version described that is no newer than the one asked for."""
        if (name, version) not in self._engines_found:
            plain = plain_name(name)
            wanted = [spec for spec in self._engines if plain in (spec.engine, *spec.aliases)]
            if not wanted:
                raise UnknownNameError("engine", name, self.engine_names)
            self._engines_found[name, version] = newest_first(wanted, version)
        return self._engines_found[name, version]

    def engine_note(self, name: str, version: str | None) -> str:
        """What stands in for a version of an engine that is not described; empty where one is."""
        return version_note(self.engine(name, version), self.engine(name), version)

    @cached_property
    def engine_names(self) -> tuple[str, ...]:
        return tuple(sorted({spec.engine for spec in self._engines}))

    @cached_property
    def _engines(self) -> tuple[EngineSpec, ...]:
        specs = []
        for path in toml_files(self.root / "engines"):
            data = read_toml(path)
            specs.append(check(EngineSpec, data | {"provenance": take_provenance(data, str(path))}, str(path)))
        return tuple(specs)

    # files ------------------------------------------------------------------------------------------------------------

    def _names(self, folder: str) -> tuple[str, ...]:
        files = {path.stem for path in toml_files(self.root / folder)}
        return tuple(sorted(files | self._overrides.names(folder)))

    def _entry(self, folder: str, name: str) -> tuple[str, dict[str, Any]]:
        return self._overrides.entry(folder, name, self.root / folder / f"{name}.toml")


def load_catalog(root: Path | str | None = None, *, overrides: Path | str | None = None) -> Catalog:
    """The catalogue of a folder, with the user's own file of changes on top. Raises CatalogError."""
    return Catalog(find_profiles(None if root is None else Path(root)), load_overrides(overrides))


@cache
def default_catalog() -> Catalog:
    """The catalogue as the environment names it, read once."""
    return load_catalog()


def offer_id(cells: Mapping[str, Any]) -> str:
    """The id of an offer's row: provider, zone, GPU as the provider calls it, term."""
    parts = (cells.get("provider", ""), cells.get("zone", ""), cells.get("gpu_as_listed", ""), cells.get("term", ""))
    return "/".join(slug(str(part)) for part in parts)


def _model(data: Mapping[str, Any], where: str, name: str) -> ModelSpec:
    """A model file: the maker's config as a table, published figures, provenance."""
    published = data.get("published", {})
    if not isinstance(data.get("config"), Mapping):
        raise CatalogError(f"{where}: config is missing; give the keys of config.json as a table")
    try:
        return model_from_config(
            data["config"],
            name=name,
            hf_repo=str(data.get("hf_repo", "")),
            provenance=take_provenance(data, where),
            display_name=str(data.get("display_name", "")),
            licence=data.get("licence"),
            extra_params=data.get("params_beside_text"),
            published_total_params=published.get("total_params"),
            published_active_params=published.get("active_params"),
            served_context_tokens=data.get("served_context_tokens"),
            native_weights=data.get("native_weights"),
            notes=str(data.get("notes", "")),
        )
    except InputError as error:
        raise CatalogError(f"{where}: {error}") from None
