"""The smallest change with which a replica that does not fit would: tried, not guessed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from llmsizer.decide.candidates.layouts import may_span, staged_layouts
from llmsizer.decide.question import TENSOR_PARALLEL, Question
from llmsizer.errors import NoEvidenceError
from llmsizer.facts.deployment import Deployment, Parallelism
from llmsizer.facts.precision import PRECISIONS, kv_bytes_per_value

_ENOUGH = 2  # fixes named
_FORMATS = ("fp8", "int8", "int4")  # narrower than 16 bit, widest first
_MOST_SERVERS = 8  # of one replica
_LEAST_CONTEXT_SHARE = 0.25  # a context cut to less than a quarter is another workload


def nearest_fit(question: Question, deployment: Deployment) -> str:
    """``fits in fp8 or on 2 GPUs``: the first of each kind that works; something larger where no single change does."""
    found: dict[str, str] = {}
    for kind, text, changed in _changes(question, deployment):
        if kind == "servers" and (found and deployment.servers == 1):
            break  # several servers only where nothing smaller would do
        if kind not in found and _fits(question, changed):
            found[kind] = text
        if len(found) == _ENOUGH:
            break
    return "fits " + " or ".join(found.values()) if found else "a larger GPU, or more than one change at once"


def _fits(question: Question, deployment: Deployment) -> bool:
    try:
        return question.physics.memory(deployment, question.workload).fits
    except NoEvidenceError:
        return False


def _changes(question: Question, deployment: Deployment) -> Iterator[tuple[str, str, Deployment]]:
    """From the least trouble to the most: a shorter context, a smaller cache, a narrower format, more GPUs."""
    context = deployment.max_context_tokens
    for share in (0.5, _LEAST_CONTEXT_SHARE):
        shorter = int(context * share)
        if shorter >= 1:
            yield "context", f"at a context of {shorter:,} tokens", replace(deployment, max_context_tokens=shorter)
    if kv_bytes_per_value(deployment.kv_format) > 1:
        yield "cache", "with an FP8 cache", replace(deployment, kv_format="fp8")
    for name in _FORMATS:
        narrower = PRECISIONS[name]
        if narrower.weight_bits >= deployment.weights.weight_bits:
            continue
        if not question.support.problem(deployment.model, narrower, deployment.gpu):
            yield "format", f"in {name}", replace(deployment, weights=narrower)
    for width in TENSOR_PARALLEL:
        more = width > deployment.parallelism.tensor and width <= deployment.gpu.max_per_node
        if more and question.physics.allows(deployment.model, deployment.weights, width):
            yield "gpus", f"on {width} GPUs", replace(deployment, parallelism=Parallelism(tensor=width))
    yield from _more_servers(question, deployment)


def _more_servers(question: Question, deployment: Deployment) -> Iterator[tuple[str, str, Deployment]]:
    """Pipeline stages over several servers, beyond what the scenario allows if need be."""
    if not may_span(deployment.gpu, question.scenario.constraints):
        return
    model, gpu, most = deployment.model, deployment.gpu, question.scenario.constraints.max_gpus_per_replica
    allows = partial(question.physics.allows, model, deployment.weights)
    for layout in staged_layouts(model, gpu, _MOST_SERVERS * gpu.max_per_node, allows):
        wider = replace(deployment, parallelism=layout)
        if layout.gpus > deployment.parallelism.gpus:
            asked = f" (max_gpus_per_replica = {layout.gpus})" if layout.gpus > most else ""
            yield "servers", f"on {layout.gpus} GPUs in {wider.servers} servers{asked}", wider
