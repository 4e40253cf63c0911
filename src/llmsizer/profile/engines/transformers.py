"""transformers in this process: eager, greedy, the whole batch in step; CPU, or the first GPU where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmsizer.facts.variant import Variant
from llmsizer.installed import optional, quiet_transformers
from llmsizer.profile.measure import Tokens


class Transformers:
    """A model with its dynamic KV cache. On a GPU each step waits for the device, so that its clock is the device's."""

    def __init__(self, variant: Variant) -> None:
        torch = optional("torch", what="the transformers engine", extra="quantize")
        transformers = quiet_transformers(what="the transformers engine")
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = _arithmetic(torch, self._device)
        load: Any = transformers.AutoModelForCausalLM.from_pretrained
        self._model: Any = load(variant.path, dtype=dtype, local_files_only=True).to(self._device).eval()
        self.version = str(transformers.__version__)
        self.vocabulary = int(self._model.config.vocab_size)
        self.options = {
            "arithmetic": str(dtype).removeprefix("torch."),
            "kv_cache": str(dtype).removeprefix("torch."),
            "mode": "eager",
            "attention": str(self._model.config._attn_implementation),
            "device": self._device,
            "torch": str(torch.__version__),
            "threads": str(torch.get_num_threads()),
        }
        if variant.format == "compressed-tensors":
            self.options["weights"] = "unpacked to 16 bit at load: right for quality, not for speed or memory"

    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        torch = self._torch
        tokens = torch.from_numpy(prompts).to(self._device)
        cache: Any = None
        for _ in range(output_tokens):
            # Not around the yield: a generator would leak the mode into its caller.
            with torch.inference_mode():
                output = self._model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache = output.past_key_values
                tokens = output.logits[:, -1].argmax(dim=-1, keepdim=True)
            if self._device == "cuda":
                torch.cuda.synchronize()
            yield

    def peak_memory_bytes(self) -> float | None:
        if self._device != "cuda":
            return None
        peak = float(self._torch.cuda.max_memory_allocated())
        self._torch.cuda.reset_peak_memory_stats()
        return peak


def _arithmetic(torch: Any, device: str) -> Any:
    """FP16 on a GPU; on a CPU bfloat16 where it has units for it, else FP32, which is what such a CPU is fastest in."""
    if device == "cuda":
        return torch.float16
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if has_bf16 else torch.float32
