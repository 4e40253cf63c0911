"""The experts of a mixture in 8 or 4 bit: transformers fuses them into parameters that no packed kernel takes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from llmsizer.installed import optional

WHAT = "packing experts"
Packed = Callable[[str, Any], Any]  # of a linear layer, by its name


def pack_experts(model: Any, packed: Packed) -> int:
    """Replace a model's fused experts in place, each by two packed layers. Returns the number of layers made."""
    torch = optional("torch", what=WHAT, extra="quantize")
    made = 0
    for name, module in [(n, m) for n, m in model.named_modules() if _is_fused(torch, m)]:
        experts = _packed_experts(torch, name, module, packed)
        made += 2 * len(experts.gate_up)
        model.set_submodule(name, experts)
    return made


def _is_fused(torch: Any, module: Any) -> bool:
    """Experts with a gate, outputs before inputs and no biases: those of most mixtures; others stay as they are."""
    stacks = (getattr(module, name, None) for name in ("gate_up_proj", "down_proj"))
    plain = not getattr(module, "is_transposed", False) and not getattr(module, "has_bias", False)
    return plain and all(isinstance(stack, torch.nn.Parameter) and stack.dim() == 3 for stack in stacks)


def _packed_experts(torch: Any, name: str, fused: Any, packed: Packed) -> Any:
    class PackedExperts(torch.nn.Module):  # type: ignore[misc]
        """As transformers' own loop over the experts that a batch reaches, so that no other expert is read."""

        def __init__(self) -> None:
            super().__init__()
            self.gate_up, self.down = (
                torch.nn.ModuleList(layer(number, weight) for number, weight in enumerate(stack.data))
                for stack in (fused.gate_up_proj, fused.down_proj)
            )
            self.act_fn = fused.act_fn

        def forward(self, states: Any, index: Any, weights: Any) -> Any:
            found = torch.zeros_like(states)
            for expert in index.unique().tolist():
                tokens, places = (index == expert).nonzero(as_tuple=True)
                inner = apply_gate(self, self.gate_up[expert](states[tokens]))
                outputs = self.down[expert](inner) * weights[tokens, places, None]
                found.index_add_(0, tokens, outputs.to(found.dtype))
            return found

    def layer(number: int, weight: Any) -> Any:
        return packed(f"{name}.{number}", SimpleNamespace(weight=weight, bias=None))

    apply_gate = type(fused)._apply_gate
    return PackedExperts()
