"""From a checkpoint and a method's name to a variant's folder."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import llmsizer.quantize.formats.compressed_tensors as compressed_tensors
import llmsizer.quantize.formats.gguf_file as gguf_file
import llmsizer.quantize.formats.gptqmodel as gptqmodel
import llmsizer.quantize.formats.openvino_ir as openvino_ir
import llmsizer.quantize.formats.sixteen_bit as sixteen_bit
from llmsizer.errors import InputError, LlmSizerError, QuantizationError
from llmsizer.facts.variant import ExpertUse, Variant, WeightPart
from llmsizer.installed import versions_of
from llmsizer.progress import Progress, part_of, silent
from llmsizer.quantize.calibration import check_leakage, fingerprint, texts_sha256, write_fingerprint
from llmsizer.quantize.layers.experts import expert_use
from llmsizer.quantize.layers.files import Work
from llmsizer.quantize.manifest import MANIFEST, read_variant, write_manifest
from llmsizer.quantize.mixed import choose
from llmsizer.quantize.model_card import write_model_card
from llmsizer.quantize.recipes import RECIPES, Recipe, get_recipe, knows_experts
from llmsizer.quantize.round_trip import round_trip
from llmsizer.quantize.stored.checkpoint import STORED, Checkpoint, check_values, open_source, read_folder
from llmsizer.quantize.stored.contents import file_parts
from llmsizer.quantize.stored.experts import TRANSPOSED, model_type_of
from llmsizer.quantize.stored.packed import accounted
from llmsizer.quantize.work import work_folder

PACKAGES = {
    "openvino": ("openvino", "openvino-genai", "openvino-tokenizers", "nncf", "gguf"),
    "gguf": ("gguf", "numpy"),
    "llm-compressor": ("llmcompressor", "compressed-tensors", "transformers", "torch", "numpy"),
    "none": ("numpy",),
}
RANDOM = "random_weights_seed"  # in config.json of models that `llmsizer model --config` made
VERIFY_PARAMS = 200_000_000  # up to here reading a variant back twice takes seconds
# What a reader needs beside the weights: the architecture and, where there is one, the tokenizer.
COMPANIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one variant is made of, beside its recipe."""

    calibration: Sequence[str] = ()  # texts, for methods that look at activations
    held_out: Sequence[str] = ()  # texts that quality will be judged on: must not be among the calibration texts
    force: bool = False  # let them be
    base: Path | None = None  # an ``openvino-fp16`` variant of the same checkpoint: saves converting it again
    size_budget_bytes: int | None = None  # of a recipe with choices
    verify: bool | None = None  # None: models below VERIFY_PARAMS


def quantize(
    checkpoint: Path,
    method: str,
    out: Path,
    *,
    calibration: Sequence[str] = (),
    base: Path | None = None,
    job: Job | None = None,
    progress: Progress = silent,
) -> Variant:
    """Make one variant in the folder ``out``; what is there already, made of the same weights alike, is kept.

    A run that was killed goes on from its last finished layer: until the end all lies in a hidden folder beside
    ``out``, and a run that fails takes it away. Raises InputError on a bad checkpoint and QuantizationError else.
    """
    job = job or Job(calibration=calibration, base=base)
    recipe = get_recipe(method)
    source = open_source(checkpoint)
    _check_experts(source, recipe)
    check_values(source)
    if job.calibration and job.held_out and not job.force:
        check_leakage(fingerprint(job.calibration), job.held_out, where="the evaluation text")
    digest = source.sha256()
    texts_digest = texts_sha256(job.calibration) if recipe.is_calibrated else ""
    kept = _finished(out, recipe, digest)
    if kept is not None:
        progress(f"{method}: made before", 1.0)
        return kept
    if job.base is not None and read_variant(job.base).source_sha256 != digest:
        raise QuantizationError(
            f"{job.base} was made of other weights than {checkpoint}; leave base out or name the right one"
        )
    key = key_of(digest, recipe, texts_digest, job.size_budget_bytes)
    with work_folder(out, key) as work:
        folder = work / "variant"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        variant = _made(source, recipe, job, work, progress)
        _copy_companions(source, folder)
        facts = {"source_sha256": digest, "calibration_sha256": texts_digest, "file_parts": file_parts(folder)}
        variant = variant.model_copy(update={"path": folder, **facts})
        variant = _verified(source, variant, job, progress)
        if texts_digest:
            write_fingerprint(folder, job.calibration)
        variant = variant.model_copy(update={"path": out.resolve()})
        write_manifest(folder, variant)
        write_model_card(folder, variant, recipe)
    return variant


def key_of(*parts: object) -> str:
    """Twelve digits that differ where anything differs that the files depend on."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _made(source: Checkpoint, recipe: Recipe, job: Job, work: Path, progress: Progress) -> Variant:
    """The recipe's toolkit at work; whatever it raises becomes one line, its cause stays attached."""
    try:
        parts = _write(source, recipe, job, work, part_of(progress, 0.0, 0.9))
    except (LlmSizerError, OSError, KeyboardInterrupt):
        raise
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise QuantizationError(f"{recipe.name} on {source.path} failed in {recipe.toolkit}: {reason}") from error
    use = expert_use(Work(work / "layers")) if recipe.toolkit == "llm-compressor" else None
    notes = _notes(use)
    if recipe.toolkit == "gguf" and not gguf_file.has_byte_level_tokenizer(source):
        notes += ("random weights: the vocabulary is bytes and placeholders, for speed and memory alone",)
    return _variant(source, recipe, parts).model_copy(update={"expert_use": use, "notes": notes})


def _notes(use: ExpertUse | None) -> tuple[str, ...]:
    if use is None or not use.rounded:
        return ()
    return (
        f"{use.rounded:,} of {use.experts:,} experts were sent fewer than {use.least_tokens:,} calibration tokens "
        f"(the fewest {use.fewest_tokens:,}) and are rounded to nearest",
    )


def _check_experts(source: Checkpoint, recipe: Recipe) -> None:
    """Raises QuantizationError where a mixture of experts meets a method that does not know any."""
    kind = model_type_of(source.config)
    if kind in TRANSPOSED and recipe.toolkit != "none":
        raise QuantizationError(
            f"{source.path}: experts of {kind} (inputs before outputs, fused) are not quantized here; FP8 or MXFP4 of "
            "their publisher are served as they are, and the method bf16 widens them"
        )
    if source.has_experts and not knows_experts(recipe):
        known = sorted(name for name, other in RECIPES.items() if knows_experts(other))
        raise QuantizationError(
            f"{source.path}: {recipe.name} does not know mixtures of experts here; {', '.join(known)} do"
        )


def _verified(source: Checkpoint, variant: Variant, job: Job, progress: Progress) -> Variant:
    """The variant with its round trip: read by an engine and by our own reader of the format, logit by logit."""
    wanted = variant.params <= VERIFY_PARAMS if job.verify is None else job.verify
    if not wanted or variant.quantized_format is None:
        return variant
    progress(f"{variant.method}: read back", 0.92)
    trip = round_trip(source, variant)
    if trip is None:
        return variant.model_copy(update={"notes": (*variant.notes, "not read back: its engine is not here")})
    if not trip.holds:
        raise QuantizationError(
            f"{variant.method} on {source.path}: {trip.reader} and {trip.against} read the stored weights differently "
            f"({trip.measure} {trip.value:.2g}, bound {trip.bound:.2g}); nothing was kept"
        )
    return variant.model_copy(update={"round_trip": trip})


def quantize_all(
    checkpoint: Path,
    methods: Sequence[str],
    out: Path,
    *,
    calibration: Sequence[str] = (),
    job: Job | None = None,
    progress: Progress = silent,
) -> list[Variant]:
    """Make several variants below one folder, each in a folder named like its method."""
    recipes = [get_recipe(method) for method in methods]  # a wrong name stops before the first hour of work
    variants: list[Variant] = []
    job = job or Job(calibration=calibration)
    for index, (method, recipe) in enumerate(zip(methods, recipes, strict=True)):
        made = next((v.path for v in variants if v.method == "openvino-fp16"), None)
        base = made if recipe.toolkit == "openvino" else None
        stage = part_of(progress, index / len(recipes), (index + 1) / len(recipes))
        variants.append(quantize(checkpoint, method, out / recipe.name, job=replace(job, base=base), progress=stage))
    return variants


def original(checkpoint: Path) -> Variant:
    """The checkpoint itself, unquantized, as a variant to measure and to compare with."""
    source = open_source(checkpoint)
    sums: dict[str, tuple[int, int]] = {}
    for dtype, own_params, own_bytes in accounted(read_folder(checkpoint)[2]):
        name = STORED.get(dtype, dtype.lower())
        params, size = sums.get(name, (0, 0))
        sums[name] = (params + own_params, size + own_bytes)
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
        config=dict(source.config if source.published is None else source.published),
    )


def _finished(out: Path, recipe: Recipe, digest: str) -> Variant | None:
    if not (out / MANIFEST).is_file():
        return None
    variant = read_variant(out)
    if variant.source_sha256 == digest and variant.recipe == _as_json(recipe):
        return variant
    raise QuantizationError(f"{out} holds another variant ({variant.method} of {variant.model}); give another folder")


def _write(source: Checkpoint, recipe: Recipe, job: Job, work: Path, progress: Progress) -> tuple[WeightPart, ...]:
    folder = work / "variant"
    if recipe.toolkit == "none":
        return sixteen_bit.write(source, folder, progress)
    if recipe.toolkit == "openvino":
        return openvino_ir.write(source, recipe, folder, progress, base=job.base, calibration=job.calibration)
    if recipe.toolkit == "gguf":
        if not gguf_file.has_byte_level_tokenizer(source) and RANDOM not in source.config:
            raise InputError(f"{source.path}: GGUF needs a byte-level BPE tokenizer.json beside the weights")
        return gguf_file.write(source, recipe, folder, progress)
    if recipe.toolkit == "gptqmodel":
        return gptqmodel.write(source, recipe, folder, progress, work=work, calibration=job.calibration)
    layers = work / "layers"
    texts = job.calibration
    if recipe.choices:
        assignment = choose(source, recipe, texts, job.size_budget_bytes, work, part_of(progress, 0.0, 0.4))
        rest = part_of(progress, 0.4, 1.0)
        return compressed_tensors.write(
            source, recipe, folder, rest, work=layers, calibration=texts, assignment=assignment
        )
    return compressed_tensors.write(source, recipe, folder, progress, work=layers, calibration=texts)


def _copy_companions(source: Checkpoint, folder: Path) -> None:
    for name in COMPANIONS:
        if (source.path / name).is_file() and not (folder / name).exists():
            shutil.copy2(source.path / name, folder / name)
            if name == "config.json" and source.packed_format:  # the copy is of weights that are packed otherwise
                (folder / name).write_text(json.dumps(source.config, indent=2) + "\n", encoding="utf-8")


def _as_json(recipe: Recipe) -> dict[str, object]:
    """The recipe as JSON gives it back, where a tuple is a list."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(recipe).items()}


def _variant(source: Checkpoint, recipe: Recipe, parts: tuple[WeightPart, ...]) -> Variant:
    return Variant(
        path=source.path,
        model=source.name,
        name=recipe.variant,
        precision=recipe.precision,
        method=recipe.name,
        format=recipe.format,
        recipe=_as_json(recipe),
        toolkit=recipe.toolkit,
        versions=_versions(recipe),
        quantized_format=recipe.part if recipe.is_quantized else None,
        parts=parts,
        config=dict(source.config),
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _versions(recipe: Recipe) -> dict[str, str]:
    if recipe.toolkit == "gptqmodel":
        return gptqmodel.versions()
    return versions_of(*PACKAGES[recipe.toolkit])
