"""What fine-tuning takes: memory by part on each GPU, the GPUs it needs, and the time for a number of tokens.

Memory is arithmetic on the geometry. Mixed-precision Adam keeps 2 + 2 + 12 bytes a parameter (ZeRO, arXiv 1910.02054,
section 3.1): weights and gradients in 16 bit, and a master copy, a momentum and a variance in 32. LoRA (2106.09685)
keeps them for its adapters only; QLoRA (2305.14314) stores the base in 4 bits besides. Activations are counted as in
Korthikanti et al. (2205.05198), from the model's own widths and without the attention scores, which flash attention
never stores. Time is 6 FLOPs a parameter and token (Kaplan et al., 2001.08361; a third is forward), 4 where the base
stays frozen, a further forward where activations are recomputed, over the share of the data sheet's rate that training
reaches: an assumption with a range. Sharded weights travel in every step, which may take longer than the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmsizer.errors import InputError
from llmsizer.facts.figure import Figure
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.model import LayerGroup, ModelSpec
from llmsizer.facts.provenance import Estimate
from llmsizer.units import GIB, SECONDS_PER_HOUR

Method = Literal["full", "lora", "qlora"]
Optimizer = Literal["adamw", "adamw-8bit", "paged-adamw", "sgd", "adafactor"]
Sharding = Literal["none", "zero1", "zero2", "zero3"]

# Bytes a trained parameter beside weights and gradients: master copy in 32 bit, and the states.
OPTIMIZER_BYTES: dict[Optimizer, float] = {
    "adamw": 4 + 4 + 4,
    "adamw-8bit": 4 + 1 + 1,  # Dettmers et al., 2110.02861: both states in 8 bit, blockwise
    "paged-adamw": 4,  # both states are in host memory, and visit: QLoRA, section 3
    "sgd": 4 + 4,  # master copy and momentum
    "adafactor": 4,  # its factored second moment is two vectors a matrix: nothing beside the rest
}
MEANINGS: dict[Method, str] = {
    "full": "every parameter is trained",
    "lora": "the base stays frozen in 16 bit; adapters of low rank are trained",
    "qlora": "the base stays frozen in 4 bits (NF4); adapters of low rank are trained",
}
_BYTES_16, _BYTES_32 = 2.0, 4.0
_NF4_BITS = 4 + 0.127  # QLoRA, section 3: double quantization takes 0.127 bits a parameter for the constants
_CONTEXT_BYTES = 1.0 * GIB  # CUDA context, libraries and communicators of a training process: a stated guess
_FRAGMENTED = 0.05  # of the GPU, lost between allocations: a stated guess
MOST_GPUS = 4096
_NETWORK_BYTES_PER_SECOND = (3.1e9, 12.5e9, 50e9)  # 25, 100 and 400 Gbit/s a GPU
# Of the data sheet's dense rate, in training. Low: small batches and PCIe cards; middle: Llama 3 405B's 38-43 %
# (2407.21783, table 4); high: Megatron's 57 % (2205.05198, table 5).
MFU = Figure(
    estimate=Estimate(value=0.38, low=0.20, high=0.55, basis="assumed", reason="differs by model, batch and links"),
    unit="of the dense 16-bit rate",
    source="38-43 %: Llama 3, arXiv 2407.21783; 56 %: Korthikanti et al., arXiv 2205.05198; low end a stated guess",
    as_of="2024-07",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """How a model is tuned. ``batch`` counts sequences on one GPU in one forward pass."""

    method: Method = "lora"
    sequence_tokens: int = 2048
    batch: int = 1
    rank: int = 16
    optimizer: Optimizer = "adamw"
    checkpointing: bool = True
    sharding: Sharding = "zero3"
    gradient_bytes: float = _BYTES_16
    fused_loss: bool = False  # logits are never stored whole (Liger, cut cross-entropy)

    def __post_init__(self) -> None:
        for name in ("sequence_tokens", "batch", "rank"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}; give 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMemory:
    """One GPU's account in bytes; the parts sum to ``total_bytes``."""

    weights: float
    adapters: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    gathered: (
        float  # one layer's weights whole while it is computed, the next one's on the way; a 4-bit matrix unpacked
    )
    process: float  # context and libraries; fragmentation is taken off the GPU (usable_bytes)

    @property
    def parts(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def total_bytes(self) -> float:
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTime:
    """Hours of the whole job by the middle of the MFU, and at both ends; FLOPs of all tokens."""

    flops: float
    hours: Figure
    gpu_hours: Figure


def trained_params(model: ModelSpec, job: FineTuning) -> float:
    """Parameters that get gradients."""
    return float(model.total_params) if job.method == "full" else adapter_params(model, job.rank)


def adapter_params(model: ModelSpec, rank: int) -> float:
    """LoRA on every linear layer of attention and dense feed-forward parts: rank × (inputs + outputs) of each matrix.

    Of a mixture of experts the attention and the shared experts are adapted, as frameworks do by default: adapters on
    all experts would be as many times more. Routers, embeddings and output stay as they are.
    """
    return float(sum(group.count * rank * _adapted_width(model, group) for group in model.layer_groups))


def _adapted_width(model: ModelSpec, group: LayerGroup) -> int:
    """Sum over adapted matrices of inputs plus outputs."""
    hidden, attention, forward = model.hidden_size, group.attention, group.feed_forward
    widths = 0
    if attention.kind == "latent":
        queries = attention.query_heads * attention.head_dim
        compressed = attention.kv_lora_rank + attention.rope_head_dim
        expanded = attention.query_heads * (attention.head_dim - attention.rope_head_dim + attention.value_head_dim)
        low = attention.query_lora_rank
        widths += (hidden + low) + (low + queries) if low else hidden + queries
        widths += (hidden + compressed) + (attention.kv_lora_rank + expanded)
        widths += attention.query_heads * attention.value_head_dim + hidden
    elif attention.kind != "linear":
        keys, values = attention.kv_heads * attention.head_dim, attention.kv_heads * attention.value_head_dim
        widths += 4 * hidden + attention.query_heads * attention.head_dim + keys + values
        widths += attention.query_heads * attention.value_head_dim
    inner = forward.shared_hidden_size if forward.is_moe else forward.hidden_size
    return widths + (3 if forward.gated else 2) * (hidden + inner) * (inner > 0)


def base_bytes(model: ModelSpec, job: FineTuning) -> float:
    """The weights that stand in memory, adapters not among them."""
    if job.method != "qlora":
        return model.total_params * _BYTES_16
    rest = model.total_params - model.quantizable_params
    return model.quantizable_params * _NF4_BITS / 8 + rest * _BYTES_16


def training_memory(model: ModelSpec, job: FineTuning, gpus: int = 1) -> TrainingMemory:
    """One GPU's account when a job is spread over so many, each with a batch of its own.

    ZeRO stage 1 shards the optimizer, 2 the gradients too, 3 (and FSDP) the weights as well.
    """
    trained = trained_params(model, job)
    adapters = 0.0 if job.method == "full" else trained * _BYTES_16
    stage = ("none", "zero1", "zero2", "zero3").index(job.sharding)
    base = base_bytes(model, job)
    over = (gpus if stage >= 1 else 1, gpus if stage >= 2 else 1, gpus if stage >= 3 else 1)
    largest = max(group.params(model.hidden_size) / group.count for group in model.layer_groups)
    gathers = gpus > 1 and stage >= 3
    unpacked = _largest_matrix(model) * _BYTES_16 if job.method == "qlora" else 0.0
    return TrainingMemory(
        weights=base / over[2],
        adapters=adapters / over[2],
        gradients=trained * job.gradient_bytes / over[1],
        optimizer=trained * OPTIMIZER_BYTES[job.optimizer] / over[0],
        activations=activation_bytes(model, job),
        logits=_logit_bytes(model, job),
        gathered=(2 * largest * base / model.total_params if gathers else 0.0) + unpacked,
        process=_CONTEXT_BYTES,
    )


def _largest_matrix(model: ModelSpec) -> float:
    """Of the layers, in parameters: what is unpacked to 16 bit while it multiplies."""
    widths = [
        max(
            g.feed_forward.hidden_size,
            g.feed_forward.shared_hidden_size,
            g.attention.query_heads * g.attention.head_dim,
        )
        for g in model.layer_groups
    ]
    return float(model.hidden_size * max(widths))


def activation_bytes(model: ModelSpec, job: FineTuning) -> float:
    """Kept from forward to backward: with checkpointing each layer's input and one layer in full, else every layer."""
    tokens = job.batch * job.sequence_tokens
    layers = [(group.count, tokens * _layer_bytes_per_token(model, group)) for group in model.layer_groups]
    if not job.checkpointing:
        return float(sum(count * size for count, size in layers))
    inputs = model.layers * tokens * model.hidden_size * _BYTES_16
    return float(inputs + max(size for _, size in layers))


def _layer_bytes_per_token(model: ModelSpec, group: LayerGroup) -> float:
    """What backward needs of one layer for one token at 16 bit; attention scores are recomputed by the kernel.

    Inputs of both norms and of each matrix, queries, keys, values, the attention's output, and the gate, up and product
    of the feed-forward part. An MoE token keeps those of the experts it passes.
    """
    hidden, attention, forward = model.hidden_size, group.attention, group.feed_forward
    queries = attention.query_heads * attention.head_dim
    values = attention.query_heads * attention.value_head_dim
    keys = attention.query_heads * (attention.head_dim + attention.value_head_dim)
    if attention.kind != "latent":
        keys = attention.kv_heads * (attention.head_dim + attention.value_head_dim)
    inner = forward.hidden_size * (forward.active_experts if forward.is_moe else 1) + forward.shared_hidden_size
    kept = 4 * hidden + queries + keys + values + (3 if forward.gated else 2) * inner
    kept += forward.active_experts * hidden if forward.is_moe else 0  # a token's copy for each expert
    return _BYTES_16 * kept


def _logit_bytes(model: ModelSpec, job: FineTuning) -> float:
    """Logits in 16 and 32 bit and their gradient: often the largest single tensor of a small job."""
    if job.fused_loss:
        return 0.0
    return job.batch * job.sequence_tokens * model.vocab_size * (_BYTES_16 + 2 * _BYTES_32)


def usable_bytes(gpu: GpuSpec) -> float:
    """Of one GPU, what fragmentation leaves. Raises InputError where its memory is not known."""
    if gpu.memory_bytes is None:
        raise InputError(f"{gpu.id} has no memory size of its own; set gpus.{gpu.id}.memory_bytes")
    return gpu.memory_bytes * (1 - _FRAGMENTED)


def fewest_gpus(model: ModelSpec, job: FineTuning, gpu: GpuSpec) -> int | None:
    """The fewest GPUs on which it fits; None where no number of them helps, since a GPU's own part is too much."""
    room = usable_bytes(gpu)
    if training_memory(model, job, MOST_GPUS).total_bytes > room:
        return None
    low, high = 0, MOST_GPUS
    while high - low > 1:
        middle = (low + high) // 2
        fits = training_memory(model, job, middle).total_bytes <= room
        low, high = (low, middle) if fits else (middle, high)
    return high


def flops_per_token(model: ModelSpec, job: FineTuning) -> float:
    """Forward is 2 FLOPs a parameter that a token passes, and attention; backward as much for the inputs again.

    A full fine-tune pays that a third time, for the weights' gradients: 6. A frozen base saves it: 4, and the adapters'
    own 6. Recomputing activations is another forward.
    """
    forward = model.forward_flops(1.0, job.sequence_tokens / 2, logits_tokens=1.0)
    passes = 3.0 if job.method == "full" else 2.0
    adapters = 0.0 if job.method == "full" else 6.0 * adapter_params(model, job.rank)
    return forward * (passes + (1.0 if job.checkpointing else 0.0)) + adapters


def communicated_bytes(model: ModelSpec, job: FineTuning, gpus: int) -> float:
    """What one GPU receives in a step.

    With the weights sharded (ZeRO-3, FSDP) they are gathered forward and again backward, and gradients of what is
    trained are reduced; without sharded weights only the updated ones are gathered: ZeRO, section 7.
    """
    if gpus == 1:
        return 0.0
    gradients = trained_params(model, job) * job.gradient_bytes
    gathers = 2 * base_bytes(model, job) if job.sharding == "zero3" else gradients
    return (gathers + gradients) * (gpus - 1) / gpus


def link(gpu: GpuSpec, gpus: int) -> Estimate:
    """Bytes a second that reach one GPU: by the link inside a node, by a network card where there are several nodes."""
    inside = gpu.peer_bytes_per_second
    if gpus <= gpu.max_per_node and inside:
        low, middle, high = 0.5 * inside, 0.75 * inside, inside
        return Estimate(
            value=middle, low=low, high=high, basis="assumed", reason="half to all of the data sheet's link"
        )
    slow, usual, fast = _NETWORK_BYTES_PER_SECOND
    return Estimate(value=usual, low=slow, high=fast, basis="assumed", reason="a network between nodes: a stated guess")


def training_time(
    model: ModelSpec, job: FineTuning, gpu: GpuSpec, gpus: int, tokens: float, mfu: Figure = MFU
) -> TrainingTime:
    """Hours for so many tokens: a step takes its arithmetic or its communication, whichever is longer.

    Recomputed FLOPs run at the same share of the rate as all others. Raises InputError where the GPU's 16-bit rate is
    not known.
    """
    rate = gpu.flops_16bit_per_second
    if not rate:
        raise InputError(f"{gpu.name} has no 16-bit rate in the catalogue; choose another GPU")
    in_step = job.batch * job.sequence_tokens
    flops = flops_per_token(model, job)
    share, way, moved = mfu.estimate, link(gpu, gpus), communicated_bytes(model, job, gpus)
    assert share.value and share.low and share.high, "the share of the rate is a range"
    assert way.value and way.low and way.high, "so is the link"

    def hours(reached: float, bytes_per_second: float) -> float:
        step = max(in_step * flops / (rate * reached), moved / bytes_per_second)
        return tokens / (in_step * gpus) * step / SECONDS_PER_HOUR

    is_moving = moved / way.value > in_step * flops / (rate * share.value)
    estimate = Estimate(
        value=hours(share.value, way.value),
        low=hours(share.high, way.high),
        high=hours(share.low, way.low),
        basis="assumed",
        reason="limited by the links: a larger batch a GPU helps" if is_moving else "limited by arithmetic",
    )
    figure = Figure(estimate=estimate, unit="h", source=mfu.source, as_of=mfu.as_of)
    return TrainingTime(flops=flops * tokens, hours=figure, gpu_hours=figure.scaled(gpus, "GPU-h"))
