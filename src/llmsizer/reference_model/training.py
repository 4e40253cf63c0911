"""Train a small language model in two stages, since two minutes are short.

First the input and output matrices alone learn which token follows which: a model without layers, eight times cheaper a
token and soon at the perplexity of a bigram table. Then layers are put between, beginning as the identity (their last
matrices are zero), and learn what the wider context adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsizer.installed import optional, quiet_transformers
from llmsizer.progress import Progress, part_of

WHAT = "training the reference model"
UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
LOG_EVERY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Size and training of the reference model; every width is a multiple of 128, the usual quantization group."""

    vocabulary: int = 4096
    hidden_size: int = 512
    intermediate_size: int = 1536
    layers: int = 4
    heads: int = 8
    kv_heads: int = 2
    positions: int = 2048
    sequence_tokens: int = 256
    pair_steps: int = 200
    pair_tokens: int = 2048
    pair_rate: float = 1e-2
    steps: int = 160
    sequences: int = 4
    layer_rate: float = 5e-4
    matrix_rate: float = 5e-4
    warm_steps: int = 10

    def hf_config(self) -> dict[str, Any]:
        """The architecture as Hugging Face writes it."""
        return {
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.hidden_size // self.heads,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.positions,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10_000.0,
            "sliding_window": None,
            "tie_word_embeddings": False,
            "hidden_act": "silu",
            "bos_token_id": 1,
            "eos_token_id": 2,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureRecipe(Recipe):
    """The same as a mixture of experts in Mixtral's layout: two of eight experts a token, trained for longer.

    An expert sees a quarter of the tokens, so that it takes more of them to learn as much.
    """

    vocabulary: int = 2048
    hidden_size: int = 256
    intermediate_size: int = 256  # of one expert
    heads: int = 4
    pair_tokens: int = 1024
    experts: int = 8
    experts_per_token: int = 2
    balance: float = 0.02  # weight of the loss that spreads tokens over experts
    steps: int = 240

    def hf_config(self) -> dict[str, Any]:
        """The architecture as Hugging Face writes it."""
        return Recipe.hf_config(self) | {
            "architectures": ["MixtralForCausalLM"],
            "model_type": "mixtral",
            "num_local_experts": self.experts,
            "num_experts_per_tok": self.experts_per_token,
            "router_aux_loss_coef": self.balance,
        }


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    """A byte-level BPE, the kind that GGUF, Hugging Face and OpenVINO all read."""
    tokenizers = optional("tokenizers", what=WHAT, extra="quantize")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[UNKNOWN, BEGIN, END],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def train(tokenizer: Any, texts: Sequence[str], recipe: Recipe, *, seed: int, progress: Progress) -> Any:
    """A trained model of the recipe's architecture; the same on the same machine and versions for the same seed."""
    torch = _torch()
    transformers = quiet_transformers(what=WHAT)
    begin, end = tokenizer.token_to_id(BEGIN), tokenizer.token_to_id(END)
    encoded = tokenizer.encode_batch(list(texts))
    stream = torch.tensor([token for document in encoded for token in (begin, *document.ids, end)])
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(**recipe.hf_config())
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight", "experts.down_proj")):
            torch.nn.init.zeros_(parameter)
    batches = torch.Generator().manual_seed(seed)
    _train_pairs(model, stream, recipe, batches, part_of(progress, 0.0, 0.35))
    _train_layers(model, stream, recipe, batches, part_of(progress, 0.35, 1.0))
    return model.eval()


def _train_pairs(model: Any, stream: Any, recipe: Recipe, batches: Any, progress: Progress) -> None:
    torch = _torch()
    inner = model.model
    matrices = [inner.embed_tokens.weight, inner.norm.weight, model.lm_head.weight]
    optimizer = torch.optim.AdamW(matrices, lr=recipe.pair_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    for step in range(recipe.pair_steps):
        _set_rates(optimizer, [recipe.pair_rate * (1 - 0.95 * step / recipe.pair_steps)])
        row = _windows(stream, recipe.pair_tokens, 1, batches)
        with _autocast():
            logits = model.lm_head(inner.norm(inner.embed_tokens(row[:, :-1])))
        loss = _descend(logits, row, matrices, optimizer)
        if step % LOG_EVERY == 0 or step + 1 == recipe.pair_steps:
            progress(f"training pairs, loss {loss:.2f}", (step + 1) / recipe.pair_steps)


def _train_layers(model: Any, stream: Any, recipe: Recipe, batches: Any, progress: Progress) -> None:
    torch = _torch()
    layers = list(model.model.layers.parameters())
    outside = [p for name, p in model.named_parameters() if ".layers." not in name]
    groups = [{"params": layers, "lr": recipe.layer_rate}, {"params": outside, "lr": recipe.matrix_rate}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    model.train()
    extras = {"output_router_logits": True} if isinstance(recipe, MixtureRecipe) else {}
    for step in range(recipe.steps):
        warm = min(1.0, (step + 1) / recipe.warm_steps)
        share = warm * (1 - 0.95 * step / recipe.steps)
        _set_rates(optimizer, [recipe.layer_rate * share, recipe.matrix_rate * share])
        rows = _windows(stream, recipe.sequence_tokens, recipe.sequences, batches)
        with _autocast():
            output = model(rows[:, :-1], use_cache=False, **extras)
        beside = recipe.balance * output.aux_loss if isinstance(recipe, MixtureRecipe) else None
        loss = _descend(output.logits, rows, [*layers, *outside], optimizer, beside=beside)
        if step % LOG_EVERY == 0 or step + 1 == recipe.steps:
            progress(f"training layers, loss {loss:.2f}", (step + 1) / recipe.steps)


def _descend(logits: Any, rows: Any, parameters: list[Any], optimizer: Any, *, beside: Any = None) -> float:
    """One step; the loss of predicting the text, without what is to be made small ``beside`` it."""
    torch = _torch()
    loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())
    (loss if beside is None else loss + beside).backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.item())


def _windows(stream: Any, tokens: int, count: int, batches: Any) -> Any:
    torch = _torch()
    starts = torch.randint(0, len(stream) - tokens - 1, (count,), generator=batches)
    return torch.stack([stream[start : start + tokens + 1] for start in starts])


def _set_rates(optimizer: Any, rates: list[float]) -> None:
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def _torch() -> Any:
    return optional("torch", what=WHAT, extra="quantize")


def _autocast() -> Any:
    """bfloat16 where this CPU multiplies it in hardware, two to three times faster; elsewhere single precision."""
    torch = _torch()
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(has_bf16))


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Hugging Face layout, FP16: what every toolkit here reads."""
    transformers = quiet_transformers(what=WHAT)
    model.to(_torch().float16).save_pretrained(folder)
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=UNKNOWN, bos_token=BEGIN, eos_token=END
    )
    wrapped.save_pretrained(folder)
