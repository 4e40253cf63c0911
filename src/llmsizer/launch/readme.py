"""The bundle's README: what is promised and how sure that is, what to start, and why every flag has its value."""

from __future__ import annotations

from collections.abc import Callable

from llmsizer.facts.figure import Figure
from llmsizer.launch import container
from llmsizer.launch.fleet import PLANNED_WITH, Fleet
from llmsizer.launch.scaling import Scaling, scaling_of
from llmsizer.launch.settings import settings_of
from llmsizer.launch.targets.shell import START
from llmsizer.units import GIB, format_seconds, plain_number

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
        _scaling(fleet, target) if target in {"k8s", "kserve"} else "",
        "## What was not checked",
        _unchecked(fleet, target),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figure(figure: Figure, show: Callable[[float], str]) -> str:
    if figure.value is None:
        return f"unknown: {figure.estimate.reason}"
    ends = [figure.low, figure.high]
    band = " – ".join("?" if end is None else show(end) for end in ends)
    return f"{show(figure.value)}{f' [{band}]' if ends != [None, None] else ''}, {figure.basis}"


def _rate(requests_per_second: float) -> str:
    return f"{plain_number(requests_per_second)} requests/s"


def _promise_table(fleet: Fleet) -> str:
    promise, slo = fleet.promise, fleet.scenario.slo
    rows = [
        ("one replica holds within the SLO", _figure(promise.requests_per_second, _rate)),
        ("in the peak hour one replica gets", _rate(promise.at_peak.requests_per_second)),
        (
            f"TTFT p95 then (limit {format_seconds(slo.ttft_p95_seconds)})",
            _figure(promise.at_peak.ttft_p95, format_seconds),
        ),
        (
            f"TPOT p95 then (limit {format_seconds(slo.tpot_p95_seconds)})",
            _figure(promise.at_peak.tpot_p95, format_seconds),
        ),
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
        f"{fleet.kv_capacity_tokens:,} tokens; the load needs {fleet.promise.kv_tokens:,} at the replica's limit."
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
    if target == "compose" and (key := fleet.engine.facts.key_variable):
        lines.append(f"Requests need a key of your choice, which is written nowhere here: `export {key}=…` first.")
    if target == "k8s" and not scaling_of(fleet).metrics:
        started = "kubectl apply -f deployment.yaml"
    if fleet.deployment.servers > 1:
        last = fleet.deployment.servers - 1
        lines.append(
            f"One replica takes {fleet.deployment.servers} servers. On each of them the same script, with the address "
            f"of server 0 and its own number, 0 to {last}: `MASTER_ADDR=10.0.0.1 NODE_RANK={last} sh {START}`. "
            "Server 0 answers requests. All need the same program and weights, and a network as the plan's note "
            "asks for; set NCCL_SOCKET_IFNAME where they have several."
        )
        started = f"MASTER_ADDR=10.0.0.1 NODE_RANK=0 sh {START}"
    lines.append(f"```\n{started}\nsh health.sh && sh smoke-test.sh && sh load-test.sh\n```")
    lines.append(_load_test(fleet))
    lines.append(
        f"Resources beside the GPUs are assumed: {container.cores(fleet)} cores, "
        f"{container.memory_gib(fleet)} GiB of host memory, {container.start_seconds(fleet)} s until the first answer."
    )
    return "\n\n".join(lines)


def _load_test(fleet: Fleet) -> str:
    """What the script does, and what judges it."""
    foreign = "" if fleet.engine.name == PLANNED_WITH else f"; its peak hour is {fleet.engine.facts.title}'s"
    judged = f"holds what it sees against the promise (`llmsizer verify plan.json`{foreign})"
    return (
        f"`load-test.sh` sends one replica the peak hour's load and {judged}, then searches for the most that keeps "
        "the SLO: up to 15 minutes each. What is given after it goes to both: `--max-minutes 5`, `--tokenizer FOLDER` "
        "for exact lengths. Its exit code is 1 where the promised load breaks the SLO."
    )


def _flag_rows(fleet: Fleet) -> list[str]:
    return [f"| `{s.flag}` | {'' if s.value is None else f'`{s.value}`'} | {s.why} |" for s in settings_of(fleet)]


def _scaling(fleet: Fleet, target: str) -> str:
    scaling = scaling_of(fleet)
    if not scaling.metrics:
        return (
            f"{fleet.engine.label} shows neither its queue nor its cache: the fleet stays at {scaling.most} replicas."
        )
    rules = "; ".join(f"`{m.metric}` above {m.threshold_text} a replica ({m.why})" for m in scaling.metrics)
    span = f"From {scaling.fewest} replicas (the mean load) to {scaling.most} (the plan)"
    said = [f"{span}: {rules}. These thresholds are modelled, not measured."]
    if target == "k8s":
        said.append(_without_keda(scaling))
    return "\n\n".join(said)


def _without_keda(scaling: Scaling) -> str:
    """Rules in the words of prometheus-adapter, which a plain HPA reads through."""
    rules = "\n".join(
        f'- seriesQuery: \'{m.metric}{{namespace!="",pod!=""}}\'\n'
        "  resources: {overrides: {namespace: {resource: namespace}, pod: {resource: pod}}}\n"
        f"  name: {{as: {m.adapted}}}\n"
        "  metricsQuery: sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)"
        for m in scaling.metrics
    )
    return (
        "`autoscaling.yaml` is for clusters with KEDA. Without it apply `hpa.yaml` instead, never both: the same "
        "thresholds, read through an adapter of custom metrics that has these rules (prometheus-adapter, "
        f"`rules.custom`; not tried on a cluster):\n\n```yaml\n{rules}\n```"
    )


def _unchecked(fleet: Fleet, target: str) -> str:
    image = "" if target == "shell" else (
        f"Whether `{container.image(fleet)}` exists in its registry: pin its digest once you have pulled it. "
    )  # fmt: skip
    return (
        f"{image}The flags were checked against the argument definitions of {fleet.engine.label} "
        f"({fleet.engine.table.source.get('file')}), the files against their schemas: "
        "`llmsizer bundle check .` repeats that. Nothing was started on a GPU."
    )
