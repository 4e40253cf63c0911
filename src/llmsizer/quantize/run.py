"""From a checkpoint and a method's name to a variant's folder."""

from __future__ import annotations

import dataclasses
import datetime
import shutil
from collections.abc import Sequence
from pathlib import Path

import llmsizer.quantize.compressed_tensors as compressed_tensors
import llmsizer.quantize.gguf_file as gguf_file
import llmsizer.quantize.openvino_ir as openvino_ir
from llmsizer.errors import InputError, LlmSizerError, QuantizationError
from llmsizer.facts.variant import Variant, WeightPart
from llmsizer.files import whole_folder
from llmsizer.installed import versions_of
from llmsizer.progress import Progress, part_of, silent
from llmsizer.quantize.checkpoint import Checkpoint, check_values, open_checkpoint
from llmsizer.quantize.manifest import MANIFEST, read_variant, write_manifest
from llmsizer.quantize.recipes import Recipe, get_recipe

TOOLKITS = {"openvino": openvino_ir, "gguf": gguf_file, "llm-compressor": compressed_tensors}
# What a reader needs beside the weights: the architecture and, where there is one, the tokenizer.
COMPANIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
STORED = {"F16": "fp16", "BF16": "bf16", "F32": "fp32"}


def quantize(
    checkpoint: Path,
    method: str,
    out: Path,
    *,
    calibration: Sequence[str] = (),
    base: Path | None = None,
    progress: Progress = silent,
) -> Variant:
    """Make one variant in the folder ``out``; what is there already, made of the same weights alike, is kept.

    ``calibration`` are texts for methods that look at activations; ``base`` is an ``openvino-fp16`` variant of the same
    checkpoint, which saves converting it again. Raises InputError on a bad checkpoint and QuantizationError else;
    either way nothing half-written stays.
    """
    recipe = get_recipe(method)
    source = open_checkpoint(checkpoint)
    check_values(source)
    digest = source.sha256()
    kept = _finished(out, recipe, digest)
    if kept is not None:
        progress(f"{method}: made before", 1.0)
        return kept
    if base is not None and read_variant(base).source_sha256 != digest:
        raise QuantizationError(
            f"{base} was made of other weights than {checkpoint}; leave base out or name the right one"
        )
    with whole_folder(out) as folder:
        try:
            parts = _write(source, recipe, folder, calibration, base, progress)
        except (LlmSizerError, OSError, KeyboardInterrupt):
            raise
        except Exception as error:  # toolkits raise anything; the user gets one line, the cause stays attached
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise QuantizationError(f"{method} on {checkpoint} failed in {recipe.toolkit}: {reason}") from error
        _copy_companions(source, folder)
        variant = _variant(source, recipe, digest, parts).model_copy(update={"path": out.resolve()})
        write_manifest(folder, variant)
    return variant


def quantize_all(
    checkpoint: Path,
    methods: Sequence[str],
    out: Path,
    *,
    calibration: Sequence[str] = (),
    progress: Progress = silent,
) -> list[Variant]:
    """Make several variants below one folder, each in a folder named like its method."""
    recipes = [get_recipe(method) for method in methods]  # a wrong name stops before the first hour of work
    variants: list[Variant] = []
    for index, recipe in enumerate(recipes):
        base = next((v.path for v in variants if v.method == "openvino-fp16"), None)
        stage = part_of(progress, index / len(recipes), (index + 1) / len(recipes))
        target = out / recipe.name
        use_base = base if recipe.toolkit == "openvino" else None
        variants.append(
            quantize(checkpoint, recipe.name, target, calibration=calibration, base=use_base, progress=stage)
        )
    return variants


def original(checkpoint: Path) -> Variant:
    """The checkpoint itself, unquantized, as a variant to measure and to compare with."""
    source = open_checkpoint(checkpoint)
    sums: dict[str, tuple[int, int]] = {}
    for tensor in source.tensors.values():
        name = STORED.get(tensor.dtype, tensor.dtype.lower())
        params, size = sums.get(name, (0, 0))
        sums[name] = (params + tensor.params, size + tensor.byte_count)
    parts = tuple(WeightPart(format=name, params=n, bytes=size) for name, (n, size) in sorted(sums.items()))
    largest = max(parts, key=lambda part: part.bytes).format
    return Variant(
        path=source.path,
        model=source.name,
        name=largest,
        precision=largest,
        method="none",
        format="huggingface",
        source_sha256=source.sha256(),
        parts=parts,
        config=dict(source.config),
    )


def _finished(out: Path, recipe: Recipe, digest: str) -> Variant | None:
    if not (out / MANIFEST).is_file():
        return None
    variant = read_variant(out)
    if variant.source_sha256 == digest and variant.recipe == _as_json(recipe):
        return variant
    raise QuantizationError(f"{out} holds another variant ({variant.method} of {variant.model}); give another folder")


def _write(
    source: Checkpoint, recipe: Recipe, folder: Path, calibration: Sequence[str], base: Path | None, progress: Progress
) -> tuple[WeightPart, ...]:
    if recipe.toolkit == "openvino":
        return openvino_ir.write(source, recipe, folder, progress, base=base)
    if recipe.toolkit == "gguf":
        if not gguf_file.has_byte_level_tokenizer(source):
            raise InputError(f"{source.path}: GGUF needs a byte-level BPE tokenizer.json beside the weights")
        return gguf_file.write(source, recipe, folder, progress)
    return compressed_tensors.write(source, recipe, folder, progress, calibration=calibration)


def _copy_companions(source: Checkpoint, folder: Path) -> None:
    for name in COMPANIONS:
        if (source.path / name).is_file() and not (folder / name).exists():
            shutil.copy2(source.path / name, folder / name)


def _as_json(recipe: Recipe) -> dict[str, object]:
    """The recipe as JSON gives it back, where a tuple is a list."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(recipe).items()}


def _variant(source: Checkpoint, recipe: Recipe, digest: str, parts: tuple[WeightPart, ...]) -> Variant:
    return Variant(
        path=source.path,
        model=source.name,
        name=recipe.variant,
        precision=recipe.precision,
        method=recipe.name,
        format=recipe.format,
        recipe=_as_json(recipe),
        toolkit=recipe.toolkit,
        versions=versions_of(*TOOLKITS[recipe.toolkit].PACKAGES),
        source_sha256=digest,
        quantized_format=f"int{recipe.bits}" if recipe.is_quantized else None,
        parts=parts,
        config=dict(source.config),
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
