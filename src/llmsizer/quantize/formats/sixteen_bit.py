"""A checkpoint's weights in 16 bit, as plain safetensors: for what does not read how they are packed."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmsizer.errors import QuantizationError
from llmsizer.facts.variant import WeightPart
from llmsizer.files import whole_file
from llmsizer.progress import Progress
from llmsizer.quantize.layers.files import write_index
from llmsizer.quantize.stored.checkpoint import STORED, Checkpoint, read_folder
from llmsizer.quantize.stored.packed import widened
from llmsizer.quantize.stored.tensors import Tensor

SHARD_BYTES = 5_000_000_000
ALIGNMENT = 8  # of the header, by the safetensors format


def write(checkpoint: Checkpoint, folder: Path, progress: Progress) -> tuple[WeightPart, ...]:
    """Widen tensor by tensor into a folder, fused experts one by one. Raises QuantizationError where none is packed."""
    if checkpoint.packed_format is None:
        raise QuantizationError(f"{checkpoint.path}: its weights are in 16 bit or more already; use it as it is")
    _, published, stored = read_folder(checkpoint.path)
    shards = list(_shards(widened(stored, published)))
    parts: dict[str, tuple[int, int]] = {}
    for number, tensors in enumerate(shards):
        progress(f"16 bit: shard {number + 1} of {len(shards)}", number / len(shards))
        _write_shard(folder / _name(number, len(shards)), tensors)
        for tensor in tensors:
            label = STORED.get(tensor.dtype, tensor.dtype.lower())
            params, size = parts.get(label, (0, 0))
            parts[label] = (params + tensor.params, size + tensor.byte_count)
    if len(shards) > 1:
        write_index(folder)
    config: dict[str, Any] = dict(checkpoint.config) | {"dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return tuple(WeightPart(format=name, params=n, bytes=size) for name, (n, size) in sorted(parts.items()))


def _shards(tensors: Mapping[str, Tensor]) -> Iterator[list[Tensor]]:
    held: list[Tensor] = []
    for _, tensor in sorted(tensors.items()):
        if held and sum(t.byte_count for t in held) + tensor.byte_count > SHARD_BYTES:
            yield held
            held = []
        held.append(tensor)
    yield held


def _name(number: int, shards: int) -> str:
    return "model.safetensors" if shards == 1 else f"model-{number + 1:05d}-of-{shards:05d}.safetensors"


def _write_shard(file: Path, tensors: Sequence[Tensor]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        span = [end, end + tensor.byte_count]
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": span}
        end += tensor.byte_count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with whole_file(file) as partial, partial.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            for piece in tensor.pieces():
                stream.write(piece.tobytes())
