"""The bundle's README: what is promised and how sure that is, what to start, and why every flag has its value."""

from __future__ import annotations

from llmsizer.facts.figure import Figure
from llmsizer.launch import container
from llmsizer.launch.fleet import PLANNED_WITH, Fleet
from llmsizer.launch.scaling import scaling_of
from llmsizer.launch.settings import settings_of
from llmsizer.launch.targets.shell import START
from llmsizer.units import GIB

_STARTED = {
    "shell": f"sh {START}",
    "compose": "docker compose up -d",
    "k8s": "kubectl apply -f deployment.yaml -f autoscaling.yaml",
    "kserve": "kubectl apply -f inference-service.yaml",
}


def readme(fleet: Fleet, target: str, differences: tuple[str, ...]) -> str:
    """Markdown, in sentences."""
    parts = [
        f"# {fleet.served_name} in {fleet.deployment.weights.name} on {fleet.gpus}× {fleet.deployment.gpu.name}, "
        f"{fleet.engine.label}",
        f"Plan: {fleet.label}. Scenario: {fleet.scenario.name}.",
        *(f"Today differs from the plan file: {line}." for line in differences),
        "## What is promised",
        _promise_table(fleet),
        _memory(fleet),
        "## Start it",
        _start(fleet, target),
        "## Why each flag",
        "\n".join(["| flag | value | why |", "|---|---|---|", *_flag_rows(fleet)]),
        "## When replicas come and go" if target in {"k8s", "kserve"} else "",
        _scaling(fleet) if target in {"k8s", "kserve"} else "",
        "## What was not checked",
        _unchecked(fleet, target),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figure(figure: Figure, scale: float, unit: str) -> str:
    if figure.value is None:
        return f"unknown: {figure.estimate.reason}"
    ends = [figure.low, figure.high]
    shown = "–".join("?" if end is None else f"{end * scale:,.3g}" for end in ends)
    band = f" [{shown}]" if any(end is not None for end in ends) else ""
    return f"{figure.value * scale:,.3g} {unit}{band}, {figure.basis}"


def _promise_table(fleet: Fleet) -> str:
    promise, slo = fleet.promise, fleet.scenario.slo
    rows = [
        ("one replica holds within the SLO", _figure(promise.requests_per_second, 1, "requests/s")),
        ("in the peak hour one replica gets", f"{promise.peak_requests_per_second:.3g} requests/s"),
        (f"TTFT p95 then (limit {slo.ttft_p95_seconds * 1000:g} ms)", _figure(promise.ttft_p95, 1000, "ms")),
        (f"TPOT p95 then (limit {slo.tpot_p95_seconds * 1000:g} ms)", _figure(promise.tpot_p95, 1000, "ms")),
        ("replicas", f"{fleet.replicas} for the peak hour and {fleet.spare_replicas} spare"),
    ]
    note = "TTFT = first output token − arrival. TPOT = (end − first token)/(n − 1), per request. Brackets: 90 %."
    if fleet.engine.name != PLANNED_WITH:
        note += f" The plan was made for vLLM; these are the same model's figures for {fleet.engine.facts.title}."
    table = "\n".join(["| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)])
    return f"{table}\n\n{note}"


def _memory(fleet: Fleet) -> str:
    budget = fleet.budget
    return (
        f"Memory of one GPU by the account of {budget.engine.engine} {budget.engine.version} "
        f"({budget.engine.provenance.basis}): "
        f"{budget.weight_bytes / GIB:.1f} GiB of weights, {budget.kv_cache_bytes / GIB:.1f} GiB of cache for "
        f"{budget.kv_capacity_tokens:,} tokens; the load needs {fleet.promise.kv_tokens:,} at the replica's limit."
    )


def _start(fleet: Fleet, target: str) -> str:
    lines = []
    if fleet.is_local_checkpoint:
        method = fleet.deployment.weights.name
        places = {"shell": "that path", "compose": "a folder models/ beside the files"}
        where = places.get(target, "a claim `models`")
        lines.append(
            f"`{fleet.checkpoint}` has to be there first ({where}): no repository is known here for "
            f"{fleet.served_name} in {method}. `llmsizer quantize CHECKPOINT --methods …` makes one; `--checkpoint` "
            "names another."
        )
    if target in {"k8s", "kserve"}:
        lines.append(
            "Secrets are named, never written here: `kubectl create secret generic llm-secrets "
            "--from-literal=hf-token=… --from-literal=api-key=…`. Prometheus' address in the scaling rules is a guess: "
            "put yours."
        )
    started = _STARTED[target]
    if target == "k8s" and not scaling_of(fleet).metrics:
        started = "kubectl apply -f deployment.yaml"
    lines.append(f"```\n{started}\nsh health.sh && sh smoke-test.sh && sh load-test.sh\n```")
    lines.append(
        f"Resources beside the GPUs are assumed: {container.cores(fleet)} cores, "
        f"{container.memory_gib(fleet)} GiB of host memory, {container.start_seconds(fleet)} s until the first answer."
    )
    return "\n\n".join(lines)


def _flag_rows(fleet: Fleet) -> list[str]:
    return [f"| `{s.flag}` | {'' if s.value is None else f'`{s.value}`'} | {s.why} |" for s in settings_of(fleet)]


def _scaling(fleet: Fleet) -> str:
    scaling = scaling_of(fleet)
    if not scaling.metrics:
        return (
            f"{fleet.engine.label} shows neither its queue nor its cache: the fleet stays at {scaling.most} replicas."
        )
    rules = "; ".join(f"`{m.metric}` above {m.threshold_text} a replica ({m.why})" for m in scaling.metrics)
    span = f"From {scaling.fewest} replicas (the mean load) to {scaling.most} (the plan)"
    return f"{span}: {rules}. These thresholds are modelled, not measured."


def _unchecked(fleet: Fleet, target: str) -> str:
    image = "" if target == "shell" else (
        f"Whether `{container.image(fleet)}` exists in its registry: pin its digest once you have pulled it. "
    )  # fmt: skip
    return (
        f"{image}The flags were checked against the argument definitions of {fleet.engine.label} "
        f"({fleet.engine.table.source.get('file')}), the files against their schemas: "
        "`llmsizer bundle check .` repeats that. Nothing was started on a GPU."
    )
