"""Where the layers of a variant lie while they are made, and how they become one checkpoint."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from llmsizer.errors import QuantizationError
from llmsizer.files import whole_file
from llmsizer.installed import optional
from llmsizer.quantize.stored.checkpoint import Checkpoint
from llmsizer.quantize.stored.experts import text_config
from llmsizer.quantize.stored.tensors import Tensor, read_header

STORED_AS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}
LAYER = re.compile(r"((?:language_model\.)?model\.(?:language_model\.)?)layers\.(\d+)\.(.+)")


class Work:
    """The folder of finished layers and of the hidden states that the next one will see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def layer_file(self, layer: int) -> Path:
        return self.folder / f"layer-{layer:05d}.safetensors"

    def part_file(self, layer: int, part: int) -> Path:
        """Some of the layer's experts."""
        return self.folder / f"layer-{layer:05d}-experts-{part:03d}.safetensors"

    def layer_files(self, layer: int) -> list[Path]:
        return [self.layer_file(layer), *sorted(self.folder.glob(f"layer-{layer:05d}-experts-*.safetensors"))]

    def experts_file(self, layer: int) -> Path:
        """Of each of the layer's experts, the tokens it was sent and whether it fell back to rounding."""
        return self.folder / f"experts-{layer:05d}.json"

    def experts_files(self) -> list[Path]:
        return sorted(self.folder.glob("experts-*.json"))

    def settings_file(self, layer: int) -> Path:
        return self.folder / f"layer-{layer:05d}.json"

    def states_file(self, layer: int) -> Path:
        return self.folder / f"states-{layer:05d}.npy"

    def finished(self, layers: int, *, with_states: bool) -> int:
        """How many layers need not be made again. The settings are written last, after weights and states."""
        done = 0
        while done < layers and self.settings_file(done).is_file():
            done += 1
        if with_states and done < layers and done and not self.states_file(done).is_file():
            raise QuantizationError(f"{self.folder}: the states before layer {done} are lost; remove it and start anew")
        return done


def layer_count(checkpoint: Checkpoint) -> int:
    count = text_config(checkpoint.config).get("num_hidden_layers")
    if not isinstance(count, int) or count < 1:
        raise QuantizationError(f"{checkpoint.path}/config.json: num_hidden_layers is {count!r}, not a count")
    decoder_prefix(checkpoint)
    return count


def decoder_prefix(checkpoint: Checkpoint) -> str:
    """What stands before ``layers.0`` in the names: "model.", or a longer one where the decoder is part of a model."""
    for name in checkpoint.tensors:
        if (found := LAYER.fullmatch(name)) and found[2] == "0":
            return found[1]
    raise QuantizationError(
        f"{checkpoint.path}: no tensors named model.layers.0.…; only decoders in that layout are quantized here"
    )


def layer_tensors(checkpoint: Checkpoint, layer: int) -> dict[str, Tensor]:
    """A layer's tensors by their names within it."""
    prefix = f"{decoder_prefix(checkpoint)}layers.{layer}."
    return {n.removeprefix(prefix): t for n, t in checkpoint.tensors.items() if n.startswith(prefix)}


def stored_dtype(originals: Mapping[str, Tensor], inner: str) -> str:
    """torch's name of the format that a tensor takes: its own where kept, else the layer's 16 bit."""
    largest = max(originals.values(), key=lambda tensor: tensor.byte_count).dtype
    kept = originals.get(inner)
    if kept is not None and kept.dtype != largest:
        return STORED_AS[kept.dtype]
    return STORED_AS[largest] if largest != "F32" else "float16"


def save_tensors(tensors: Mapping[str, Any], file: Path) -> None:
    """Into a file that appears whole."""
    safetensors = optional("safetensors.torch", what="quantizing", extra="quantize")
    with whole_file(file) as out:
        safetensors.save_file(dict(sorted(tensors.items())), out, metadata={"format": "pt"})


def assemble(checkpoint: Checkpoint, work: Work, folder: Path, settings: Mapping[str, Any]) -> None:
    """The finished layers and everything that is no layer as one checkpoint: config.json, shards and their index."""
    safetensors = optional("safetensors.torch", what="quantizing", extra="quantize")
    torch = optional("torch", what="quantizing", extra="quantize")
    layers = layer_count(checkpoint)
    shards = [file for layer in range(layers) for file in work.layer_files(layer)]
    names = [f"model-{index + 1:05d}-of-{len(shards) + 1:05d}.safetensors" for index in range(len(shards) + 1)]
    for shard, name in zip(shards, names, strict=False):
        try:
            os.link(shard, folder / name)
        except OSError:  # a file system without links
            shutil.copy2(shard, folder / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mapped read-only: nothing writes to them
        tensors = {name: as_stored(torch, tensor) for name, tensor in sorted(_no_layers(checkpoint, layers).items())}
        safetensors.save_file(tensors, folder / names[-1], metadata={"format": "pt"})
    (folder / names[-1]).chmod(0o644)
    write_index(folder)
    config = dict(checkpoint.config) | {"quantization_config": dict(settings)}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _no_layers(checkpoint: Checkpoint, layers: int) -> dict[str, Tensor]:
    """What is no decoder layer; a layer beyond the count, which predicts further tokens, is none of them."""
    return {
        name: tensor
        for name, tensor in checkpoint.tensors.items()
        if not ((found := LAYER.fullmatch(name)) and int(found[2]) < layers)
    }


def layers_beyond(checkpoint: Checkpoint) -> list[int]:
    """Numbers of the layers that the count leaves out: they predict further tokens, and stay as they are."""
    layers = layer_count(checkpoint)
    found = (LAYER.fullmatch(name) for name in checkpoint.tensors)
    return sorted({int(match[2]) for match in found if match and int(match[2]) >= layers})


def modules_beside(checkpoint: Checkpoint) -> list[str]:
    """Modules beside the decoder, as a vision tower and its projector: they stay as they are."""
    decoder, own = decoder_prefix(checkpoint), ("lm_head", "language_model")
    beside = (name.removeprefix("model.") for name in checkpoint.tensors if not name.startswith(decoder))
    return sorted({name.partition(".")[0] for name in beside} - {*own}) if "language_model" in decoder else []


def as_stored(torch: Any, tensor: Tensor) -> Any:
    """A tensor with its 16 or 32 bits as they are; where it is packed in fewer, the nearest BF16s."""
    signed = np.asarray(tensor.raw().view(np.int32 if tensor.dtype == "F32" else np.int16))
    return torch.from_numpy(signed).view(getattr(torch, STORED_AS[tensor.dtype]))


def write_index(folder: Path) -> None:
    """Which shard holds which tensor, as transformers and engines look it up."""
    held = {tensor.name: tensor for file in sorted(folder.glob("*.safetensors")) for tensor in read_header(file)}
    index = {
        "metadata": {"total_size": sum(tensor.byte_count for tensor in held.values())},
        "weight_map": {name: held[name].file.name for name in sorted(held)},
    }
    text = json.dumps(index, indent=2) + "\n"
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
