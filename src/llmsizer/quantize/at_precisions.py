"""From what a user has (a checkpoint, or a config alone) to the variants to measure, in the format an engine reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmsizer.errors import InputError
from llmsizer.facts.architecture import model_from_config
from llmsizer.facts.precision import PRECISIONS
from llmsizer.facts.variant import Variant, WeightPart
from llmsizer.progress import Progress, silent
from llmsizer.quantize.manifest import MANIFEST, read_variant
from llmsizer.quantize.run import original, quantize_all
from llmsizer.quantize.stored.checkpoint import open_source

# The method that makes a precision for a family of engines; None: the checkpoint itself.
METHODS: dict[str, dict[str, str | None]] = {
    "openvino": {"fp16": "openvino-fp16", "int8": "openvino-int8", "int4": "openvino-int4"},
    "llama.cpp": {"fp16": "gguf-f16", "int8": "gguf-q8_0", "int4": "gguf-q4_0"},
    "transformers": {"fp16": None, "int8": "int8", "int4": "int4-rtn"},
    "vllm": {"fp16": None, "int8": "int8", "int4": "int4-rtn"},
}
# What "fp16", "int8" and "int4" run as where weights are random: INT8 and INT4 of the weights alone.
RANDOM_PRECISIONS = {"fp16": "fp16", "int8": "int8-wo", "int8-w8a8": "int8", "int4": "int4"}


def variants_of(
    path: Path, precisions: Sequence[str], *, engine: str, out: Path | None = None, progress: Progress = silent
) -> list[Variant]:
    """The variants to measure at ``path``: the one that lies there, else one a precision, made where they are missing.

    A checkpoint's are written below ``out`` (default: ``PATH-variants`` beside it) in the format of the engine and
    found there again; without precisions it is measured as it is. A folder of a config.json alone gives models of that
    geometry, whose random weights the engine makes. Raises InputError.
    """
    if (path / MANIFEST).is_file() or not (path / "config.json").is_file():
        if precisions:
            raise InputError(f"{path}: --precisions makes variants of a checkpoint; this is none, or one variant of it")
        return [read_variant(path)]
    if not any(path.glob("*.safetensors")):
        return [random_variant(path, precision) for precision in precisions or ("fp16",)]
    if not precisions:
        return [original(path)]
    methods = _methods(precisions, engine)
    if None in methods.values() and open_source(path).packed_format:  # "fp16" is not the checkpoint as it lies there
        methods = {precision: method or "bf16" for precision, method in methods.items()}
    made = quantize_all(
        path, [m for m in methods.values() if m], out or path.resolve().with_name(f"{path.resolve().name}-variants"),
        progress=progress,
    )  # fmt: skip
    by_method = {variant.method: variant for variant in made}
    return [by_method[method] if method else original(path) for method in methods.values()]


def _methods(precisions: Sequence[str], engine: str) -> dict[str, str | None]:
    family = next((name for name in METHODS if engine == name or engine.startswith(f"{name}-")), None)
    if family is None:
        raise InputError(f"no variants are made for engine {engine!r}; make them with llmsizer quantize")
    known = METHODS[family]
    for precision in precisions:
        if precision not in known:
            raise InputError(f"no precision {precision!r} for {engine}; there are {', '.join(known)}")
    return {precision: known[precision] for precision in dict.fromkeys(precisions)}


def random_variant(folder: Path, precision: str, *, model: str = "") -> Variant:
    """A folder with a config.json and no weights: the engine makes random ones. Raises InputError."""
    if precision not in RANDOM_PRECISIONS:
        raise InputError(f"no random weights in {precision!r}; there are {', '.join(RANDOM_PRECISIONS)}")
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}/config.json: not readable ({error}); give a Hugging Face config.json") from None
    name = model or folder.resolve().name
    spec = model_from_config(config, name=name)
    run_as = PRECISIONS[RANDOM_PRECISIONS[precision]]
    inner = spec.quantizable_params
    rest = spec.total_params - inner
    return Variant(
        path=folder,
        model=name,
        name=precision,
        precision=RANDOM_PRECISIONS[precision],
        method=f"random-{precision}",
        format="huggingface",
        source_sha256=f"random-{name}",
        parts=(
            WeightPart(format=precision, params=inner, bytes=int(inner * run_as.bytes_per_quantized_weight)),
            WeightPart(format="fp16", params=rest, bytes=int(rest * 2)),
        ),
        config=config,
        notes=("random weights, made by the engine",),
    )
