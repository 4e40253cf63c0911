"""GGUF as OpenVINO IR: GenAI reads the file into its own graph and saves that beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from llmsizer.errors import InputError
from llmsizer.installed import optional

MODEL_FILE = "openvino_model.xml"
GGUF_FILE = "model.gguf"


def save_as_ir(file: Path, config: Mapping[str, Any]) -> Path:
    """Write the IR of a GGUF file into the file's folder, weights as quantized as they are; the path of its graph.

    ``config`` is the Hugging Face configuration of the model.
    """
    openvino_genai = optional("openvino_genai", what="reading a model into OpenVINO", extra="quantize")
    try:
        openvino_genai.LLMPipeline(str(file), "CPU", enable_save_ov_model=True)
    except RuntimeError as error:
        reason = [line for line in str(error).splitlines() if line.strip()][-1]
        raise InputError(f"{file}: OpenVINO GenAI could not read this model ({reason})") from error
    graph = file.parent / MODEL_FILE
    if not graph.is_file():
        raise InputError(f"{file}: OpenVINO GenAI saved no {MODEL_FILE}; version 2025.3 or newer does")
    openvino = optional("openvino", what="reading a model into OpenVINO", extra="quantize")
    model = read_unmapped(openvino, graph)
    _restore_rotary_frequencies(openvino, model, config)
    replace_model(openvino, model, graph)
    return graph


@contextmanager
def opened_graph(format_name: str, folder: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """The graph of an IR folder; for a GGUF folder, which must stay as it is, one in a scratch folder."""
    if format_name != "gguf":
        yield folder / MODEL_FILE
        return
    with tempfile.TemporaryDirectory(prefix="llmsizer-gguf-") as scratch:
        link = Path(scratch) / GGUF_FILE
        link.symlink_to((folder / GGUF_FILE).resolve())
        yield save_as_ir(link, config)


def read_unmapped(openvino: Any, graph: Path) -> Any:
    """The model with its weights in memory: a mapped file could not be replaced by its own new version."""
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": "NO"})
    return core.read_model(graph)


def replace_model(openvino: Any, model: Any, graph: Path) -> None:
    """Save a model over the files it was read from."""
    new = graph.with_name("new.xml")
    # Constants stay in the types they have: weights are 16 bit or less by now, the rotary frequencies must not be.
    openvino.save_model(model, new, compress_to_fp16=False)
    new.with_suffix(".bin").replace(graph.with_suffix(".bin"))
    new.replace(graph)


def rope_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary settings in transformers 5's form; older files keep the base beside the other keys."""
    value = config.get("rope_parameters") or config.get("rope_scaling") or {}
    parameters = dict(value) if isinstance(value, dict) else {}
    parameters.setdefault("rope_theta", config.get("rope_theta", 10_000.0))
    parameters.setdefault("rope_type", parameters.get("type", "default"))
    return parameters


def head_dim(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def rotary_frequencies(config: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Angle per position of each pair of a head: base^(−2i/d)."""
    dim = head_dim(config)
    exponents = np.arange(0, dim, 2, dtype=np.float64) / dim
    result: np.ndarray[Any, np.dtype[np.float32]] = (float(rope_parameters(config)["rope_theta"]) ** -exponents).astype(
        np.float32
    )
    return result


def _restore_rotary_frequencies(openvino: Any, model: Any, config: Mapping[str, Any]) -> None:
    """Put back the frequencies that GenAI rounds to FP16 as it saves: by position 4,000 an angle is off by a radian."""
    exact = rotary_frequencies(config)
    for op in model.get_ops():
        if op.get_type_name() != "Constant" or tuple(op.shape) != (1, exact.size, 1):
            continue
        if np.allclose(op.get_data().reshape(-1).astype(np.float32), exact, rtol=2e-3, atol=1e-6):
            target = next(iter(op.output(0).get_target_inputs())).get_node()
            rounded = target if target.get_type_name() == "Convert" else op
            constant = openvino.opset13.constant(exact.reshape(1, -1, 1))
            for user in list(rounded.output(0).get_target_inputs()):
                user.replace_source_output(constant.output(0))
            return
    raise InputError("OpenVINO GenAI's graph has no rotary frequencies where they were; use openvino-genai 2026.4")
