"""Answers made by hand, for what draws them: a usual one, and one where nothing fits."""

from __future__ import annotations

from dataclasses import replace

from llmsizer.decide.answer import ApiPlan, Fit, Flip, Plan, Recommendation, Rejection
from llmsizer.facts.deployment import Deployment, deployment
from llmsizer.facts.figure import Figure, exact, unknown
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.model import Attention, FeedForward, LayerGroup, ModelSpec
from llmsizer.facts.provenance import Basis, Estimate, Provenance
from llmsizer.money.comparison import Comparison, Crossover, PathCost, Step
from llmsizer.money.cost import USD_PER_MONTH, Cost, CostPart, Path
from llmsizer.traffic.closed_form.capacity import Capacity, LoadPoint

INPUT_TOKENS, OUTPUT_TOKENS = 10.512e9, 2.628e9  # 4 requests/s × 2,628,000 s, 1,000 in and 250 out
SOURCE = Provenance(source="https://example.org/sheet", as_of="2026-06-01", confidence="high", basis="datasheet")
READING_22B = (
    "the press's 22B: the geometry of Mistral Small 2409, an assumption; the published Mistral Small 4 is 119B-A6.5B"
)


def model(name: str = "mistral-small-4-22b") -> ModelSpec:
    attention = Attention(kind="full", query_heads=48, kv_heads=8, head_dim=128, value_head_dim=128)
    group = LayerGroup(count=56, attention=attention, feed_forward=FeedForward(hidden_size=16384))
    return ModelSpec(
        name=name,
        hf_repo="mistralai/Mistral-Small-Instruct-2409",
        model_type="mistral",
        hidden_size=6144,
        vocab_size=32768,
        layer_groups=(group,),
        max_context_tokens=32768,
        provenance=SOURCE,
        reading=READING_22B,
    )


def gpu(gpu_id: str = "h100-sxm", name: str = "NVIDIA H100 SXM", memory_bytes: float = 85.52e9) -> GpuSpec:
    return GpuSpec(
        id=gpu_id,
        name=name,
        vendor="NVIDIA",
        device_class="datacenter",
        memory_bytes=memory_bytes,
        memory_bytes_per_second=3.35e12,
        flops_per_second={"bf16": 989e12, "fp8": 1979e12},
        provenance=SOURCE,
        compute_capability="9.0",
    )


def figure(
    value: float, unit: str, basis: Basis = "calibrated", spread: float = 0.2, source: str = "fitted on public rows"
) -> Figure:
    """A figure whose interval is the value give or take a share of it."""
    low, high = (value * (1 - spread), value * (1 + spread)) if spread else (None, None)
    return Figure(
        estimate=Estimate(value=value, basis=basis, low=low, high=high), unit=unit, source=source, as_of="2026-06-01"
    )


def usd(value: float, basis: Basis = "assumed", spread: float = 0.2, *, stale: bool = False) -> Figure:
    return replace(figure(value, USD_PER_MONTH, basis, spread, "a price list"), stale=stale)


def own_cost(scale: float = 1.0) -> Cost:
    return _cost(
        "own",
        "own 1 server",
        (
            CostPart(
                name="depreciation",
                usd_per_month=usd(2_811.37 * scale, "assumed", 0.25),
                how="(price − residual) ÷ 36 months",
            ),
            CostPart(name="capital", usd_per_month=usd(702.84 * scale), how="8 % a year on the mean book value"),
            CostPart(
                name="energy", usd_per_month=usd(218.55 * scale, "published", 0.3), how="kW × 730 h × PUE × price"
            ),
            CostPart(name="rack", usd_per_month=usd(310.4 * scale), how="4 U at a colocation price"),
            CostPart(name="people", usd_per_month=usd(3_125 * scale, "assumed", 0.5), how="0.25 of an engineer"),
        ),
    )


def rent_cost(scale: float = 1.0) -> Cost:
    part = CostPart(
        name="GPU hours",
        usd_per_month=usd(4_365.4 * scale, "price list", 0.1, stale=True),
        how="2 GPUs × 730 h × $2.99",
    )
    people = CostPart(name="people", usd_per_month=usd(1_250, "assumed", 0.5), how="0.1 of an engineer")
    return _cost("rent", "rent 2 GPUs", (part, people), ("price of 2026-02-01 is older than 90 days",))


def api_cost(scale: float = 1.0) -> Cost:
    return _cost(
        "api",
        "API",
        (
            CostPart(name="input tokens", usd_per_month=usd(1_051.2 * scale, "price list", 0), how="10.5 G × $0.10"),
            CostPart(name="output tokens", usd_per_month=usd(788.4 * scale, "price list", 0), how="2.6 G × $0.30"),
        ),
    )


def unpriced_cost() -> Cost:
    missing = unknown("no output price was published", USD_PER_MONTH)
    parts = (
        CostPart(name="input tokens", usd_per_month=usd(900, "price list", 0)),
        CostPart(name="output tokens", usd_per_month=missing),
    )
    return _cost("api", "API", parts)


def _cost(path: Path, label: str, parts: tuple[CostPart, ...], flags: tuple[str, ...] = ()) -> Cost:
    return Cost(
        path=path,
        label=label,
        parts=parts,
        input_tokens_per_month=INPUT_TOKENS,
        output_tokens_per_month=OUTPUT_TOKENS,
        input_share=0.3,
        flags=flags,
    )


def load(rate: float, utilisation: float) -> LoadPoint:
    return LoadPoint(
        verdict="STABLE",
        requests_per_second=rate,
        batch=rate * 5,
        utilisation=utilisation,
        ttft_mean=figure(0.21, "s"),
        ttft_p95=figure(0.48, "s"),
        tpot_mean=figure(0.019, "s"),
        tpot_p95=figure(0.027, "s"),
    )


def capacity() -> Capacity:
    return Capacity(
        requests_per_second=figure(9.4, "requests/s"),
        output_tokens_per_second=figure(2_350, "tokens/s"),
        limited_by="tpot",
        max_batch=92,
        prefill_time_share=0.3,
        at_capacity=load(9.4, 0.86),
        unloaded=load(0.01, 0.0),
        method="mean-value formula of one continuous-batching queue",
        leaves_out=("bursts within the peak hour",),
    )


def plan(cost: Cost, weights: str = "fp8", provider: str = "", *, on: GpuSpec | None = None, tp: int = 1) -> Plan:
    replica: Deployment = deployment(model(), on or gpu(), weights, tp=tp)
    weight_bytes = {"bf16": 44.5e9, "fp8": 22.9e9, "int8": 22.9e9, "int4": 12.1e9}[weights] / tp
    return Plan(
        path=cost.path,
        deployment=replica,
        replicas=1,
        spare_replicas=1,
        units=2 if cost.path == "rent" else 1,
        unit_name="instance" if cost.path == "rent" else "server",
        provider=provider,
        zone="EU" if provider else "",
        cost=cost,
        capacity=capacity(),
        at_peak=load(8.0, 0.73),
        fit=Fit(
            weights_bytes=weight_bytes,
            used_bytes=weight_bytes + 4.2e9,
            gpu_bytes=replica.gpu.memory_bytes or 0.0,
            kv_capacity_tokens=212_000,
        ),
        quality_recovery=figure(0.994, "fraction", "measured", 0.004, "public evaluations of FP8 checkpoints"),
        notes=("the published FP8 checkpoint is used as it is",),
    )


def rejections() -> tuple[Rejection, ...]:
    return (
        Rejection(
            candidate="bf16 on 1× NVIDIA L40S",
            kind="memory",
            reason="weights of 44.5 GB and 8,192 tokens of context need 51.5 GB; the card has 48.3 GB",
            nearest_fix="fp8 weights, or two cards",
            shortfall=0.066,
        ),
        Rejection(
            candidate="int4 on 1× NVIDIA L4",
            kind="slo",
            reason="TPOT of 71 ms against 50 ms asked",
            nearest_fix="allow 71 ms, or tensor parallel over 2",
            shortfall=0.42,
        ),
        Rejection(
            candidate="int4 on 1× NVIDIA T4",
            kind="slo",
            reason="TPOT of 163 ms against 50 ms asked",
            nearest_fix="a card with 3.3 × the memory bandwidth",
            shortfall=2.26,
        ),
        Rejection(
            candidate="int4-rtn",
            kind="quality",
            reason="recovery of 95.1 % against 97 % asked",
            nearest_fix="a floor of 95 %, or GPTQ with calibration data",
            shortfall=0.02,
        ),
        Rejection(
            candidate="bf16 on 1× AMD MI355X",
            kind="no price",
            reason="nobody in the catalogue sells or rents it",
            nearest_fix="add a price under profiles/offers",
        ),
    )


def recommendation() -> Recommendation:
    api = ApiPlan(
        offer="mistral/mistral-small-2603",
        provider="Mistral",
        model="mistral-small-2603",
        same_model=True,
        cost=api_cost(4.2),
    )
    other = ApiPlan(
        offer="other/tiny-8b", provider="Other", model="tiny-8b", same_model=False, cost=api_cost(0.4), notes=("8B",)
    )
    holed = ApiPlan(
        offer="vague/mistral-small", provider="Vague", model="mistral-small", same_model=True, cost=unpriced_cost()
    )
    return Recommendation(
        scenario="eu-chat",
        model="mistral-small-4-22b",
        reading=READING_22B,
        sentence="Rent 2 × NVIDIA H100 SXM at Nebius in the EU and serve fp8: $5,615 a month, TTFT p95 480 ms, "
        "TPOT p95 27 ms.",
        plans=(
            plan(rent_cost(), provider="Nebius"),
            plan(own_cost(), "int4", on=gpu("l40s", "NVIDIA L40S", 48.3e9)),
            plan(rent_cost(1.6), "bf16", provider="Scaleway"),
            plan(own_cost(1.7), "bf16"),
        ),
        apis=(api, holed, other),
        rejections=rejections(),
        flips=(
            Flip(
                what="price per GPU-hour",
                threshold=figure(3.98, "USD/GPU-hour", "calibrated", 0),
                text="above $3.98 per GPU-hour owning is cheaper",
            ),
            Flip(
                what="volume",
                threshold=figure(24.8e9, "tokens/month", "calibrated", 0.3),
                text="above 24.8 billion tokens a month a third replica is needed",
            ),
            Flip(
                what="API price",
                threshold=unknown("the API's discount for volume is not published", "USD/1M tokens"),
                text="a discount on the API price",
            ),
        ),
        assumptions={
            "people.own_fte": exact(0.25, "FTE", "assumed", "editable default", "2026-06-01"),
            "energy.usd_per_kwh": figure(0.199, "USD/kWh", "published", 0.15, "Eurostat nrg_pc_205"),
            "energy.pue": figure(1.4, "ratio", "published", 0.1, "Uptime Institute survey 2025"),
            "own.residual": figure(0.25, "fraction", "assumed", 0.4, "press estimates of resale"),
            "network.usd_per_month": unknown("no source names a price", USD_PER_MONTH),
        },
        memory_note="At 16 bit the weights alone take 44.5 GB: 40–50 GB holds to 22,900 tokens of context.",
        leaves_out=("bursts within the peak hour", "taxes and import duty", "currency: every price is in US dollars"),
        flags=("1 price is older than 90 days on 2026-07-15",),
        priced_on="2026-07-15",
    )


def nothing_fits() -> Recommendation:
    """No plan, no API: only reasons."""
    return replace(
        recommendation(),
        sentence="Nothing in the catalogue meets this within the limits; the nearest misses it by 6.6 %.",
        plans=(),
        apis=(),
        flips=(),
        flags=(),
    )


def stairs(label: str, path: Path, base: float, per_unit: float, tokens_per_unit: float, grid: list[float]) -> PathCost:
    steps = []
    for volume in grid:
        units = int(-(-volume // tokens_per_unit)) + 1
        steps.append(
            Step(
                tokens_per_month=volume,
                usd_per_month=usd(base + units * per_unit, "assumed", 0.25),
                label=f"{units} units",
                units=units,
            )
        )
    return PathCost(path=path, label=label, steps=tuple(steps))


def line(label: str, usd_per_mtok: float, grid: list[float], *, same_model: bool) -> PathCost:
    steps = tuple(
        Step(tokens_per_month=v, usd_per_month=usd(v / 1e6 * usd_per_mtok, "price list", 0), label="pay per token")
        for v in grid
    )
    return PathCost(path="api", label=label, steps=steps, same_model=same_model)


def comparison() -> Comparison:
    grid = [10 ** (7 + i / 8) for i in range(41)]
    return Comparison(
        model="mistral-small-4-22b",
        reading=READING_22B,
        tokens_per_month=tuple(grid),
        paths=(
            stairs("own int4 on NVIDIA L40S", "own", 3_300, 1_930, 13e9, grid),
            stairs("rent fp8 on NVIDIA H100 SXM (Nebius)", "rent", 1_250, 2_182, 20e9, grid),
            line("Mistral mistral-small-2603", 0.59, grid, same_model=True),
            line("Other tiny-8b", 0.056, grid, same_model=False),
        ),
        crossovers=(
            Crossover(
                cheaper_below="Mistral mistral-small-2603",
                cheaper_above="rent fp8 on NVIDIA H100 SXM (Nebius)",
                state="reached",
                tokens_per_month=9.5e9,
                text="from 9.5 billion tokens a month renting costs no more than the API of the same model",
            ),
            Crossover(
                cheaper_below="Other tiny-8b",
                cheaper_above="own int4 on NVIDIA L40S",
                state="not reached",
                tokens_per_month=None,
                text="owning stays dearer than the small API up to 1 trillion tokens a month",
            ),
        ),
        sentence="At 13.1 billion tokens a month renting is cheapest; the API of the same model is, below 9.5 billion.",
        leaves_out=("price changes over the horizon", "discounts for commitment"),
    )
