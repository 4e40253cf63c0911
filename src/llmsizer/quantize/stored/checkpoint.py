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
from llmsizer.quantize.stored.packed import Packed, widened, without_quantization
from llmsizer.quantize.stored.tensors import CHUNK_BYTES, Tensor, read_header

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
STORED = {"F16": "fp16", "BF16": "bf16", "F32": "fp32"}  # as manifests call them


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Configuration and tensors of a folder in Hugging Face layout."""

    path: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    published: Mapping[str, Any] | None = None  # the configuration as it is on disk, where ``config`` is another

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(sorted({file for tensor in self.tensors.values() for file in tensor.files}))

    @property
    def has_experts(self) -> bool:
        """Whether it is a mixture of experts."""
        return any(EXPERT_NAMES in name for name in self.tensors)

    @property
    def packed_format(self) -> str | None:
        """What most weights are published in, "fp8" or "mxfp4", where that is not 16 bit or more."""
        return next((tensor.format for tensor in self.tensors.values() if isinstance(tensor, Packed)), None)

    def matrices(self) -> Iterator[Tensor]:
        """The tensors that a recipe may quantize."""
        return (tensor for tensor in self.tensors.values() if len(tensor.shape) == 2)

    def tensor(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise InputError(f"{self.path}: no tensor {name}; it has {', '.join(list(self.tensors)[:3])} …")
        return self.tensors[name]

    def sha256(self) -> str:
        """A hash of the configuration and of all weight files."""
        config = self.config if self.published is None else self.published
        digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
        for file in self.files:
            with file.open("rb") as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    digest.update(chunk)
        return digest.hexdigest()


def open_checkpoint(path: Path) -> Checkpoint:
    """Read configuration and headers. Raises InputError on anything that is not a whole, safe checkpoint."""
    path, config, tensors = read_folder(path)
    return Checkpoint(path=path, config=config, tensors=split(tensors, config))


def open_source(path: Path) -> Checkpoint:
    """A checkpoint as the 16-bit weights that it stands for: FP8 and MXFP4 are widened as they are read.

    Raises InputError.
    """
    path, published, tensors = read_folder(path)
    config = without_quantization(published)
    return Checkpoint(path=path, config=config, tensors=split(widened(tensors, published), config), published=published)


def read_folder(path: Path) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    """A folder's configuration and its tensors by the names they have in the files. Raises InputError."""
    path = path.resolve()
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give one that holds config.json and *.safetensors")
    config = _read_config(path / "config.json")
    files = _weight_files(path)
    if not files:
        pickles = [file.name for pattern in PICKLES for file in path.glob(pattern)]
        if pickles:
            raise InputError(
                f"{path}: {pickles[0]} is a pickle, which can run code when it is opened; convert it to safetensors"
            )
        raise InputError(f"{path}: no *.safetensors file; give a folder with the weights")
    tensors = {tensor.name: tensor for file in files for tensor in read_header(file)}
    _check_shards(path, tensors)
    return path, config, tensors


def _weight_files(path: Path) -> list[Path]:
    """Without the second copy of the weights, under names of their own, that Mistral's repositories hold."""
    files = sorted(path.glob("*.safetensors"))
    own = [file for file in files if not file.name.startswith("consolidated")]
    return own or files


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
