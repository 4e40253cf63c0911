"""A README beside the weights: what they are, how they were made, how to load them."""

from __future__ import annotations

from pathlib import Path

from llmsizer.facts.variant import Variant
from llmsizer.quantize.recipes import Recipe
from llmsizer.units import format_gb

LOADING = {
    "compressed-tensors": "vLLM, SGLang and transformers load this folder as it is: `vllm serve FOLDER`.",
    "gptq": "vLLM, SGLang and transformers (with GPTQModel) load this folder as it is: `vllm serve FOLDER`.",
    "awq": "vLLM, SGLang and transformers (with GPTQModel) load this folder as it is: `vllm serve FOLDER`.",
    "gguf": "llama.cpp and OpenVINO GenAI load the file: `llama-server -m model.gguf`.",
    "openvino-ir": "OpenVINO GenAI loads this folder: `openvino_genai.LLMPipeline(FOLDER, 'CPU')`.",
}


def write_model_card(folder: Path, variant: Variant, recipe: Recipe) -> None:
    """Write README.md, which says nothing that the manifest does not."""
    parts = "\n".join(
        f"| {part.format} | {part.params:,} | {part.bytes:,} | "
        f"{'–' if part.bits_per_weight is None else f'{part.bits_per_weight:.3f}'} |"
        for part in variant.parts
    )
    files = ", ".join(f"{part.name} {part.bytes:,}" for part in variant.file_parts)
    bits = "unknown" if variant.bits_per_weight is None else f"{variant.bits_per_weight:.3f}"
    trip = variant.round_trip
    read_back = "not done"
    if trip is not None:
        read_back = f"{trip.reader} against {trip.against}: {trip.measure} {trip.value:.2g} (bound {trip.bound:.2g})"
    versions = ", ".join(f"{name} {version}" for name, version in sorted(variant.versions.items()))
    calibration = f"{variant.calibration_sha256[:12]} (SHA-256 of the texts)" if variant.calibration_sha256 else "none"
    (folder / "README.md").write_text(
        f"""# {variant.model}, {recipe.name}

{recipe.description}. {format_gb(variant.weights_bytes, digits=3)} of weights, {bits} bits a weight in effect.

{LOADING.get(variant.format, "")}

| stored as | weights | bytes | bits a weight |
|---|---|---|---|
{parts}

- bytes of the weight files: {files or "not taken down"}
- made with: {versions}
- source: {variant.model}, SHA-256 {variant.source_sha256}
- calibration: {calibration}
- read back: {read_back}

What it loses against the source has not been measured here; `llmsizer quality` does.
""",
        encoding="utf-8",
    )
