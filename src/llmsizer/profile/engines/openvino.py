"""OpenVINO on the CPU: one stateful graph whose KV cache lives inside the engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from llmsizer.facts.variant import Variant
from llmsizer.gguf_graph import opened_graph
from llmsizer.installed import optional
from llmsizer.profile.measure import Tokens

# What the plugin chose by itself, which decides speed and quality as much as the stored format does.
OPTIONS = {
    "INFERENCE_PRECISION_HINT": "arithmetic",
    "KV_CACHE_PRECISION": "kv_cache",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "activation_int8_group",
    "INFERENCE_NUM_THREADS": "threads",
}


class OpenVino:
    """A compiled IR with greedy decoding of the whole batch in step."""

    def __init__(self, variant: Variant) -> None:
        openvino = optional("openvino", what="the openvino engine", extra="profile")
        core: Any = openvino.Core()
        with opened_graph(variant.format, variant.path, variant.config) as graph:
            model = core.read_model(graph)
            keep_last_logits(openvino, model)
            compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
        self._request: Any = compiled.create_infer_request()
        self.version = str(openvino.__version__)
        self.options = {name: _text(compiled.get_property(key)) for key, name in OPTIONS.items()}
        self.vocabulary = int(model.outputs[0].partial_shape[2].get_length())

    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        self._request.reset_state()
        batch, past, tokens = prompts.shape[0], 0, prompts
        beams = np.arange(batch, dtype=np.int32)
        for _ in range(output_tokens):
            fed = tokens.shape[1]
            self._request.infer(
                {
                    "input_ids": tokens,
                    "attention_mask": np.ones((batch, past + fed), np.int64),
                    "position_ids": np.tile(np.arange(past, past + fed, dtype=np.int64), (batch, 1)),
                    "beam_idx": beams,
                }
            )
            past += fed
            tokens = self._request.get_output_tensor(0).data[:, -1].argmax(axis=-1).astype(np.int64)[:, None]
            yield

    def outputs_finite(self) -> bool:
        """Whether the last step's logits were numbers."""
        return bool(np.isfinite(self._request.get_output_tensor(0).data).all())

    def peak_memory_bytes(self) -> float | None:
        return None  # the CPU plugin keeps no such count


def keep_last_logits(openvino: Any, model: Any) -> None:
    """Compute the output matrix for the last token alone, as every serving engine does in prefill."""
    node = model.get_results()[0].input_value(0).get_node()
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    constants = [
        openvino.opset13.constant(np.array([value], dtype=np.int64)) for value in (-1, np.iinfo(np.int64).max, 1, 1)
    ]
    start, stop, step, axis = constants
    last = openvino.opset13.slice(node.input_value(0), start, stop, step, axis)
    node.input(0).replace_source_output(last.output(0))
    model.validate_nodes_and_infer_types()


def _text(value: Any) -> str:
    """``<Type: 'bfloat16'>`` as ``bfloat16``."""
    text = str(value)
    return text.split("'")[1] if text.startswith("<Type") else text
