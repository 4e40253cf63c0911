"""The answer in words: one sentence first, what would flip it, and what a model takes in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llmsizer.decide.answer import ApiPlan, Flip, Plan, Rejection
from llmsizer.decide.certainty.uncertainty import share_text
from llmsizer.decide.comparison.compare import crossover_figure
from llmsizer.decide.pricing.apis import SIBLING, ApiChoice, api_choices, unpriced
from llmsizer.decide.pricing.study import Study
from llmsizer.facts.deployment import Deployment, deployment
from llmsizer.facts.figure import Figure, exact
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import PRECISIONS
from llmsizer.facts.provenance import Estimate
from llmsizer.money.comparison import Comparison
from llmsizer.money.cost import USD_PER_MTOK
from llmsizer.money.currency import format_money, format_usd
from llmsizer.money.spread import Uncertainty
from llmsizer.physics.memory.account import checkpoint_bytes, estimate_memory
from llmsizer.units import GIGA, format_count, format_gb, plain_number

_TERMS = {"spot": "interruptible", "reserved for a year": "for a year"}
_MODES: dict[str, str] = {
    "by-hour": "fewer in quiet hours",
    "scale-to-zero": "none while nobody comes",
    "active-window": "only while the window is open",
}
_SAME_PRICE = 1.005
_WITHIN = 10.0  # times what a driver is today: a flip further off is in the full list only
_ROUND_GB = 10  # people quote memory in tens of gigabytes


def sentence(
    found: Study,
    plans: Sequence[Plan],
    apis: Sequence[ApiPlan],
    rejections: Sequence[Rejection],
    sure: Uncertainty | None = None,
) -> str:
    """What to do, in plain words, with the P10–P90 of its cost and the chance that it is the cheapest path."""
    tokens = volume_text(found)
    hosted = next((api for api in apis if api.same_model or SIBLING in api.notes), None)
    if hosted is not None and _api_wins(found, plans, hosted):
        usd = format_usd(hosted.cost.usd_per_month.value)
        otherwise = (
            f"The cheapest way on machines: {_run(plans[0])}, {format_money(plans[0].cost.usd_per_month)} a month."
            if plans
            else f"No machine meets everything asked{_why_none(rejections)}."
        )
        return (
            f"Call {hosted.model} at {hosted.provider}'s API for {tokens}: {usd} a month at list price{_odds(sure)}; "
            f"its latency is not in the price list. {otherwise}"
        )
    beside = _beside(found, plans, hosted)
    if plans:
        usd = format_usd(plans[0].cost.usd_per_month.value)
        return f"{_run(plans[0])} for {tokens}: {usd} a month{_odds(sure)}. {beside}".strip()
    if apis:
        other = beside if hosted is not None else _cheapest_other(apis)
        return f"No machine meets everything asked{_why_none(rejections)}. {other}"
    return f"Nothing meets everything asked{_why_none(rejections)}; the closest and what they lack are listed."


def _odds(sure: Uncertainty | None) -> str:
    """``(P10–P90 $5,100–$9,300; the cheapest of 2 paths with a probability of 97 %)``."""
    if sure is None:
        return ""
    found = sure.taken
    text = f"P10–P90 {format_usd(found.usd_p10)}–{format_usd(found.usd_p90)}"
    rivals = sum(path.wins is not None for path in sure.paths)
    if found.wins is not None and rivals > 1:
        text += f"; the cheapest of {rivals} paths with a probability of {share_text(found.wins)}"
    return f" ({text})"


def _api_wins(found: Study, plans: Sequence[Plan], hosted: ApiPlan) -> bool:
    """Whether the same model's API is the answer: cheaper, within budget, and no limit on where data goes."""
    constraints = found.question.scenario.constraints
    if not hosted.same_model or constraints.bounds_place:
        return False
    usd, budget = hosted.cost.usd_per_month.value, constraints.max_usd_per_month
    if usd is None or (budget is not None and usd > budget):
        return False
    own = plans[0].cost.usd_per_month.value if plans else None
    return own is None or usd < own


def volume_text(found: Study) -> str:
    workload = found.question.workload
    return f"{format_count(workload.input_tokens_per_month + workload.output_tokens_per_month)} tokens a month"


def _run(plan: Plan) -> str:
    d, count = plan.deployment, plan.replicas + plan.spare_replicas
    verb = "Buy" if plan.path == "own" else f"Rent at {plan.provider} ({plan.zone})"
    boxes = f"{plan.units} {plan.unit_name if plan.units != 1 else plan.unit_name.removesuffix('s')}{_terms(plan)}"
    spare = f", {plan.spare_replicas} of them spare" if plan.spare_replicas else ""
    replicas = "one replica" if count == 1 else f"{count} replicas{spare}, each"
    return f"{verb} {boxes} and run {d.model.name} in {d.weights.name}: {replicas} on {gpus_text(d)}"


def gpus_text(d: Deployment) -> str:
    """``8× H100 SXM``, ``16× L40S in 2 servers``."""
    where = f" in {d.servers} servers" if d.servers > 1 else ""
    return f"{d.parallelism.gpus}× {d.gpu.name}{where}"


def _terms(plan: Plan) -> str:
    """How what is rented is paid and run, where that is not on demand and always on."""
    said = [_TERMS.get(plan.term, plan.term) if plan.term not in ("", "on-demand") else "", _MODES.get(plan.mode, "")]
    if plan.served_share < 1:
        said.append(f"for the {plan.served_share:.0%} of requests that come then")
    told = ", ".join(filter(None, said))
    return f", {told}," if told else ""


def _beside(found: Study, plans: Sequence[Plan], hosted: ApiPlan | None) -> str:
    if not found.question.scenario.constraints.api:
        return ""
    if hosted is None:
        return _no_api(found)
    whose = "The same model" if hosted.same_model else f"No API serves this reading; {hosted.model}"
    usd = hosted.cost.usd_per_month
    choices = api_choices(found)
    taken = next((choice for choice in choices if choice.offer.id == hosted.offer), None)
    law = f", whose operator stands under {taken.law} law," if taken is not None and taken.law else ""
    text = f"{whose} at {hosted.provider}'s API{law} costs {format_usd(usd.value)} a month"
    own = plans[0].cost.usd_per_month.value if plans else None
    if own and usd.value:
        ratio = own / usd.value
        text += f", 1/{plain_number(ratio)} of it" if ratio >= 1 else f", {plain_number(1 / ratio)} times as much"
    if found.question.scenario.constraints.bounds_place:
        text += "; where it processes data is not in the price list: ask"
    return f"{text}.{_cheaper_elsewhere(taken, choices)}"


def _cheaper_elsewhere(taken: ApiChoice | None, choices: Sequence[ApiChoice]) -> str:
    """A cheaper API of the same model that was passed over for the law its operator stands under."""
    if taken is None or not taken.law:
        return ""
    same = [choice for choice in choices if choice.same_model and not choice.law]
    least = min(same, key=lambda choice: choice.usd_per_month, default=taken)
    if least.usd_per_month >= taken.usd_per_month:
        return ""
    asks = f"{least.offer.provider} asks {format_usd(least.usd_per_month)}"
    return f" {asks} and is not known to stand under {taken.law} law."


def _no_api(found: Study) -> str:
    """Nobody serves it, or those who do print no price for what is asked."""
    count = unpriced(found)
    if not count:
        return "No API in the price list serves this model."
    batch = found.question.scenario.money.batch_share > 0
    what = "batch work (money.batch_share = 0 compares at the usual price)" if batch else "all that is asked"
    return f"{count} API{'s serve' if count > 1 else ' serves'} this model without a listed price for {what}."


def _cheapest_other(apis: Sequence[ApiPlan]) -> str:
    api = apis[0]
    usd = format_usd(api.cost.usd_per_month.value)
    return f"The cheapest API listed, {api.cost.label}, is another model: {usd} a month."


def _why_none(rejections: Sequence[Rejection]) -> str:
    kinds: dict[str, int] = {}
    for rejection in rejections:
        kinds[rejection.kind] = kinds.get(rejection.kind, 0) + 1
    if not kinds:
        return ""
    whole = [rejection for rejection in rejections if rejection.kind == "constraint"]
    if len(whole) == len(rejections) == 1:  # the model itself, before any machine was looked at
        return f": {whole[0].reason}. What would do: {whole[0].nearest_fix}"
    return " (" + ", ".join(f"{count} × {kind}" for kind, count in sorted(kinds.items(), key=lambda kv: -kv[1])) + ")"


def flips(
    found: Study, plans: Sequence[Plan], comparison: Comparison, sure: Uncertainty | None = None
) -> Iterator[Flip]:
    """Values at which another answer would be the cheaper one."""
    if plans:
        yield from _flips_of(found, plans)
    if sure is not None:
        yield from _flips_of_drivers(sure)
    for crossover in comparison.crossovers:
        yield Flip(
            what=f"volume: {crossover.cheaper_above} against {crossover.cheaper_below}",
            threshold=crossover_figure(crossover),
            text=crossover.text,
        )


def _flips_of_drivers(sure: Uncertainty) -> Iterator[Flip]:
    """Of the values at which the order of two paths turns those within tenfold of today's; all are in the spread."""
    for turn in sure.flips:
        now = turn.now
        if turn.value is None or not now or not 1 / _WITHIN <= turn.value / now <= _WITHIN:
            continue
        source = "bisection on the cost of both paths"
        yield Flip(what=turn.driver, threshold=exact(turn.value, turn.unit, "calibrated", source), text=f"{turn.text}.")


def _flips_of(found: Study, plans: Sequence[Plan]) -> Iterator[Flip]:
    best = plans[0]
    blended = best.cost.usd_per_million_tokens
    if found.question.scenario.constraints.api:
        yield Flip(
            what="API price",
            threshold=Figure(estimate=blended.estimate, unit=USD_PER_MTOK, source="this plan's cost over its tokens"),
            text=f"An API is the cheaper path below {format_money(blended)} per million tokens, input and output "
            "together.",
        )
    yield from _flip_of_price(best, plans[1:])
    workload = found.question.workload
    rate = best.capacity.requests_per_second
    held = (rate.value or 0.0) * best.replicas / workload.peak_requests_per_second
    spread = Estimate(
        value=held,
        low=None if rate.low is None else held * rate.low / (rate.value or 1.0),
        high=None if rate.high is None else held * rate.high / (rate.value or 1.0),
        basis=rate.basis,
    )
    yield Flip(
        what="load",
        threshold=Figure(estimate=spread, unit="× the peak hour", source=rate.source),
        text=f"Up to {plain_number(held)} times this load needs no further replica; "
        f"limited by {best.capacity.limited_by}.",
    )


def _flip_of_price(best: Plan, others: Sequence[Plan]) -> Iterator[Flip]:
    """The next plan that really costs more; those at the same price are named instead."""
    usd = best.cost.usd_per_month.value or 0.0
    alike = [plan for plan in others if plan.is_robust == best.is_robust]
    same = [plan for plan in alike if (plan.cost.usd_per_month.value or 0.0) <= usd * _SAME_PRICE]
    dearer = next((plan for plan in alike if plan not in same), None)
    if dearer is None or not usd:
        return
    margin = (dearer.cost.usd_per_month.value or 0.0) / usd - 1
    tied = f" At the same price: {'; '.join(plan.label for plan in same[:3])}." if same else ""
    yield Flip(
        what="price of the best plan",
        threshold=exact(margin, "share", "calibrated", "the next plan's cost over this one's"),
        text=f"If it cost {margin:.0%} more, the next would win: {dearer.label}.{tied}",
    )


def growth_note(found: Study, comparison: Comparison) -> str:
    """What each way costs over the horizon while use grows; empty where nothing grows."""
    scenario, growth = found.question.scenario, found.question.workload.growth
    flows = [flow for flow in comparison.cash_flows if flow.total_usd is not None]
    if growth is None or not flows:
        return ""
    use = (
        f"from {growth.from_share:.0%} of full use on {growth.start} to all of it on {growth.until}"
        if growth.from_share is not None
        else f"growing by {growth.yearly:.0%} a year from {growth.start} to {growth.until}"
    )
    said = "; ".join(f"{f.label}: {format_usd(f.total_usd)} ({format_usd(f.npv_usd)} today)" for f in flows)
    whole = "full use" if growth.is_ramp else "the fleet for the end of that growth"
    return (
        f"over {scenario.horizon_months} months of service, {use}, with machines that follow it, paid and discounted: "
        f"{said}; a monthly bill is that of {whole}"
    )


def memory_note(found: Study, card: GpuSpec | None) -> str:
    """What the model takes at 16 bit, on how many of a usual card it fits, and where a round figure stops holding."""
    model = found.question.model
    weights_bytes = model.total_params * 2.0
    per_token = model.kv_bytes_per_token(2.0)
    round_bytes = (weights_bytes // (_ROUND_GB * GIGA) + 1) * _ROUND_GB * GIGA
    text = f"At 16 bit the weights of {model.name} are {format_gb(weights_bytes)}"
    if per_token and set(model.attention_kinds) <= {"full", "latent"}:
        until = int((round_bytes - weights_bytes) // per_token)
        low = (round_bytes / GIGA) - _ROUND_GB
        text += (
            f"; the cache adds {per_token / 1e3:,.0f} kB a token, so weights and cache stay within "
            f"{low:.0f}–{round_bytes / GIGA:.0f} GB up to {until:,} tokens in flight and pass it beyond"
        )
    return f"{_as_published(model)}{text}.{_on_card(found, card)}"


def _as_published(model: ModelSpec) -> str:
    """What the weights take where their maker publishes them quantized: nobody needs them at 16 bit then."""
    native = PRECISIONS.get(model.native_weights)
    if native is None or not native.is_quantized:
        return ""
    size = format_gb(checkpoint_bytes(model, native))
    return f"As its maker publishes it, in {native.name}, {model.name} takes {size}. "


def _in(weights: str) -> str:
    return "It" if weights in ("bf16", "fp16") else f"In {weights} it"


def _on_card(found: Study, card: GpuSpec | None) -> str:
    if card is None:
        return ""
    model, context = found.question.model, found.question.context_tokens
    weights = model.native_weights if model.native_weights in PRECISIONS else "bf16"
    for tensor in (1, 2, 4, 8):
        if not found.question.physics.allows(model, PRECISIONS[weights], tensor):
            continue
        budget = estimate_memory(deployment(model, card, weights, tp=tensor, max_context_tokens=context))
        if budget.fits:
            cards = f"one {card.name}" if tensor == 1 else f"{tensor}× {card.name}"
            return f" {_in(weights)} fits {cards} with room for {budget.kv_capacity_tokens:,} tokens of context in all."
    return f" {_in(weights)} does not fit eight {card.name} at a context of {context:,} tokens."
