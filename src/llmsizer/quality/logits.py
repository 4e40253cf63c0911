"""Logits of a variant through the engine that runs it: one reader per format."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsizer.facts.variant import Variant
from llmsizer.gguf_graph import opened_graph
from llmsizer.installed import optional, quiet_transformers
from llmsizer.quantize.loading import load_stored, load_widened, must_widen, transformers_misreads
from llmsizer.quantize.stored.experts import is_mixture

Tokens = NDArray[np.int64]
Logits = NDArray[np.float32]
Reader = Callable[[Tokens], Logits]
"""From the tokens of one document to a row of logits for each of them."""

_OPENVINO_FORMATS = ("openvino-ir", "gguf")


def engine_of(variant: Variant) -> str:
    """The engine that reads a variant here; whatever is not OpenVINO's is a folder that transformers loads."""
    return "openvino" if variant.format in _OPENVINO_FORMATS and not is_mixture(variant.config) else "transformers"


@contextmanager
def open_reader(variant: Variant, *, compute: str | None = None) -> Iterator[Reader]:
    """A reader of one variant; ``compute="f32"`` asks for single precision arithmetic, as a reference should have."""
    if engine_of(variant) == "transformers":
        yield _transformers(variant, compute)
        return
    with opened_graph(variant.format, variant.path, variant.config) as graph:
        yield _openvino(graph, compute)


def _openvino(model: Path, compute: str | None) -> Reader:
    openvino = optional("openvino", what="reading OpenVINO IR", extra="quantize")
    # The KV cache would stay FP16 otherwise, and the reference's own rounding would show as damage.
    options = {} if compute is None else {"INFERENCE_PRECISION_HINT": compute, "KV_CACHE_PRECISION": compute}
    request: Any = openvino.Core().compile_model(model, "CPU", options).create_infer_request()

    def read(tokens: Tokens) -> Logits:
        request.reset_state()
        count = tokens.size
        request.infer(
            {
                "input_ids": tokens.reshape(1, count),
                "attention_mask": np.ones((1, count), np.int64),
                "position_ids": np.arange(count, dtype=np.int64).reshape(1, count),
                "beam_idx": np.zeros(1, np.int32),
            }
        )
        return np.array(request.get_output_tensor(0).data[0], dtype=np.float32)

    return read


def _transformers(variant: Variant, compute: str | None) -> Reader:
    torch = optional("torch", what="reading Hugging Face weights", extra="quantize")
    kind = variant.config.get("model_type")
    transformers = quiet_transformers(what="reading Hugging Face weights", model_type=kind)
    on_gpu = torch.cuda.is_available()
    # Compressed tensors are unpacked to 16 bit and computed like the original; a CPU computes FP16 slowly.
    dtype = torch.float32 if compute == "f32" or not on_gpu else torch.float16
    load = transformers.AutoModelForCausalLM.from_pretrained
    device = "cuda" if on_gpu else "cpu"
    if variant.format == "huggingface" and must_widen(variant.path):
        return _reads(torch, load_widened(variant.path, dtype, device))
    if transformers_misreads(variant):
        return _reads(torch, load_stored(variant, dtype, device))
    with contextlib.redirect_stderr(io.StringIO()):  # compressed tensors draw bars of their own into ours
        model = load(variant.path, dtype=dtype, local_files_only=True).eval()
        # Routers and unpacked experts keep the format they are stored in, whatever is asked for.
        model = model.to(device, dtype)
    return _reads(torch, model)


def _reads(torch: Any, model: Any) -> Reader:
    def read(tokens: Tokens) -> Logits:
        with torch.inference_mode():
            logits = model(torch.from_numpy(tokens.reshape(1, -1)).to(model.device), use_cache=False).logits[0]
        return np.array(logits.float().cpu().numpy(), dtype=np.float32)

    return read
