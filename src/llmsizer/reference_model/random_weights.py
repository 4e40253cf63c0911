"""Any architecture with random weights: what speed and memory need, without a download."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmsizer.errors import InputError
from llmsizer.files import whole_folder
from llmsizer.installed import TEXT_PARTS, optional, quiet_transformers
from llmsizer.progress import Progress, silent

WHAT = "making random weights"
SHARD_BYTES = 2 * 10**9
DTYPES = {"float16": 2, "bfloat16": 2, "float32": 4}
# Mistral's shape at 0.3 billion parameters: on a CPU its bytes, not the overheads of small models, decide the speed.
SPEED_CONFIG: dict[str, Any] = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "hidden_size": 1536,
    "intermediate_size": 4096,
    "num_hidden_layers": 12,
    "num_attention_heads": 24,
    "num_key_value_heads": 6,
    "head_dim": 64,
    "vocab_size": 8192,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def build_random(
    cache_dir: Path, config: Mapping[str, Any] | None = None, *, seed: int = 0, progress: Progress = silent
) -> Path:
    """A random checkpoint in the cache, by default of ``SPEED_CONFIG``; made once for each configuration and seed."""
    asked = dict(config or SPEED_CONFIG)
    key = hashlib.sha256(json.dumps([asked, seed], sort_keys=True).encode()).hexdigest()[:12]
    folder = cache_dir / f"random-{asked.get('model_type', 'model')}-{key}"
    if folder.is_dir():
        progress("random model: made before", 1.0)
        return folder
    return random_checkpoint(asked, folder, seed=seed, progress=progress)


def random_checkpoint(
    config: Mapping[str, Any] | Path,
    out: Path,
    *,
    dtype: str = "float16",
    seed: int = 0,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress = silent,
) -> Path:
    """Write a checkpoint with random weights for a config.json, shard by shard: one shard is all it holds in memory.

    Raises InputError where transformers does not know the architecture.
    """
    if dtype not in DTYPES:
        raise InputError(f"no dtype {dtype!r} for random weights; known: {', '.join(DTYPES)}")
    settings = _read_config(config) if isinstance(config, Path) else dict(config)
    model = _skeleton(settings)
    shapes = _shapes(model)
    total = sum(_count(shape) for shape in shapes.values()) * DTYPES[dtype]
    shards = list(_shards(shapes, DTYPES[dtype], shard_bytes))
    spread = float(settings.get("initializer_range", 0.02))
    with whole_folder(out) as partial:
        index: dict[str, str] = {}
        for number, names in enumerate(shards, start=1):
            file = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
            _write_shard(partial / file, {name: shapes[name] for name in names}, dtype, spread, seed)
            index |= dict.fromkeys(names, file)
            progress(f"random weights: shard {number} of {len(shards)}", number / len(shards))
        model.config.save_pretrained(partial)
        _describe(partial / "config.json", dtype, seed)
        if len(shards) > 1:
            table = {"metadata": {"total_size": total}, "weight_map": index}
            (partial / "model.safetensors.index.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    return out


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json" if path.is_dir() else path
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{file}: cannot be read as a config.json ({error})") from None
    if not isinstance(settings, dict):
        raise InputError(f"{file}: holds no JSON object")
    return settings


def _skeleton(settings: dict[str, Any]) -> Any:
    """The model on torch's meta device: shapes without a byte of weights."""
    torch = optional("torch", what=WHAT, extra="quantize")
    kind = settings.get("model_type")
    transformers = quiet_transformers(what=WHAT, model_type=kind)
    try:
        config = transformers.AutoConfig.for_model(**settings)
        with torch.device("meta"):
            return transformers.AutoModelForCausalLM.from_config(config)
    except Exception as error:  # each architecture checks its values in its own way
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"transformers cannot make model_type {kind!r} of this config.json: {reason[:200]}") from None


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor as the hub stores it; what is tied to another is stored once."""
    loading = optional("transformers.core_model_loading", what=WHAT, extra="quantize")
    seen: set[int] = set()
    held: dict[str, Any] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            held[name] = tensor
    if model.config.model_type not in TEXT_PARTS:  # these are fused on the hub too
        held = loading.revert_weight_conversion(model, held)
    return {name: tuple(tensor.shape) for name, tensor in held.items()}


def _shards(shapes: Mapping[str, tuple[int, ...]], width: int, limit: int) -> Iterator[list[str]]:
    names: list[str] = []
    size = 0
    for name, shape in shapes.items():
        needed = _count(shape) * width
        if names and size + needed > limit:
            yield names
            names, size = [], 0
        names.append(name)
        size += needed
    yield names


def _write_shard(file: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str, spread: float, seed: int) -> None:
    torch = optional("torch", what=WHAT, extra="quantize")
    safetensors = optional("safetensors.torch", what=WHAT, extra="quantize")
    tensors: dict[str, Any] = {}
    for name, shape in shapes.items():
        tensors[name] = torch.empty(shape, dtype=getattr(torch, dtype))
        if len(shape) == 1:
            tensors[name].fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        # Seeded by name, so that the cut into shards changes no weight.
        own = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:7])
        drawn = torch.Generator().manual_seed(own)
        for part in tensors[name] if len(shape) == 3 else (tensors[name],):  # fused experts: one at a time
            part.copy_(torch.randn(part.shape, generator=drawn) * spread)
    safetensors.save_file(tensors, file, metadata={"format": "pt"})


def _describe(file: Path, dtype: str, seed: int) -> None:
    """What the weights are stored in, and that they are random: such a model has no tokenizer, and needs none."""
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings |= {"dtype": dtype, "random_weights_seed": seed}
    file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _count(shape: tuple[int, ...]) -> int:
    product = 1
    for length in shape:
        product *= length
    return product
