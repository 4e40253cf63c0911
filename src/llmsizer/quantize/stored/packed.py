"""Weights that are published in eight or four bits with scales beside them, as the 16-bit ones they stand for.

Read so: FP8 with one scale a tensor, a row, or a block of a matrix (``weight_scale_inv``, ``weight_scale``, ``scale``:
what DeepSeek, Qwen, Mistral, compressed-tensors, FBGEMM and NVIDIA's ModelOpt write, experts one by one or fused), and
the MXFP4 of gpt-oss. A weight is the product of its bits and its scale, in single precision, and exactly that: it is
made a tensor at a time, when the tensor is asked for. Scales of activations and of the KV cache are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError
from llmsizer.quantize.stored.numbers import fp4, fp8, fp8_e5m2, powers_of_two, raw
from llmsizer.quantize.stored.tensors import Tensor

FP8 = {"F8_E4M3": fp8(np.arange(256, dtype=np.uint8)), "F8_E5M2": fp8_e5m2(np.arange(256, dtype=np.uint8))}
EXPONENTS = ("F8_E8M0", "U8")  # of scales that are powers of two; all bits set is not a number
NOT_A_NUMBER = 255
SUFFIXES = ("_scale_inv", "_scale", "_weight_scale")  # after the weight's own name
STEM_SUFFIXES = (".scale",)  # in the place of ".weight"
BLOCKS, BLOCK_SCALES = "_blocks", "_scales"  # of MXFP4
# What engines quantize activations and the KV cache by; no weight is made of these.
BESIDE = re.compile(r"[._](activation_scale|input_scale|k_scale|v_scale|q_scale|output_scale|input_scale_ub)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed(Tensor):
    """A matrix, or one matrix an expert, by its stored bits and their scales; BF16 to whoever asks for 16 bits."""

    bits: Tensor
    scale: Tensor
    block: tuple[int, int]  # rows and columns of one scale
    first_row: int = 0  # of this part within the rows that the scales were made for
    is_transposed: bool = False  # stored outputs before inputs, held the other way round (gpt-oss)

    @property
    def format(self) -> str:
        return "mxfp4" if self.bits.dtype == "U8" else "fp8"

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.bits.file, self.scale.file)

    def float32(self) -> NDArray[np.float32]:
        if len(self.shape) == 3:
            return np.stack(list(self._experts()))
        values = fp4(raw(self.bits)) if self.format == "mxfp4" else FP8[self.bits.dtype][raw(self.bits)]
        rows, columns = self.shape if len(self.shape) == 2 else (1, self.shape[0])
        values = values.reshape(rows, columns)
        grid = scale_values(self.scale).reshape(-1, -(-columns // self.block[1]))
        across = grid if grid.shape[1] == 1 else np.repeat(grid, self.block[1], axis=1)[:, :columns]
        height, done = self.block[0], 0
        if height == 1:
            values *= across[self.first_row : self.first_row + rows]
        while height > 1 and done < rows:
            index = (self.first_row + done) // height
            end = min(rows, (index + 1) * height - self.first_row)
            values[done:end] *= across[index]
            done = end
        return values.reshape(self.shape)

    def raw(self) -> NDArray[Any]:
        """The bits of the nearest BF16s, ties to even."""
        return np.stack(list(self.pieces())) if len(self.shape) == 3 else to_bfloat16(self.float32())

    def pieces(self) -> Iterator[NDArray[Any]]:
        """The bits of the nearest BF16s, an expert at a time where there are several."""
        for values in self._experts() if len(self.shape) == 3 else (self.float32(),):
            yield to_bfloat16(values)

    def _experts(self) -> Iterator[NDArray[np.float32]]:
        rows = self.shape[2 if self.is_transposed else 1]
        for expert in range(self.shape[0]):
            values = self.part(expert, 0, rows, self.name).float32()
            yield values.T if self.is_transposed else values

    def rows(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(self.float32()[index])

    def is_finite(self) -> bool:
        scales = scale_values(self.scale)
        if not np.isfinite(scales).all():
            return False
        table = FP8.get(self.bits.dtype)
        return table is None or bool(np.isfinite(table[np.unique(raw(self.bits))]).all())

    def part(self, expert: int, first: int, rows: int, name: str) -> Packed:
        """Some rows of one expert's matrix as it is stored, of a tensor with three dimensions."""
        count, height = self.bits.shape[:2]
        columns = self.params // count // height
        row_bytes = self.bits.byte_count // count // height
        bits = replace(
            self.bits,
            shape=(rows, *self.bits.shape[2:]),
            offset=self.bits.offset + (height * expert + first) * row_bytes,
            byte_count=rows * row_bytes,
        )
        scale = self.scale
        if scale.params > 1:
            size = scale.byte_count // count
            shape = scale.shape[1:] or (1,)
            scale = replace(scale, shape=shape, offset=scale.offset + size * expert, byte_count=size)
        return replace(
            self,
            name=name,
            shape=(rows, columns),
            byte_count=2 * rows * columns,
            bits=bits,
            scale=scale,
            first_row=self.first_row + first,
            is_transposed=False,
        )


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper half of single precision, rounded to nearest, ties to even; infinity and NaN are not expected."""
    wide = np.ascontiguousarray(values).view(np.uint32)
    return ((wide + 0x7FFF + ((wide >> 16) & 1)) >> 16).astype(np.uint16)


def scale_values(scale: Tensor) -> NDArray[np.float32]:
    """Scales as numbers, in their order."""
    if scale.dtype in EXPONENTS:
        bits = raw(scale).reshape(-1)
        return np.where(bits == NOT_A_NUMBER, np.float32(np.nan), powers_of_two(bits))
    return np.array(scale.float32(), dtype=np.float32).reshape(-1)


def is_packed(tensors: Mapping[str, Tensor]) -> bool:
    """Whether any weight is published in fewer bits, of a kind that is read here."""
    return any(tensor.dtype in FP8 or name.endswith(BLOCKS) for name, tensor in tensors.items())


def widened(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors by the names of their 16-bit weights, none of them read. Raises InputError on unknown layouts."""
    if not is_packed(tensors):
        return dict(tensors)
    if two := next((name for name in tensors if name.endswith((".weight_global_scale", ".weight_scale_2"))), None):
        raise InputError(
            f"{tensors[two].file}: {two} belongs to NVFP4 weights, which are not widened here; "
            "give the 16-bit or FP8 weights"
        )
    block = _configured_block(config)
    used: set[str] = set()
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.dtype in FP8:
            scale = scale_of(name, tensors)
            if scale is None:
                raise InputError(
                    f"{tensor.file}: {name} is FP8 and has no scale beside it ({name}_scale_inv, {name}_scale); "
                    "give the 16-bit weights"
                )
            used.add(scale.name)
            found[name] = _fp8(tensor, scale, block)
        elif name.endswith(BLOCKS) and name.removesuffix(BLOCKS) + BLOCK_SCALES in tensors:
            scale = tensors[name.removesuffix(BLOCKS) + BLOCK_SCALES]
            used.add(scale.name)
            found[name.removesuffix(BLOCKS)] = _mxfp4(tensor, scale)
        else:
            found[name] = tensor
    return {name: tensor for name, tensor in found.items() if name not in used and not BESIDE.search(name)}


def scale_of(name: str, tensors: Mapping[str, Tensor]) -> Tensor | None:
    """The tensor that holds the scales of an FP8 weight; None where there is none."""
    stem = name.removesuffix(".weight")
    names = [name + suffix for suffix in SUFFIXES] + [stem + suffix for suffix in STEM_SUFFIXES if stem != name]
    return next((tensors[known] for known in names if known in tensors), None)


def accounted(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, int, int]]:
    """Each stored tensor's format, weights and bytes: scales are bytes of the weights that they belong to."""
    packed = is_packed(tensors)
    inner = "mxfp4" if any(name.endswith(BLOCKS) for name in tensors) else "fp8"
    scales = {scale.name for name, t in tensors.items() if t.dtype in FP8 and (scale := scale_of(name, tensors))}
    for name, tensor in tensors.items():
        if tensor.dtype in FP8:
            yield "fp8", tensor.params, tensor.byte_count
        elif packed and name.endswith(BLOCKS):
            yield "mxfp4", 2 * tensor.params, tensor.byte_count
        elif packed and (name in scales or BESIDE.search(name) or name.endswith(BLOCK_SCALES)):
            yield inner, 0, tensor.byte_count
        else:
            yield tensor.dtype, tensor.params, tensor.byte_count


def _fp8(tensor: Tensor, scale: Tensor, configured: tuple[int, int] | None) -> Packed:
    shape = tensor.shape
    rows, columns = (1, shape[0]) if len(shape) == 1 else (shape[-2], shape[-1])
    grid = scale.shape[1:] if len(shape) == 3 and scale.params > 1 else scale.shape
    if len(grid) == 4:  # ModelOpt writes blocks as (rows, 1, columns, 1)
        grid = (grid[0], grid[2])
    return Packed(
        name=tensor.name,
        file=tensor.file,
        dtype="BF16",
        shape=shape,
        offset=tensor.offset,
        byte_count=2 * tensor.params,
        bits=tensor,
        scale=scale,
        block=_block(tensor, (rows, columns), grid, configured),
    )


def _block(
    tensor: Tensor, size: tuple[int, int], grid: tuple[int, ...], configured: tuple[int, int] | None
) -> tuple[int, int]:
    """Rows and columns that share a scale. Raises InputError where the scales do not divide the matrix."""
    rows, columns = size
    down, across = (*grid, 1, 1)[:2]
    if configured and (down, across) == (-(-rows // configured[0]), -(-columns // configured[1])):
        return configured
    if len(grid) > 2 or rows % down or columns % across:
        raise InputError(
            f"{tensor.file}: {tensor.name} is {rows} × {columns} with {down} × {across} scales, which the block of "
            f"quantization_config in config.json ({configured or 'none'}) does not explain; give the 16-bit weights"
        )
    return rows // down, columns // across


def _mxfp4(tensor: Tensor, scale: Tensor) -> Packed:
    """Blocks of 32 values, two a byte, and a power of two for each, as gpt-oss has its experts."""
    *lead, groups, packed = tensor.shape
    inputs = groups * packed * 2
    shape = (lead[0], inputs, lead[1]) if len(lead) == 2 else (*lead, inputs)
    return Packed(
        name=tensor.name.removesuffix(BLOCKS),
        file=tensor.file,
        dtype="BF16",
        shape=shape,
        offset=tensor.offset,
        byte_count=4 * tensor.params,
        bits=tensor,
        scale=scale,
        block=(1, 2 * packed),
        is_transposed=len(lead) == 2,
    )


def _configured_block(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Rows and columns of a block, as the publisher's quantization_config has it; None for scales of other kinds."""
    settings = quantization_of(config)
    size = settings.get("weight_block_size")
    for group in (settings.get("config_groups") or {}).values():
        size = size or ((group or {}).get("weights") or {}).get("block_structure")
    if isinstance(size, list | tuple) and len(size) == 2:
        return int(size[0]), int(size[1])
    return None


def quantization_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The quantization_config of a configuration or of the decoder within it; empty where there is none."""
    inner = config.get("text_config")
    found = config.get("quantization_config") or (inner or {}).get("quantization_config")
    return found if isinstance(found, Mapping) else {}


def without_quantization(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as it is of 16-bit weights."""
    found = {key: value for key, value in config.items() if key != "quantization_config"}
    if isinstance(inner := found.get("text_config"), Mapping):
        found["text_config"] = {key: value for key, value in inner.items() if key != "quantization_config"}
    return found
