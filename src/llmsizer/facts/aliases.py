"""Names as the world writes them, resolved to an architecture and an accelerator.

A hub id of a derivative (a quantized re-upload, an instruction tune, a distillation) runs at the speed of its
architecture. ``profiles/aliases/architectures.csv`` lists families as compact public geometry with the pattern that
names them; the catalogue's exact configs come first. ``accelerators.csv`` adds data-sheet rates of devices that have no
file of their own.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TypeVar

from llmsizer.errors import UnknownNameError
from llmsizer.facts.catalog import Catalog, load_catalog
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.model import Attention, FeedForward, LayerGroup, ModelSpec
from llmsizer.facts.names import plain_gpu_name
from llmsizer.facts.provenance import Provenance
from llmsizer.units import GIB

NAMES_KEPT = 20_000  # resolved; a server asked for ever new names would else grow without end
LEAST_BILLIONS, MOST_BILLIONS = 0.001, 20_000.0
Key = TypeVar("Key")
Value = TypeVar("Value")
_ROPE_HEAD_DIM, _NOPE_HEAD_DIM = 64, 128  # of every published MLA model in the table
_TABLE = Provenance(
    source="makers' published configs, compact", as_of="2026-08", confidence="recalled", basis="published"
)
_SHEET = Provenance(source="makers' data sheets", as_of="2026-08", confidence="recalled", basis="datasheet")
_MEMORY_SUFFIX = re.compile(r"[-_ ]?\d+(\.\d+)?[-_ ]?gi?b\b|[-_ ]\d+g\b")
_FORM_SUFFIX = re.compile(r"[-_ ](sxm\d?|pcie|oam|hbm\d?e?|nvl\d*|\d+x|x\d+|laptop|graphics|integrated)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """A model as far as its name tells: ``architecture`` is the family key that evidence is pooled by."""

    spec: ModelSpec
    architecture: str
    is_known: bool  # False: a generic shape of the stated size


def plain_model_name(name: str) -> str:
    """The last part of an id in lower case with dashes: ``NousResearch/Meta-Llama-3.1-8B`` → ``llama-3.1-8b``."""
    text = name.strip().lower().replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    text = re.sub(r"\.gguf$", "", text).replace("meta-llama-3", "llama-3")
    text = re.sub(r"[\s_:@]+", "-", text)
    return re.sub(r"(?<=llama)-?v(?=\d)", "-", text)


def billions_in_name(name: str) -> float | None:
    """The size a name states: ``Foo-13B-Chat`` → 13, ``8x7b`` → 56."""
    text = re.sub(r"\d+b-\d+e(?![a-z])", "", plain_model_name(name))  # 17B-128E: active size and experts
    mixture = re.search(r"(\d+)x(\d+(?:\.\d+)?)b(?![a-z])", text)
    if mixture:
        return float(mixture[1]) * float(mixture[2])
    sizes = [float(size) for size in re.findall(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)b(?![a-z])", text)]
    if sizes:
        return max(sizes)
    small = re.search(r"(?<![a-z0-9.])(\d+)m(?![a-z])", text)
    return float(small[1]) / 1e3 if small else None


class Names:
    """Resolver over one catalogue. Obtain one from ``names()``."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._models: dict[tuple[str, float | None], ResolvedModel] = {}
        self._gpus: dict[str, GpuSpec] = {}

    @cached_property
    def _architectures(self) -> tuple[tuple[re.Pattern[str], dict[str, str]], ...]:
        return tuple((re.compile(row["pattern"]), row) for row in _rows(self._folder / "architectures.csv"))

    @cached_property
    def _accelerators(self) -> dict[str, GpuSpec]:
        rows = _rows(self._folder / "accelerators.csv")
        specs = [(_accelerator(row), row.get("aliases", "").split(";")) for row in rows]
        return {
            plain_gpu_name(spelling): spec
            for spec, aliases in specs
            for spelling in (spec.id, spec.name, *aliases)
            if spelling
        }

    @property
    def _folder(self) -> Path:
        return self.catalog.root / "aliases"

    def model(self, name: str, billions: float | None = None) -> ResolvedModel:
        """The architecture behind an id; a generic shape where only the size is known. Raises UnknownNameError."""
        key = (name, billions)
        if key not in self._models:
            _keep(self._models, key, self._resolve_model(name, billions))
        return self._models[key]

    def _resolve_model(self, name: str, billions: float | None) -> ResolvedModel:
        plain = plain_model_name(name)
        row = next((row for pattern, row in self._architectures if pattern.search(plain)), None)
        try:
            exact: ModelSpec | None = self.catalog.model(name)
        except UnknownNameError:
            exact = None
        if exact is not None:
            return ResolvedModel(spec=exact, architecture=row["id"] if row else exact.name, is_known=True)
        size = billions if billions is not None else billions_in_name(name)
        if size is not None and not LEAST_BILLIONS <= size <= MOST_BILLIONS:
            size = None  # no language model is of that size: the cell says nothing
        if row is not None and (size is None or 0.5 < float(row["total_b"]) / size < 2.0):
            return ResolvedModel(spec=_compact_model(row), architecture=row["id"], is_known=True)
        if size is None:
            known = [*self.catalog.model_names, *(row["id"] for _, row in self._architectures)]
            raise UnknownNameError("model", name, known)
        return ResolvedModel(spec=generic_model(name, size), architecture="generic", is_known=False)

    def gpu(self, name: str) -> GpuSpec:
        """The accelerator behind a name in any usual spelling. Raises UnknownNameError with the nearest names."""
        if name not in self._gpus:
            _keep(self._gpus, name, self._resolve_gpu(name))
        return self._gpus[name]

    def _resolve_gpu(self, name: str) -> GpuSpec:
        for spelling in _gpu_spellings(name):
            try:
                return self.catalog.gpu(spelling)
            except UnknownNameError:
                found = self._accelerators.get(plain_gpu_name(spelling))
            if found is not None:
                return found
        known = {*self.catalog.gpu_names, *(spec.id for spec in self._accelerators.values())}
        raise UnknownNameError("GPU", name, known, also=self.catalog.gpu_spellings)


def _keep(kept: dict[Key, Value], key: Key, value: Value) -> None:
    if len(kept) >= NAMES_KEPT:
        kept.clear()
    kept[key] = value


@cache
def names() -> Names:
    """The resolver over the default catalogue."""
    return Names(load_catalog())


def _gpu_spellings(name: str) -> list[str]:
    """The name itself, then without count, generation, memory size, form factor and brackets, in that order."""
    listed = [part.strip() for part in name.lower().split("+")]
    one = listed[0] if len(set(listed)) == 1 else name.strip().lower()  # RTX 3090 + RTX 3090
    return list(dict.fromkeys([name, *_plain_spellings(one), *_plain_spellings(re.sub(r"\s*\([^)]*\)", "", one))]))


def _plain_spellings(name: str) -> list[str]:
    text = re.sub(r"[\s_/\[\](),]+", "-", name).strip("-")
    text = re.sub(r"^(tesla|google|aws|apple|huawei)-", "", text)
    text = re.sub(r"-generation$|-edition$", "", text)
    text = re.sub(r"^\d+-?x-?(?=[a-z])|-(x\d{1,2}|\d{1,2}x)$", "", text)
    text = re.sub(r"-(vf|gpu)$|^(macbook-(pro|air)|mac-(studio|mini|pro)|imac)-", "", text)
    without_size = _MEMORY_SUFFIX.sub("", text)
    without_form = _FORM_SUFFIX.sub("", without_size)
    return [text, without_size, _FORM_SUFFIX.sub("", text), without_form]


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _number(row: dict[str, str], key: str) -> float:
    return float(row[key]) if row.get(key) else 0.0


def _accelerator(row: dict[str, str]) -> GpuSpec:
    rates = {
        key: 1e12 * _number(row, column)
        for key, column in (
            ("fp16", "fp16_dense_tflops"),
            ("fp8", "fp8_dense_tflops"),
            ("int8", "int8_dense_tops"),
            ("fp4", "fp4_dense_tflops"),
        )
        if row.get(column)
    }
    link = _number(row, "scaleup_gb_s_bidir_per_gpu")
    return GpuSpec(
        id=row["id"],
        name=row["name"],
        vendor=row["vendor"],
        device_class=row["class"],
        memory_bytes=_number(row, "memory_gb") * GIB,
        memory_bytes_per_second=_number(row, "bandwidth_gb_s") * 1e9,
        flops_per_second=rates,  # type: ignore[arg-type]
        scaleup_bytes_per_second=link * 1e9 if link else None,
        pcie_gen=int(_number(row, "pcie_gen")) or None,
        pcie_lanes=16 if row.get("pcie_gen") else None,
        compute_capability=row["compute_capability"],
        release_year=int(_number(row, "release_year")) or None,
        provenance=_SHEET,
    )


def _attention(row: dict[str, str], kind: str) -> Attention:
    heads, kv_heads, head_dim = (int(_number(row, key)) for key in ("heads", "kv_heads", "head_dim"))
    hidden_size = int(_number(row, "hidden"))
    if kind == "latent":
        return Attention(
            kind="latent",
            query_heads=heads,
            kv_heads=heads,
            head_dim=_NOPE_HEAD_DIM + _ROPE_HEAD_DIM,
            value_head_dim=_NOPE_HEAD_DIM,
            kv_lora_rank=int(_number(row, "kv_latent")) - _ROPE_HEAD_DIM,
            query_lora_rank=int(_number(row, "q_latent")),
            rope_head_dim=_ROPE_HEAD_DIM,
        )
    return Attention(
        kind="linear" if kind == "linear" else "sliding" if kind == "sliding" else "full",
        query_heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        value_head_dim=head_dim,
        window_tokens=int(_number(row, "window")) if kind == "sliding" else None,
        linear_params=4 * hidden_size * hidden_size if kind == "linear" else 0,
        linear_state_values=heads * head_dim * 128 if kind == "linear" else 0,
    )


def _compact_model(row: dict[str, str]) -> ModelSpec:
    """A geometry from one table row; layers of each attention kind are spread over the depth in proportion."""
    layers = int(_number(row, "layers"))
    linear = round(layers * _number(row, "state_fraction"))
    full = round(layers * _number(row, "full_fraction")) if row["full_fraction"] else layers - linear
    sliding = max(layers - linear - full, 0)
    main = "latent" if row["kv_latent"] else "full"
    kinds = [main] * full + ["sliding"] * sliding + ["linear"] * (layers - full - sliding)
    gated, every = row["gated"] == "1", max(int(_number(row, "moe_every")), 1)
    dense = FeedForward(hidden_size=int(_number(row, "ffn")), gated=gated)
    mixture = FeedForward(
        hidden_size=int(_number(row, "expert_ffn")),
        gated=gated,
        experts=int(_number(row, "experts")),
        active_experts=int(_number(row, "top_k")),
        shared_hidden_size=int(_number(row, "shared_ffn")),
    )
    first_moe = int(_number(row, "dense_layers"))
    parts = [
        (kinds[layer], mixture.is_moe and layer >= first_moe and (layer + 1) % every == 0) for layer in range(layers)
    ]
    groups = tuple(
        LayerGroup(
            count=parts.count(part),
            attention=_attention(row, part[0]),
            feed_forward=mixture if part[1] else dense,
        )
        for part in dict.fromkeys(parts)
    )
    return ModelSpec(
        name=row["id"],
        hf_repo="",
        model_type="compact",
        hidden_size=int(_number(row, "hidden")),
        vocab_size=int(_number(row, "vocab")),
        layer_groups=groups,
        max_context_tokens=131_072,
        tied_embeddings=row["tied"] == "1",
        published_total_params=_number(row, "total_b") * 1e9,
        native_weights=row.get("native") or "bf16",
        provenance=_TABLE,
    )


def active_billions_in_name(name: str) -> float | None:
    """Parameters a token passes, where a name says so: ``30B-A3B`` → 3, ``235b-a22b`` → 22."""
    match = re.search(r"(?<=\db-)a(\d+(?:\.\d+)?)b(?![a-z0-9])", plain_model_name(name))
    return float(match[1]) if match else None


def generic_model(name: str, billions: float) -> ModelSpec:
    """A decoder of that size with the depth and width usual for it, for ids nobody knows.

    Depth over log size follows the Llama and Qwen families; 12.5 × width² parameters per layer is theirs too. A name
    that says how many parameters a token passes (``100B-A10B``) is a mixture of experts: 128 of which 8 are picked,
    as in most, behind the attention of a dense model of the active size.
    """
    active = active_billions_in_name(name)
    mixture = active is not None and active < 0.7 * billions
    body = active if mixture and active is not None else billions
    sizes = (0.1, 1.0, 3.0, 8.0, 14.0, 32.0, 70.0, 400.0)
    depths = (12, 20, 28, 32, 42, 62, 80, 126)
    size = min(max(body * (2.0 if mixture else 1.0), sizes[0]), sizes[-1])
    upper = next(i for i, known in enumerate(sizes) if size <= known) or 1
    share = math.log(size / sizes[upper - 1]) / math.log(sizes[upper] / sizes[upper - 1])
    layers = round(depths[upper - 1] + share * (depths[upper] - depths[upper - 1]))
    hidden_size = max(64 * round(math.sqrt(body * 1e9 / layers / 12.5) / 64), 64)
    heads = max(hidden_size // 128, 1)
    attention = Attention(kind="full", query_heads=heads, kv_heads=min(8, heads), head_dim=128, value_head_dim=128)
    # The experts hold what is not active already: of E experts k are, so the rest is (E − k) of them in every layer.
    picked, experts = 8, 128
    expert_size = (billions - body) * 1e9 / ((experts - picked) * layers * 3 * hidden_size)
    feed_forward = (
        FeedForward(
            hidden_size=max(round(expert_size), 1),
            experts=experts,
            active_experts=picked,
            shared_hidden_size=max(round(3.5 * hidden_size - picked * expert_size), 0),
        )
        if mixture
        else FeedForward(hidden_size=int(3.5 * hidden_size))
    )
    return ModelSpec(
        name=name,
        hf_repo="",
        model_type="generic",
        hidden_size=hidden_size,
        vocab_size=100_000 if billions > 1 else 32_000,
        layer_groups=(LayerGroup(count=layers, attention=attention, feed_forward=feed_forward),),
        max_context_tokens=32_768,
        tied_embeddings=billions < 2,
        published_total_params=billions * 1e9,
        provenance=Provenance(source="usual shape of its size", as_of="", confidence="assumed", basis="assumed"),
    )
