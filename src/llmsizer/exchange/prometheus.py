"""Prometheus recording and alerting rules for the promise of a plan, with the metric names of an engine's version.

Recorded: the SLO's percentiles over five minutes, queue, cache use and output tokens a second. Alerted: a percentile
above its limit, a queue that does not empty, a cache nearly full, and more traffic than the plan was made for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmsizer.errors import InputError, UnknownNameError
from llmsizer.exchange.values import Refused, at, number_at, text_at
from llmsizer.facts.profile_files import find_profiles, read_toml

WINDOW, PATIENCE = "5m", "10m"
NEARLY_FULL = 0.95  # of the cache: requests are about to be put back
COUNTERS = ("output_tokens", "answered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: recorded under a name, or an alert where ``summary`` says what it means."""

    name: str
    expression: str
    summary: str = ""
    severity: str = ""


def metric_names(engine: str, version: str = "") -> tuple[str, dict[str, str]]:
    """The version whose table is used, and role → the metric that tells it. Raises UnknownNameError, CatalogError."""
    folder = find_profiles() / "launch"
    roles = read_toml(folder / "metrics.toml")
    if engine not in roles or engine == "provenance":
        raise UnknownNameError("engine with metrics", engine, set(roles) - {"provenance"})
    tables = {path.stem.removeprefix(f"{engine}-"): path for path in (folder / "flags").glob(f"{engine}-*.json")}
    chosen = version or max(tables, key=_ordered, default="")
    if chosen not in tables:
        raise UnknownNameError(f"version of {engine}", chosen, tables)
    known = {str(name) for name in json.loads(tables[chosen].read_text(encoding="utf-8")).get("metrics", [])}
    found: dict[str, str] = {}
    for role, candidates in roles[engine].items():
        name = next((candidate for candidate in candidates if candidate in known), None)
        if name is not None:
            found[role] = f"{name}_total" if role in COUNTERS and not name.endswith("_total") else name
    return chosen, found


def rules_of(plan_document: Any, names: Mapping[str, str], *, selector: str = "") -> list[Rule]:
    """The rules of the first plan that ``plan --json`` printed. Raises Refused where no SLO stands in it."""
    slo = at(plan_document, "asked", "slo")
    plan = at(plan_document, "plans", 0)
    if not isinstance(slo, Mapping) or not isinstance(plan, Mapping):
        raise Refused("no plan with its SLO; make one with: llmsizer plan SCENARIO --json > PLAN.json")
    labels = f"{{{selector}}}" if selector else ""
    rules: list[Rule] = []
    for role, limit in (("ttft", number_at(slo, "ttft_p95_seconds")), ("tpot", number_at(slo, "tpot_p95_seconds"))):
        metric = names.get(role)
        if metric is None or limit is None:
            continue
        record = f"llmsizer:{role}_seconds:p95"
        buckets = f"sum by (le) (rate({metric}_bucket{labels}[{WINDOW}]))"
        rules.append(Rule(name=record, expression=f"histogram_quantile(0.95, {buckets})"))
        rules.append(Rule(name=f"llmsizer:{role}_seconds:limit", expression=f"vector({limit!r})"))
        value = "{{ $value | humanizeDuration }}"
        summary = f"95 % of requests should have a {role.upper()} below {limit:g} s; it is {value}"
        alert = f"{role.capitalize()}AboveSlo"
        rules.append(Rule(name=alert, expression=f"{record} > {limit!r}", summary=summary, severity="page"))
    return rules + _load_rules(plan, names, labels)


def _load_rules(plan: Any, names: Mapping[str, str], labels: str) -> list[Rule]:
    rules: list[Rule] = []

    def watch(record: str, expression: str, alert: str = "", condition: str = "", summary: str = "") -> None:
        rules.append(Rule(name=f"llmsizer:{record}", expression=expression))
        if alert:
            rules.append(Rule(name=alert, expression=condition, summary=summary, severity="warn"))

    if waiting := names.get("waiting"):
        watch(
            "requests_waiting:sum",
            f"sum({waiting}{labels})",
            "QueueDoesNotEmpty",
            f"min_over_time(llmsizer:requests_waiting:sum[{PATIENCE}]) > 0",
            f"requests have waited for {PATIENCE} without a moment of an empty queue",
        )
    if cache := names.get("cache"):
        watch(
            "cache_used_share:max",
            f"max({cache}{labels})",
            "CacheNearlyFull",
            f"llmsizer:cache_used_share:max > {NEARLY_FULL}",
            "a replica's KV cache is nearly full: requests will be put back",
        )
    if tokens := names.get("output_tokens"):
        watch("output_tokens_per_second:sum", f"sum(rate({tokens}{labels}[{WINDOW}]))")
    each, replicas = number_at(plan, "capacity", "requests_per_second", "value"), number_at(plan, "replicas")
    if (answered := names.get("answered")) and each and replicas:
        most = each * replicas
        watch("requests_per_second:capacity", f"vector({most!r})")
        watch(
            "requests_per_second:sum",
            f"sum(rate({answered}{labels}[{WINDOW}]))",
            "MoreTrafficThanPlanned",
            f"llmsizer:requests_per_second:sum > {most!r}",
            f"more requests than {replicas:g} replicas of the plan take within the SLO, {most:.3g}/s",
        )
    return rules


def rules_text(plan_document: Any, *, engine: str, version: str = "", selector: str = "") -> str:
    """A rule file in YAML. Raises Refused, UnknownNameError."""
    chosen, names = metric_names(engine, version)
    if selector and not re.fullmatch(r'\w+=~?"[^"\\]*"(,\w+=~?"[^"\\]*")*', selector):
        raise InputError(f'selector {selector!r} is none; write it as Prometheus does, e.g. namespace="chat"')
    rules = rules_of(plan_document, names, selector=selector)
    absent = [role for role in ("ttft", "tpot") if role not in names]
    label = text_at(plan_document, "plans", 0, "label")
    lines = [f"# {engine} {chosen}: {label}"]
    lines += [f"# {engine} {chosen} has no metric of {role}: its SLO cannot be watched from inside" for role in absent]
    lines.append("groups:")
    for group, members in (
        ("recorded", [r for r in rules if not r.summary]),
        ("alerts", [r for r in rules if r.summary]),
    ):
        if members:
            lines += [f"  - name: {_quoted(f'llmsizer-{group}')}", "    rules:"]
            lines += [line for rule in members for line in _lines(rule)]
    return "\n".join(lines) + "\n"


def _lines(rule: Rule) -> list[str]:
    kind = "alert" if rule.summary else "record"
    lines = [f"      - {kind}: {_quoted(rule.name)}", f"        expr: {_quoted(rule.expression)}"]
    if rule.summary:
        lines += [f"        for: {_quoted(WINDOW)}", "        labels:", f"          severity: {_quoted(rule.severity)}"]
        lines += ["        annotations:", f"          summary: {_quoted(rule.summary)}"]
    return lines


def _quoted(text: str) -> str:
    """A string as YAML and JSON both read it."""
    return json.dumps(text, ensure_ascii=False)


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
