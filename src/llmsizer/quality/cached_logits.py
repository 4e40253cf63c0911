"""Logits of tokens that are read out of a KV cache of a chosen format, as decoding reads them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from llmsizer.errors import InputError
from llmsizer.facts.variant import Variant
from llmsizer.gguf_graph import opened_graph
from llmsizer.installed import optional, quiet_transformers
from llmsizer.quality.logits import Logits, Tokens, engine_of
from llmsizer.quality.long_context import TailReader

# Formats a user may ask for → what the engine calls them.
OPENVINO_KV = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "u8", "u8": "u8", "f16": "f16"}
TRANSFORMERS_BITS = {"int4": 4, "int2": 2}  # what quanto keeps; the last 128 tokens stay 16 bit


@contextmanager
def open_tail_reader(variant: Variant, kv_format: str) -> Iterator[TailReader]:
    """A reader whose cache holds ``kv_format``. Raises InputError where the engine has no such cache."""
    if engine_of(variant) == "transformers":
        yield _transformers(variant, kv_format)
        return
    if kv_format not in OPENVINO_KV:
        raise InputError(f"OpenVINO keeps no {kv_format} cache on a CPU; it keeps {', '.join(OPENVINO_KV)}")
    with opened_graph(variant.format, variant.path, variant.config) as graph:
        yield _openvino(graph, OPENVINO_KV[kv_format])


def _openvino(graph: Any, kv: str) -> TailReader:
    openvino = optional("openvino", what="reading OpenVINO IR", extra="quantize")
    # Single precision arithmetic, so that the cache alone differs.
    options = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": kv}
    request: Any = openvino.Core().compile_model(graph, "CPU", options).create_infer_request()

    def feed(tokens: Tokens, past: int) -> Logits:
        count = tokens.size
        request.infer(
            {
                "input_ids": tokens.reshape(1, count),
                "attention_mask": np.ones((1, past + count), np.int64),
                "position_ids": np.arange(past, past + count, dtype=np.int64).reshape(1, count),
                "beam_idx": np.zeros(1, np.int32),
            }
        )
        return np.array(request.get_output_tensor(0).data[0, -1:], dtype=np.float32)

    def read(tokens: Tokens, tail: int) -> Logits:
        request.reset_state()
        head = tokens.size - tail
        if head > 0:
            feed(tokens[:head], 0)
        return np.concatenate([feed(tokens[at : at + 1], at) for at in range(head, tokens.size)])

    return read


def _transformers(variant: Variant, kv_format: str) -> TailReader:
    torch = optional("torch", what="reading Hugging Face weights", extra="quantize")
    transformers = quiet_transformers(what="reading Hugging Face weights")
    bits = TRANSFORMERS_BITS.get(kv_format)
    if bits is None and kv_format not in ("fp32", "fp16", "bf16"):
        known = ", ".join(("fp32", "fp16", "bf16", *TRANSFORMERS_BITS))
        raise InputError(f"transformers keeps no {kv_format} cache; it keeps {known}")
    if bits is not None:
        optional("optimum.quanto", what="a quantized cache in transformers", extra="kv-cache")
    held_as = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(kv_format, torch.float32)
    on_gpu = torch.cuda.is_available()
    # A CPU computes 16 bit slowly: there arithmetic stays single, and only what the cache keeps is rounded.
    dtype = held_as if on_gpu else torch.float32
    load = transformers.AutoModelForCausalLM.from_pretrained
    with contextlib.redirect_stderr(io.StringIO()):  # compressed tensors draw bars of their own into ours
        model = load(variant.path, dtype=dtype, local_files_only=True).eval()
    model = model.to("cuda" if on_gpu else "cpu")

    def cache() -> Any:
        if bits is None:
            plain = transformers.DynamicCache(config=model.config)
            return plain if held_as == dtype else _rounding(plain, held_as)
        return transformers.QuantizedCache(backend="quanto", config=model.config, nbits=bits)

    def read(tokens: Tokens, tail: int) -> Logits:
        held, head, rows = cache(), tokens.size - tail, []
        ids = torch.from_numpy(tokens.reshape(1, -1)).to(model.device)
        with torch.inference_mode():
            if head > 0:
                model(ids[:, :head], past_key_values=held, use_cache=True, logits_to_keep=1)
            for at in range(head, tokens.size):
                logits = model(ids[:, at : at + 1], past_key_values=held, use_cache=True).logits[0]
                rows.append(logits.float().cpu().numpy())
        return np.concatenate(rows).astype(np.float32)

    return read


def _rounding(cache: Any, dtype: Any) -> Any:
    """The cache, which keeps keys and values as ``dtype`` would, in the numbers that the model computes with."""
    keep = cache.update

    def update(keys: Any, values: Any, *others: Any, **options: Any) -> Any:
        return keep(keys.to(dtype).to(keys.dtype), values.to(dtype).to(values.dtype), *others, **options)

    cache.update = update
    return cache
