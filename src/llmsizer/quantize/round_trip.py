"""A variant read twice: by an engine, and by our own numpy reader of its format. Both must give the same logits.

The second reading puts the stored weights, as the format defines them, into the unquantized model. What remains
between the two is the engine's own arithmetic, which the bounds allow for.
"""

from __future__ import annotations

import string
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import llmsizer.quantize.formats.gptqmodel as gptqmodel
from llmsizer.errors import QuantizationError
from llmsizer.facts.variant import RoundTrip, Variant
from llmsizer.gguf_graph import GGUF_FILE, MODEL_FILE
from llmsizer.installed import optional, quiet_transformers
from llmsizer.quantize.formats.gguf_file import read_vocabulary
from llmsizer.quantize.formats.readers import Weights, stored_weights
from llmsizer.quantize.formats.toolkit_reader import UNREAD_EXPERTS, weights_by_toolkit
from llmsizer.quantize.loading import check_whole, empty_model, fill
from llmsizer.quantize.stored.checkpoint import Checkpoint, open_checkpoint
from llmsizer.quantize.stored.experts import model_type_of, text_config

TOKENS = 48
ACTIVATIONS_TOO = ("W8A8", "FP8", "FP8_DYNAMIC", "NVFP4")
MEASURE = "KL, nats a token"
# What the engine's arithmetic may cost. Single precision: rounding. BF16 of
# GPTQModel's kernels and 8-bit activations of llama.cpp's: their noise. Schemes with quantized activations: those.
SINGLE, ROUNDED, ACTIVATIONS = 1e-4, 2e-2, 5e-2
Logits = NDArray[np.float32]
TOP_TOKENS = 200_000  # more than that llama.cpp's server is not asked to list
LLAMA_TOKENS = 12  # each is a request of its own


def round_trip(source: Checkpoint, variant: Variant) -> RoundTrip | None:
    """Read a variant with its engine and against it; None where no engine for it is here."""
    if text_config(source.config) is not source.config:  # a decoder within another model
        return None
    tokens = _tokens(int(source.config["vocab_size"]))
    reader, bound = "transformers", SINGLE
    with tempfile.TemporaryDirectory(prefix="llmsizer-read-") as scratch:
        if variant.format == "compressed-tensors":
            scheme = str(variant.recipe.get("scheme"))
            found: Logits | None
            if source.has_experts and scheme in UNREAD_EXPERTS:
                reader, found = "compressed-tensors", logits_of(source, _by_toolkit(variant), tokens)
            else:
                found = _transformers(variant.path, tokens, source.config, bfloat16="FP4" in scheme)
            bound = ACTIVATIONS if scheme in ACTIVATIONS_TOO else ROUNDED if "FP4" in scheme else SINGLE
        elif variant.format in ("gptq", "awq"):
            reader, bound = "transformers with GPTQModel", ROUNDED
            found = gptqmodel.logits(variant, tokens, Path(scratch))
        elif variant.format == "gguf":
            reader, bound = "llama.cpp", ROUNDED
            found = _llama_cpp(variant.path / GGUF_FILE, tokens[:LLAMA_TOKENS], source, Path(scratch))
        else:
            reader, bound = "OpenVINO", SINGLE
            found = _openvino(variant.path / MODEL_FILE, tokens)
    if found is None:
        return None
    expected = logits_of(source, stored_weights(variant), tokens)
    value = divergence(expected[: found.shape[0]], found)
    return RoundTrip(
        reader=reader,
        against="our own reader of the format",
        tokens=int(found.shape[0]),
        measure=MEASURE,
        value=value,
        bound=bound,
    )


def _by_toolkit(variant: Variant) -> Weights:
    settings: Any = open_checkpoint(variant.path).config["quantization_config"]
    return weights_by_toolkit(variant.path, settings)


def divergence(expected: Logits, found: Logits) -> float:
    """Mean KL of each row's distribution from the expected one, in nats; infinite where a logit is no number."""
    if not np.isfinite(expected).all() or not np.isfinite(found).all():
        return float("inf")
    p, q = _log_softmax(expected), _log_softmax(found)
    return max(0.0, float((np.exp(p) * (p - q)).sum(axis=-1).mean()))


def _log_softmax(logits: Logits) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return result


def _tokens(vocabulary: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(3, vocabulary, TOKENS).astype(np.int64)


def logits_of(source: Checkpoint, weights: Weights, tokens: NDArray[np.int64]) -> Logits:
    """Logits of the unquantized architecture with these weights, in single precision."""
    torch = optional("torch", what="reading a variant back", extra="quantize")
    model = plain_model(source, weights)
    with torch.inference_mode():
        return np.array(model(torch.from_numpy(tokens.reshape(1, -1)), use_cache=False).logits[0].numpy())


def plain_model(source: Checkpoint, weights: Weights) -> Any:
    """transformers' model of the source's architecture with weights of our own, in single precision."""
    torch = optional("torch", what="reading a variant back", extra="quantize")
    model = empty_model(source.path, source.config, torch.float32)
    missing = fill(model, weights.items(), model_type_of(source.config))
    norms = {name: source.tensor(name).float32() for name in missing if "norm" in name and name in source.tensors}
    fill(model, norms.items(), "")  # OpenVINO's graph names no norms
    check_whole(source.path, set(missing) - set(norms))
    return model.eval()


def _transformers(
    folder: Path, tokens: NDArray[np.int64], config: Mapping[str, Any], *, bfloat16: bool
) -> Logits | None:
    """By compressed-tensors, which unpacks four-bit floats to BF16 and nothing else."""
    if find_spec("compressed_tensors") is None:
        return None
    torch = optional("torch", what="reading a variant back", extra="quantize")
    transformers = quiet_transformers(what="reading a variant back", model_type=model_type_of(config))
    from llmsizer.quantize.layers.layered import quietly

    with quietly(), torch.inference_mode():
        load = transformers.AutoModelForCausalLM.from_pretrained
        dtype = torch.bfloat16 if bfloat16 else torch.float32
        # Routers and unpacked experts keep the format they are stored in, whatever is asked for.
        model = load(folder, dtype=dtype, local_files_only=True).to(dtype).eval()
        return np.array(model(torch.from_numpy(tokens.reshape(1, -1)), use_cache=False).logits[0].float().numpy())


def _openvino(graph: Path, tokens: NDArray[np.int64]) -> Logits:
    openvino = optional("openvino", what="reading a variant back", extra="quantize")
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "KV_CACHE_PRECISION": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",  # weights only: activations stay as they are
    }
    request: Any = openvino.Core().compile_model(graph, "CPU", options).create_infer_request()
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


def _llama_cpp(file: Path, tokens: NDArray[np.int64], source: Checkpoint, scratch: Path) -> Logits | None:
    """Log probabilities from llama.cpp's own server, in a process that ends with it."""
    vocabulary = int(source.config["vocab_size"])
    if find_spec("xllamacpp") is None or vocabulary > TOP_TOKENS:
        return None
    asked, out = scratch / "tokens.npy", scratch / "logits.npy"
    np.save(asked, tokens)
    worker = [sys.executable, "-m", "llmsizer.quantize.formats.llama_cpp_worker"]
    printable = next(index for index, token in enumerate(read_vocabulary(source)[0]) if token in string.ascii_letters)
    done = subprocess.run(
        [*worker, str(file), str(asked), str(out), str(vocabulary), str(printable)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if " I " not in line] or ["it gave no reason"]
        raise QuantizationError(f"{file.name}: llama.cpp could not read it back: {said[-1]}")
    found: Logits = np.load(out)
    return found
