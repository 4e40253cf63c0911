"""Runs inside GPTQModel's environment, where this package is not installed: files in, files out.

python gptqmodel_worker.py quantize '{"source": …, "out": …, "rows": …}'
python gptqmodel_worker.py logits '{"folder": …, "tokens": …, "out": …}'
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np


def quantize(job: dict[str, Any]) -> None:
    import gptqmodel  # type: ignore[import-not-found,unused-ignore]
    import torch

    options: dict[str, Any] = {"bits": job["bits"], "group_size": job["group_size"], "sym": job["symmetric"]}
    backend = {}
    if job["format"] == "awq":
        quantization = gptqmodel.quantization
        options |= {"quant_method": quantization.METHOD.AWQ, "format": quantization.FORMAT.GEMM}
        if not torch.cuda.is_available():  # the default kernel, with which it checks the settings, wants CUDA
            backend = {"backend": gptqmodel.BACKEND.AWQ_TORCH}
    else:
        options |= {"desc_act": job["act_order"] == "group"}
    rows = [{"input_ids": row.tolist(), "attention_mask": [1] * len(row)} for row in np.load(job["rows"])]
    with open(f"{job['source']}/config.json", encoding="utf-8") as file:  # noqa: PTH123 - no more than it must import
        stored = json.load(file).get("dtype") or "float16"
    model = gptqmodel.GPTQModel.load(
        job["source"], gptqmodel.QuantizeConfig(**options), dtype=getattr(torch, stored.removeprefix("torch."))
    )
    model.quantize(rows, batch_size=1, **backend)
    model.save(job["out"])


def logits(job: dict[str, Any]) -> None:
    import torch
    import transformers as untyped

    transformers: Any = untyped
    transformers.utils.logging.disable_progress_bar()
    load = transformers.AutoModelForCausalLM.from_pretrained
    model = load(job["folder"], local_files_only=True, dtype=torch.bfloat16).eval()
    tokens = torch.from_numpy(np.load(job["tokens"]).reshape(1, -1)).to(model.device)
    with torch.inference_mode():
        found = model(tokens, use_cache=False).logits[0].float().cpu().numpy()
    np.save(job["out"], found)


if __name__ == "__main__":
    {"quantize": quantize, "logits": logits}[sys.argv[1]](json.loads(sys.argv[2]))
