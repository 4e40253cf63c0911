"""transformers' own continuous batching: paged KV, requests join and leave between steps.

Its figures are this engine's and nobody else's: serving engines have been seen to be ten times as fast.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from llmsizer.errors import MeasurementError
from llmsizer.facts.record_parts import MemoryUse
from llmsizer.facts.variant import Variant
from llmsizer.installed import optional, quiet_transformers
from llmsizer.profile.engines.served import token_lists
from llmsizer.profile.engines.transformers import WHAT, arithmetic, load_model, scheme_of, weight_bytes
from llmsizer.profile.engines.weight_only import pack
from llmsizer.profile.measure import Tokens

BLOCK_TOKENS = 32
SILENCE_SECONDS = 120.0


class TransformersBatching:
    """A manager that runs beside this thread and streams tokens; its KV pool is sized to the point."""

    def __init__(self, variant: Variant) -> None:
        torch = optional("torch", what=WHAT, extra="quantize")
        self._transformers = quiet_transformers(what=WHAT)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = arithmetic(torch, device, variant.precision)
        self._model: Any = load_model(variant, dtype, device)
        self.version = str(self._transformers.__version__)
        self.vocabulary = int(self._model.config.vocab_size)
        self.options = {"arithmetic": str(dtype).removeprefix("torch."), "mode": "continuous batching"}
        self.options |= {"device": device, "block_tokens": str(BLOCK_TOKENS), "torch": str(torch.__version__)}
        if scheme := scheme_of(variant):
            pack(self._model, scheme)
            self.options["kernels"] = f"torch {scheme}, repacked at load"
        self._manager: Any = None
        self._shape: tuple[int, int] | None = None
        self._ids = itertools.count()

    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        self.fit(prompts.shape[0], prompts.shape[1] + output_tokens)
        counts = {self.add(tokens, output_tokens): 0 for tokens in token_lists(prompts)}
        made = 0
        while made < output_tokens:
            name, total = self.next_output()
            counts[name] = total
            while made < min(counts.values()):
                made += 1
                yield

    def add(self, tokens: list[int], output_tokens: int) -> str:
        """Queue one request. Returns its name."""
        name = f"r{next(self._ids)}"
        self._manager.add_request(
            tokens, request_id=name, max_new_tokens=output_tokens, streaming=True, eos_token_id=-1
        )
        return name

    def next_output(self) -> tuple[str, int]:
        """The next news: a request and its tokens so far. Raises MeasurementError at an error or a long silence."""
        output = self._manager.get_result(timeout=SILENCE_SECONDS)
        if output is None:
            raise MeasurementError(f"continuous batching was silent for {SILENCE_SECONDS:.0f} s")
        if output.error:
            raise MeasurementError(f"continuous batching failed: {str(output.error)[:200]}")
        return str(output.request_id), len(output.generated_tokens)

    def fit(self, requests: int, tokens: int) -> None:
        """A KV pool for this many requests of this length; another shape starts another manager."""
        if self._shape == (requests, tokens):
            return
        self.close()
        blocks = requests * (-(-tokens // BLOCK_TOKENS) + 1)
        settings = self._transformers.ContinuousBatchingConfig(
            block_size=BLOCK_TOKENS,
            num_blocks=blocks,
            max_batch_tokens=max(512, requests, min(8192, requests * tokens)),
            allow_block_sharing=False,  # a prompt is never served from an earlier one
        )
        generation = self._transformers.GenerationConfig(do_sample=False, eos_token_id=-1, max_new_tokens=tokens)
        self._manager = self._model.init_continuous_batching(
            generation_config=generation, continuous_batching_config=settings
        )
        self._manager.start()
        self._shape = (requests, tokens)
        self.options |= {"kv_blocks": str(blocks), "attention": str(self._model.config._attn_implementation)}

    def peak_memory_bytes(self) -> float | None:
        return None  # a pool reserved in advance is no peak

    def memory_use(self) -> MemoryUse:
        return MemoryUse(
            weights_bytes=weight_bytes(self._model), kv_blocks=int(self.options.get("kv_blocks", 0)) or None
        )

    def close(self) -> None:
        if self._manager is not None:
            self._manager.stop(block=True)
            self._manager = None
