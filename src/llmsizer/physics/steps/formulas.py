"""Seconds of one forward pass, operator group by operator group.

Each group takes the slower of its bytes and its arithmetic, each over what the engine reaches of the data-sheet rate:

    t = smooth_max(bytes / (bandwidth · e_bytes), FLOPs / (peak · e_flops))

Williams, Waterman, Patterson, "Roofline" (2009), with a p-norm in place of the hard maximum, because tiles that wait
for memory and tiles that wait for tensor cores overlap only partly. On top come overheads per layer, step and sequence,
and collectives: latency + bytes over the link (Thakur et al. 2005: a ring moves 2(n−1)/n of the message).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsizer.facts.routing import FEWEST_UNEVEN_EXPERTS, experts_touched
from llmsizer.physics.steps.cases import Cases, Floats, maker_class
from llmsizer.physics.steps.coefficients import Coefficients
from llmsizer.physics.steps.formats import POOLED_ENGINES
from llmsizer.physics.steps.own_rates import RATES, owner

_TINY_SECONDS = 1e-12
LIGHT_TOLERANCE = 0.9  # of the bytes' time: routing that repeats experts and boost clocks read a little less
MOST_OF_PEAK = 0.95  # no kernel reads faster than DRAM refresh and row changes let it
HOST_BYTES_PER_SECOND = 40e9  # two channels of DDR5, what a CPU reads of the layers a GPU has no room for
SPILLING_ENGINES = ("llama.cpp", "exllama", "transformers", "mlx")  # run a model that does not fit, slowly
USABLE_MEMORY_SHARE = 0.92
PARTS = ("weights", "experts", "head", "attention", "activations", "collectives", "overhead")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """Seconds of one pass by operator group; their sum is the pass."""

    weights: Floats
    experts: Floats
    head: Floats
    attention: Floats
    activations: Floats
    collectives: Floats
    overhead: Floats

    @property
    def total(self) -> Floats:
        return np.asarray(np.sum([getattr(self, part) for part in PARTS], axis=0))


class StepModel:
    """Step times of many deployments under one vector of log coefficients.

    ``owners``: rows of many steps are asked of each deployment; whose each is. Words are looked up once a deployment.
    """

    def __init__(
        self,
        cases: Cases,
        coefficients: Coefficients,
        logs: Floats | None = None,
        *,
        owners: NDArray[np.intp] | None = None,
    ) -> None:
        def positions(prefix: str, classes: Iterable[str]) -> NDArray[np.intp]:
            found = coefficients.positions(prefix, classes)
            return found if owners is None else found[owners]

        self._coefficients = coefficients
        engines = [POOLED_ENGINES.get(e, e) for e in cases.text("engine")]
        families, formats = cases.text("family"), cases.text("weight_class")
        makers = [maker_class(str(family)) for family in families]
        self._by_engine = {
            name: positions(name, engines)
            for name in (
                "overhead.layer",
                "overhead.step",
                "overhead.sequence",
                "kv.engine",
                "prefill.engine",
                "memory.engine",
                "compute.engine",
            )
        }
        self._by_family = {n: positions(n, families) for n in ("memory.family", "compute.family")}
        self._by_maker = {n: positions(n, makers) for n in ("memory.maker", "compute.maker")}
        self._by_format = {n: positions(n, formats) for n in ("memory.format", "compute.format")}
        whose = [owner(str(g), str(e)) for g, e in zip(cases.text("gpu"), cases.text("engine"), strict=True)]
        self._by_owner = {n: positions(n, whose) for n in RATES}
        self.cases = cases = cases if owners is None else cases.take(owners)
        self.is_moe = cases["experts"] > 0
        self._mixtures = _mixtures(cases)
        self.expert_shards = cases["tensor"] * cases["data"]
        self.kv_shards = np.where(
            cases["is_latent"] > 0, 1.0, np.minimum(cases["tensor"], np.maximum(cases["kv_heads"], 1.0))
        )
        self.spilled_share = _spilled_share(self)
        self.set_logs(coefficients.logs if logs is None else logs)

    def set_logs(self, logs: Floats) -> None:
        """Use other coefficients."""
        cases, values = self.cases, np.exp(np.append(logs, 0.0))
        self._values = values
        family, fmt = self._by_family, self._by_format
        maker, own = self._by_maker, {name: values[at] for name, at in self._by_owner.items()}
        bandwidth = cases["memory_bytes_per_second"] * values[family["memory.family"]] * values[maker["memory.maker"]]
        bandwidth = bandwidth * own["memory.own"] * values[self._by_engine["memory.engine"]]
        peak = MOST_OF_PEAK * cases["memory_bytes_per_second"]
        on_device = np.minimum(bandwidth * self.value("memory.efficiency") * values[fmt["memory.format"]], peak)
        spilled = self.spilled_share
        self.weight_rate = 1.0 / ((1 - spilled) / on_device + spilled / HOST_BYTES_PER_SECOND)
        self.kv_rate = bandwidth * self.value("kv.efficiency") * values[self._by_engine["kv.engine"]]
        self.plain_rate = np.minimum(bandwidth * self.value("memory.efficiency"), peak)
        compute = values[family["compute.family"]] * values[maker["compute.maker"]] * own["compute.own"]
        compute = compute * values[self._by_engine["compute.engine"]]
        self.flops_rate = (
            cases["peak_flops"] * self.value("compute.efficiency") * compute * values[fmt["compute.format"]]
        )
        self.score_rate = cases["flops_16bit"] * self.value("attention.compute_efficiency") * compute
        moe_share = cases["moe_layers"] / cases["layers"]
        layer_seconds = values[self._by_engine["overhead.layer"]] + self.value("overhead.moe_layer") * moe_share
        self.layer_seconds = layer_seconds * own["overhead.own"]
        self.step_seconds = values[self._by_engine["overhead.step"]] * own["overhead.own"]
        self.sequence_seconds = values[self._by_engine["overhead.sequence"]]
        self.prefill_factor = values[self._by_engine["prefill.engine"]]
        latency = np.where(
            cases["has_fast_link"] > 0, self.value("collective.latency_link"), self.value("collective.latency_pcie")
        )
        self.collective_latency = latency * (
            1.0 + self.value("collective.latency_growth") * np.log2(np.maximum(cases["tensor"], 1.0))
        )
        self.link_rate = cases["link_bytes_per_second"] * self.value("collective.efficiency")

    def for_cases(self, cases: Cases, logs: Floats) -> StepModel:
        """The same formulas for other cases and coefficients."""
        return StepModel(cases, self._coefficients, logs)

    def affected(self, position: int) -> NDArray[np.bool_]:
        """Cases whose class uses the coefficient at ``position``; all of them for one without classes."""
        maps = {**self._by_engine, **self._by_family, **self._by_maker, **self._by_format, **self._by_owner}
        prefix = self._coefficients.items[position].name.rpartition(".")[0]
        if prefix not in maps:
            return np.ones(len(self.cases), dtype=np.bool_)
        return np.asarray(maps[prefix] == position)

    def value(self, name: str) -> float:
        return float(self._values[self._coefficients.position[name]])

    def slower_of(self, first: Floats, second: Floats) -> Floats:
        """p-norm of two times: never below the larger, at most their sum."""
        power = max(self.value("roofline.sharpness"), 1.0)
        top = np.maximum(np.maximum(first, second), _TINY_SECONDS)
        return np.asarray(top * ((first / top) ** power + (second / top) ** power) ** (1.0 / power))

    def experts_touched(self, tokens: Floats) -> Floats:
        """Distinct experts a batch reaches (``facts/routing.py``); 0 of a dense model's case is never read."""
        touched = np.array(np.broadcast_to(tokens, self.is_moe.shape))
        for experts, per_token, of in self._mixtures:
            touched[of] = experts_touched(experts, per_token, touched[of])
        return touched

    def kept_token_layers(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Mean tokens kept over contexts from low to high: by full layers, and by window layers (exact integral)."""
        window = self.cases["window_tokens"]
        high = np.maximum(high, low + 1e-6)

        def area(tokens: Floats) -> Floats:
            inside = np.minimum(tokens, window)
            return inside * inside / 2 + window * np.maximum(tokens - window, 0.0)

        return (low + high) / 2, (area(high) - area(low)) / (high - low)

    def forward(
        self, tokens: Floats, logits: Floats, kv_bytes: Floats, score_flops: Floats, experts_tokens: Floats
    ) -> StepTimes:
        """One pass of ``tokens`` per attention rank through all layers.

        ``kv_bytes`` and ``score_flops`` are totals over heads; ``experts_tokens`` counts all data-parallel ranks.
        """
        c, tensor = self.cases, self.cases["tensor"]
        weights = self.slower_of(
            c["dense_params"] * c["weight_bytes"] / tensor / self.weight_rate,
            2 * c["dense_params"] * tokens / tensor / self.flops_rate,
        )
        # Both begin at what most kernels reach, 0.95–0.99 of the bandwidth; rows pull small experts below it.
        is_fine = c["experts"] >= FEWEST_UNEVEN_EXPERTS
        factor = np.where(is_fine, self.value("moe.fine_memory_factor"), self.value("moe.memory_factor"))
        expert_values = c["expert_params"] * c["moe_layers"] / self.expert_shards
        touched = self.experts_touched(np.maximum(experts_tokens, 1e-9))
        experts = self.slower_of(
            touched * expert_values * c["weight_bytes"] / (self.weight_rate * factor),
            2
            * c["experts_per_token"]
            * expert_values
            * experts_tokens
            / (self.flops_rate * self.value("moe.compute_factor")),
        )
        head = self.slower_of(
            c["head_params"] * c["rest_bytes"] / tensor / self.plain_rate,
            2 * c["head_params"] * logits / tensor / self.flops_rate,
        )
        attention = self.slower_of(kv_bytes / self.kv_shards / self.kv_rate, score_flops / tensor / self.score_rate)
        activations = 2 * c["layers"] * c["hidden_size"] * tokens * self.value("activation.passes") / self.plain_rate
        return StepTimes(
            weights=weights,
            experts=np.where(self.is_moe, experts, 0.0),
            head=head,
            attention=attention,
            activations=activations,
            collectives=self._collective_seconds(tokens),
            overhead=c["layers"] * self.layer_seconds + self.step_seconds,
        )

    def _collective_seconds(self, tokens: Floats) -> Floats:
        """Two all-reduces per layer under tensor parallelism; two all-to-alls per MoE layer under data parallelism."""
        c, tensor = self.cases, self.cases["tensor"]
        message = 2 * tokens * c["hidden_size"]  # 16-bit activations
        one = self.slower_of(self.collective_latency, 2 * (tensor - 1) / tensor * message / self.link_rate)
        reduces = np.where(tensor > 1, 2 * c["layers"] * one, 0.0)
        exchange = self.value("collective.latency_all_to_all") + message * c["experts_per_token"] / self.link_rate
        exchanges = np.where((c["data"] > 1) & self.is_moe, 2 * c["moe_layers"] * exchange, 0.0)
        return np.asarray(reduces + exchanges)

    def decode(
        self, batch: Floats, low_context: Floats, high_context: Floats, queries: Floats | float = 1.0
    ) -> StepTimes:
        """One step for ``batch`` sequences of a replica whose contexts spread from low to high.

        Pipeline stages work on micro-batches: a token passes every stage with 1/stages of the batch. With ``queries``
        above 1 each sequence brings so many tokens (speculated ones to verify): all are multiplied and routed, and the
        cache of a sequence is read once for all of them.
        """
        c = self.cases
        sequences = np.maximum(batch / c["data"] / c["pipeline"], 1.0)
        tokens = sequences * queries
        full, windowed = self.kept_token_layers(low_context, high_context)
        values = c["kv_values_full"] * full + c["kv_values_window"] * windowed
        scores = c["score_flops_full"] * full + c["score_flops_window"] * windowed
        times = self.forward(tokens, tokens, sequences * values * c["kv_bytes"], tokens * scores, tokens * c["data"])
        return StepTimes(
            **{part: getattr(times, part) for part in PARTS if part != "overhead"},
            overhead=times.overhead + sequences * self.sequence_seconds,
        )

    def least_decode_seconds(
        self, batch: Floats, low_context: Floats, high_context: Floats, queries: Floats | float = 1.0
    ) -> Floats:
        """Seconds no engine can beat: the bytes of one step at the data-sheet bandwidth."""
        c = self.cases
        sequences = np.maximum(batch / c["data"] / c["pipeline"], 1.0)
        tokens = sequences * queries
        full, windowed = self.kept_token_layers(low_context, high_context)
        cache = sequences * (c["kv_values_full"] * full + c["kv_values_window"] * windowed) * c["kv_bytes"]
        experts = self.experts_touched(tokens * c["data"]) * c["expert_params"] * c["moe_layers"] / self.expert_shards
        dense = c["dense_params"] / c["tensor"]
        weights = (dense + np.where(self.is_moe, experts, 0.0)) * c["weight_bytes"]
        head = c["head_params"] * c["rest_bytes"] / c["tensor"]
        return np.asarray((weights + head + cache / self.kv_shards) / c["memory_bytes_per_second"])

    def not_faster_than_bytes(
        self,
        seconds: Floats,
        batch: Floats,
        low_context: Floats,
        high_context: Floats,
        queries: Floats | float = 1.0,
    ) -> Floats:
        """Corrected decode seconds; a correction is a fit and may point past the speed of light, a step may not."""
        least = self.least_decode_seconds(batch, low_context, high_context, queries)
        return np.maximum(seconds, LIGHT_TOLERANCE * least)

    def prefill(self, prompt_tokens: Floats, prompts: Floats) -> StepTimes:
        """All tokens of ``prompts`` equal prompts of one attention rank in one pass."""
        c = self.cases
        tokens = np.maximum(prompt_tokens * prompts, 1.0)
        full, windowed = self.kept_token_layers(np.zeros_like(prompt_tokens), prompt_tokens)
        values = (c["kv_values_full"] * full + c["kv_values_window"] * windowed) * prompts
        scores = c["prefill_score_flops_full"] * full + c["prefill_score_flops_window"] * windowed
        times = self.forward(tokens, prompts, values * c["kv_bytes"], tokens * scores, tokens * c["data"])
        return StepTimes(**{part: getattr(times, part) * self.prefill_factor for part in PARTS})


def _mixtures(cases: Cases) -> list[tuple[int, int, NDArray[np.intp]]]:
    """The mixtures among the cases, each with the cases that are of it: experts, experts a token, positions."""
    experts, per_token = cases["experts"], cases["experts_per_token"]
    found = sorted({pair for pair in zip(experts.tolist(), per_token.tolist(), strict=True) if pair[0] > 0})
    return [(int(e), int(k), np.flatnonzero((experts == e) & (per_token == k))) for e, k in found]


def weight_bytes_per_gpu(model: StepModel) -> Floats:
    """Weights one GPU holds: experts spread over all ranks of a stage, the rest over its tensor-parallel group."""
    c = model.cases
    dense = c["dense_params"] * c["weight_bytes"] + c["stored_embedding_params"] * c["rest_bytes"]
    experts = c["experts"] * c["expert_params"] * c["moe_layers"] * c["weight_bytes"]
    return np.asarray((dense / c["tensor"] + experts / model.expert_shards) / c["pipeline"])


def _spilled_share(model: StepModel) -> Floats:
    """Share of the weights that stays in host memory under engines that offload layers."""
    c = model.cases
    room = USABLE_MEMORY_SHARE * c["memory_bytes"]
    share = np.clip(1 - room / weight_bytes_per_gpu(model), 0.0, 1.0)
    return np.where(np.isin(c.text("engine"), SPILLING_ENGINES), share, 0.0)
