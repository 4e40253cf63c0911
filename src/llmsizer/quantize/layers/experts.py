"""The experts of one layer, quantized one after the other: no more than one expert's weights in single precision.

In the layer's model a stand-in without weights takes the place of the experts. The toolkit's modifiers work on what
remains; then the stand-in takes down which token goes to which expert, and each expert is rounded by the same functions
of the toolkit, on the tokens that were sent to it alone. What the rounded experts make of the tokens goes back through
the stand-in, so that the next layer sees it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmsizer.errors import QuantizationError
from llmsizer.facts.variant import ExpertUse
from llmsizer.files import whole_file
from llmsizer.installed import optional
from llmsizer.progress import Progress
from llmsizer.quantize.layers.files import Work, decoder_prefix, layer_tensors, save_tensors, stored_dtype
from llmsizer.quantize.stored.checkpoint import Checkpoint
from llmsizer.quantize.stored.experts import PROJECTIONS, expert_matrices, model_type_of, on_disk, text_config
from llmsizer.quantize.stored.tensors import Tensor

EXTRA = "compressed-tensors"
WHAT = "quantizing experts"
# Tokens from which GPTQ is worth having, of the width of the inputs. On a trained model's activations, with successive
# tokens of one text and judged on others, it leaves 0.86 of the error of rounding to nearest by a sixteenth of a width
# of 512 and 0.93 by a twelfth of 1,536, but 0.99 to 1.02 by less than a twentieth of that.
LEAST_SHARE = 1 / 16
SAMPLE = 512  # tokens that stand in for those of an expert which was sent none
PART_BYTES = 1_000_000_000  # of quantized experts, held before they are written


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """What reaches a layer's experts: a hidden state a token, its experts, and the share that each has in it."""

    states: Any  # tokens × width
    experts: Any  # tokens × experts per token
    shares: Any  # tokens × experts per token

    def of(self, expert: int) -> tuple[Any, Any]:
        """The tokens that go to an expert, and its share in each."""
        tokens, places = (self.experts == expert).nonzero(as_tuple=True)
        return tokens, self.shares[tokens, places]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounded:
    """One expert: what is stored of each projection, its weights as they are read back, how it was rounded."""

    number: int
    stored: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, Any]
    tokens: int | None  # that it was sent; None where nothing was calibrated
    fell_back: bool  # to rounding to nearest, having seen too few


def stand_in(torch: Any, experts: Any) -> Any:
    """A module in the place of transformers' ``experts``, whose parameters lie on no device."""

    class StandIn(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[Any, Any, Any]] | None = None
            self.played: Iterator[Any] | None = None

        def forward(self, states: Any, index: Any, weights: Any) -> Any:
            if self.seen is not None:
                self.seen.append((states, index, weights))
            return torch.zeros_like(states) if self.played is None else next(self.played)

        def feed_forward(self, states: Any, weights: Mapping[str, Any]) -> Any:
            """What an expert makes of hidden states, between its two products and after them."""
            gate, up, down = (weights[name] for name in PROJECTIONS)
            return self.inner(states, gate, up) @ down.T

        def inner(self, states: Any, gate: Any, up: Any) -> Any:
            return held[0]._apply_gate(states @ torch.cat([gate, up]).T)

    held = [experts]  # in a list: as an attribute it would be a part of the model
    return StandIn()


def find_stand_in(model: Any) -> Any:
    """The stand-in of a layer's model; None in a dense layer's."""
    return next((module for module in model.modules() if type(module).__name__ == "StandIn"), None)


def routed(torch: Any, model: Any, place: Any, sequences: int, tokens: int) -> Routed:
    """What the layer sends to its experts over all sequences, its other matrices being quantized by now."""
    place.seen = []
    with torch.no_grad():
        for index in range(sequences):
            model(input_ids=torch.full((1, tokens), index), use_cache=False)
    seen, place.seen = place.seen, None
    states, experts, shares = (torch.cat([row[part] for row in seen]) for part in range(3))
    return Routed(states=states, experts=experts, shares=shares)


def round_experts(
    torch: Any,
    place: Any,
    experts: Mapping[int, Mapping[str, Tensor]],
    scheme: Any,
    sent: Routed | None,
    *,
    by_gptq: bool,
) -> Iterator[Rounded]:
    """Each expert by the scheme: by GPTQ on the tokens ``sent`` to it, or to nearest where there are none or too few.

    ``scheme`` is compressed-tensors'. Too few are less than a sixteenth of the width of its inputs. Where the scheme
    has fixed scales of activations, these are of the same tokens, and of any where there are none.
    """
    for number, tensors in experts.items():
        gate, up, down = (torch.from_numpy(np.array(tensors[name].float32())) for name in PROJECTIONS)
        rows = None if sent is None else sent.states[sent.of(number)[0]]
        enough = by_gptq and rows is not None and rows.shape[0] >= least_tokens(gate.shape[1])
        inner = place.inner(rows, gate, up) if enough else None
        ranges = _ranges(place, gate, up, sent, rows) if _is_static(scheme) else (None, None)
        found = _rounded(torch, {"gate_proj": gate, "up_proj": up}, scheme, rows if enough else None, ranges[0])
        found |= _rounded(torch, {"down_proj": down}, scheme, inner, ranges[1])
        yield Rounded(
            number=number,
            stored={name: stored for name, (stored, _) in found.items()},
            weights={name: weight for name, (_, weight) in found.items()},
            tokens=None if rows is None else int(rows.shape[0]),
            fell_back=by_gptq and rows is not None and not enough,
        )


def _is_static(scheme: Any) -> bool:
    """Whether a scale of the activations is stored, which is to be seen from calibration."""
    return scheme.input_activations is not None and scheme.input_activations.dynamic is not True


def _ranges(place: Any, gate: Any, up: Any, sent: Routed | None, rows: Any) -> tuple[Any, Any]:
    """The inputs of an expert's two products that their scales are to hold: every token's, and its own tokens'."""
    if sent is None:
        raise QuantizationError("scales of activations need calibration text; give some with --calibration")
    own = rows if rows is not None and rows.shape[0] else sent.states[:SAMPLE]
    return sent.states, place.inner(own, gate, up)


def least_tokens(width: int) -> int:
    """The fewest tokens by which GPTQ beats rounding to nearest on tokens that it has not seen.

    >>> least_tokens(4096)
    256
    """
    return max(1, round(LEAST_SHARE * width))


def add_outputs(total: Any, place: Any, expert: Rounded, sent: Routed) -> None:
    """Add what an expert makes of its tokens, with the weights that are stored of it."""
    tokens, shares = sent.of(expert.number)
    if tokens.numel():
        total.index_add_(0, tokens, place.feed_forward(sent.states[tokens], expert.weights) * shares[:, None])


def _rounded(
    torch: Any, matrices: Mapping[str, Any], scheme: Any, inputs: Any, span: Any = None
) -> dict[str, tuple[dict[str, Any], Any]]:
    """Matrices of the same inputs as the toolkit stores them, and as it reads them back.

    ``inputs`` are what GPTQ sees, ``span`` what a fixed scale of the activations has to hold.
    """
    lifecycle = optional("llmcompressor.entrypoints.model_free.lifecycle", what=WHAT, extra=EXTRA)
    calibration = optional("llmcompressor.modifiers.quantization.calibration", what=WHAT, extra=EXTRA)
    compressors = optional("compressed_tensors.compressors", what=WHAT, extra=EXTRA)
    modules = {}
    for name, matrix in matrices.items():
        module = modules[name] = lifecycle.initialize_quantized_linear(matrix, scheme.model_copy(deep=True), "cpu")
        calibration.initialize_observer(module, "weight")
        calibration.apply_calibration_status(module)
        if span is not None:
            calibration.initialize_observer(module, "input")
            module.input_observer(span)
            calibration.update_qparams(module, base_name="input")
    observed = [(module.weight_observer, module) for module in modules.values()]
    if scheme.weights.strategy == "tensor_group" and len(observed) > 1:  # engines read both by one scale of the whole
        optional("llmcompressor.observers.fusion", what=WHAT, extra=EXTRA).FusionHandler.fuse(observed)
    for module in modules.values():
        calibration.observe(module, base_name="weight")
    for module in modules.values():
        calibration.update_qparams(module, base_name="weight")  # once: it forgets what it observed
    if inputs is not None:
        _by_gptq(torch, list(modules.values()), inputs)
    found = {}
    for name, module in modules.items():
        calibration.freeze_module_quantization(module)
        compressors.compress_module(module)
        stored = dict(module.state_dict())
        compressors.decompress_module(module)
        found[name] = (stored, module.weight.data.float())
    return found


def _by_gptq(torch: Any, modules: list[Any], inputs: Any) -> None:
    """Round weights by the toolkit's GPTQ; of the same inputs, the rows of all are rounded as those of one matrix."""
    quantize_weight = optional("llmcompressor.modifiers.gptq.gptq_quantize", what=WHAT, extra=EXTRA).quantize_weight
    stacked = torch.cat([module.weight.data for module in modules])
    scales = torch.cat([module.weight_scale.data for module in modules])
    arguments = modules[0].quantization_scheme.weights
    hessian = inputs.T @ inputs
    made, *_ = quantize_weight(
        stacked[None], hessian[None], scales[None], torch.zeros_like(scales)[None], None, arguments
    )
    for module, rows in zip(modules, made[0].split([module.weight.shape[0] for module in modules]), strict=True):
        module.weight.data.copy_(rows)


def quantize_experts(
    checkpoint: Checkpoint,
    layer: int,
    model: Any,
    work: Work,
    states: Any,
    progress: Progress,
    label: str,
    *,
    by_gptq: bool,
) -> None:
    """A layer's experts into files of their own; what they make of the tokens is left to the stand-in to play back."""
    torch = optional("torch", what=WHAT, extra="quantize")
    helpers = optional("llmcompressor.utils.helpers", what=WHAT, extra=EXTRA)
    place = find_stand_in(model)
    sent: Routed | None = None
    if states is not None:
        with helpers.DisableQuantization(model):
            sent = routed(torch, model, place, *states.shape[:2])
    total = None if sent is None else torch.zeros_like(sent.states)
    experts = expert_matrices(layer_tensors(checkpoint, layer), model_type_of(checkpoint.config))
    scheme = next(m.quantization_scheme for m in model.modules() if getattr(m, "quantization_scheme", None))
    parts = Parts(checkpoint, layer, work)
    seen: list[tuple[int | None, bool]] = []
    with torch.no_grad():
        for expert in round_experts(torch, place, experts, scheme, sent, by_gptq=by_gptq):
            progress(f"{label}, expert {len(seen) + 1} of {len(experts)}", len(seen) / len(experts))
            parts.add(expert)
            seen.append((expert.tokens, expert.fell_back))
            if sent is not None:
                add_outputs(total, place, expert, sent)
    parts.write()
    if total is not None:
        place.played = iter(total.split(states.shape[1]))
    with whole_file(work.experts_file(layer)) as file:
        known = {"least_tokens": least_tokens(int(text_config(checkpoint.config)["hidden_size"])), "experts": seen}
        file.write_text(json.dumps(known), encoding="utf-8")


def expert_use(work: Work) -> ExpertUse | None:
    """How the experts of all finished layers fared; None where nothing was calibrated."""
    layers = [json.loads(file.read_text(encoding="utf-8")) for file in work.experts_files()]
    experts = [expert for layer in layers for expert in layer["experts"]]
    counts = [tokens for tokens, _ in experts if tokens is not None]
    if not counts:
        return None
    return ExpertUse(
        experts=len(experts),
        rounded=sum(fell_back for _, fell_back in experts),
        least_tokens=layers[0]["least_tokens"],
        fewest_tokens=min(counts),
    )


class Parts:
    """Gathers a layer's quantized experts and writes them file by file, so that a gigabyte is all that is held."""

    def __init__(self, checkpoint: Checkpoint, layer: int, work: Work) -> None:
        self._originals = layer_tensors(checkpoint, layer)
        self._model_type = model_type_of(checkpoint.config)
        self._prefix = f"{decoder_prefix(checkpoint)}layers.{layer}."
        self._work, self._layer, self._written = work, layer, 0
        self._held: dict[str, Any] = {}
        for file in work.layer_files(layer)[1:]:  # of a run that was killed
            file.unlink()

    def add(self, expert: Rounded) -> None:
        torch = optional("torch", what=WHAT, extra="quantize")
        for projection, tensors in expert.stored.items():
            for kind, tensor in tensors.items():
                inner = on_disk(f".mlp.experts.{expert.number}.{projection}.{kind}", self._model_type).removeprefix(".")
                narrow = tensor.dtype == torch.float32 and not kind.endswith(("global_scale", "input_scale"))
                dtype = getattr(torch, stored_dtype(self._originals, inner)) if narrow else tensor.dtype
                self._held[self._prefix + inner] = tensor.to(dtype).contiguous()
        if sum(tensor.nbytes for tensor in self._held.values()) >= PART_BYTES:
            self.write()

    def write(self) -> None:
        """What is held, into the next file."""
        if self._held:
            save_tensors(self._held, self._work.part_file(self._layer, self._written))
            self._held = {}
            self._written += 1
