"""llm-compressor one decoder layer at a time: no more than a layer in memory, and each finished one lies on disk.

A layer is quantized inside a model of that one layer, whose embedding replays the hidden states that the layers before
it gave and whose norm and output matrix do nothing. To the toolkit it is a whole model, so every modifier works as it
does by its own sequential pipeline, which also shows each layer the outputs of the quantized ones before it.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import QuantizationError
from llmsizer.files import whole_file
from llmsizer.installed import optional, quiet_transformers
from llmsizer.progress import Progress
from llmsizer.quantize.checkpoint import Checkpoint, Tensor, read_header

EXTRA = "compressed-tensors"
STORED_AS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}
Rows = NDArray[np.int64]


class Work:
    """The folder of finished layers and of the hidden states that the next one will see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def layer_file(self, layer: int) -> Path:
        return self.folder / f"layer-{layer:05d}.safetensors"

    def settings_file(self, layer: int) -> Path:
        return self.folder / f"layer-{layer:05d}.json"

    def states_file(self, layer: int) -> Path:
        return self.folder / f"states-{layer:05d}.npy"

    def finished(self, layers: int, *, with_states: bool) -> int:
        """How many layers need not be made again. The settings are written last, after weights and states."""
        done = 0
        while done < layers and self.settings_file(done).is_file():
            done += 1
        if with_states and done < layers and done and not self.states_file(done).is_file():
            raise QuantizationError(f"{self.folder}: the states before layer {done} are lost; remove it and start anew")
        return done


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
    torch = optional("torch", what="quantizing", extra="quantize")
    layers = layer_count(checkpoint)
    done = work.finished(layers, with_states=rows is not None)
    if rows is not None and done == 0:
        _embed(checkpoint, rows, work)
    for layer in range(done, layers):
        progress(f"{name}: layer {layer + 1} of {layers}", layer / layers)
        states = None if rows is None else np.load(work.states_file(layer), mmap_mode="r")
        with quietly():
            model = one_layer_model(checkpoint, layer, states)
            loader = None if states is None else _loader(torch, *states.shape[:2])
            _oneshot(model, modifiers_of(layer), loader)
            if states is not None and layer + 1 < layers:
                _propagate(torch, model, states, work.states_file(layer + 1))
            settings = _save(model, checkpoint, layer, work)
        with whole_file(work.settings_file(layer)) as file:
            file.write_text(json.dumps(settings, sort_keys=True), encoding="utf-8")
        work.states_file(layer).unlink(missing_ok=True)
    progress(f"{name}: layer {layers} of {layers}", 1.0)
    return {str(i): json.loads(work.settings_file(i).read_text(encoding="utf-8")) for i in range(layers)}


def layer_count(checkpoint: Checkpoint) -> int:
    count = checkpoint.config.get("num_hidden_layers")
    if not isinstance(count, int) or count < 1:
        raise QuantizationError(f"{checkpoint.path}/config.json: num_hidden_layers is {count!r}, not a count")
    if not any(name.startswith("model.layers.0.") for name in checkpoint.tensors):
        raise QuantizationError(
            f"{checkpoint.path}: no tensors named model.layers.0.…; only decoders in that layout are quantized here"
        )
    return count


def layer_tensors(checkpoint: Checkpoint, layer: int) -> dict[str, Tensor]:
    """A layer's tensors by their names within it."""
    prefix = f"model.layers.{layer}."
    return {n.removeprefix(prefix): t for n, t in checkpoint.tensors.items() if n.startswith(prefix)}


def to_torch(torch: Any, tensor: Tensor) -> Any:
    """A tensor in single precision, copied from its mapped file."""
    return torch.from_numpy(np.array(tensor.float32()))


def one_layer_model(checkpoint: Checkpoint, layer: int, states: Any) -> Any:
    """The model of that one layer, in single precision; ``states`` are the hidden states that its embedding replays."""
    torch = optional("torch", what="quantizing", extra="quantize")
    transformers = quiet_transformers(what="quantizing")
    config = transformers.AutoConfig.from_pretrained(checkpoint.path, local_files_only=True)
    config = copy.deepcopy(config)
    config.num_hidden_layers = 1
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[layer]]
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.model.embed_tokens = _replay(torch, states)
    model.model.norm = torch.nn.Identity()
    model.lm_head = torch.nn.Identity()
    weights = {f"model.layers.0.{n}": to_torch(torch, t) for n, t in layer_tensors(checkpoint, layer).items()}
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    if missing or unexpected:
        raise QuantizationError(
            f"{checkpoint.path}: layer {layer} is stored otherwise than transformers holds it "
            f"({(missing or unexpected)[0]}); mixtures of experts are not quantized layer by layer here"
        )
    for child, module in list(model.model.named_children()):
        if any(buffer.is_meta for buffer in module.buffers()):  # rotary frequencies: computed, not stored
            setattr(model.model, child, type(module)(config))
    model.config.name_or_path = str(checkpoint.path)
    model.config.tie_word_embeddings = False
    return model.eval()


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
    transformers = quiet_transformers(what="quantizing")
    config = transformers.AutoConfig.from_pretrained(checkpoint.path, local_files_only=True)
    config = copy.deepcopy(config)
    config.num_hidden_layers = 1
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:1]
    with torch.device("meta"):
        module = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).model.embed_tokens
    used, places = np.unique(rows, return_inverse=True)
    for name, _ in module.named_buffers():
        raise QuantizationError(f"{checkpoint.path}: the embedding has a buffer {name}, which is not known here")
    stored = checkpoint.tensor("model.embed_tokens.weight")
    module.weight = torch.nn.Parameter(torch.from_numpy(stored.widened(stored.raw()[used])), requires_grad=False)
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
    originals = layer_tensors(checkpoint, layer)
    largest = max(originals.values(), key=lambda tensor: tensor.byte_count)
    wide = getattr(torch, STORED_AS[largest.dtype]) if largest.dtype != "F32" else torch.float16
    tensors = {}
    for file in sorted(scratch.glob("*.safetensors")):
        for name, tensor in safetensors.load_file(file).items():
            inner = name.removeprefix("model.layers.0.")
            narrow = tensor.dtype == torch.float32 and not inner.endswith(("global_scale", "input_scale"))
            tensors[f"model.layers.{layer}.{inner}"] = tensor.to(wide) if narrow else tensor
    with whole_file(work.layer_file(layer)) as out:
        safetensors.save_file(dict(sorted(tensors.items())), out, metadata={"format": "pt"})
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


def assemble(checkpoint: Checkpoint, work: Work, folder: Path, settings: Mapping[str, Any]) -> None:
    """The finished layers and everything that is no layer as one checkpoint: config.json, shards and their index."""
    safetensors = optional("safetensors.torch", what="quantizing", extra="quantize")
    torch = optional("torch", what="quantizing", extra="quantize")
    layers = layer_count(checkpoint)
    rest = {name: t for name, t in checkpoint.tensors.items() if not name.startswith("model.layers.")}
    shards: Sequence[Path] = [work.layer_file(layer) for layer in range(layers)]
    names = [f"model-{index + 1:05d}-of-{layers + 1:05d}.safetensors" for index in range(layers + 1)]
    for shard, name in zip(shards, names, strict=False):
        try:
            os.link(shard, folder / name)
        except OSError:  # a file system without links
            shutil.copy2(shard, folder / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mapped read-only: nothing writes to them
        tensors = {name: _as_stored(torch, tensor) for name, tensor in sorted(rest.items())}
        safetensors.save_file(tensors, folder / names[-1], metadata={"format": "pt"})
    (folder / names[-1]).chmod(0o644)
    write_index(folder)
    config = dict(checkpoint.config) | {"quantization_config": dict(settings)}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _as_stored(torch: Any, tensor: Tensor) -> Any:
    signed = np.asarray(tensor.raw().view(np.int32 if tensor.dtype == "F32" else np.int16))
    return torch.from_numpy(signed).view(getattr(torch, STORED_AS[tensor.dtype]))


def write_index(folder: Path) -> None:
    """Which shard holds which tensor, as transformers and engines look it up."""
    held = {tensor.name: tensor for file in sorted(folder.glob("*.safetensors")) for tensor in read_header(file)}
    index = {
        "metadata": {"total_size": sum(tensor.byte_count for tensor in held.values())},
        "weight_map": {name: held[name].file.name for name in sorted(held)},
    }
    text = json.dumps(index, indent=2) + "\n"
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
