"""What the press said of Mistral Small 4, asked of both readings of the name: each claim with a verdict and figures.

The press described a dense model of 22 B parameters; what was released is a mixture of experts of 119 B.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from typing_extensions import TypedDict

from llmsizer.decide.pricing.apis import MAKERS
from llmsizer.decide.recommend import recommend
from llmsizer.decide.tuning import plan_tuning
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.deployment import Deployment, Parallelism
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.hub import load_model
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import get_precision
from llmsizer.facts.provenance import Basis
from llmsizer.facts.scenario import Scenario, load_scenario
from llmsizer.money.comparison import Comparison, PathCost
from llmsizer.money.currency import USD, format_usd, shown_in
from llmsizer.money.prices import PriceBook, gpu_price, is_whole_machine, price_book
from llmsizer.physics.fine_tuning import MEANINGS, FineTuning
from llmsizer.physics.memory.account import MemoryBudget, checkpoint_bytes, estimate_memory
from llmsizer.units import GIGA, format_count, format_gb

Verdict = Literal["holds", "holds in part", "does not hold"]
READINGS = ("mistral-small-4-press-22b", "mistral-small-4")
SCENARIOS = ("eu-chat-22b", "eu-chat")  # of the same order
VOLUMES = (1e6, 10e6, 100e6, 1000e6)  # tokens a month
CONTEXT = 8192
CONSUMER = ("rtx-3090", "rtx-4090", "rtx-5090")
_CLAIMED_BYTES = (40 * GIGA, 50 * GIGA)
_CARD_USD = 10_000.0
_FORMATS = ("bf16", "int8", "int4")
_TUNING_TOKENS = 10e6


class FindingDoc(TypedDict):
    """One claim under one reading."""

    reading: str
    verdict: Verdict
    text: str
    basis: Basis
    figures: dict[str, float | str | None]


class ClaimDoc(TypedDict):
    """The JSON form of a claim."""

    claim: str
    findings: list[FindingDoc]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One claim under one reading; ``basis`` is that of the least sure figure."""

    reading: str
    verdict: Verdict
    text: str
    basis: Basis
    figures: dict[str, float | str | None]

    def to_dict(self) -> FindingDoc:
        return {
            "reading": self.reading,
            "verdict": self.verdict,
            "text": self.text,
            "basis": self.basis,
            "figures": self.figures,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What was said, and what is so, for both readings."""

    text: str
    findings: tuple[Finding, ...]

    def to_dict(self) -> ClaimDoc:
        return {"claim": self.text, "findings": [finding.to_dict() for finding in self.findings]}


def press_claims(catalog: Catalog, today: datetime.date, currency: str = USD) -> tuple[Claim, ...]:
    """Every claim, each under both readings, its texts in a currency that has a rate.

    Raises LlmSizerError where the catalogue lacks what is asked.
    """
    models = [load_model(name, catalog) for name in READINGS]
    asked = [load_scenario(catalog.root / "scenarios" / f"{name}.toml") for name in SCENARIOS]
    scenarios = [scenario.model_copy(update={"currency": currency}) for scenario in asked]
    book = price_book(catalog, scenarios[0], today)
    comparisons = [_comparison(m, s, catalog, today) for m, s in zip(models, scenarios, strict=True)]
    with shown_in(book.currency):
        return _claims(models, comparisons, catalog, book)


def _claims(
    models: Sequence[ModelSpec], comparisons: Sequence[Comparison], catalog: Catalog, book: PriceBook
) -> tuple[Claim, ...]:
    return (
        Claim(text="It needs 40 to 50 GB at full precision (16 bit)", findings=tuple(map(_size, models))),
        Claim(text="It runs on one A100", findings=tuple(_a100(model, catalog) for model in models)),
        Claim(
            text="A card of about $10,000 is enough", findings=tuple(_ten_thousand(m, catalog, book) for m in models)
        ),
        Claim(
            text="Consumer cards do, with INT8 or INT4",
            findings=tuple(_consumer(model, catalog, book) for model in models),
        ),
        Claim(
            text="A European company that must keep its data saves against the APIs by running it itself",
            findings=tuple(_costs(m, c) for m, c in zip(models, comparisons, strict=True)),
        ),
        Claim(text="It can be fine-tuned on modest hardware", findings=tuple(_tuning(m, catalog) for m in models)),
    )


def _budget(model: ModelSpec, gpu: GpuSpec, weights: str, gpus: int = 1) -> MemoryBudget | None:
    """The account at a usual context; None where the model cannot be split so."""
    deployment = Deployment(
        model=model,
        gpu=gpu,
        weights=get_precision(weights),
        parallelism=Parallelism(tensor=gpus),
        max_context_tokens=CONTEXT,
    )
    return estimate_memory(deployment)


def _fits(model: ModelSpec, gpu: GpuSpec, weights: str, gpus: int = 1) -> bool:
    budget = _budget(model, gpu, weights, gpus)
    return budget is not None and budget.fits


def _basis(model: ModelSpec) -> Basis:
    return "assumed" if model.provenance.basis == "assumed" or "press" in model.name else "published"


def _size(model: ModelSpec) -> Finding:
    weights = checkpoint_bytes(model, get_precision("bf16"))
    each = model.kv_bytes_per_token()
    low, high = _CLAIMED_BYTES
    room = int((high - weights) / each) if weights < high else 0
    inside = low <= weights <= high
    text = (
        f"{format_count(model.total_params)} parameters are {format_gb(weights)} of weights; the cache adds "
        f"{each:,.0f} bytes a token"
    )
    text += f", so both stay within 50 GB up to {room:,} tokens in flight" if inside else ""
    return Finding(
        reading=model.name,
        verdict="holds in part" if inside else "does not hold",
        text=text,
        basis=_basis(model),
        figures={"weight_bytes": weights, "kv_bytes_per_token": each, "tokens_within_50_gb": float(room)},
    )


def _a100(model: ModelSpec, catalog: Catalog) -> Finding:
    cards = {"40 GB": catalog.gpu("a100-sxm-40"), "80 GB": catalog.gpu("a100-sxm-80")}
    fits = {size: [f for f in _FORMATS if _fits(model, gpu, f)] for size, gpu in cards.items()}
    said = [f"the {size} one in {' or '.join(found)}" for size, found in fits.items() if found]
    full = [size for size, found in fits.items() if "bf16" in found]
    text = f"With {CONTEXT:,} tokens of context it runs on {', '.join(said)}" if said else (
        f"In none of {', '.join(_FORMATS)} does it fit one A100 with {CONTEXT:,} tokens of context; "
        f"{_gpus_needed(model, cards['80 GB'])}"
    )  # fmt: skip
    if said and not full:
        text += f"; not at 16 bit: {_gpus_needed(model, cards['80 GB'])}"
    elif full:
        text += f"; at 16 bit the {' and the '.join(full)} card only" if len(full) == 1 else ""
    return Finding(
        reading=model.name,
        verdict="holds" if len(full) == 2 else "holds in part" if said else "does not hold",
        text=text,
        basis=_basis(model),
        figures={f"{size}: {f}": str(f in found) for size, found in fits.items() for f in _FORMATS},
    )


def _gpus_needed(model: ModelSpec, gpu: GpuSpec) -> str:
    """The fewest cards by format."""
    counts = {f: next((n for n in (1, 2, 4, 8) if _fits(model, gpu, f, n)), None) for f in _FORMATS}
    return ", ".join(f"{f}: {n or 'more than 8'}× {gpu.name}" for f, n in counts.items())


def _ten_thousand(model: ModelSpec, catalog: Catalog, book: PriceBook) -> Finding:
    """Single cards up to that price, and the widest format in which each holds the model; desktops apart."""
    found: dict[str, str] = {}
    desktops: list[str] = []
    prices: dict[str, float] = {}
    for gpu in catalog.gpus():
        usd = gpu_price(book, gpu).value
        if usd is None or usd > _CARD_USD or gpu.is_cpu or gpu.memory_bytes is None or gpu.vendor != "NVIDIA":
            continue
        widest = next((f for f in _FORMATS if _fits(model, gpu, f)), None)
        if widest and is_whole_machine(gpu):
            desktops.append(f"{gpu.name} ({format_usd(usd)}) in {widest}")
        elif widest:
            found[gpu.name], prices[gpu.name] = widest, usd
    full = [name for name, widest in found.items() if widest == "bf16"]
    listed = sorted(found, key=lambda name: (_FORMATS.index(found[name]), prices[name]))
    text = f"No card of NVIDIA's up to {format_usd(_CARD_USD)} holds it, in none of {', '.join(_FORMATS)}"
    if found:
        each = "; ".join(f"{name} ({format_usd(prices[name])}) in {found[name]}" for name in listed[:6])
        text = f"Cards of NVIDIA's up to {format_usd(_CARD_USD)} that hold it: {each}"
        text += "" if full else "; none at 16 bit"
    text += f"; a whole desktop: {', '.join(desktops)}" if desktops else ""
    return Finding(
        reading=model.name,
        verdict="holds" if full else "holds in part" if found else "does not hold",
        text=f"{text}. Prices are of the card alone, most of them the press's estimates",
        basis="assumed",
        figures={name: f"{found[name]}, {format_usd(prices[name])}" for name in listed},
    )


def _consumer(model: ModelSpec, catalog: Catalog, book: PriceBook) -> Finding:
    figures: dict[str, float | str | None] = {}
    words = []
    for name in CONSUMER:
        gpu = catalog.gpu(name)
        usd = gpu_price(book, gpu).value
        for weights in ("int8", "int4"):
            count = next((n for n in (1, 2, 4, 8) if _fits(model, gpu, weights, n)), None)
            figures[f"{gpu.name}: {weights}"] = count
            cost = "" if count is None or usd is None else f" (cards {format_usd(count * usd)})"
            words.append(f"{weights} on {count}× {gpu.name}{cost}" if count else f"{weights} not on 8× {gpu.name}")
    ones = [count for count in figures.values() if count == 1]
    some = [count for count in figures.values() if count is not None]
    return Finding(
        reading=model.name,
        verdict="holds" if len(ones) == len(figures) else "holds in part" if some else "does not hold",
        text=f"With {CONTEXT:,} tokens of context, fewest cards: {'; '.join(words)}",
        basis=_basis(model),
        figures=figures,
    )


def _comparison(model: ModelSpec, scenario: Scenario, catalog: Catalog, today: datetime.date) -> Comparison:
    comparison = recommend(model, scenario, catalog, today=today).comparison
    assert comparison is not None, "these scenarios allow several paths"
    return comparison


def _costs(model: ModelSpec, comparison: Comparison) -> Finding:
    """Dollars a month at each volume: machines, then the cheapest offer of each maker."""
    figures: dict[str, float | str | None] = {}
    shown = _by_maker(comparison.paths)
    for tokens in VOLUMES:
        for name, path in shown.items():
            step = next(step for step in path.steps if step.tokens_per_month == tokens)
            figures[f"{format_count(tokens)} tokens: {name}"] = step.usd_per_month.value
    last = f"{format_count(VOLUMES[-1])} tokens"
    at_last = {k: float(v) for k, v in figures.items() if k.startswith(last) and v is not None}
    apis = [usd for key, usd in at_last.items() if ": API" in key]
    cheapest = min((usd for key, usd in at_last.items() if ": API" not in key), default=None)
    dearest = max(apis, default=None)
    wins = cheapest is not None and dearest is not None and cheapest < min(apis)
    part = cheapest is not None and dearest is not None and cheapest < dearest
    text = (
        f"At {format_count(VOLUMES[-1])} tokens a month machines cost {format_usd(cheapest)} at least, these APIs "
        f"{format_usd(min(apis, default=None))} to {format_usd(dearest)}; where an API processes data is not in "
        f"the price lists, so that law may decide before price does. {comparison.sentence}"
    )
    return Finding(
        reading=model.name,
        verdict="holds" if wins else "holds in part" if part else "does not hold",
        text=text,
        basis="assumed",
        figures=figures,
    )


def _by_maker(paths: Sequence[PathCost]) -> dict[str, PathCost]:
    """Own, rent, the same model's first API, and of each maker the cheapest and the dearest that is compared."""
    words = {"own": "own", "rent": "rent in the EU, from whichever operator"}
    named: dict[str, PathCost] = {words[path.path]: path for path in paths if path.path != "api"}
    apis = [path for path in paths if path.path == "api"]
    named |= {f"API, same model: {path.label}": path for path in apis if path.same_model}
    for maker in MAKERS:
        named |= {f"API, another: {p.label}": p for p in apis if not p.same_model and p.label.endswith(f" at {maker}")}
    return named


def _tuning(model: ModelSpec, catalog: Catalog) -> Finding:
    gpu, small = catalog.gpu("h100-sxm-80"), catalog.gpu("rtx-4090")
    figures: dict[str, float | str | None] = {}
    words = []
    for method in MEANINGS:
        job = FineTuning(method=method)
        plan = plan_tuning(model, job, gpu, _TUNING_TOKENS, catalog)
        single = plan_tuning(model, job, small, _TUNING_TOKENS, catalog)
        one = plan_tuning(model, job, gpu, _TUNING_TOKENS, catalog, gpus=1).memory.total_bytes
        figures |= {
            f"{method}: bytes on one GPU": one,
            f"{method}: H100 80 GB": plan.gpus,
            f"{method}: RTX 4090": single.gpus,
            f"{method}: USD for 10 M tokens": plan.usd.value,
        }
        words.append(
            f"{method} {format_gb(one)}: {plan.gpus or 'no number of'}× H100 or {single.gpus or 'no number of'}× "
            f"RTX 4090, {format_usd(plan.usd.value)} for 10 M tokens on H100"
        )
    modest = figures["qlora: RTX 4090"] == 1
    return Finding(
        reading=model.name,
        verdict="holds in part" if modest or figures["qlora: H100 80 GB"] == 1 else "does not hold",
        text="; ".join(words),
        basis="assumed",
        figures=figures,
    )
