"""llmsizer: which hardware, which precision, own, rent or API — measured, calibrated and priced.

>>> import llmsizer
>>> catalog = llmsizer.load_catalog()
>>> model = llmsizer.load_model("llama-3.1-8b", catalog)
>>> model.total_params
8030261248

Names are imported from their modules on first use, so that ``import llmsizer`` itself costs milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from llmsizer.version import __version__

_HOME = {
    "Catalog": "facts.catalog",
    "Deployment": "facts.deployment",
    "Estimate": "facts.provenance",
    "Fleet": "traffic.simulator.fleet",
    "Goal": "traffic.service",
    "GpuSpec": "facts.gpu",
    "LlmSizerError": "errors",
    "ModelSpec": "facts.model",
    "Parallelism": "facts.deployment",
    "Precision": "facts.precision",
    "ProfileRecord": "facts.records",
    "QualityRecord": "facts.records",
    "Recommendation": "decide.answer",
    "Replica": "traffic.simulator.fleet",
    "Scenario": "facts.scenario",
    "Site": "traffic.failing.availability",
    "Slo": "facts.workload",
    "Stream": "traffic.demand.stream",
    "Workload": "facts.workload",
    "compare": "decide.recommend",
    "estimate_memory": "physics.memory.account",
    "get_precision": "facts.precision",
    "largest_rate": "traffic.simulator.rate_search",
    "load_catalog": "facts.catalog",
    "load_model": "facts.hub",
    "load_scenario": "facts.scenario",
    "losses": "traffic.failing.availability",
    "outages": "traffic.failing.availability",
    "quantize_all": "quantize",
    "read_records": "profile.store",
    "recommend": "decide.recommend",
    "replica_of": "traffic.simulator.deployed",
    "serve": "traffic.service",
    "simulate": "traffic.simulator.engine",
    "smallest_change_to_fit": "physics.memory.fit",
    "stream_of": "traffic.demand.stream",
    "write_pack": "deliver.pack.writing",
    "write_report": "deliver.pages.report",
}

__all__ = [*sorted(_HOME), "__version__"]

if TYPE_CHECKING:
    from llmsizer.decide.answer import Recommendation as Recommendation
    from llmsizer.decide.recommend import compare as compare
    from llmsizer.decide.recommend import recommend as recommend
    from llmsizer.deliver.pack.writing import write_pack as write_pack
    from llmsizer.deliver.pages.report import write_report as write_report
    from llmsizer.errors import LlmSizerError as LlmSizerError
    from llmsizer.facts.catalog import Catalog as Catalog
    from llmsizer.facts.catalog import load_catalog as load_catalog
    from llmsizer.facts.deployment import Deployment as Deployment
    from llmsizer.facts.deployment import Parallelism as Parallelism
    from llmsizer.facts.gpu import GpuSpec as GpuSpec
    from llmsizer.facts.hub import load_model as load_model
    from llmsizer.facts.model import ModelSpec as ModelSpec
    from llmsizer.facts.precision import Precision as Precision
    from llmsizer.facts.precision import get_precision as get_precision
    from llmsizer.facts.provenance import Estimate as Estimate
    from llmsizer.facts.records import ProfileRecord as ProfileRecord
    from llmsizer.facts.records import QualityRecord as QualityRecord
    from llmsizer.facts.scenario import Scenario as Scenario
    from llmsizer.facts.scenario import load_scenario as load_scenario
    from llmsizer.facts.workload import Slo as Slo
    from llmsizer.facts.workload import Workload as Workload
    from llmsizer.physics.memory.account import estimate_memory as estimate_memory
    from llmsizer.physics.memory.fit import smallest_change_to_fit as smallest_change_to_fit
    from llmsizer.profile.store import read_records as read_records
    from llmsizer.quantize import quantize_all as quantize_all
    from llmsizer.traffic.demand.stream import Stream as Stream
    from llmsizer.traffic.demand.stream import stream_of as stream_of
    from llmsizer.traffic.failing.availability import Site as Site
    from llmsizer.traffic.failing.availability import losses as losses
    from llmsizer.traffic.failing.availability import outages as outages
    from llmsizer.traffic.service import Goal as Goal
    from llmsizer.traffic.service import serve as serve
    from llmsizer.traffic.simulator.deployed import replica_of as replica_of
    from llmsizer.traffic.simulator.engine import simulate as simulate
    from llmsizer.traffic.simulator.fleet import Fleet as Fleet
    from llmsizer.traffic.simulator.fleet import Replica as Replica
    from llmsizer.traffic.simulator.rate_search import largest_rate as largest_rate


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'llmsizer' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"llmsizer.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
