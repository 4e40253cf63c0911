"""What flags mean together: heads by width, steps by sequences, the cache they leave against what the plan needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmsizer.errors import LlmSizerError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import Deployment, Parallelism
from llmsizer.facts.hub import load_model
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import Precision, get_precision
from llmsizer.launch.checks.finding import Finding
from llmsizer.launch.checks.flags import Given, number_of, read_words
from llmsizer.launch.engine_data import Engine
from llmsizer.launch.fleet import block_scaled
from llmsizer.physics.memory.account import MemoryBudget, estimate_memory
from llmsizer.physics.memory.parallelism import tensor_problem

FP8_BLOCK = 128
_TENSOR = ("--tensor-parallel-size", "--tp-size")
_PIPELINE = ("--pipeline-parallel-size", "--pp-size")
_DATA = ("--data-parallel-size", "--dp-size")
_EXPERT = ("--expert-parallel-size", "--ep-size")
_CONTEXT = {"vllm": "--max-model-len", "sglang": "--context-length", "llama.cpp": "--ctx-size"}
_SEQUENCES = {"vllm": "--max-num-seqs", "sglang": "--max-running-requests", "llama.cpp": "--parallel"}
_BATCHED = {"vllm": "--max-num-batched-tokens", "sglang": "--chunked-prefill-size", "llama.cpp": "--batch-size"}
_FRACTION = {"vllm": "--gpu-memory-utilization", "sglang": "--mem-fraction-static"}
_TOLERANCE_TOKENS = 1  # a fraction printed to three digits may lose a token


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """The command line as numbers, beside what the plan needs."""

    engine: Engine
    given: Sequence[Given]
    needs: Mapping[str, Any]
    model: ModelSpec
    precision: Precision

    def number(self, table: Mapping[str, str]) -> float | None:
        name = table.get(self.engine.name)
        return None if name is None else number_of(self.given, [name])

    @property
    def tensor(self) -> int:
        return int(number_of(self.given, _TENSOR) or 1)

    @property
    def pipeline(self) -> int:
        if self.engine.name == "llama.cpp":
            return int(self.needs["gpus_per_replica"])
        return int(number_of(self.given, _PIPELINE) or 1)

    @property
    def data(self) -> int:
        """Attention ranks of vLLM; SGLang counts its own among the tensor-parallel GPUs."""
        return int(number_of(self.given, _DATA) or 1) if self.engine.name == "vllm" else 1

    @property
    def spread(self) -> Parallelism:
        expert = self.tensor * self.data if self.data > 1 else 1
        return Parallelism(tensor=self.tensor, pipeline=self.pipeline, data=self.data, expert=expert)

    @property
    def slots(self) -> int:
        return int(self.number(_SEQUENCES) or 1)

    @property
    def context(self) -> int:
        """Of one request; llama.cpp is told of all slots together."""
        said = int(self.number(_CONTEXT) or self.needs["context_tokens"])
        return said // self.slots if self.engine.name == "llama.cpp" else said


def rule_findings(words: Sequence[str], needs: Mapping[str, Any], engine: Engine, file: str = "flags") -> list[Finding]:
    """Every rule that the command line breaks. Raises LlmSizerError where the plan's model or device is not known."""
    given, _ = read_words(words, engine)
    model = load_model(str(needs["model"]), default_catalog())
    read = _Read(engine=engine, given=given, needs=needs, model=model, precision=get_precision(str(needs["weights"])))
    found = []
    for name, rule in _RULES.items():
        what = rule(read)
        if what:
            found.append(Finding(name=name, file=file, what=f"{file}: {what}"))
    return found


def _steps_hold_every_sequence(read: _Read) -> str:
    batched, sequences = read.number(_BATCHED), read.number(_SEQUENCES)
    if batched is None or sequences is None or batched < 0 or batched >= sequences:
        return ""
    names = _BATCHED[read.engine.name], _SEQUENCES[read.engine.name]
    return f"{names[0]} {batched:g} is below {names[1]} {sequences:g}: a step decodes one token of each"


def _heads_divide(read: _Read) -> str:
    problem = tensor_problem(read.model, read.precision, read.tensor)
    return f"tensor parallel {read.tensor}: {problem}" if problem else ""


def _width_is_the_plans(read: _Read) -> str:
    gpus, planned = read.spread.gpus, int(read.needs["gpus_per_replica"])
    return "" if gpus == planned else f"the flags spread over {gpus} GPUs, the plan has {planned} a replica"


def _blocks_divide(read: _Read) -> str:
    if not block_scaled(read.model.native_weights, read.precision) or read.tensor == 1:
        return ""
    expert = int(number_of(read.given, _EXPERT) or 1) > 1 or any(
        g.name == "--enable-expert-parallel" for g in read.given
    )
    for group in read.model.layer_groups:
        part = group.feed_forward
        if part.is_moe and expert:
            continue
        if (part.hidden_size // read.tensor) % FP8_BLOCK:
            return (
                f"the inner size {part.hidden_size} over {read.tensor} GPUs breaks FP8 blocks of {FP8_BLOCK}; "
                "take fewer GPUs or expert parallelism"
            )
    return ""


def _context_is_the_models(read: _Read) -> str:
    padded = 256 if read.engine.name == "llama.cpp" else 1
    limit = -(-read.model.max_context_tokens // padded) * padded
    return f"a context of {read.context:,} is beyond the model's {limit:,}" if read.context > limit else ""


def _context_is_enough(read: _Read) -> str:
    wanted = int(read.needs["context_tokens"])
    return (
        f"a context of {read.context:,} is less than the plan's longest request, {wanted:,}"
        if read.context < wanted
        else ""
    )


def _sequences_are_enough(read: _Read) -> str:
    sequences, wanted = read.number(_SEQUENCES), int(read.needs["sequences"])
    if sequences is None or sequences * read.data >= wanted:
        return ""
    name = _SEQUENCES[read.engine.name]
    return f"{name} {sequences:g} is less than the {wanted} requests at once that the plan counts with"


def _cache_is_enough(read: _Read) -> str:
    try:
        budget = _budget(read)
    except LlmSizerError as error:
        return str(error)
    wanted = int(read.needs["kv_tokens"])
    if read.engine.name == "llama.cpp":
        said = int(read.number(_CONTEXT) or 0)
        if said + _TOLERANCE_TOKENS < wanted:
            return f"--ctx-size {said:,} holds fewer tokens than the {wanted:,} that the plan needs"
        return "" if budget.fits else budget.reason
    mean = max(1, wanted // max(1, int(read.needs["sequences"])))
    held = read.data * max(budget.kv_capacity_tokens, budget.max_concurrency(mean) * mean)
    if not budget.fits:
        return budget.reason
    if held + _TOLERANCE_TOKENS < wanted:
        return f"the flags leave a cache of {held:,} tokens, the plan needs {wanted:,}"
    return ""


def _budget(read: _Read) -> MemoryBudget:
    fraction = read.number(_FRACTION)
    batched = read.number(_BATCHED)
    name = read.engine.name
    return estimate_memory(
        Deployment(
            model=read.model,
            gpu=default_catalog().gpu(str(read.needs["gpu"])),
            weights=read.precision,
            kv_format=str(read.needs["kv_format"]),
            parallelism=read.spread,
            engine=str(read.needs["memory_engine"]),
            engine_version=read.engine.version if name in {"vllm", "sglang"} else None,
            max_context_tokens=max(1, read.context),
            max_sequences=read.slots if read.number(_SEQUENCES) else None,
            max_batched_tokens=int(batched) if batched and batched > 0 and name != "llama.cpp" else None,
            memory_fraction=fraction,
        )
    )


def _quantization_is_the_checkpoints(read: _Read) -> str:
    if any(one.spec is not None and one.spec.flag == "--quantization" for one in read.given):
        return "--quantization is said by the checkpoint itself; saying it again loads other weights than were measured"
    return ""


_RULES: dict[str, Callable[[_Read], str]] = {
    "batched tokens below sequences": _steps_hold_every_sequence,
    "heads do not divide": _heads_divide,
    "other width than the plan": _width_is_the_plans,
    "FP8 blocks do not divide": _blocks_divide,
    "context beyond the model": _context_is_the_models,
    "context below the plan": _context_is_enough,
    "sequences below the plan": _sequences_are_enough,
    "cache too small": _cache_is_enough,
    "quantization said twice": _quantization_is_the_checkpoints,
}
