"""Linear layers in 8 or 4 bit with the kernels that torch brings itself, so that no other package has to be there.

INT8, one scale a row: on a CPU ``aten::_weight_int8pack_mm``; on a GPU a product with the weights widened in the same
expression, which ``torch.compile`` turns into one kernel that reads 8 bit (without compile it widens through memory
and is slower than 16 bit), or with 8-bit activations ``aten::_int_mm``.
INT4, groups of 128 along the input: ``aten::_weight_int4pack_mm`` (tinygemm, BF16 activations, compute capability
8.0), on a CPU its sibling for CPUs.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

from llmsizer.errors import MeasurementError
from llmsizer.installed import optional
from llmsizer.profile.engines.packed_experts import pack_experts

GROUP_SIZE = 128
INNER_K_TILES = 8  # of tinygemm's layout: inputs come in multiples of 16 × it
LEAST_INT_MM_ROWS = 32  # cuBLAS wants more than 16 rows, in steps of 8
Scheme = Literal["int8-wo", "int8-w8a8", "int4-wo"]
WHAT = "packing weights"


def pack(model: Any, scheme: Scheme, *, skip: tuple[str, ...] = ("lm_head", "shared_expert_gate")) -> int:
    """Replace a model's linear layers and experts in place, one at a time so that the 16-bit copy of only one is held.

    Layers named in ``skip`` stay as they are. Returns the number replaced. Raises MeasurementError where a layer's
    inputs do not fill whole groups.
    """
    torch = optional("torch", what=WHAT, extra="quantize")
    found = [
        (n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n.split(".")[-1] not in skip
    ]
    for name, layer in found:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, packed_linear(name, layer, scheme))
    return len(found) + pack_experts(model, lambda name, layer: packed_linear(name, layer, scheme))


def packed_linear(name: str, layer: Any, scheme: Scheme) -> Any:
    """One layer in the scheme's form, on the same device."""
    kinds = _classes()
    weight = layer.weight.detach()
    if scheme == "int4-wo":
        multiple = INNER_K_TILES * 16 if weight.is_cuda else GROUP_SIZE
        if weight.shape[1] % max(multiple, GROUP_SIZE) or weight.shape[0] % 16:
            raise MeasurementError(f"{name}: {tuple(weight.shape)} does not fill INT4 groups of {GROUP_SIZE}")
        codes, scales, zeros = int4_codes(weight)
        return kinds["int4-wo"](codes, scales, zeros, layer.bias)
    values, scales = int8_codes(weight)
    return kinds[scheme](values, scales.to(weight.dtype), layer.bias)


def int8_codes(weight: Any) -> tuple[Any, Any]:
    """Symmetric, a scale a row: weight ≈ codes × scale, codes in −127 … 127."""
    torch = optional("torch", what=WHAT, extra="quantize")
    scales = weight.float().abs().amax(dim=1).clamp(min=1e-12) / 127.0
    codes = torch.round(weight.float() / scales[:, None]).clamp(-127, 127).to(torch.int8)
    return codes, scales


def int4_codes(weight: Any, group_size: int = GROUP_SIZE) -> tuple[Any, Any, Any]:
    """Codes 0 … 15 and, a group, scale and zero: weight ≈ (code − 8) × scale + zero, as tinygemm computes it."""
    torch = optional("torch", what=WHAT, extra="quantize")
    rows, columns = weight.shape
    groups = weight.float().reshape(rows, columns // group_size, group_size)
    low, high = groups.amin(dim=2), groups.amax(dim=2)
    scales = ((high - low) / 15.0).clamp(min=1e-9)
    codes = torch.round((groups - low[..., None]) / scales[..., None]).clamp(0, 15).to(torch.int32)
    return codes.reshape(rows, columns), scales, low + scales * 8.0


@functools.cache
def _classes() -> dict[str, Any]:
    """The layer classes, made when torch is there to derive them from."""
    torch = optional("torch", what=WHAT, extra="quantize")
    aten = torch.ops.aten

    class Layer(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, bias: Any, **buffers: Any) -> None:
            super().__init__()
            for name, value in buffers.items():
                self.register_buffer(name, value)
            self.bias = bias

        def forward(self, x: Any) -> Any:
            flat = self.product(x.reshape(-1, x.shape[-1]))
            made = flat.reshape(*x.shape[:-1], flat.shape[-1]).to(x.dtype)
            return made if self.bias is None else made + self.bias

    class Int8WeightOnly(Layer):
        def __init__(self, codes: Any, scales: Any, bias: Any) -> None:
            super().__init__(bias, codes=codes, scales=scales)

        def product(self, x: Any) -> Any:
            if x.is_cuda:
                return torch.nn.functional.linear(x, self.codes.to(x.dtype)) * self.scales
            return aten._weight_int8pack_mm(x.contiguous(), self.codes, self.scales.to(x.dtype))

    class Int8Both(Int8WeightOnly):
        def product(self, x: Any) -> Any:
            scales = x.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-9) / 127.0
            codes = torch.round(x.float() / scales).to(torch.int8)
            rows = x.shape[0]
            padded = max(LEAST_INT_MM_ROWS, -(-rows // 8) * 8)
            codes = torch.nn.functional.pad(codes, (0, 0, 0, padded - rows))
            return aten._int_mm(codes, self.codes.t())[:rows].float() * scales * self.scales.float()

    class Int4WeightOnly(Layer):
        def __init__(self, codes: Any, scales: Any, zeros: Any, bias: Any) -> None:
            both = torch.stack((scales, zeros), dim=2).transpose(0, 1).contiguous().to(torch.bfloat16)
            super().__init__(bias, packed=_pack_int4(torch, codes), scales_and_zeros=both)

        def product(self, x: Any) -> Any:
            x = x.to(torch.bfloat16).contiguous()
            name = "_weight_int4pack_mm" if x.is_cuda else "_weight_int4pack_mm_for_cpu"
            return getattr(aten, name)(x, self.packed, GROUP_SIZE, self.scales_and_zeros)

    return {"int8-wo": Int8WeightOnly, "int8-w8a8": Int8Both, "int4-wo": Int4WeightOnly}


def _pack_int4(torch: Any, codes: Any) -> Any:
    if codes.is_cuda:  # two codes a byte, the even column in the high half
        pairs = (codes[:, ::2] << 4 | codes[:, 1::2]).to(torch.uint8)
        return torch.ops.aten._convert_weight_to_int4pack(pairs, INNER_K_TILES)
    return torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, INNER_K_TILES)
