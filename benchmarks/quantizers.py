"""What our quantizer makes, beside the toolkit used directly: quality, time, peak memory.

python benchmarks/quantizers.py CHECKPOINT            on the trained reference model
python benchmarks/quantizers.py --peak CHECKPOINT     how much memory a large one takes, with random weights
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

RESULTS = Path(__file__).parent / "results" / "quantizers.json"
METHODS = ("int8", "int4-gptq", "int4-awq", "int4-rtn")


def texts_of(checkpoint: Path, documents: int) -> list[str]:
    from llmsizer.reference_model import calibration_documents

    return calibration_documents(checkpoint)[:documents]


def ours(checkpoint: Path, method: str, out: Path, documents: int) -> dict[str, Any]:
    import llmcompressor  # noqa: F401 - imports are no part of the work, here as with the toolkit

    from llmsizer.quantize import Job, quantize

    texts = texts_of(checkpoint, documents) if documents else []
    job = Job(calibration=texts, verify=False)
    began = time.perf_counter()
    variant = quantize(checkpoint, method, out, job=job)
    return {
        "seconds": time.perf_counter() - began,
        "weights_bytes": variant.weights_bytes,
        "file_bytes": variant.file_bytes,
        "bits_per_weight": variant.bits_per_weight,
    }


def toolkit(checkpoint: Path, method: str, out: Path, documents: int) -> dict[str, Any]:
    """llm-compressor as its own documentation uses it, on the same tokens; the model computes in single precision."""
    import llmcompressor
    import torch
    import transformers
    from datasets import Dataset
    from llmcompressor.modifiers.gptq import GPTQModifier

    from llmsizer.quantize.calibration import token_rows
    from llmsizer.quantize.formats.compressed_tensors import modifiers_of
    from llmsizer.quantize.layers.layered import quietly
    from llmsizer.quantize.recipes import get_recipe
    from llmsizer.quantize.stored.checkpoint import open_checkpoint

    recipe = get_recipe(method)
    began = time.perf_counter()
    options: dict[str, Any] = {}
    if recipe.is_calibrated:
        rows = token_rows(open_checkpoint(checkpoint), texts_of(checkpoint, documents), recipe)
        data = Dataset.from_dict({"input_ids": rows.tolist(), "attention_mask": [[1] * rows.shape[1]] * len(rows)})
        options = {"dataset": data, "max_seq_length": rows.shape[1], "num_calibration_samples": len(rows)}
        options |= {"shuffle_calibration_samples": False}
    with quietly():
        model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        with mock.patch("llmsizer.quantize.formats.compressed_tensors.shared_gptq", GPTQModifier):  # its own, not ours
            modifiers = modifiers_of(recipe)(0)
        llmcompressor.oneshot(model=model, recipe=modifiers, **options)
        model.to(torch.float16).save_pretrained(out, save_compressed=True)
    return {"seconds": time.perf_counter() - began}


def alone(*arguments: object) -> dict[str, Any]:
    """One piece of work in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--child", *(str(a) for a in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arguments}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(arguments[0], arguments[2], found, flush=True)
    return found


def child(kind: str, checkpoint: Path, method: str, out: Path, documents: int) -> None:
    found = ours(checkpoint, method, out, documents) if kind == "ours" else toolkit(checkpoint, method, out, documents)
    used = resource.getrusage(resource.RUSAGE_SELF)
    # The machine may be shared: the processor's time says more about the work than the clock's.
    found |= {"peak_bytes": used.ru_maxrss * 1024, "cpu_seconds": used.ru_utime + used.ru_stime}
    print(json.dumps(found))


def judged(checkpoint: Path, folders: dict[str, Path], documents: int) -> dict[str, dict[str, Any]]:
    from llmsizer.quality.evaluate import evaluate
    from llmsizer.quantize import original, read_variant
    from llmsizer.reference_model import DATASET, held_out_documents

    variants = {}
    for name, folder in folders.items():
        method = name.removeprefix("toolkit ")
        manifest = read_variant(folders[method])
        variants[name] = manifest.model_copy(update={"path": folder, "name": name.replace(" ", "-")})
    records = evaluate(
        list(variants.values()), original(checkpoint), held_out_documents(checkpoint)[:documents], dataset=DATASET
    )
    keys = ("perplexity", "perplexity_standard_error", "kl_nats_per_token", "kl_nats_per_token_low")
    keys += ("kl_nats_per_token_high", "top1_agreement", "tokens", "documents")
    rows = zip(variants, records, strict=True)
    return {name: {key: getattr(record, key) for key in keys} for name, record in rows}


def compare(checkpoint: Path, documents: int, held_out: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="quantizers-") as scratch:
        folder = Path(scratch)
        folders, runs = {}, {}
        for method in METHODS:
            folders[method] = folder / method
            runs[method] = alone("ours", checkpoint, method, folders[method], documents)
        for method in ("int4-gptq", "int4-rtn"):
            name = f"toolkit {method}"
            folders[name] = folder / f"toolkit-{method}"
            runs[name] = alone("toolkit", checkpoint, method, folders[name], documents)
            for companion in ("tokenizer.json", "llmsizer_manifest.json"):
                (folders[name] / companion).write_bytes((folders[method] / companion).read_bytes())
        quality = judged(checkpoint, folders, held_out)
    return {name: runs[name] | quality[name] for name in folders}


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        kind, checkpoint, method, out, documents = sys.argv[2:]
        child(kind, Path(checkpoint), method, Path(out), int(documents))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--documents", type=int, default=3, help="of calibration text")
    parser.add_argument("--held-out", type=int, default=24, help="documents to judge on")
    parser.add_argument("--peak", action="store_true", help="only how much time and memory int4-rtn takes")
    arguments = parser.parse_args()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    if arguments.peak:
        with tempfile.TemporaryDirectory(prefix="quantizers-", dir=arguments.checkpoint.parent) as scratch:
            found = alone("ours", arguments.checkpoint, "int4-rtn", Path(scratch) / "out", 0)
        source = sum(file.stat().st_size for file in arguments.checkpoint.glob("*.safetensors"))
        results["large"] = {"checkpoint_bytes": source, "method": "int4-rtn"} | found
    else:
        results["reference"] = compare(arguments.checkpoint, arguments.documents, arguments.held_out)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
