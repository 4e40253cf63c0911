"""One tensor of a safetensors file: where its bytes lie and what they mean, without torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError

DTYPES = {"F16": np.uint16, "BF16": np.uint16, "F32": np.uint32}
# The exponent bits: where all are set, the value is an infinity or not a number.
EXPONENT = {"F16": 0x7C00, "BF16": 0x7F80, "F32": 0x7F800000}
MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit
CHUNK_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One stored tensor: where its bytes lie."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    byte_count: int

    @property
    def files(self) -> tuple[Path, ...]:
        """Where its bytes lie, and those of its scales where it has any."""
        return (self.file,)

    @property
    def params(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def raw(self) -> NDArray[Any]:
        """The stored bits as unsigned integers, mapped rather than read."""
        dtype = DTYPES.get(self.dtype)
        if dtype is None:
            raise InputError(
                f"{self.file}: tensor {self.name} is {self.dtype}; known: {', '.join(DTYPES)}; give the 16-bit weights"
            )
        if not self.params:
            return np.empty(self.shape, dtype)
        return np.memmap(self.file, dtype=dtype, mode="r", offset=self.offset, shape=self.shape)

    def float32(self) -> NDArray[np.float32]:
        return self.widened(self.raw())

    def widened(self, bits: NDArray[Any]) -> NDArray[np.float32]:
        """Stored bits of this tensor, or of some of its rows, in single precision."""
        if self.dtype == "BF16":  # the upper half of a float32
            return (bits.astype(np.uint32) << 16).view(np.float32)
        return bits.view(np.float16 if self.dtype == "F16" else np.float32).astype(np.float32)

    def rows(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some rows in single precision; of an embedding, those of the tokens at hand."""
        return self.widened(self.raw()[index])

    def float16(self) -> NDArray[np.float16]:
        """The values in FP16. Raises InputError where one is too large for it."""
        if self.dtype == "F16":
            return np.array(self.raw().view(np.float16))
        with np.errstate(over="ignore"):
            values = self.float32().astype(np.float16)
        if not np.isfinite(values).all():
            raise InputError(f"{self.file}: tensor {self.name} does not fit FP16 (a value above 65,504)")
        return values

    def pieces(self) -> Iterator[NDArray[Any]]:
        """The stored bits in their order, by parts that memory holds."""
        bits = self.raw().reshape(-1)
        step = CHUNK_BYTES // bits.itemsize
        return (bits[start : start + step] for start in range(0, bits.size, step))

    def is_finite(self) -> bool:
        exponent = EXPONENT[self.dtype]
        return not any(((bits & exponent) == exponent).any() for bits in self.pieces())


def read_header(file: Path) -> Iterator[Tensor]:
    """The tensors of one safetensors file. Raises InputError where it is not whole."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (header_bytes,) = struct.unpack("<Q", stream.read(8))
            if header_bytes > min(MAX_HEADER_BYTES, size - 8):
                raise InputError(f"{file}: truncated or not safetensors (header of {header_bytes} bytes); get it anew")
            header = json.loads(stream.read(header_bytes))
    except (struct.error, UnicodeDecodeError, json.JSONDecodeError):
        raise InputError(f"{file}: truncated or not safetensors; get it anew") from None
    data_start = 8 + header_bytes
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if data_start + end > size:
            raise InputError(f"{file}: truncated, tensor {name} ends {data_start + end - size} bytes after the file")
        yield Tensor(
            name=name,
            file=file,
            dtype=entry["dtype"],
            shape=tuple(entry["shape"]),
            offset=data_start + begin,
            byte_count=end - begin,
        )
