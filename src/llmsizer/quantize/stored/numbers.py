"""What stored bits mean: packed integers, floats of eight and four bits, and scales that are powers of two."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsizer.quantize.stored.tensors import Tensor

RAW = {"I32": np.int32, "I64": np.int64, "I8": np.int8, "U8": np.uint8, "F8_E4M3": np.uint8, "F8_E5M2": np.uint8,
       "F8_E8M0": np.uint8}  # fmt: skip
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=np.float32)  # E2M1; the fourth bit is the sign
E8M0_BIAS = 127


def raw(tensor: Tensor) -> NDArray[Any]:
    """The stored values of integer tensors; the bits of FP8."""
    dtype = RAW[tensor.dtype]
    if not tensor.params:
        return np.empty(tensor.shape, dtype)
    return np.array(np.memmap(tensor.file, dtype=dtype, mode="r", offset=tensor.offset, shape=tensor.shape))


def unpacked(words: NDArray[Any], bits: int, columns: int) -> NDArray[np.int32]:
    """Unsigned values out of 32-bit words, the lowest bits first, along the last axis.

    >>> unpacked(np.array([[0x21]], dtype=np.int32), 4, 3).tolist()
    [[1, 2, 0]]
    """
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    values = (words.view(np.uint32)[..., None] >> shifts) & np.uint32((1 << bits) - 1)
    return values.reshape(*words.shape[:-1], -1)[..., :columns].astype(np.int32)


def fp8(bits: NDArray[np.uint8]) -> NDArray[np.float32]:
    """E4M3 without infinities: sign, four bits of exponent (bias 7), three of mantissa; all of them set is no number.

    >>> fp8(np.array([0x38, 0xC0, 0x01, 0x7E], dtype=np.uint8)).tolist()
    [1.0, -2.0, 0.001953125, 448.0]
    """
    sign = np.where(bits & 0x80, -1.0, 1.0)
    exponent, mantissa = ((bits >> 3) & 0xF).astype(np.int32), (bits & 0x7) / 8.0
    size = np.where(exponent == 0, mantissa * 2.0**-6, (1.0 + mantissa) * np.exp2(exponent - 7.0))
    return np.where(bits & 0x7F == 0x7F, np.float32(np.nan), (sign * size).astype(np.float32))


def fp4(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """E2M1, two values a byte, the low half first.

    >>> fp4(np.array([[0x92]], dtype=np.uint8)).tolist()
    [[1.0, -0.5]]
    """
    halves = np.stack([packed & 0xF, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)
    values: NDArray[np.float32] = FP4[halves & 7] * np.where(halves & 8, np.float32(-1), np.float32(1))
    return values


def fp8_e5m2(bits: NDArray[np.uint8]) -> NDArray[np.float32]:
    """E5M2: the upper half of an FP16.

    >>> fp8_e5m2(np.array([0x3C, 0xC0, 0x01, 0x7B], dtype=np.uint8)).tolist()
    [1.0, -2.0, 1.52587890625e-05, 57344.0]
    """
    return (bits.astype(np.uint16) << 8).view(np.float16).astype(np.float32)


def powers_of_two(bits: NDArray[np.uint8]) -> NDArray[np.float32]:
    """E8M0: an exponent alone, as scales have it.

    >>> powers_of_two(np.array([126, 127, 130], dtype=np.uint8)).tolist()
    [0.5, 1.0, 8.0]
    """
    return np.ldexp(np.float32(1), bits.astype(np.int32) - E8M0_BIAS).astype(np.float32)
