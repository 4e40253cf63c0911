"""GGUF as OpenVINO IR: GenAI reads the file into its own graph and saves that beside it."""

from __future__ import annotations

from pathlib import Path

from llmsizer.errors import InputError
from llmsizer.installed import optional

MODEL_FILE = "openvino_model.xml"


def save_as_ir(file: Path) -> Path:
    """Write the IR of a GGUF file into the file's folder, weights as quantized as they are; the path of its graph."""
    openvino_genai = optional("openvino_genai", what="reading a model into OpenVINO", extra="quantize")
    try:
        openvino_genai.LLMPipeline(str(file), "CPU", enable_save_ov_model=True)
    except RuntimeError as error:
        reason = [line for line in str(error).splitlines() if line.strip()][-1]
        raise InputError(f"{file}: OpenVINO GenAI could not read this model ({reason})") from error
    graph = file.parent / MODEL_FILE
    if not graph.is_file():
        raise InputError(f"{file}: OpenVINO GenAI saved no {MODEL_FILE}; version 2025.3 or newer does")
    return graph


def link_as_ir(variant_folder: Path, scratch: Path) -> Path:
    """The same for a GGUF variant that must stay as it is: the IR goes to a scratch folder."""
    link = scratch / "model.gguf"
    link.symlink_to((variant_folder / "model.gguf").resolve())
    return save_as_ir(link)
