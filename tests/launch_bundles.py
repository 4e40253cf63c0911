"""Small bundles for the tests of launching: one model, one card, made once."""

from __future__ import annotations

import datetime
import functools
from pathlib import Path
from typing import Any

from llmsizer.decide.plan_file import Chosen, choose_plan
from llmsizer.decide.recommend import recommend
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.hub import load_model
from llmsizer.facts.scenario import Scenario
from llmsizer.launch.bundle import Bundle, make_bundle, write_bundle

TODAY = datetime.date(2026, 9, 1)


@functools.cache
def chosen(
    model: str,
    gpu: str,
    precision: str,
    most_gpus: int = 1,
    extra: tuple[tuple[str, Any], ...] = (),
    ttft_seconds: float = 5.0,
) -> Chosen:
    """The best plan of one model in one format on one kind of card."""
    scenario = Scenario.model_validate(
        {
            "name": "small",
            "model": model,
            "workload": {"preset": "chat", "tokens_per_month": 100_000_000},
            "slo": {"ttft_p95_seconds": ttft_seconds, "tpot_p95_seconds": 0.2, "quality_floor": 0.5},
            "constraints": {
                "gpus": [gpu],
                "precisions": [precision],
                "max_gpus_per_replica": most_gpus,
                "api": False,
                **dict(extra),
            },
        }
    )
    catalog = default_catalog()
    answer = recommend(load_model(model, catalog), scenario, catalog, today=TODAY)
    return Chosen(scenario=scenario, recommendation=answer, plan=choose_plan(answer))


def bundle(
    engine: str = "vllm",
    target: str = "shell",
    *,
    model: str = "llama-3.1-8b",
    gpu: str = "h100-sxm-80",
    precision: str = "bf16",
    most_gpus: int = 1,
    version: str | None = None,
    extra: tuple[tuple[str, Any], ...] = (),
    ttft_seconds: float = 5.0,
) -> Bundle:
    plan = chosen(model, gpu, precision, most_gpus, extra, ttft_seconds)
    return make_bundle(plan, default_catalog(), engine=engine, target=target, today=TODAY, engine_version=version)


def written(folder: Path, *arguments: Any, **options: Any) -> Path:
    """A bundle in a folder."""
    write_bundle(bundle(*arguments, **options), folder)
    return folder
