"""llm-compressor's GPTQ, which looks at an input once where several matrices share it.

The queries', keys' and values' matrices have the same inputs, and so the same Hessian, as have gate and up. GPTQ treats
the rows of a matrix apart, so that matrices of the same Hessian are rounded as one, to the same weights, by one
factorization and one walk over the columns.
"""

from __future__ import annotations

from typing import Any

from llmsizer.installed import optional

EXTRA = "compressed-tensors"
WHAT = "quantizing by GPTQ"


def shared_gptq(**options: Any) -> Any:
    """The toolkit's GPTQModifier with these options, sparing what has been done for another matrix."""
    torch = optional("torch", what=WHAT, extra="quantize")
    base = optional("llmcompressor.modifiers.gptq.base", what=WHAT, extra=EXTRA)
    private = optional("pydantic", what=WHAT, extra=EXTRA).PrivateAttr

    class SharedGPTQ(base.GPTQModifier):  # type: ignore[misc, name-defined]
        _last: tuple[Any, Any] | None = private(default=None)  # the last input, and the module that was first to see it
        _leader: dict[Any, Any] = private(default_factory=dict)

        def calibrate_module(self, module: Any, args: tuple[Any, ...], output: Any) -> None:
            if self._last is not None and self._last[0] is args[0]:
                leader = self._last[1]
                if self._leader.setdefault(module, leader) is leader:
                    self._hessians[module] = self._hessians[leader]  # the same, added to in place
                    self._num_samples[module] = self._num_samples[leader]
                    return
            elif self._leader.setdefault(module, module) is module:
                self._last = (args[0], module)
                super().calibrate_module(module, args, output)
                return
            raise RuntimeError("a matrix shares its input with another only at times; use the toolkit's own GPTQ")

        def compress_module_list(self, module_list: list[Any]) -> None:
            self._last = None
            groups: dict[Any, list[Any]] = {}
            for module in module_list:
                groups.setdefault(self._leader[module], []).append(module)
            for modules in groups.values():
                if len(modules) > 1 and _alike(modules):
                    with torch.no_grad():
                        self._round_together(modules)
                else:
                    super().compress_module_list(modules)

        def _round_together(self, modules: list[Any]) -> None:
            found = [module.weight_observer.get_qparams() for module in modules]
            hessian = self._hessians[modules[0]] / self._num_samples[modules[0]]
            for module in modules:
                del self._hessians[module], self._num_samples[module]
            arguments = modules[0].quantization_scheme.weights
            made, *_ = base.quantize_weight(
                weights=torch.cat([module.weight.data for module in modules]).float()[None],
                hessians=hessian[None],
                scale=torch.cat([qparams["scale"] for qparams in found])[None],
                zero_point=torch.cat([qparams["zero_point"] for qparams in found])[None],
                global_scale=None,
                quant_args=arguments,
                blocksize=self.block_size,
                percdamp=self.dampening_frac,
            )
            rows = made[0].split([module.weight.shape[0] for module in modules])
            scales, zeros = ([qparams[key] for qparams in found] for key in ("scale", "zero_point"))
            base.update_batch_qparams(modules, rows, scales, zeros, None, arguments)
            self._num_compressed_modules += len(modules)

    return SharedGPTQ(**options)


def _alike(modules: list[Any]) -> bool:
    """Whether matrices are rounded to the same grid, a scale a group or a row of each."""
    first, *others = (module.quantization_scheme.weights for module in modules)
    return first.strategy in ("group", "channel") and all(other == first for other in others)
