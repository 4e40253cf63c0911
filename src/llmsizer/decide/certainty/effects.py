"""What inputs other than price do to the plan on top, in sentences: speculation, cached prompts, distant evidence."""

from __future__ import annotations

from llmsizer.decide.answer import Plan
from llmsizer.decide.candidates.modelled import ModelledPhysics
from llmsizer.decide.candidates.sizing import Sized
from llmsizer.decide.pricing.study import Study
from llmsizer.errors import NoEvidenceError
from llmsizer.facts.workload import Workload
from llmsizer.physics.answers.speculation import speculation_effect
from llmsizer.physics.answers.steps import StepQuestion, answer_one
from llmsizer.physics.calibration.store import StoredCalibration
from llmsizer.physics.calibration.support import FAMILY_UNSEEN


def stated_effects(found: Study, best: Plan | None) -> tuple[str, ...]:
    """One sentence for each input that changed the numbers beyond the price list."""
    workload, physics = found.question.workload, found.question.physics
    sized = next((s for s in found.sized if best is not None and s.deployment == best.deployment), None)
    said = [_of_cached_prompts(workload, sized)] if workload.cached_prompt_fraction else []
    if sized is not None and isinstance(physics, ModelledPhysics):
        said.append(_of_speculation(workload, sized, physics.calibration))
        said.append(_of_distance(sized, physics.calibration))
    return tuple(text for text in said if text)


def _of_cached_prompts(workload: Workload, best: Sized | None) -> str:
    share = workload.cached_prompt_fraction
    saved = workload.prompt_tokens * share
    text = (
        f"prefix cache: {share:.0%} of each prompt hits: {saved:,.0f} of {workload.prompt_tokens:,} tokens are not "
        f"prefilled, {workload.requests_per_month * saved / 1e6:,.0f} M a month"
    )
    room = ""
    if best is not None:
        context = workload.prompt_tokens + workload.generated_tokens // 2
        capacity = best.fit.kv_capacity_tokens
        common = workload.shared_prefix_tokens or saved
        alone, shared = capacity // context, int((capacity - common) // max(context - common, 1))
        known = f"with the {common:,.0f} tokens in common kept once"
        start = known if workload.shared_prefix_tokens else "were all hits one common beginning"
        room = f"; {start}, a replica would hold {shared:,} requests instead of {alone:,}"
    return text + "; the cache is counted as if nothing were shared" + room


def _of_speculation(workload: Workload, best: Sized, calibration: StoredCalibration | None) -> str:
    if best.deployment.speculates is None:
        return ""
    context = workload.prompt_tokens + workload.generated_tokens / 2
    try:
        return speculation_effect(best.deployment, context_tokens=context, calibration=calibration).sentence
    except NoEvidenceError as error:
        return f"the effect of speculation is unknown: {error}"


def _of_distance(best: Sized, calibration: StoredCalibration | None) -> str:
    """Where the chip's own family was never measured, only another of the same maker's stack."""
    try:
        answer = answer_one(StepQuestion(deployment=best.deployment), calibration)
    except NoEvidenceError:  # step times of another source
        return ""
    if answer.distance != FAMILY_UNSEEN:
        return ""
    gpu = best.deployment.gpu
    return (
        f"{gpu.name}: no {gpu.family} GPU was ever measured; its step times rest on other {gpu.vendor} GPUs, and "
        f"their interval is widened"
    )
