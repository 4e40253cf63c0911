"""compressed-tensors as its own library unpacks it: the second reader where transformers reads no experts of a scheme.

transformers 5.17 leaves out the second scale of NVFP4 experts and knows no experts in plain integers. vLLM and SGLang
read both, and take the meaning of the bits from this library.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from llmsizer.installed import optional
from llmsizer.quantize.formats.readers import Weights
from llmsizer.quantize.layers.experts import EXTRA
from llmsizer.quantize.stored.checkpoint import open_checkpoint

WHAT = "reading compressed-tensors"
OF_A_MATRIX = ("weight", "weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_global_scale")
UNREAD_EXPERTS = ("NVFP4", "NVFP4A16", "W8A8")  # schemes of which transformers reads no experts


def weights_by_toolkit(folder: Path, settings: Mapping[str, Any]) -> Weights:
    """Every tensor by its name, in single precision; the folder's matrices are all of one scheme."""
    torch = optional("torch", what=WHAT, extra="quantize")
    safetensors = optional("safetensors.torch", what=WHAT, extra="quantize")
    quantization = optional("compressed_tensors.quantization", what=WHAT, extra=EXTRA)
    registry = optional("compressed_tensors.compressors", what=WHAT, extra=EXTRA).BaseCompressor
    scheme = quantization.QuantizationScheme.model_validate(next(iter(settings["config_groups"].values())))
    compressor = registry.get_value_from_registry(scheme.format or settings["format"])
    found: Weights = {}
    for file in open_checkpoint(folder).files:
        tensors = safetensors.load_file(file)
        for name in [name for name in tensors if name.endswith(".weight_scale")]:
            stem = name.removesuffix(".weight_scale")
            module = torch.nn.Module()
            module.quantization_scheme = scheme
            for kind in OF_A_MATRIX:
                if (tensor := tensors.pop(f"{stem}.{kind}", None)) is not None:
                    setattr(module, kind, torch.nn.Parameter(tensor, requires_grad=False))
            compressor.decompress_module(module)
            found[f"{stem}.weight"] = np.array(module.weight.data.float().numpy())
        plain = {n: t for n, t in tensors.items() if t.is_floating_point() and not n.endswith("_scale")}
        found |= {name: np.array(tensor.float().numpy()) for name, tensor in plain.items()}
    return found
