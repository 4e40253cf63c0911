"""A checkpoint in transformers by our own reading of its weights, tensor by tensor.

transformers reads FP8 itself where a GPU computes with it. In 16 bit it does not read all of what is published: of
fused FP8 experts (Mistral Small 4) it leaves out the scales without a word, blocks that do not divide a matrix
(DeepSeek-V3's ``kv_a_proj_with_mqa``) end in an error, and ModelOpt's scales are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from llmsizer.errors import QuantizationError
from llmsizer.installed import optional, quiet_transformers
from llmsizer.quantize.stored.checkpoint import Checkpoint, open_source
from llmsizer.quantize.stored.experts import EXPERT, in_memory, model_type_of
from llmsizer.quantize.stored.packed import quantization_of

WHAT = "reading a checkpoint"
NATIVE = ("fp8", "compressed-tensors", "fbgemm_fp8")  # what transformers runs as it is, given a GPU that has FP8
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
        model = empty_model(source, dtype)
    tensors = ((name, tensor.float32()) for name, tensor in source.tensors.items())
    check_whole(source, fill(model, tensors, model_type_of(source.config)))
    return model.eval()


def empty_model(source: Checkpoint, dtype: Any) -> Any:
    """transformers' model of the decoder's architecture; its weights are any."""
    transformers = quiet_transformers(what=WHAT, model_type=model_type_of(source.config))
    config = transformers.AutoConfig.from_pretrained(source.path, local_files_only=True)
    config = config.get_text_config(decoder=True)
    if hasattr(config, "quantization_config"):  # of the source, whose weights are read in 16 bit
        del config.quantization_config
    return transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)


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


def check_whole(source: Checkpoint, missing: Iterable[str]) -> None:
    """Raises QuantizationError where a parameter got no weights."""
    unread = sorted(missing)
    if unread:
        raise QuantizationError(
            f"{source.path}: transformers holds {unread[0]}, which was not found among the stored weights; "
            "a layout of this kind is not read here"
        )
