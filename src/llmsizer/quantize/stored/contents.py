"""What every byte of a variant's weight files is: read off the finished files, so that it checks what the writer says.

The parts add up to the bytes on disk exactly; ``padding`` is what no header names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from llmsizer.facts.variant import FilePart
from llmsizer.gguf_graph import MODEL_FILE
from llmsizer.installed import optional
from llmsizer.quantize.stored.tensors import read_header

WEIGHTS = ("layers", "scales", "embeddings and output matrix", "norms")  # the other parts are no weights
# Scales and zero points, the order of columns and the shape of what is packed; of compressed-tensors, GPTQ and AWQ.
SCALES = re.compile(r"(_scale|_zero_point|_shape|\.scales|\.qzeros|\.g_idx|/scale|/zero_point)$")
GGUF_EMBEDDINGS = ("token_embd.weight", "output.weight")


def file_parts(folder: Path) -> tuple[FilePart, ...]:
    """The parts of all weight files in a folder, in bytes; an IR's graph and its tokenizer's files count as such."""
    found: Counter[str] = Counter()
    for file in sorted(folder.iterdir()):
        read = READERS.get(file.suffix)
        if read is None:
            continue
        parts = read(file)
        parts["padding"] += file.stat().st_size - parts.total()
        found += parts  # drops what is nothing
    return tuple(FilePart(name=n, bytes=size, is_weights=n in WEIGHTS) for n, size in sorted(found.items()))


def _kind(name: str) -> str:
    if SCALES.search(name):
        return "scales"
    if "embed_tokens" in name or "lm_head" in name or name in GGUF_EMBEDDINGS:
        return "embeddings and output matrix"
    return "norms" if "norm" in name else "layers"


def _safetensors(file: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    with file.open("rb") as stream:
        found["header"] = 8 + int.from_bytes(stream.read(8), "little")
    for tensor in read_header(file):
        found[_kind(tensor.name)] += tensor.byte_count
    return found


def _gguf(file: Path) -> Counter[str]:
    """Blocks hold their scales, so that these count with the layers."""
    gguf = optional("gguf", what="reading GGUF", extra="quantize")
    reader = gguf.GGUFReader(file)
    found: Counter[str] = Counter(header=4)  # the four letters
    for field in reader.fields.values():
        size = sum(int(part.nbytes) for part in field.parts)
        found["tokenizer" if field.name.startswith("tokenizer.") else "header"] += size
    for tensor in reader.tensors:
        found["header"] += sum(int(part.nbytes) for part in tensor.field.parts)
        found[_kind(tensor.name)] += int(tensor.n_bytes)
    return found


def _graph(file: Path) -> Counter[str]:
    return Counter({"graph" if file.name == MODEL_FILE else "tokenizer": file.stat().st_size})


def _constants(file: Path) -> Counter[str]:
    """Of an IR: its graph says where each constant lies, and equal ones lie there once."""
    if file.with_suffix(".xml").name != MODEL_FILE:
        return Counter(tokenizer=file.stat().st_size)
    places: dict[int, tuple[int, str]] = {}
    for layer in ElementTree.parse(file.with_suffix(".xml")).iter("layer"):
        data = layer.find("data")
        if layer.get("type") != "Const" or data is None:
            continue
        shape = [int(n) for n in (data.get("shape") or "1").split(",")]
        name = layer.get("name") or ""
        is_norm = len(shape) == 3 and shape[:2] == [1, 1] and shape[2] > 1  # GenAI drops the names of norms
        kind = _kind(name) if ".weight" in name else "norms" if is_norm else "graph"
        places.setdefault(int(data.get("offset") or 0), (int(data.get("size") or 0), kind))
    found: Counter[str] = Counter()
    for size, kind in places.values():
        found[kind] += size
    return found


READERS: dict[str, Callable[[Path], Counter[str]]] = {
    ".safetensors": _safetensors,
    ".gguf": _gguf,
    ".xml": _graph,
    ".bin": _constants,
}
