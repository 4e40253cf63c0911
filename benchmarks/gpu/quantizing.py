"""(f) Quantizing the 22B on the device, layer by layer: seconds, and the memory it takes at most.

Rounding to nearest into the layouts that torch's kernels read; stage ``gptq`` is GPTQ, which needs the toolkit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import campaign

from llmsizer.installed import optional
from llmsizer.profile.engines.transformers import load_model, weight_bytes
from llmsizer.profile.engines.weight_only import pack

SCHEMES = ("int8-wo", "int8-w8a8", "int4-wo")


def quantize(at: campaign.Stage, model: str, scheme: Any) -> dict[str, Any]:
    """A fresh random model, packed in place; peak bytes are the allocator's, None where there is none."""
    torch = optional("torch", what="the GPU campaign", extra="profile")
    on_gpu = torch.cuda.is_available()
    variant = campaign.variant_of(model, "fp16", at.out / "models", dry_run=at.dry_run)
    loaded = load_model(variant, torch.bfloat16, "cuda" if on_gpu else "cpu")
    before = weight_bytes(loaded)
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    layers = pack(loaded, scheme)
    if on_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    peak = float(torch.cuda.max_memory_allocated()) if on_gpu else None
    row = {
        "model": model,
        "scheme": scheme,
        "layers": layers,
        "quantizing_seconds": seconds,
        "weights_bytes_before": before,
        "weights_bytes_after": weight_bytes(loaded),
        "peak_allocated_bytes": peak,
    }
    del loaded
    if on_gpu:
        torch.cuda.empty_cache()
    return row


def parts(at: campaign.Stage, models: tuple[str, ...]) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    for model in models:
        for scheme in SCHEMES:
            yield f"{model} {scheme}", partial(quantize, at, model, scheme)


def run(arguments: list[str] | None = None) -> None:
    parser = campaign.parser(__doc__ or "")
    parser.add_argument("--model", choices=sorted(campaign.MODELS), action="append")
    asked = parser.parse_args(arguments)
    at = campaign.stage("quantizing", asked)
    at.run(parts(at, tuple(asked.model or ("3b", "8b", "22b"))), seconds_each=60.0)


if __name__ == "__main__":
    campaign.main(run)
