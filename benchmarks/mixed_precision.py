"""Mixed precision under a size budget against the uniform recipes of at most as many bytes, by KL on held-out text.

python benchmarks/mixed_precision.py CHECKPOINT        on the trained reference model
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from llmsizer.facts.records import QualityRecord
from llmsizer.facts.variant import Variant
from llmsizer.quality.evaluate import evaluate
from llmsizer.quantize import Job, original, quantize
from llmsizer.reference_model import DATASET, held_out_documents
from quantizers import texts_of

RESULTS = Path(__file__).parent / "results" / "mixed_precision.json"
UNIFORM = """description = "GPTQ {scheme} in groups of {group_size}"
variant = "{name}"
precision = "int4"
toolkit = "llm-compressor"
format = "compressed-tensors"
bits = 4
algorithm = "gptq"
scheme = "{scheme}"
symmetric = {symmetric}
group_size = {group_size}
act_order = "static"
kept_16bit = ["embed_tokens", "lm_head"]
"""
RIVALS = ("W4A16-g64", "W4A16_ASYM-g128", "W4A16-g32", "W4A16_ASYM-g64", "W4A16_ASYM-g32")
BUDGETS = ("W4A16-g64", "W4A16-g32", "W4A16_ASYM-g32")  # the bytes of these, and those of this share beyond the last:
BEYOND = 1.07


def uniform_recipe(name: str, folder: Path) -> Path:
    scheme, _, group_size = name.partition("-g")
    file = folder / f"{name}.toml"
    symmetric = str("ASYM" not in scheme).lower()
    text = UNIFORM.format(name=name, scheme=scheme, group_size=group_size, symmetric=symmetric)
    file.write_text(text, encoding="utf-8")
    return file


def made(checkpoint: Path, name: str, method: str, folder: Path, job: Job) -> tuple[Variant, float]:
    began = time.process_time()
    variant = quantize(checkpoint, method, folder / name, job=job)
    seconds = time.process_time() - began
    print(name, f"{variant.weights_bytes:,} bytes, {seconds:.0f} s of processor time", flush=True)
    return variant.model_copy(update={"name": name}), seconds


def rivals_of(record: QualityRecord, records: list[QualityRecord]) -> dict[str, dict[str, Any]]:
    """The paired difference of divergence to every uniform variant that is not larger."""
    size = {r.variant: r.weights_bytes or 0.0 for r in records}
    return {
        d.other: d.model_dump(exclude={"other"})
        for d in record.differences
        if not d.other.startswith("mixed") and size[d.other] <= size[record.variant] * 1.001
    }


def compare(checkpoint: Path, documents: int, held_out: int) -> dict[str, Any]:
    texts = texts_of(checkpoint, documents)
    runs: dict[str, tuple[Variant, float]] = {}
    with tempfile.TemporaryDirectory(prefix="mixed-") as scratch:
        folder = Path(scratch)
        job = Job(calibration=texts, verify=False)
        for name in RIVALS:
            runs[name] = made(checkpoint, name, str(uniform_recipe(name, folder)), folder, job)
        budgets = [runs[name][0].weights_bytes for name in BUDGETS]
        for budget in (*budgets, int(BEYOND * budgets[-1])):
            name = f"mixed {budget / 1e6:.2f} MB"
            job = Job(calibration=texts, verify=False, size_budget_bytes=budget)
            runs[name] = made(checkpoint, name, "mixed", folder, job)
        variants = [variant for variant, _ in runs.values()]
        held = held_out_documents(checkpoint)[:held_out]
        records = evaluate(variants, original(checkpoint), held, dataset=DATASET)
    keys = ("kl_nats_per_token", "kl_nats_per_token_low", "kl_nats_per_token_high", "top1_agreement", "perplexity")
    return {
        record.variant: {
            "weights_bytes": record.weights_bytes,
            "cpu_seconds": runs[record.variant][1],
            **{key: getattr(record, key) for key in keys},
            **({"less_than": rivals_of(record, records)} if record.variant.startswith("mixed") else {}),
        }
        for record in records
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--documents", type=int, default=6, help="of calibration text")
    parser.add_argument("--held-out", type=int, default=16, help="documents to judge on")
    arguments = parser.parse_args()
    found = compare(arguments.checkpoint, arguments.documents, arguments.held_out)
    asked = {"documents": arguments.documents, "held_out": arguments.held_out}
    RESULTS.write_text(json.dumps(asked | {"variants": found}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
