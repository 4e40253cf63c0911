"""A checkpoint in transformers by our own reading of its weights, tensor by tensor.

transformers reads FP8 itself where a GPU computes with it. In 16 bit it does not read all of what is published: of
fused FP8 experts (Mistral Small 4) it leaves out the scales without a word, blocks that do not divide a matrix
(DeepSeek-V3's ``kv_a_proj_with_mqa``) end in an error, and ModelOpt's scales are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from llmsizer.errors import QuantizationError
from llmsizer.facts.variant import Variant
from llmsizer.installed import optional, quiet_transformers
from llmsizer.quantize.formats.readers import stored_weights
from llmsizer.quantize.formats.toolkit_reader import UNREAD_EXPERTS
from llmsizer.quantize.stored.checkpoint import open_source
from llmsizer.quantize.stored.experts import EXPERT, in_memory, is_mixture, model_type_of
from llmsizer.quantize.stored.packed import quantization_of

WHAT = "reading a checkpoint"
NATIVE = ("fp8", "compressed-tensors", "fbgemm_fp8")  # what transformers runs as it is, given a GPU that has FP8
WEIGHTS_OF_FOUR_BITS = ("NVFP4A16", "MXFP4A16")  # floats, of compressed-tensors
FP8_CAPABILITY = (8, 9)  # of NVIDIA's GPUs, from which on they multiply FP8
DECODER, WHOLE = "model.language_model.", "model."  # in names, where the decoder is a part of a model with vision


def must_widen(folder: Path) -> bool:
    """Whether a folder's weights are packed in a way that transformers does not run here, and so must be widened."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    settings = quantization_of(config) if isinstance(config, dict) else {}
    if not settings and not (folder / "hf_quant_config.json").is_file():
        return False
    if open_source(folder).packed_format is None:
        return False
    torch = optional("torch", what=WHAT, extra="quantize")
    has_fp8 = torch.cuda.is_available() and torch.cuda.get_device_capability() >= FP8_CAPABILITY
    return not (has_fp8 and settings.get("quant_method") in NATIVE)


def load_widened(folder: Path, dtype: Any, device: str = "cpu") -> Any:
    """transformers' model of the decoder, its weights widened one after the other. Raises QuantizationError."""
    torch = optional("torch", what=WHAT, extra="quantize")
    source = open_source(folder)
    with torch.device(device):
        model = empty_model(source.path, source.config, dtype)
    tensors = ((name, tensor.float32()) for name, tensor in source.tensors.items())
    check_whole(source.path, fill(model, tensors, model_type_of(source.config)))
    return model.eval()


def transformers_misreads(variant: Variant) -> bool:
    """Whether transformers reads a variant wrongly or not at all: mixtures in GGUF and in some of compressed-tensors.

    Four-bit floats without activations it unpacks to BF16 amid single precision, which ends in an error.
    """
    scheme = variant.recipe.get("scheme") if variant.format == "compressed-tensors" else None
    if scheme in WEIGHTS_OF_FOUR_BITS:
        return True
    return is_mixture(variant.config) and (variant.format == "gguf" or scheme in UNREAD_EXPERTS)


def load_stored(variant: Variant, dtype: Any, device: str = "cpu") -> Any:
    """transformers' model with a variant's weights as the format defines them; activations are not quantized.

    Raises QuantizationError.
    """
    torch = optional("torch", what=WHAT, extra="quantize")
    with torch.device(device):
        model = empty_model(variant.path, variant.config, dtype)
    missing = fill(model, stored_weights(variant).items(), model_type_of(variant.config))
    check_whole(variant.path, missing)
    return model.eval()


def empty_model(folder: Path, config: Mapping[str, Any], dtype: Any) -> Any:
    """transformers' model of the decoder's architecture in a folder; its weights are any."""
    transformers = quiet_transformers(what=WHAT, model_type=model_type_of(config))
    settings = transformers.AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config(decoder=True)
    if hasattr(settings, "quantization_config"):  # of the folder, whose weights are read in 16 bit
        del settings.quantization_config
    return transformers.AutoModelForCausalLM.from_config(settings, dtype=dtype)


def fill(model: Any, tensors: Iterable[tuple[str, np.ndarray[Any, Any]]], model_type: str) -> list[str]:
    """Copy weights by the hub's names into a model, experts into their places; the parameters that none was for."""
    torch = optional("torch", what=WHAT, extra="quantize")
    held: dict[str, Any] = dict(model.state_dict(keep_vars=True))
    copied: dict[str, int] = {}
    with torch.no_grad():
        for stored, values in tensors:
            name = in_memory(stored.replace(DECODER, WHOLE, 1), model_type)
            place, target = name, held.get(name)
            if match := EXPERT.fullmatch(name):
                place = f"{match[1]}.{'down_proj' if match[3] == 'down_proj' else 'gate_up_proj'}"
                target = held[place][int(match[2])] if place in held else None
                if target is not None and match[3] != "down_proj":
                    target = target.chunk(2)[match[3] == "up_proj"]
            if target is not None and tuple(target.shape) == values.shape:
                target.copy_(torch.from_numpy(np.ascontiguousarray(values)))
                copied[place] = copied.get(place, 0) + values.size
    shared = {value.data_ptr() for name, value in held.items() if name in copied}
    return [n for n, v in held.items() if copied.get(n, 0) < v.numel() and (n in copied or v.data_ptr() not in shared)]


def check_whole(folder: Path, missing: Iterable[str]) -> None:
    """Raises QuantizationError where a parameter got no weights."""
    unread = sorted(missing)
    if unread:
        raise QuantizationError(
            f"{folder}: transformers holds {unread[0]}, which was not found among the stored weights; "
            "a layout of this kind is not read here"
        )
