"""transformers in this process: greedy, the whole batch in step; CPU, or the first GPU where there is one.

Modes: ``dynamic`` (a cache that grows, eager: the default on a CPU), ``static`` (a cache of exactly the point's
length), ``graph`` (the same, its decode step captured once as a CUDA graph and replayed), ``compiled`` (the same, with
the blocks between the attentions compiled: the default on a GPU, where eager decode waits for launches). A folder
without weights gets random ones.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from llmsizer.errors import MeasurementError
from llmsizer.facts.record_parts import MemoryUse, Phases
from llmsizer.facts.variant import Variant
from llmsizer.installed import optional, quiet_transformers
from llmsizer.profile.engines.device_events import StepClock
from llmsizer.profile.engines.grouped_attention import use_grouped_attention
from llmsizer.profile.engines.weight_only import Scheme, pack
from llmsizer.profile.measure import Tokens
from llmsizer.quantize.loading import load_stored, load_widened, must_widen, transformers_misreads

WHAT = "the transformers engine"
WARM_STEPS = 3
Mode = Literal["dynamic", "static", "graph", "compiled"]
SCHEMES: dict[str, Scheme] = {"int8-wo": "int8-wo", "int8": "int8-w8a8", "int4": "int4-wo"}


class Transformers:
    """A model and its cache. On a GPU each step waits for the device, so that its clock is the device's."""

    def __init__(self, variant: Variant, *, mode: Mode | None = None, compile_backend: str = "inductor") -> None:
        torch = optional("torch", what=WHAT, extra="quantize")
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._used_before = used_bytes(torch)
        self._mode: Mode = mode or ("compiled" if self._device == "cuda" else "dynamic")
        dtype = arithmetic(torch, self._device, variant.precision)
        self._model: Any = load_model(variant, dtype, self._device)
        self.version = str(quiet_transformers(what=WHAT).__version__)
        self.vocabulary = int(self._model.config.vocab_size)
        self.options = {
            "arithmetic": str(dtype).removeprefix("torch."),
            "kv_cache": str(dtype).removeprefix("torch."),
            "mode": self._mode,
            "attention": str(self._model.config._attn_implementation),
            "device": self._device,
            "torch": str(torch.__version__),
            "threads": str(torch.get_num_threads()),
            "weights": "random" if not has_weights(variant.path) else "from the checkpoint",
        }
        if scheme := scheme_of(variant):
            pack(self._model, scheme)
            self.options["kernels"] = f"torch {scheme}, repacked at load"
        if self._mode != "dynamic":
            use_grouped_attention(self._model)
            self.options["attention"] = "grouped products for one token, sdpa for prompts"
        if self._mode == "compiled":
            compile_blocks(self._model, compile_backend)
        self._shape: tuple[int, int] | None = None
        self._cache: Any = None
        self._graph: CapturedStep | None = None
        self._peaks: dict[str, float] = {}
        self._finite = True
        self._clock = StepClock(torch.cuda) if self._device == "cuda" else None
        self._note_peak("load")

    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        torch = self._torch
        tokens = torch.from_numpy(prompts).to(self._device)
        cache = self._fresh_cache(tokens, prompts.shape[1] + output_tokens)
        if self._clock is not None:
            self._clock.restart()
        for step in range(output_tokens):
            if self._clock is not None:
                self._clock.begin()
            # Not around the yield: a generator would leak the mode into its caller.
            with torch.no_grad():
                if self._graph is not None and step:
                    tokens = self._graph.replay(tokens)
                else:
                    output = self._forward(tokens, cache)
                    cache, logits = output.past_key_values, output.logits[:, -1]
                    tokens = logits.argmax(dim=-1, keepdim=True)
            if self._clock is not None:
                self._clock.end()
            if self._device == "cuda":
                torch.cuda.synchronize()
            if self._clock is not None:
                self._clock.read()
            if step in (0, output_tokens - 1):
                self._note_peak("decode" if step else "prefill")
            if step == 0:
                self._finite = self._finite and bool(torch.isfinite(logits).all())
            yield

    def phases(self) -> Phases | None:
        """By the device's own events; None on a CPU, whose only clock is ours."""
        return None if self._clock is None else self._clock.phases()

    def outputs_finite(self) -> bool:
        return self._finite

    def peak_memory_bytes(self) -> float | None:
        return max(self._peaks.values(), default=None)

    def memory_use(self) -> MemoryUse:
        """Weights exactly; peaks by phase where the device has an allocator that counts."""
        torch, used = self._torch, used_bytes(self._torch)
        on_gpu = self._device == "cuda"
        return MemoryUse(
            weights_bytes=weight_bytes(self._model),
            peak_allocated_bytes=dict(self._peaks),
            peak_reserved_bytes={"run": float(torch.cuda.max_memory_reserved())} if on_gpu else {},
            device_used_delta_bytes=used - self._used_before if used and self._used_before is not None else None,
            graph_pool_bytes=graph_pool_bytes(torch.cuda.memory_snapshot()) if on_gpu else None,
        )

    def _forward(self, tokens: Any, cache: Any) -> Any:
        return self._model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)

    def _fresh_cache(self, tokens: Any, length: int) -> Any:
        """Empty, and for a static mode of exactly this point; a new shape pays for it in the warm-up."""
        if self._mode == "dynamic":
            return None
        shape = (int(tokens.shape[0]), length)
        if self._shape != shape:
            transformers = quiet_transformers(what=WHAT)
            self._graph = None
            self._cache = transformers.StaticCache(config=self._model.config, max_cache_len=length)
            self._shape = shape
            self.options["max_cache_len"] = str(length)
            if self._mode in ("graph", "compiled"):
                self._capture(tokens)
        self._cache.reset()
        return self._cache

    def _capture(self, tokens: Any) -> None:
        """The decode step as a CUDA graph; where that fails, the step stays eager and the options say why."""
        with self._torch.no_grad():
            self._forward(tokens, self._cache)  # the prompt makes the cache's tensors
            if self._device != "cuda":
                self.options["mode"] = f"{self._mode}, without a graph: no CUDA device"
                return
            try:
                self._graph = CapturedStep(self._torch, self._forward, self._cache, tokens[:, :1])
            except RuntimeError as error:
                self.options["mode"] = f"static, no graph: {str(error).splitlines()[0][:100]}"

    def _note_peak(self, phase: str) -> None:
        """The allocator's peak since the last look, kept for the phase that just ended."""
        if self._device == "cuda":
            cuda = self._torch.cuda
            self._peaks[phase] = max(self._peaks.get(phase, 0.0), float(cuda.max_memory_allocated()))
            cuda.reset_peak_memory_stats()


class CapturedStep:
    """One decode step recorded as a CUDA graph: reads a token a sequence, appends to the cache, gives the next ones."""

    def __init__(self, torch: Any, forward: Callable[[Any, Any], Any], cache: Any, tokens: Any) -> None:
        self._tokens = tokens.clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        cache.reset()
        with torch.cuda.stream(side):
            for _ in range(WARM_STEPS):  # kernels are chosen and compiled before recording
                forward(self._tokens, cache)
                cache.reset()
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._next = forward(self._tokens, cache).logits[:, -1].argmax(dim=-1, keepdim=True)

    def replay(self, tokens: Any) -> Any:
        self._tokens.copy_(tokens)
        self._graph.replay()
        return self._next


def compile_blocks(model: Any, backend: str) -> None:
    """Compile what lies between the attentions, in place: one code for all layers, since it knows no layer number."""
    options = {"options": {"coordinate_descent_tuning": True}} if backend == "inductor" else {}
    for name, module in model.named_modules():
        kind = type(module).__name__
        last = name.rsplit(".", 1)[-1]
        inside = ".mlp." in name
        if not inside and (last == "mlp" or "Norm" in kind or kind.startswith("Int")):
            module.compile(backend=backend, dynamic=False, **options)


def static(variant: Variant) -> Transformers:
    return Transformers(variant, mode="static")


def graph(variant: Variant) -> Transformers:
    return Transformers(variant, mode="graph")


def compiled(variant: Variant) -> Transformers:
    return Transformers(variant, mode="compiled")


def load_model(variant: Variant, dtype: Any, device: str) -> Any:
    """The checkpoint's weights, or random ones made on the device where the folder has none.

    Raises MeasurementError where the configuration is of no causal language model.
    """
    torch = optional("torch", what=WHAT, extra="quantize")
    transformers = quiet_transformers(what=WHAT, model_type=variant.config.get("model_type"))
    auto = transformers.AutoModelForCausalLM
    if variant.format == "huggingface" and has_weights(variant.path) and must_widen(variant.path):
        return load_widened(variant.path, dtype, device)
    if transformers_misreads(variant):
        return load_stored(variant, dtype, device)
    if has_weights(variant.path):
        loaded: Any = auto.from_pretrained(variant.path, dtype=dtype, local_files_only=True)
        if variant.format == "compressed-tensors":  # transformers leaves it compressed until the first step
            loaded.hf_quantizer.compressor.decompress_model(model=loaded)
        return loaded.to(device, dtype).eval()  # routers and unpacked experts come in the format that is stored
    settings = dict(variant.config)
    kinds = importlib.import_module("transformers.models.auto.modeling_auto").MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if settings.get("model_type") not in kinds:  # asked of transformers itself, it imports every model to name them
        kind = settings.get("model_type") or "no model_type"
        raise MeasurementError(f"{variant.path}: its config is of no language model known here ({kind})")
    try:
        config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
        with torch.device(device):
            return auto.from_config(config, dtype=dtype).eval()
    except (KeyError, ValueError) as error:
        reason = str(error).splitlines()[0][:120]
        raise MeasurementError(f"{variant.path}: its config is of no language model known here ({reason})") from None


def has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def scheme_of(variant: Variant) -> Scheme | None:
    """How the layers are packed: transformers itself would widen such a checkpoint to 16 bit and stay there."""
    quantized = variant.format == "compressed-tensors" or not has_weights(variant.path)
    return SCHEMES.get(variant.precision) if quantized else None


def arithmetic(torch: Any, device: str, precision: str) -> Any:
    """FP16 on a GPU, BF16 for its INT4 kernel; on a CPU bfloat16 where it has units for it, else FP32, its fastest."""
    if device == "cuda":
        return torch.bfloat16 if precision in ("int4", "bf16") else torch.float16
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if has_bf16 else torch.float32


def weight_bytes(model: Any) -> float:
    """Bytes of parameters and buffers, tied ones once."""
    tensors = [*model.parameters(), *model.buffers()]
    return float(sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values()))


def used_bytes(torch: Any) -> float | None:
    """In use on the device by everyone, which works in containers where the driver hides processes."""
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return float(total - free)


def graph_pool_bytes(segments: list[dict[str, Any]]) -> float:
    """Reserved by CUDA graphs: segments of the allocator's private pools."""
    return float(sum(s["total_size"] for s in segments if tuple(s.get("segment_pool_id", (0, 0))) != (0, 0)))
