"""What a trained mixture of experts loses in each format: KL divergence and perplexity against its 16-bit weights.

    python benchmarks/mixtures.py --out DIR --json benchmarks/results/mixtures.json

The model is the small Mixtral that `llmsizer model --mixture` trains (eight experts of which two serve a token). Each
variant is judged on held-out documents by its weights as the format defines them; activations of experts stay in
single precision, since no reader on a CPU quantizes them.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

from llmsizer import reference_model
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.variant import Variant
from llmsizer.installed import versions_of
from llmsizer.quality.evaluate import evaluate
from llmsizer.quantize import Job, original, quantize
from llmsizer.reference_model import MixtureRecipe

METHODS = (
    "w8a8", "int8", "int8-gptq", "fp8-dynamic", "fp8-static", "gguf-q8_0", "gguf-q6_k", "gguf-q5_k_m", "gguf-q4_k_m",
    "gguf-q4_0", "int4-gptq", "int4-rtn", "nvfp4-wo", "mxfp4",
)  # fmt: skip
DOCUMENTS = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("mixtures"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--methods", default=",".join(METHODS), help="a comma list (default: all)")
    arguments = parser.parse_args()
    began = time.process_time()
    source = reference_model.build(arguments.out / "models", recipe=MixtureRecipe())
    job = Job(calibration=reference_model.calibration_documents(source), verify=True)
    variants = [quantize(source, method, arguments.out / method, job=job) for method in arguments.methods.split(",")]
    plain = original(source)
    documents = reference_model.held_out_documents(source)[: arguments.documents]
    records = evaluate(
        [plain, *variants], plain, documents, dataset=reference_model.DATASET, kept_in=arguments.out / "kept.jsonl"
    )
    for record, variant in zip(records, [plain, *variants], strict=True):
        print(row(record, variant))
    if arguments.json:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        found = {
            "model": source.name,
            "documents": len(documents),
            "cpu_seconds": time.process_time() - began,
            "peak_memory_bytes": usage.ru_maxrss * 1024,
            "versions": versions_of("transformers", "torch", "llmcompressor", "compressed-tensors", "gguf"),
            "records": [record.model_dump(mode="json") for record in records],
            "round_trips": {v.method: v.round_trip.model_dump() for v in variants if v.round_trip},
            "experts_rounded": {v.method: v.expert_use.model_dump() for v in variants if v.expert_use},
        }
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def row(record: QualityRecord, variant: Variant) -> str:
    trip = "–" if variant.round_trip is None else f"{variant.round_trip.reader} {variant.round_trip.value:.1e}"
    return (
        f"{record.method:12} {record.bits_per_weight:6.3f} bits  ppl {record.perplexity:8.3f}  ratio "
        f"{record.perplexity_ratio:.4f} [{record.perplexity_ratio_low:.4f}, {record.perplexity_ratio_high:.4f}]  KL "
        f"{record.kl_nats_per_token:.2e} [{record.kl_nats_per_token_low:.2e}, {record.kl_nats_per_token_high:.2e}]  "
        f"top-1 {record.top1_agreement:.4f}  read back: {trip}"
    )


if __name__ == "__main__":
    main()
