"""llm-compressor one decoder layer at a time: no more than a layer in memory, and each finished one lies on disk.

A layer is quantized inside a model of that one layer, whose embedding replays the hidden states that the layers before
it gave and whose norm and output matrix do nothing. To the toolkit it is a whole model, so every modifier works as it
does by its own sequential pipeline, which also shows each layer the outputs of the quantized ones before it. A layer's
experts, where it has them, are quantized apart, one after the other (``expert_layers``).
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import QuantizationError
from llmsizer.files import whole_file
from llmsizer.installed import optional, quiet_transformers
from llmsizer.progress import Progress, part_of
from llmsizer.quantize.layers.experts import EXTRA, find_stand_in, quantize_experts, stand_in
from llmsizer.quantize.layers.files import (
    Work,
    decoder_prefix,
    layer_count,
    layer_tensors,
    save_tensors,
    stored_dtype,
)
from llmsizer.quantize.stored.checkpoint import Checkpoint
from llmsizer.quantize.stored.experts import in_memory, is_expert, model_type_of, on_disk
from llmsizer.quantize.stored.tensors import Tensor

Rows = NDArray[np.int64]


def quantize_layers(
    checkpoint: Checkpoint,
    modifiers_of: Callable[[int], Any],
    work: Work,
    progress: Progress,
    *,
    rows: Rows | None = None,
    name: str = "quantizing",
) -> dict[str, Any]:
    """Every decoder layer's tensors into the work folder; each layer's quantization settings by its number.

    ``modifiers_of`` gives the toolkit's modifiers for a layer's number. ``rows`` are calibration tokens, a sequence a
    row, for methods that look at activations. Raises QuantizationError.
    """
    layers = layer_count(checkpoint)
    done = work.finished(layers, with_states=rows is not None)
    if rows is not None and done == 0:
        _embed(checkpoint, rows, work)
    for layer in range(done, layers):
        label = f"{name}: layer {layer + 1} of {layers}"
        progress(label, layer / layers)
        states = None if rows is None else np.load(work.states_file(layer), mmap_mode="r")
        own = part_of(progress, layer / layers, (layer + 1) / layers)
        with quietly():
            settings = _quantize_layer(checkpoint, modifiers_of(layer), layer, work, states, own, label)
        with whole_file(work.settings_file(layer)) as file:
            file.write_text(json.dumps(settings, sort_keys=True), encoding="utf-8")
        work.states_file(layer).unlink(missing_ok=True)
    progress(f"{name}: layer {layers} of {layers}", 1.0)
    return {str(i): json.loads(work.settings_file(i).read_text(encoding="utf-8")) for i in range(layers)}


def _quantize_layer(
    checkpoint: Checkpoint, modifiers: Any, layer: int, work: Work, states: Any, progress: Progress, label: str
) -> dict[str, Any]:
    """One layer's tensors, and the states after it, into the work folder; the layer's quantization settings."""
    torch = optional("torch", what="quantizing", extra="quantize")
    model = one_layer_model(checkpoint, layer, states)
    if checkpoint.packed_format:  # the toolkit looks on disk whether the source is quantized already
        model.config.name_or_path = str(_plain_config(checkpoint, work.folder / "sixteen-bit"))
    _oneshot(model, modifiers, None if states is None else _loader(torch, *states.shape[:2]))
    if find_stand_in(model) is not None:
        by_gptq = any("GPTQ" in type(modifier).__name__ for modifier in modifiers)
        quantize_experts(checkpoint, layer, model, work, states, progress, label, by_gptq=by_gptq)
    if states is not None and layer + 1 < layer_count(checkpoint):
        _propagate(torch, model, states, work.states_file(layer + 1))
    return _save(model, checkpoint, layer, work)


def _plain_config(checkpoint: Checkpoint, folder: Path) -> Path:
    """A folder with the configuration of the widened weights."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(checkpoint.config), encoding="utf-8")
    return folder


def to_torch(torch: Any, tensor: Tensor) -> Any:
    """A tensor in single precision, copied from its mapped file."""
    return torch.from_numpy(np.array(tensor.float32()))


def one_layer_model(checkpoint: Checkpoint, layer: int, states: Any) -> Any:
    """The model of that one layer, in single precision; ``states`` are the hidden states that its embedding replays.

    Where the layer has experts, a stand-in takes their place.
    """
    torch = optional("torch", what="quantizing", extra="quantize")
    transformers = quiet_transformers(what="quantizing", model_type=model_type_of(checkpoint.config))
    tensors, model_type = layer_tensors(checkpoint, layer), model_type_of(checkpoint.config)
    own = {name: tensor for name, tensor in tensors.items() if not is_expert(name, model_type)}
    config = _only_layer(_config_of(checkpoint), layer, has_experts=len(own) < len(tensors))
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if len(own) < len(tensors):
        mixture = next((n for n, _ in model.named_modules() if n.endswith(".experts")), None)
        if mixture is None:
            raise QuantizationError(f"{checkpoint.path}: {model_type} has no experts in transformers, the weights have")
        model.set_submodule(mixture, stand_in(torch, model.get_submodule(mixture)))
    model.model.embed_tokens = _replay(torch, states)
    model.model.norm = torch.nn.Identity()
    model.lm_head = torch.nn.Identity()
    weights = {in_memory(f"model.layers.0.{n}", model_type): to_torch(torch, t) for n, t in own.items()}
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    if missing or unexpected:
        raise QuantizationError(
            f"{checkpoint.path}: layer {layer} is stored otherwise than transformers holds it "
            f"({(missing or unexpected)[0]}); a layout of this kind is not quantized here"
        )
    for child, module in list(model.model.named_children()):
        if any(buffer.is_meta for buffer in module.buffers()):  # rotary frequencies: computed, not stored
            setattr(model.model, child, type(module)(config))
    model.config.name_or_path = str(checkpoint.path)
    model.config.tie_word_embeddings = False
    return model.eval()


def _config_of(checkpoint: Checkpoint) -> Any:
    """transformers' configuration of the decoder, a copy of our own."""
    transformers = quiet_transformers(what="quantizing", model_type=model_type_of(checkpoint.config))
    config = copy.deepcopy(transformers.AutoConfig.from_pretrained(checkpoint.path, local_files_only=True))
    found = config.get_text_config(decoder=True)
    if hasattr(found, "quantization_config"):  # of the source, whose weights are read in 16 bit
        del found.quantization_config
    return found


def _only_layer(config: Any, layer: int, *, has_experts: bool) -> Any:
    """The configuration of a model whose only layer is of that layer's kind."""
    config.num_hidden_layers = 1
    for key in ("layer_types", "mlp_layer_types"):
        if getattr(config, key, None):
            setattr(config, key, [getattr(config, key)[layer]])
    for key, value in (
        ("first_k_dense_replace", 0 if has_experts else 1),
        ("mlp_only_layers", [] if has_experts else [0]),
        ("decoder_sparse_step", 1),
    ):
        if getattr(config, key, None) is not None:
            setattr(config, key, value)
    return config


def _replay(torch: Any, states: Any) -> Any:
    """An embedding whose every token is the number of a sequence; indexing is what the toolkit's tracer can follow."""

    class Replay(torch.nn.Module):  # type: ignore[misc]
        def forward(self, ids: Any) -> Any:
            return held[ids[:, 0]]

    held: Any = None if states is None else torch.from_numpy(states)
    return Replay()


def _loader(torch: Any, sequences: int, tokens: int) -> Any:
    """Batches whose every token is the number of the sequence to replay."""
    return torch.utils.data.DataLoader(
        [{"input_ids": torch.full((1, tokens), index)} for index in range(sequences)], batch_size=None
    )


def _embed(checkpoint: Checkpoint, rows: Rows, work: Work) -> None:
    """The embedded calibration tokens: by the model's own module, which may scale them."""
    torch = optional("torch", what="quantizing", extra="quantize")
    transformers = quiet_transformers(what="quantizing", model_type=model_type_of(checkpoint.config))
    config = _only_layer(_config_of(checkpoint), 0, has_experts=False)
    with torch.device("meta"):
        module = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).model.embed_tokens
    used, places = np.unique(rows, return_inverse=True)
    for name, _ in module.named_buffers():
        raise QuantizationError(f"{checkpoint.path}: the embedding has a buffer {name}, which is not known here")
    stored = checkpoint.tensor(f"{decoder_prefix(checkpoint)}embed_tokens.weight")
    module.weight = torch.nn.Parameter(torch.from_numpy(stored.rows(used)), requires_grad=False)
    module.padding_idx = None
    with whole_file(work.states_file(0)) as file, file.open("wb") as stream, torch.no_grad():
        np.save(stream, module(torch.from_numpy(places.reshape(rows.shape))).numpy())


def _oneshot(model: Any, modifiers: Any, loader: Any) -> None:
    llmcompressor = optional("llmcompressor", what="quantizing", extra=EXTRA)
    cache = optional("llmcompressor.pipelines.cache", what="quantizing", extra=EXTRA)
    torch = optional("torch", what="quantizing", extra="quantize")
    options = {} if loader is None else {"dataset": loader}
    with contextlib.ExitStack() as stack:
        if not torch.cuda.is_available():
            # AWQ pins its samples without asking whether there is an accelerator to pin them for (0.14).
            stack.enter_context(mock.patch.object(cache.IntermediatesCache, "pin_memory", lambda *_: None))
        llmcompressor.oneshot(model=model, recipe=modifiers, tokenizer=_NoTokenizer(), **options)


class _NoTokenizer:
    """Stands where the toolkit would look one up: its input here is tokens already."""


def _propagate(torch: Any, model: Any, states: Any, out: Path) -> None:
    """What the quantized layer makes of each sequence, as llm-compressor's pipeline lets the next layer see it."""
    helpers = optional("llmcompressor.utils.helpers", what="quantizing", extra=EXTRA)
    with whole_file(out) as file, torch.no_grad(), helpers.DisableQuantization(model):
        mapped = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=states.shape)
        for index in range(states.shape[0]):
            ids = torch.full((1, states.shape[1]), index)
            mapped[index] = model(input_ids=ids, use_cache=False).logits[0].float().cpu().numpy()
        mapped.flush()
        del mapped


def _save(model: Any, checkpoint: Checkpoint, layer: int, work: Work) -> dict[str, Any]:
    """The layer's tensors as the toolkit compresses them, under their names in the whole model."""
    torch = optional("torch", what="quantizing", extra="quantize")
    safetensors = optional("safetensors.torch", what="quantizing", extra="quantize")
    scratch = work.folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    model.save_pretrained(scratch, save_compressed=True)
    settings: dict[str, Any] = json.loads((scratch / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    originals, model_type = layer_tensors(checkpoint, layer), model_type_of(checkpoint.config)
    tensors = {}
    for file in sorted(scratch.glob("*.safetensors")):
        for name, tensor in safetensors.load_file(file).items():
            inner = on_disk(name, model_type).removeprefix("model.layers.0.")
            if tensor.dtype == torch.float32 and not inner.endswith(("global_scale", "input_scale")):
                tensor = tensor.to(getattr(torch, stored_dtype(originals, inner)))
            tensors[f"{decoder_prefix(checkpoint)}layers.{layer}.{inner}"] = tensor
    save_tensors(tensors, work.layer_file(layer))
    shutil.rmtree(scratch)
    return settings


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """The toolkits draw bars and log to stderr, which would break into our progress."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("LLM_COMPRESSOR_LOG_DISABLED", "true")  # its logger is set up, and used, as it is imported
    unseen = io.StringIO()
    with contextlib.redirect_stderr(unseen):  # its import puts its own logger in place
        optional("llmcompressor", what="quantizing", extra=EXTRA)
    optional("loguru", what="quantizing", extra=EXTRA).logger.remove()
    logging.getLogger("torch.fx").setLevel(logging.ERROR)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
