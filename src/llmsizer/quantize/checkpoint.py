"""A Hugging Face checkpoint, read tensor by tensor without torch; anything unsafe or broken is refused first."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
DTYPES = {"F16": np.uint16, "BF16": np.uint16, "F32": np.uint32}
STORED = {"F16": "fp16", "BF16": "bf16", "F32": "fp32"}  # as manifests call them
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
    def params(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def raw(self) -> NDArray[Any]:
        """The stored bits as unsigned integers, mapped rather than read."""
        dtype = DTYPES.get(self.dtype)
        if dtype is None:
            raise InputError(f"{self.file}: tensor {self.name} is {self.dtype}; known: {', '.join(DTYPES)}")
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

    def float16(self) -> NDArray[np.float16]:
        """The values in FP16. Raises InputError where one is too large for it."""
        if self.dtype == "F16":
            return np.array(self.raw().view(np.float16))
        with np.errstate(over="ignore"):
            values = self.float32().astype(np.float16)
        if not np.isfinite(values).all():
            raise InputError(f"{self.file}: tensor {self.name} does not fit FP16 (a value above 65,504)")
        return values

    def is_finite(self) -> bool:
        bits, exponent = self.raw().reshape(-1), EXPONENT[self.dtype]
        step = CHUNK_BYTES // bits.itemsize
        return not any(((bits[i : i + step] & exponent) == exponent).any() for i in range(0, bits.size, step))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Configuration and tensors of a folder in Hugging Face layout."""

    path: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(sorted({tensor.file for tensor in self.tensors.values()}))

    def matrices(self) -> Iterator[Tensor]:
        """The tensors that a recipe may quantize."""
        return (tensor for tensor in self.tensors.values() if len(tensor.shape) == 2)

    def tensor(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise InputError(f"{self.path}: no tensor {name}; it has {', '.join(list(self.tensors)[:3])} …")
        return self.tensors[name]

    def sha256(self) -> str:
        """A hash of the configuration and of all weight files."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for file in self.files:
            with file.open("rb") as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    digest.update(chunk)
        return digest.hexdigest()


def open_checkpoint(path: Path) -> Checkpoint:
    """Read configuration and headers. Raises InputError on anything that is not a whole, safe checkpoint."""
    path = path.resolve()
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give one that holds config.json and *.safetensors")
    config = _read_config(path / "config.json")
    files = sorted(path.glob("*.safetensors"))
    if not files:
        pickles = [file.name for pattern in PICKLES for file in path.glob(pattern)]
        if pickles:
            raise InputError(
                f"{path}: {pickles[0]} is a pickle, which can run code when it is opened; convert it to safetensors"
            )
        raise InputError(f"{path}: no *.safetensors file; give a folder with the weights")
    tensors = {tensor.name: tensor for file in files for tensor in read_header(file)}
    _check_shards(path, tensors)
    return Checkpoint(path=path, config=config, tensors=tensors)


def check_values(checkpoint: Checkpoint) -> None:
    """Raises InputError where a weight is not finite: such a model cannot be quantized or measured honestly."""
    for tensor in checkpoint.tensors.values():
        if not tensor.is_finite():
            raise InputError(f"{tensor.file}: tensor {tensor.name} holds NaN or infinity; the checkpoint is damaged")


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file.parent}: no config.json; give a folder in Hugging Face layout") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({error})") from None
    if not isinstance(config, dict):
        raise InputError(f"{file}: holds no JSON object")
    return config


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


def _check_shards(path: Path, tensors: Mapping[str, Tensor]) -> None:
    index = path / "model.safetensors.index.json"
    if not index.exists():
        return
    named = _read_config(index).get("weight_map", {})
    missing = sorted({file for name, file in named.items() if name not in tensors})
    if missing:
        raise InputError(f"{path}: the index names tensors of {missing[0]}, which is missing or incomplete")
