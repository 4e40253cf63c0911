"""Bundles of 200 random scenarios, each checked offline: models × GPUs × precisions × engines × targets × workloads.

    python benchmarks/launch_sweep.py [--scenarios 200] [--seed 9] [--json benchmarks/results/launch_sweep.json]

A scenario that no plan meets, or whose engine says in one line why it cannot run the plan, is drawn again and counted.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from llmsizer.decide.plan_file import Chosen, choose_plan
from llmsizer.decide.recommend import recommend
from llmsizer.errors import LlmSizerError
from llmsizer.facts.catalog import Catalog, default_catalog
from llmsizer.facts.hub import load_model
from llmsizer.facts.scenario import Scenario
from llmsizer.launch.bundle import make_bundle, write_bundle
from llmsizer.launch.checks.bundle import check_bundle
from llmsizer.launch.engine_data import known_versions
from llmsizer.launch.fleet import READS
from llmsizer.launch.targets import TARGETS

TODAY = datetime.date(2026, 11, 22)


def draw(rng: random.Random, catalog: Catalog, engine: str) -> Scenario:
    """A scenario that may or may not have a plan."""
    gpus = [gpu.id for gpu in catalog.gpus() if not gpu.is_cpu]
    readable = ["bf16", "fp16", *READS[engine]]
    workload: dict[str, Any] = {
        "preset": rng.choice(["agent", "batch", "chat", "code", "rag", "summarise"]),
        "tokens_per_month": rng.choice([1e7, 1e8, 1e9, 2e10]),
    }
    scenario: dict[str, Any] = {
        "name": f"sweep-{rng.randrange(10**6)}",
        "model": rng.choice(sorted(catalog.model_names)),
        "workload": workload,
        "slo": {
            "ttft_p95_seconds": rng.choice([1.0, 5.0, 30.0]),
            "tpot_p95_seconds": rng.choice([0.05, 0.1, 0.5]),
            "quality_floor": 0.5,
        },
        "constraints": {
            "gpus": rng.sample(gpus, k=min(12, len(gpus))),
            "precisions": rng.sample(readable, k=min(3, len(readable))),
            "kv_format": rng.choice(["bf16", "bf16", "fp8"] if engine in {"vllm", "sglang"} else ["bf16"]),
            "max_gpus_per_replica": 1 if engine == "transformers" else rng.choice([1, 4, 8]),
            "api": False,
        },
        "spare_replicas": rng.choice([0, 1, 2]),
    }
    if engine in {"vllm", "sglang"} and rng.random() < 0.2:
        scenario["speculation"] = {"method": "ngram", "draft_tokens": rng.choice([2, 4]), "acceptance_rate": 0.5}
    return Scenario.model_validate(scenario)


def one(rng: random.Random, catalog: Catalog, engine: str, target: str, folder: Path) -> dict[str, Any]:
    """Make and check one bundle; ``findings`` is empty where everything passed. Raises LlmSizerError."""
    scenario = draw(rng, catalog, engine)
    answer = recommend(load_model(scenario.model, catalog), scenario, catalog, today=TODAY)
    plan = choose_plan(answer, str(rng.randrange(len(answer.plans)) + 1) if answer.plans else None)
    bundle = make_bundle(
        Chosen(scenario=scenario, recommendation=answer, plan=plan),
        catalog,
        engine=engine,
        target=target,
        today=TODAY,
        engine_version=rng.choice(known_versions(engine)),
    )
    write_bundle(bundle, folder)
    checked = check_bundle(folder)
    return {
        "scenario": scenario.name,
        "model": scenario.model,
        "engine": f"{engine} {bundle.fleet.engine.version}",
        "target": target,
        "plan": plan.label,
        "findings": [f"{finding.name}: {finding.what}" for finding in checked.findings],
    }


def sweep(count: int, seed: int) -> dict[str, Any]:
    """So many bundles; what was drawn in vain is counted by reason."""
    rng, catalog, start = random.Random(seed), default_catalog(), time.perf_counter()
    made: list[dict[str, Any]] = []
    vain: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as scratch:
        while len(made) < count:
            engine = rng.choice(["vllm", "vllm", "vllm", "sglang", "sglang", "llama.cpp", "transformers"])
            target = rng.choice(sorted(TARGETS))
            try:
                made.append(one(rng, catalog, engine, target, Path(scratch) / str(len(made) + sum(vain.values()))))
            except LlmSizerError as error:
                vain[" ".join(str(error).split())[:60]] += 1
    failed = [case for case in made if case["findings"]]
    return {
        "bundles": len(made),
        "passed": len(made) - len(failed),
        "failed": failed,
        "seed": seed,
        "models": len({case["model"] for case in made}),
        "by_engine": dict(collections.Counter(case["engine"] for case in made)),
        "by_target": dict(collections.Counter(case["target"] for case in made)),
        "drawn_in_vain": sum(vain.values()),
        "in_vain_because": dict(vain.most_common(12)),
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenarios", type=int, default=200)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = sweep(asked.scenarios, asked.seed)
    print(f"{found['passed']} of {found['bundles']} bundles pass every offline check, {found['models']} models,")
    print(f"{found['by_engine']}, {found['by_target']}; drawn in vain {found['drawn_in_vain']}, {found['seconds']} s")
    for case in found["failed"][:20]:
        print(f"  {case['engine']} {case['target']} {case['plan']}: {case['findings'][0]}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
