"""Which APIs to set beside one's own machines: the same open model first, then others as another quality tier."""

from __future__ import annotations

from dataclasses import dataclass

from llmsizer.decide.answer import ApiPlan
from llmsizer.decide.pricing.study import Study
from llmsizer.facts.offer import ApiOffer
from llmsizer.facts.workload import Workload
from llmsizer.money.api import api_cost, api_usd, context_is_enough

ITS_LAW = "{provider} stands under {law} law, as was asked"
ITS_LAW_ALONE = "{provider} stands under {law} law, which does not say where this API processes data"
LOCATION = "where this API processes data is not in the price list: ask before sending data that may not leave"
SIBLING = "another reading of the same name: a different model, served under the name that was asked for"
OTHER_TIER = "another model: another quality tier; compare on your own task before comparing prices"
# Makers whose own price lists people set a self-hosted model against.
MAKERS = ("mistral", "openai", "anthropic", "google")
# Listed beside text models, but not for answering prompts with text.
_NOT_TEXT = (
    "image",
    "audio",
    "tts",
    "embed",
    "research",
    "codex",
    "realtime",
    "transcribe",
    "ocr",
    "moderation",
    "voxtral",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiChoice:
    """An offer, and whether it serves the model that was asked for or another reading of its name."""

    offer: ApiOffer
    same_model: bool
    is_sibling: bool
    usd_per_month: float
    law: str = ""  # of the operator, where that is among those that were asked for, or a zone's

    @property
    def label(self) -> str:
        return f"{self.offer.name or self.offer.model} at {self.offer.provider}"


def api_choices(found: Study) -> list[ApiChoice]:
    """Offers of the same model, then of its other readings; then of each maker the cheapest and the middle one.

    Where an operator's law is asked for, or a zone of that name, those known to stand under it come first.
    """
    model, workload, constraints = found.question.model, found.question.workload, found.question.scenario.constraints
    laws = constraints.allowed_jurisdictions or constraints.allowed_zones
    named: list[ApiChoice] = []
    others: dict[str, list[ApiChoice]] = {maker: [] for maker in MAKERS}
    for offer in found.book.apis:
        is_same, is_sibling = offer.serves == model.name, offer.serves in found.question.siblings
        if not (is_same or is_sibling or offer.provider in others) or not _usable(offer, workload):
            continue
        usd = api_usd(offer, workload, found.book)
        if usd is not None:
            law = found.book.jurisdictions.get(offer.provider, "")
            wanted = law if law in laws else ""
            choice = ApiChoice(offer=offer, same_model=is_same, is_sibling=is_sibling, usd_per_month=usd, law=wanted)
            (named if is_same or is_sibling else others[offer.provider]).append(choice)
    tiers: list[ApiChoice] = []
    for listed in others.values():
        ordered = sorted(listed, key=lambda c: c.usd_per_month)
        tiers += dict.fromkeys([ordered[0], ordered[len(ordered) // 2]]) if ordered else []
    return sorted(named, key=lambda c: (not c.same_model, not c.law, c.usd_per_month)) + sorted(
        tiers, key=lambda c: (not c.law, c.usd_per_month)
    )


def unpriced(found: Study) -> int:
    """APIs that serve the very model and have no full price for what is asked, such as for batch work."""
    workload, book = found.question.workload, found.book
    same = [offer for offer in book.apis if offer.serves == found.question.model.name and _usable(offer, workload)]
    return sum(api_usd(offer, workload, book) is None for offer in same)


def _usable(offer: ApiOffer, workload: Workload) -> bool:
    is_text = not any(word in offer.model for word in _NOT_TEXT)
    return is_text and not offer.deprecated and context_is_enough(offer, workload)


def api_plans(found: Study, choices: list[ApiChoice]) -> tuple[ApiPlan, ...]:
    """The scenario's volume at each choice."""
    constraints = found.question.scenario.constraints
    said = ITS_LAW if constraints.allowed_jurisdictions else ITS_LAW_ALONE
    plans = []
    for choice in choices:
        notes = [] if choice.same_model else [SIBLING if choice.is_sibling else OTHER_TIER]
        notes += [said.format(provider=choice.offer.provider, law=choice.law)] if choice.law else []
        notes += [LOCATION] if constraints.bounds_place else []
        notes += [_crosscheck(choice.offer.crosscheck)] if choice.offer.crosscheck else []
        plans.append(
            ApiPlan(
                offer=choice.offer.id,
                provider=choice.offer.provider,
                model=choice.offer.serves or choice.offer.model,
                same_model=choice.same_model,
                cost=api_cost(choice.offer, found.question.workload, found.book),
                notes=tuple(notes),
            )
        )
    return tuple(plans)


def _crosscheck(found: str) -> str:
    return "a second price list agrees" if found == "agree" else f"a second price list {found}"
