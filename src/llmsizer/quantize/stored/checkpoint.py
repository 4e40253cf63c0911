"""A Hugging Face checkpoint, read tensor by tensor without torch; anything unsafe or broken is refused first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsizer.errors import InputError
from llmsizer.quantize.stored.experts import EXPERT_NAMES, split
from llmsizer.quantize.stored.tensors import CHUNK_BYTES, Tensor, read_header

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
STORED = {"F16": "fp16", "BF16": "bf16", "F32": "fp32"}  # as manifests call them


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

    @property
    def has_experts(self) -> bool:
        """Whether it is a mixture of experts."""
        return any(EXPERT_NAMES in name for name in self.tensors)

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
    return Checkpoint(path=path, config=config, tensors=split(tensors, config))


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


def _check_shards(path: Path, tensors: Mapping[str, Tensor]) -> None:
    index = path / "model.safetensors.index.json"
    if not index.exists():
        return
    named = _read_config(index).get("weight_map", {})
    missing = sorted({file for name, file in named.items() if name not in tensors})
    if missing:
        raise InputError(f"{path}: the index names tensors of {missing[0]}, which is missing or incomplete")
