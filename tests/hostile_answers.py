"""Answers and records with one text in every place where a name can stand."""

from __future__ import annotations

from dataclasses import replace

from answers import comparison, figure, model, recommendation, usd
from llmsizer.decide.answer import Flip, Recommendation, Rejection
from llmsizer.facts.figure import unknown
from llmsizer.facts.records import ProfileRecord, QualityRecord
from llmsizer.money.comparison import Comparison
from llmsizer.money.cost import CostPart
from measured_by_hand import DEVICE, profiles, quality


def hostile(text: str) -> Recommendation:
    """The usual answer with a name in every place where a name can stand."""
    base = recommendation()
    first = base.plans[0]
    return replace(
        base,
        scenario=text,
        model=text,
        reading=text,
        sentence=text,
        memory_note=text,
        leaves_out=(text,),
        flags=(text,),
        priced_on=text,
        plans=(
            replace(
                first,
                provider=text,
                zone=text,
                unit_name=text,
                notes=(text,),
                cost=replace(
                    first.cost,
                    label=text,
                    flags=(text,),
                    parts=(CostPart(name=text, usd_per_month=replace(usd(10), source=text, as_of=text), how=text),),
                ),
                deployment=replace(
                    first.deployment, model=model(text), gpu=first.deployment.gpu.model_copy(update={"name": text})
                ),
            ),
        ),
        apis=(replace(base.apis[0], offer=text, provider=text, model=text, notes=(text,)),),
        rejections=(Rejection(candidate=text, kind="memory", reason=text, nearest_fix=text, shortfall=0.1),),
        flips=(Flip(what=text, threshold=unknown(text, "USD"), text=text),),
        assumptions={text: replace(figure(1.0, text), source=text, as_of=text)},
    )


def hostile_comparison(text: str) -> Comparison:
    base = comparison()
    return replace(
        base,
        model=text,
        reading=text,
        sentence=text,
        leaves_out=(text,),
        paths=tuple(replace(p, label=text, note=text) for p in base.paths),
        crossovers=tuple(replace(c, cheaper_below=text, cheaper_above=text, text=text) for c in base.crossovers),
    )


def hostile_profiles(text: str) -> list[ProfileRecord]:
    update = {"model": text, "variant": text, "precision": text, "engine": text, "engine_version": text}
    device = DEVICE.model_copy(update={"name": text})
    return [p.model_copy(update={**update, "device": device, "flags": (text,)}) for p in profiles()]


def hostile_quality(text: str) -> list[QualityRecord]:
    return [q.model_copy(update={"model": text, "variant": text, "dataset": text, "engine": text}) for q in quality()]
