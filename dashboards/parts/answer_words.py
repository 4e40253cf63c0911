"""What an answer says, in the page's language: what to do, what runs there, and what would turn it."""

from __future__ import annotations

from dataclasses import replace

from llmsizer.decide.answer import ApiPlan, Flip, Plan, Recommendation
from llmsizer.deliver.elements.confidence import Option
from llmsizer.deliver.elements.wording import plain_number, sentence, tokens
from llmsizer.deliver.tables.plans import ordered
from llmsizer.facts.figure import Figure
from llmsizer.money.currency import format_usd
from texts import known, say, told


def taken(recommendation: Recommendation) -> Plan | ApiPlan | None:
    """What the answer is: a plan, an API, or nothing."""
    sure = recommendation.uncertainty
    if sure is None or sure.taken.path != "api":
        return recommendation.best
    return recommendation.apis[0] if recommendation.apis else None


def headline(answer: Plan | ApiPlan | None) -> str:
    """What to do in one sentence."""
    if answer is None:
        return say("decide.nothing")
    usd = say("decide.a_month", usd=format_usd(answer.cost.usd_per_month.value))
    if isinstance(answer, ApiPlan):
        return say("decide.call", model=answer.model, provider=answer.provider, usd=usd)
    gpus = f"{answer.gpus} × {answer.deployment.gpu.name}"
    return say(f"decide.{answer.path}", gpus=gpus, provider=answer.provider, usd=usd)


def drawn_cost(recommendation: Recommendation, option: Option) -> Figure:
    """The cost with the range in which 80 % of the draws lie; with its own where nothing was drawn for it."""
    usd, sure = option.usd_per_month, recommendation.uncertainty
    # The label of an API's draws is its offer's, so a way is found by its kind: of each only the first is drawn.
    spread = next((path for path in sure.paths if path.path == option.path), None) if sure else None
    if spread is None:
        return usd
    return replace(usd, estimate=replace(usd.estimate, low=spread.usd_p10, high=spread.usd_p90))


def runs(plan: Plan) -> str:
    """What stands on the machines of the headline, under it."""
    d = plan.deployment
    return say(
        "decide.runs" if plan.spare_replicas else "decide.runs_all",
        model=d.model.name,
        precision=d.weights.name,
        units=counted(ordered(plan)),
        replicas=plan.replicas + plan.spare_replicas,
        gpus=f"{d.parallelism.gpus} × {d.gpu.name}",
        spare=plan.spare_replicas,
    )


def counted(words: str) -> str:
    """``2 instances``, ``90 billion``: a number and a word of the package, the word in the page's language."""
    number, _, word = words.partition(" ")
    return f"{number} {known(word)}".strip()


def concerns(flip: Flip, answer: Plan | ApiPlan) -> bool:
    """Whether it is about the way that the answer takes."""
    name = "API" if isinstance(answer, ApiPlan) else answer.path
    if flip.what.startswith("volume: "):
        return name in flip.what
    about_plans = flip.what in ("load", "price of the best plan")
    return about_plans != isinstance(answer, ApiPlan)


def flip_words(recommendation: Recommendation, flip: Flip) -> str:
    """What would change the answer, in the page's language."""
    value, comparison = flip.threshold.value, recommendation.comparison
    crossing = next((c for c in comparison.crossovers if c.text == flip.text), None) if comparison else None
    if value is None:
        return sentence(told(flip.text))
    if crossing is not None:
        below, above = (_way(name) for name in (crossing.cheaper_below, crossing.cheaper_above))
        return sentence(say("decide.flip_volume", volume=counted(tokens(value)), above=above, below=below))
    if flip.what == "API price":
        answer = taken(recommendation)
        if isinstance(answer, ApiPlan):
            now = format_usd(answer.cost.usd_per_million_tokens.value)
            return say("decide.flip_called", usd=format_usd(value), now=now)
        return say("decide.flip_api", usd=format_usd(value))
    if flip.what == "load":
        return say("decide.flip_load", times=plain_number(value))
    if flip.what == "price of the best plan":
        return say("decide.flip_price", share=f"{value * 100:.0f} %")
    return sentence(told(flip.text))


def _way(name: str) -> str:
    return say(f"decide.way_{name}") if name in ("own", "rent") else told(name)
